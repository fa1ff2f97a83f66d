"""Our nodes among ComfyUI's own: what its latent and conditioning nodes, its queue and its editor make of them."""

import shutil

import pytest
import requests
import torch
from pack.tests.core import tiny_originals
from pack.tests.core.tiny_checkpoints import diffusers_folder
from pack.tests.host import shipped
from pack.tests.host.comfy import Interrupted, NodeError
from pack.tests.host.shipped import node, save_latent, text_to_image
from PIL import Image

TILES = {"tile_size": 512, "overlap": 64, "temporal_size": 64, "temporal_overlap": 8}


def drawing(**settings):
    """A workflow that ends with "Sampler", after a step or two."""
    workflow = text_to_image("an owl on red", **{"steps": 1, **settings})
    return {name: content for name, content in workflow.items() if name not in ("Decode", "SaveImage")}


def also_drawn(workflow, **inputs):
    return node("VQDiffusionSampler", **workflow["Sampler"]["inputs"] | inputs)


def token_grids(comfy, workflow, *sources):
    """The tokens of some nodes' first output, from one run."""
    saves = {f"save {source}": save_latent([source, 0]) for source in sources}
    result = comfy.run(workflow | saves)
    return [shipped.tokens(comfy, result, name) for name in saves]


def image_and_mask(comfy):
    """A "image" of 96 x 96, and a "mask" with a hard rectangle that touches rows 3 to 8 and columns 2 to 6."""
    gradient = Image.radial_gradient("L").resize((96, 96)).convert("RGB")
    return {
        "image": node("LoadImage", image=comfy.upload(gradient, "gradient.png")),
        "nothing": node("SolidMask", value=0.0, width=96, height=96),
        "all": node("SolidMask", value=1.0, width=30, height=40),
        "mask": node("MaskComposite", destination=["nothing", 0], source=["all", 0], x=20, y=30, operation="add"),
        "encode": node("VQDiffusionEncode", pixels=["image", 0], vae=["Loader", 2]),
    }


# Latents


def test_vae_encode_tiled_gives_the_same_tokens(comfy):
    workflow = drawing() | image_and_mask(comfy)
    workflow["tiled"] = node("VAEEncodeTiled", pixels=["image", 0], vae=["Loader", 2], **TILES)
    ours, tiled = token_grids(comfy, workflow, "encode", "tiled")
    assert torch.equal(ours, tiled)


def test_vae_encode_for_inpaint_sets_a_region_that_is_drawn_anew(comfy):
    workflow = drawing() | image_and_mask(comfy)
    link = {"pixels": ["image", 0], "vae": ["Loader", 2], "mask": ["mask", 0]}
    workflow["inpaint"] = node("VAEEncodeForInpaint", **link, grow_mask_by=0)
    workflow["drawn"] = also_drawn(workflow, latent=["inpaint", 0])
    before, after = token_grids(comfy, workflow, "inpaint", "drawn")
    changed = (before != after)[0].nonzero()
    assert len(changed) and changed.amin(0).tolist() >= [3, 2]
    assert all(low <= high for low, high in zip(changed.amax(0).tolist(), [8, 6], strict=True))


def test_an_image_with_a_hole_can_be_laid_over_another(comfy):
    workflow = drawing() | image_and_mask(comfy)
    tokens = {"destination": ["Sampler", 0], "source": ["encode", 0], "x": 0, "y": 0, "resize_source": False}
    workflow["together"] = node("LatentCompositeMasked", **tokens)
    drawn, encoded, together = token_grids(comfy, workflow, "Sampler", "encode", "together")
    assert torch.equal(together, encoded) and not torch.equal(together, drawn)


def test_tokens_survive_being_flipped_repeated_and_cut(comfy):
    workflow = drawing() | {
        "flip": node("LatentFlip", samples=["Sampler", 0], flip_method="y-axis: horizontally"),
        "repeat": node("RepeatLatentBatch", samples=["Sampler", 0], amount=3),
        "one": node("LatentFromBatch", samples=["repeat", 0], batch_index=2, length=1),
    }
    drawn, flipped, one = token_grids(comfy, workflow, "Sampler", "flip", "one")
    assert torch.equal(drawn.flip(-1), flipped) and torch.equal(drawn, one)


def test_tokens_survive_being_saved_and_loaded(comfy):
    (drawn,) = token_grids(comfy, drawing(), "Sampler")
    newest = max((comfy.base / "output" / "latents").glob("*.latent"), key=lambda file: file.stat().st_mtime_ns)
    shutil.copy(newest, comfy.base / "input" / "owl.latent")
    (loaded,) = token_grids(comfy, {"load": node("LoadLatent", latent="owl.latent")}, "load")
    assert torch.equal(drawn, loaded)


