"""What a node has left out or changed, as ComfyUI passes it on."""

import json

import requests
from pack.tests.host.shipped import anew, node, text_to_image

LONG = "a teddy bear on a blue background " * 9


def notices(result):
    return [(event.data["node"], event.data["line"]) for event in result.of_kind("vqdiffusion.notice")]


def test_the_editor_hears_once_from_the_node_that_has_left_words_out(comfy):
    workflow = text_to_image(anew(LONG), steps=1) | {
        "negative": node("CLIPTextEncode", clip=["Loader", 1], text=anew(LONG))
    }
    workflow["Sampler"]["inputs"]["negative"] = ["negative", 0]
    heard = dict(notices(comfy.run(workflow)))
    assert heard.keys() == {"TextEncode", "negative"}
    assert all("left out" in line for line in heard.values())
    assert notices(comfy.run(workflow)) == [], "nothing ran, nothing is said"


def test_a_run_that_no_editor_waits_for_is_as_good_and_the_line_is_in_the_log(comfy):
    told = f"<lora:nobody{len(comfy.log())}:1>"
    prompt = {
        "loader": text_to_image()["Loader"],
        "text": node("VQDiffusionTextEncode", clip=["loader", 1], text=f"a fox {told}"),
        "shown": node("PreviewAny", source=["text", 0]),
    }
    answer = requests.post(f"{comfy.url}/prompt", json={"prompt": prompt}, timeout=300).json()
    while answer["prompt_id"] not in (history := requests.get(f"{comfy.url}/history", timeout=300).json()):
        pass
    assert history[answer["prompt_id"]]["status"]["status_str"] == "success", json.dumps(history)
    assert comfy.log().count(told) == 1
