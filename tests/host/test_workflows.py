"""The shipped workflows on a real host: what they draw, and ComfyUI's own nodes in place of ours."""

import json

import pytest
from pack.tests.host import shipped
from pack.tests.host.comfy import NodeError
from pack.tests.host.shipped import anew, node, save_latent, text_to_image, the
from pack.vqdiffusion_core.training import metrics, scenes

# How many of the prompts below must come out right; set by what the shipped weights can do.
SUBJECTS_RIGHT = 7
COLOURS_RIGHT = 7
FIRST = 1  # the subject has to be the nearest of all that the scenes have

SCENES = [
    ("teddy bear", "blue"),
    ("red apple", "yellow"),
    ("owl", "green"),
    ("pumpkin", "purple"),
    ("rocket", "white"),
    ("octopus", "orange"),
    ("crown", "red"),
    ("snowman", "pink"),
]
SUBJECTS = {subject.name: subject for subject in scenes.SUBJECTS}
GRID = (12, 12)
CELL = scenes.CANVAS // GRID[0]  # pixels
TILES = {"tile_size": 512, "overlap": 64, "temporal_size": 64, "temporal_overlap": 8}

needs_font = pytest.mark.skipif(
    not any(path.exists() for path in scenes.FONT_PATHS), reason="the judge needs the font: apt fonts-noto-color-emoji"
)
every_workflow = pytest.mark.parametrize("name", shipped.NAMES)


@pytest.fixture(scope="module")
def drawn(comfy):
    """An image of each scene, drawn as it is asked for in words."""
    prompts = [scenes.plain(SUBJECTS[subject], colour).caption for subject, colour in SCENES]
    return [shipped.image(comfy, text_to_image(prompt)) for prompt in prompts]


@needs_font
def test_images_show_the_subjects_of_their_prompts(drawn):
    ranks = [metrics.ranking(image).index(subject) for image, (subject, _) in zip(drawn, SCENES, strict=True)]
    assert sum(rank < FIRST for rank in ranks) >= SUBJECTS_RIGHT, f"ranks of the subjects asked for: {ranks}"


def test_images_have_the_backgrounds_of_their_prompts(drawn):
    colours = [metrics.background_of(image) for image in drawn]
    asked = [colour for _, colour in SCENES]
    right = sum(got == wanted for got, wanted in zip(colours, asked, strict=True))
    assert right >= COLOURS_RIGHT, f"asked for {asked}, got {colours}"


def test_images_have_the_size_of_the_model(drawn):
    assert {image.size for image in drawn} == {(scenes.CANVAS, scenes.CANVAS)}


def test_the_same_seed_gives_the_same_image(comfy):
    first, second, other = (shipped.image(comfy, text_to_image(anew(), seed=seed)) for seed in (7, 7, 8))
    assert first.tobytes() == second.tobytes() != other.tobytes()


def test_an_image_of_a_batch_is_that_of_its_own_seed(comfy):
    batch = shipped.draw_tokens(comfy, text_to_image(batch_size=2, seed=40))
    alone = [shipped.draw_tokens(comfy, text_to_image(seed=seed)) for seed in (40, 41)]
    assert batch.shape == (2, *GRID)
    assert [one.tolist() for one in batch] == [one[0].tolist() for one in alone]


# ComfyUI's own nodes


def test_clip_text_encode_does_the_same(comfy):
    ours, core = text_to_image(anew()), text_to_image(anew())
    core["TextEncode"]["class_type"] = "CLIPTextEncode"
    assert shipped.image(comfy, ours).tobytes() == shipped.image(comfy, core).tobytes()


@pytest.mark.parametrize("settings", [{}, TILES], ids=["whole", "tiled"])
def test_vae_decode_does_the_same(comfy, settings):
    ours, core = text_to_image(), text_to_image()
    inputs = core["Decode"]["inputs"] | settings
    core["Decode"] = node("VAEDecodeTiled" if settings else "VAEDecode", **inputs)
    assert shipped.image(comfy, ours).tobytes() == shipped.image(comfy, core).tobytes()


def test_vae_encode_does_the_same(comfy):
    def encoded(class_type):
        encode = node(class_type, pixels=["Decode", 0], vae=["Loader", 2])
        return shipped.draw_tokens(comfy, text_to_image() | {"encode": encode}, source=("encode", 0))

    assert encoded("VAEEncode").tolist() == encoded("VQDiffusionEncode").tolist()