def test_one_image_of_a_batch_can_be_drawn_again_alone(comfy):
    workflow = drawing(steps=2, seed=30)
    workflow["EmptyTokens"]["inputs"]["batch_size"] = 3
    workflow["third"] = node("LatentFromBatch", samples=["EmptyTokens", 0], batch_index=2, length=1)
    workflow["again"] = also_drawn(workflow, latent=["third", 0])
    batch, again = token_grids(comfy, workflow, "Sampler", "again")
    assert torch.equal(batch[2:], again)


def test_the_region_of_the_token_mask_is_whole_tokens(comfy):
    workflow = drawing() | image_and_mask(comfy)
    workflow["marked"] = node("VQDiffusionTokenMask", samples=["encode", 0], mask=["mask", 0], grow=1)
    workflow["as image"] = node("MaskToImage", mask=["marked", 1])
    workflow["show"] = node("PreviewImage", images=["as image", 0])
    (image,) = comfy.images(comfy.run(workflow))
    left, top, right, bottom = 8 * 1, 8 * 2, 8 * 8, 8 * 10
    assert image.size == (96, 96) and image.convert("L").getbbox() == (left, top, right, bottom)


def test_the_inspector_shows_an_empty_canvas(comfy):
    workflow = drawing() | {
        "look": node("VQDiffusionTokenInspector", samples=["EmptyTokens", 0], vae=["Loader", 2]),
        "show": node("PreviewImage", images=["look", 0]),
    }
    image = comfy.images(comfy.run(workflow))[0]  # the inspector shows it too
    assert image.size == (384, 384) and max(high for _, high in image.convert("RGB").getextrema()) < 80


# Conditioning


def test_clip_set_last_layer_leaves_the_last_layer_as_it_is(comfy):
    workflow = drawing(steps=2)
    workflow["layer"] = node("CLIPSetLastLayer", clip=["Loader", 1], stop_at_clip_layer=-1)
    workflow["text"] = node("CLIPTextEncode", clip=["layer", 0], text=workflow["TextEncode"]["inputs"]["text"])
    workflow["again"] = also_drawn(workflow, positive=["text", 0])
    assert torch.equal(*token_grids(comfy, workflow, "Sampler", "again"))


def test_prompts_can_be_averaged_joined_and_zeroed(comfy):
    workflow = drawing(steps=2)
    mean = {"conditioning_to": ["TextEncode", 0], "conditioning_from": ["other", 0], "conditioning_to_strength": 1.0}
    workflow |= {
        "other": node("CLIPTextEncode", clip=["Loader", 1], text="a green frog on yellow"),
        "average": node("ConditioningAverage", **mean),
        "joined": node("ConditioningConcat", conditioning_to=["TextEncode", 0], conditioning_from=["other", 0]),
        "zero": node("ConditioningZeroOut", conditioning=["TextEncode", 0]),
        "drawn average": also_drawn(workflow, positive=["average", 0]),
        "drawn joined": also_drawn(workflow, positive=["joined", 0]),
        "drawn zero": also_drawn(workflow, negative=["zero", 0]),
    }
    plain, average, joined, zero = token_grids(
        comfy, workflow, "Sampler", "drawn average", "drawn joined", "drawn zero"
    )
    assert torch.equal(plain, average), "an average that is all one prompt is not that prompt"
    assert not torch.equal(plain, joined) and not torch.equal(plain, zero)


def area(prompt, x, width):
    numbers = {"width": width, "height": 1.0, "x": x, "y": 0.0, "strength": 1.0}
    return node("ConditioningSetAreaPercentage", conditioning=[prompt, 0], **numbers)


def both(first, second):
    return node("ConditioningCombine", conditioning_1=[first, 0], conditioning_2=[second, 0])


def test_one_prompt_in_two_halves_or_twice_or_all_the_time_is_that_prompt(comfy):
    workflow = drawing() | {
        "left": area("TextEncode", 0.0, 0.5),
        "right": area("TextEncode", 0.5, 0.5),
        "halves": both("left", "right"),
        "twice": both("TextEncode", "TextEncode"),
        "always": node("ConditioningSetTimestepRange", conditioning=["TextEncode", 0], start=0.0, end=1.0),
    }
    names = ("halves", "twice", "always")
    workflow |= {f"drawn {name}": also_drawn(workflow, positive=[name, 0]) for name in names}
    plain, *others = token_grids(comfy, workflow, "Sampler", *(f"drawn {name}" for name in names))
    for name, other in zip(names, others, strict=True):
        assert torch.equal(plain, other), name