def test_set_latent_noise_mask_does_the_same(comfy):
    workflow = shipped.load("inpaint")
    region = the(workflow, "VQDiffusionTokenMask")
    painter = painter_of(workflow, region)
    tokens = workflow[region]["inputs"]["samples"]
    workflow |= {
        "core region": node("SetLatentNoiseMask", samples=tokens, mask=[region, 1]),
        "core painter": node("VQDiffusionSampler", **workflow[painter]["inputs"] | {"latent": ["core region", 0]}),
        "ours": save_latent([painter, 0]),
        "core": save_latent(["core painter", 0]),
    }
    result = comfy.run(workflow)
    ours, core = (shipped.tokens(comfy, result, name) for name in ("ours", "core"))
    assert ours.tolist() == core.tolist()


def painter_of(workflow, region):
    """The sampler that draws what this node has marked."""
    (painter,) = (name for name, content in workflow.items() if content["inputs"].get("latent") == [region, 0])
    return painter


# A model of classes, which this pack does not carry


@pytest.fixture(scope="module")
def class_model(comfy):
    return shipped.make_class_model(comfy)


def test_the_class_workflow_draws_a_class_by_name_or_by_number(comfy, class_model):
    def drawn(label):
        workflow = shipped.load("class_to_image")
        assert workflow[the(workflow, "VQDiffusionLoader")]["inputs"]["model"] == class_model
        workflow[the(workflow, "VQDiffusionClassEncode")]["inputs"]["class_label"] = label
        return shipped.image(comfy, workflow)

    retriever, number, other = (drawn(label) for label in ("Golden retriever", "207", "volcano"))
    assert retriever.size == (256, 256)
    assert retriever.tobytes() == number.tobytes() != other.tobytes()


def test_a_class_that_is_misspelt_is_answered_with_what_is_near(comfy, class_model):
    workflow = shipped.load("class_to_image")
    workflow[the(workflow, "VQDiffusionClassEncode")]["inputs"]["class_label"] = "golden retreiver"
    with pytest.raises(NodeError, match=r"no class 'golden retreiver'.* is it 'golden retriever'\?"):
        comfy.run(workflow)


# The files of the editor


@every_workflow
def test_the_editor_opens_the_graph_that_is_tested(name):
    assert as_api(editor_file(name)) == shipped.load(name)


@every_workflow
def test_the_editor_file_fits_the_nodes_of_the_host(comfy, name):
    info = comfy.object_info()
    for content in editor_nodes(editor_file(name)):
        known = info[content["type"]]
        inputs = known["input"]["required"] | known["input"].get("optional", {})
        sockets = [part["name"] for part in content["inputs"] if "widget" not in part]
        widgets = [part["name"] for part in content["inputs"] if "widget" in part]
        assert sorted(sockets + widgets) == sorted(inputs)
        assert widgets == [key for key in inputs if key in widgets], "saved values are read in this order"
        outputs = [(part["type"], part["name"]) for part in content["outputs"]]
        current = list(zip(known["output"], known["output_name"], strict=True))
        ours = content["type"].startswith("VQDiffusion")
        assert outputs == (current if ours else current[: len(outputs)]), "ComfyUI's own nodes gain outputs with time"


@every_workflow
def test_the_links_of_the_editor_file_agree_from_both_ends(name):
    graph = editor_file(name)
    nodes = {content["id"]: content for content in graph["nodes"]}
    for link, source, slot, target, place, kind in graph["links"]:
        output, goal = nodes[source]["outputs"][slot], nodes[target]["inputs"][place]
        assert link in output["links"] and goal["link"] == link
        assert output["type"] == goal["type"] == kind
    used = [link for content in nodes.values() for part in content["outputs"] for link in part["links"]]
    assert sorted(used) == [link[0] for link in graph["links"]]
    assert (graph["last_node_id"], graph["last_link_id"]) == (max(nodes), max(used))


def editor_file(name):
    return json.loads((shipped.EXAMPLES / f"{name}.json").read_text())


def editor_nodes(graph):
    return [content for content in graph["nodes"] if content["type"] != "MarkdownNote"]


def as_api(graph):
    """What the editor sends when a person presses Run."""
    sources = {link: [str(source), slot] for link, source, slot, *_ in graph["links"]}
    return {str(content["id"]): node(content["type"], **inputs_of(content, sources)) for content in editor_nodes(graph)}


def inputs_of(content, sources):
    values = iter(content["widgets_values"])
    inputs = {}
    for part in content["inputs"]:
        if "widget" in part:
            inputs[part["name"]] = next(values)  # also where a link speaks in its place
            if part["name"] == "seed" and content["type"] != "VQDiffusionTeach":
                assert next(values) == "fixed"  # the extra widget: what happens to the seed after a run
        if part["link"] is not None:
            inputs[part["name"]] = sources[part["link"]]
    assert list(values) == []
    return inputs