def test_a_prompt_for_a_part_of_the_image_or_of_the_run_draws_another_image(comfy):
    workflow = drawing() | {
        "other": node("VQDiffusionTextEncode", clip=["Loader", 1], text="a frog on a white background"),
        "left": area("TextEncode", 0.0, 0.5),
        "right": area("other", 0.5, 0.5),
        "halves": both("left", "right"),
        "late": node("ConditioningSetTimestepRange", conditioning=["TextEncode", 0], start=0.5, end=1.0),
    }
    names = ("halves", "late")
    workflow |= {f"drawn {name}": also_drawn(workflow, positive=[name, 0]) for name in names}
    plain, *others = token_grids(comfy, workflow, "Sampler", *(f"drawn {name}" for name in names))
    assert not any(torch.equal(plain, other) for other in others)


# Another model


@pytest.fixture(scope="module")
def other_model(comfy, tmp_path_factory):
    """A workflow's nodes for a VQ-Diffusion model of 4 x 4 tokens and text vectors of 24 numbers."""
    tiny = diffusers_folder(tmp_path_factory.mktemp("models") / "tiny")
    shutil.copytree(tiny, comfy.base / "models" / "vq_diffusion" / "tiny")
    return {
        "other": node("VQDiffusionLoader", model="tiny", dtype="float32"),
        "other text": node("CLIPTextEncode", clip=["other", 1], text="red"),
        "other empty": node("VQDiffusionEmptyTokens", vq_model=["other", 0], batch_size=1),
        "other sampler": node(
            "VQDiffusionSampler",
            **drawing()["Sampler"]["inputs"]
            | {"vq_model": ["other", 0], "positive": ["other text", 0], "latent": ["other empty", 0]},
        ),
    }


def test_two_models_draw_in_one_workflow(comfy, other_model):
    ours, other = token_grids(comfy, drawing() | other_model, "Sampler", "other sampler")
    assert ours.shape == (1, 12, 12) and other.shape == (1, 4, 4) and other.max() < 11


CROSSED = {
    "its canvas": ({"latent": ["other empty", 0]}, "4 x 4 tokens; this model draws 12 x 12"),
    "its prompt": ({"positive": ["other text", 0]}, r"positive has text vectors of shape \(1, 7, 24\); this model"),
    "its negative": ({"negative": ["other text", 0]}, r"negative has text vectors of shape \(1, 7, 24\); this model"),
}


@pytest.mark.parametrize(("inputs", "words"), CROSSED.values(), ids=CROSSED)
def test_what_belongs_to_another_model_is_refused(comfy, other_model, inputs, words):
    workflow = drawing()
    workflow["Sampler"] = also_drawn(workflow, **inputs)
    with pytest.raises(NodeError, match=words) as raised:
        token_grids(comfy, workflow | other_model, "Sampler")
    assert raised.value.node == "Sampler" and len(raised.value.message.splitlines()) == 1
    token_grids(comfy, drawing(seed=list(CROSSED.values()).index((inputs, words))), "Sampler")


def test_a_file_of_taming_transformers_draws_row_by_row(comfy):
    """Made with the original class's names and shapes: its loader, its sampler, its images."""
    tiny_originals.two_stages_folder(comfy.base / "models" / "vq_diffusion" / "faces")
    settings = drawing()["Sampler"]["inputs"] | {"sampler": "autoregressive", "steps": 16, "seed": 7}
    links = {"vq_model": ["faces", 0], "positive": ["nothing", 0], "latent": ["empty", 0]}
    workflow = {
        "faces": node("VQDiffusionLoader", model="faces", dtype="float32"),
        "nothing": node("VQDiffusionClassEncode", vq_model=["faces", 0], class_label=""),
        "empty": node("VQDiffusionEmptyTokens", vq_model=["faces", 0], batch_size=2),
        "Sampler": node("VQDiffusionSampler", **settings | links),
        "decode": node("VAEDecode", samples=["Sampler", 0], vae=["faces", 2]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="faces"),
    }
    result = comfy.run(workflow)
    first, second = comfy.images(result)
    assert first.size == (64, 64) and first.tobytes() != second.tobytes()
    assert [event.data["value"] for event in result.of_kind("progress") if event.data["max"] == 4][-1] == 4
    workflow["Sampler"]["inputs"]["sampler"] = "confidence"
    with pytest.raises(NodeError, match="Use the sampler 'autoregressive'"):
        comfy.run(workflow)


def test_a_whole_model_that_was_taught_is_in_the_menu_and_draws_the_same(comfy):
    workflow = shipped.load("teach_a_character")
    teach, sampler, loader = (shipped.the(workflow, f"VQDiffusion{name}") for name in ("Teach", "Sampler", "Loader"))
    workflow[teach]["inputs"] |= {"steps": 2, "batch": 2, "whole_model": True, "name": "mine"}
    workflow[sampler]["inputs"]["steps"] = 2
    workflow["save"] = save_latent([sampler, 0])
    told = shipped.tokens(comfy, comfy.run(workflow), "save")
    assert "mine" in comfy.object_info()["VQDiffusionLoader"]["input"]["required"]["model"][1]["options"]
    text = shipped.load("teach_a_character") | {"save": workflow["save"], sampler: workflow[sampler]}
    text[loader]["inputs"]["model"] = "mine"
    opened = {
        name: content | {"inputs": {key: relinked(value, teach, loader) for key, value in content["inputs"].items()}}
        for name, content in text.items()
        if name != teach and content["class_type"] != "PreviewImage"
    }
    assert torch.equal(shipped.tokens(comfy, comfy.run(opened), "save"), told)


def relinked(value, old, new):
    """A node's input, from the same output of another node."""
    return [new, value[1]] if isinstance(value, list) and value[0] == old else value


# The queue and the editor


def test_each_step_moves_the_progress_bar_and_the_preview(comfy):
    result = comfy.run(drawing(steps=5, seed=81) | {"save": save_latent(["Sampler", 0])})
    steps = [(event.data["value"], event.data["max"]) for event in result.of_kind("progress")]
    assert steps[-1] == (5, 5) and steps == sorted(steps)
    previews = [event.data["image"] for event in result.of_kind("preview")]
    assert previews and all(preview.size == (252, 252) for preview in previews)


LONG = 1000  # steps
EDITS = {
    "a soft region": {
        "shade": node("SolidMask", value=0.98, width=96, height=96),
        "marked": node("VQDiffusionTokenMask", samples=["Sampler", 0], mask=["shade", 0], grow=0),
        "options": node("VQDiffusionEditOptions", vq_model=["Loader", 0], soft=True, rounds=3, overlap=0.5),
    },
    "windows": {
        "marked": node("VQDiffusionEmptyTokens", vq_model=["Loader", 0], batch_size=1, width=192, height=96),
        "options": node("VQDiffusionEditOptions", vq_model=["Loader", 0], soft=False, rounds=1, overlap=0.5),
    },
}


def interrupted_at_once(comfy, workflow):
    """The values of the progress bar until an interrupt, said at the first of them, has ended the node "long"."""
    seen = []

    def interrupt(event):
        if event.kind == "progress" and event.data["max"] == LONG:
            seen.append(event.data["value"])
            if len(seen) == 1:
                comfy.interrupt()

    with pytest.raises(Interrupted) as interrupted:
        comfy.run(workflow | {"save": save_latent(["long", 0])}, watch=interrupt)
    assert interrupted.value.node == "long"
    return seen


@pytest.mark.parametrize("sampler", ["ancestral", "exact count", "purity", "confidence", "remask"])
def test_an_interrupted_drawing_ends_within_a_step_and_the_next_is_fine(comfy, sampler):
    workflow = drawing(seed=82)
    workflow["long"] = also_drawn(workflow, steps=LONG, sampler=sampler)
    begun = interrupted_at_once(comfy, workflow)
    assert begun[-1] < LONG / 2  # what is on its way to the server and back counts too; tests/nodes count the steps
    token_grids(comfy, drawing(seed=83, sampler=sampler), "Sampler")


@pytest.mark.parametrize("edit", EDITS)
def test_an_interrupted_edit_ends_within_a_step_and_the_next_is_fine(comfy, edit):
    workflow = drawing(seed=84) | EDITS[edit]
    workflow["long"] = also_drawn(workflow, steps=LONG, vq_model=["options", 0], latent=["marked", 0])
    begun = interrupted_at_once(comfy, workflow)
    assert begun[-1] < LONG / 2
    token_grids(
        comfy, workflow | {"long": node("VQDiffusionSampler", **workflow["long"]["inputs"] | {"steps": 2})}, "long"
    )


def test_models_that_were_unloaded_are_loaded_again(comfy):
    (before,) = token_grids(comfy, drawing(seed=84), "Sampler")
    comfy.free()
    (after,) = token_grids(comfy, drawing(seed=84), "Sampler")
    assert torch.equal(before, after)


def test_the_template_browser_offers_the_examples_and_nothing_else(comfy):
    offered = requests.get(f"{comfy.url}/workflow_templates", timeout=300).json()
    assert sorted(offered[comfy.pack.name]) == shipped.NAMES


def test_the_editor_is_given_help_pages_and_names(comfy):
    page = requests.get(f"{comfy.url}/extensions/{comfy.pack.name}/docs/VQDiffusionSampler.md", timeout=300)
    assert page.ok and page.text.startswith("# VQ-Diffusion Sampler")
    names = requests.get(f"{comfy.url}/i18n", timeout=300).json()["en"]["nodeDefs"]
    assert names["VQDiffusionSampler"]["display_name"] == "VQ-Diffusion Sampler"
