"""What goes wrong ends in one clear message, and the next good workflow draws as if nothing had been."""

import pickle
import shutil

import pytest
from pack.tests.host import shipped
from pack.tests.host.comfy import NodeError, Rejected
from pack.tests.host.shipped import anew, node, text_to_image
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER

WEIGHTS, CODES = "transformer/diffusion_pytorch_model.safetensors", shipped.CODES["pocket"]


@pytest.fixture(scope="module")
def good(comfy):
    """The image that a good workflow draws."""
    return shipped.image(comfy, text_to_image())


@pytest.fixture(autouse=True)
def still_works(comfy, good):
    yield
    assert shipped.image(comfy, text_to_image(anew())).tobytes() == good.tobytes()


@pytest.fixture
def copied_model(comfy):
    """The pocket model once more among the user's models."""
    folder = comfy.base / "models" / "vq_diffusion" / "copy"
    shutil.copytree(POCKET_FOLDER, folder)
    yield folder
    shutil.rmtree(folder)


def with_latent(**made_by):
    """The sampler gets its latent from the last of these nodes."""
    workflow = text_to_image() | made_by
    workflow["Sampler"]["inputs"]["latent"] = [list(made_by)[-1], 0]
    return workflow


def with_nodes_before_decoding(**made_by):
    workflow = text_to_image() | made_by
    workflow["Decode"]["inputs"]["samples"] = [list(made_by)[-1], 0]
    return workflow


def with_prompt_from(**made_by):
    workflow = text_to_image() | made_by
    workflow["Sampler"]["inputs"]["positive"] = [list(made_by)[-1], 0]
    return workflow


def with_clip_from(**made_by):
    workflow = text_to_image() | made_by
    workflow["TextEncode"]["inputs"]["clip"] = [list(made_by)[-1], 0]
    return workflow


def with_model(name):
    workflow = text_to_image()
    workflow["Loader"]["inputs"]["model"] = name
    return workflow


def resized(source, method):
    return node("LatentUpscale", samples=[source, 0], upscale_method=method, width=64, height=64, crop="disabled")


RAISED_BY_A_NODE = {
    "another model's latent": (
        with_latent(foreign=node("EmptyLatentImage", width=96, height=96, batch_size=1)),
        "belongs to another kind of model",
    ),
    "a canvas of another size": (
        with_latent(small=resized("EmptyTokens", "nearest-exact")),
        "This latent has 8 x 8 tokens; this model draws 12 x 12 or more, an image of 96 x 96 pixels",
    ),
    "tokens that were blended": (
        with_nodes_before_decoding(smooth=resized("Sampler", "bilinear")),
        "values between the codebook ids",
    ),
    "tokens that were added up": (
        with_nodes_before_decoding(
            empty=node("VQDiffusionEmptyTokens", vq_model=["Loader", 0], batch_size=1),
            sum=node("LatentAdd", samples1=["Sampler", 0], samples2=["empty", 0]),
        ),
        f"expected 0 to {CODES - 1}, or {CODES} for a masked token",
    ),
    "a canvas that nobody has drawn on": (
        with_nodes_before_decoding(empty=node("VQDiffusionEmptyTokens", vq_model=["Loader", 0], batch_size=1)),
        "144 of 144 tokens are still masked",
    ),
    "an image smaller than a token": (
        with_latent(
            tiny=node("EmptyImage", width=4, height=4, batch_size=1, color=0),
            encode=node("VQDiffusionEncode", pixels=["tiny", 0], vae=["Loader", 2]),
        ),
        "at least 8 x 8 pixels",
    ),
    "a class for a model that reads text": (
        with_prompt_from(chosen=node("VQDiffusionClassEncode", vq_model=["Loader", 0], class_label="1")),
        "does not draw classes",
    ),
    "another layer of the text encoder": (
        with_clip_from(layer=node("CLIPSetLastLayer", clip=["Loader", 1], stop_at_clip_layer=-2)),
        "reads the last layer",
    ),
    # Python's name for it as text: ComfyUI makes a float of it, and no comparison with the limits finds it.
    "guidance that is no number": (text_to_image(guidance="nan"), "guidance is nan; expected a number from 0 to 100"),
}

# Newer ComfyUIs look at these themselves, older ones leave them to the node.
CHOICES = {
    "an unknown sampler": (
        text_to_image(sampler="euler"),
        "sampler is 'euler'; expected one of ancestral|sampler: 'euler' not in",
    ),
    "a path as the model": (with_model("../../etc"), "There is no VQ-Diffusion model '../../etc'|'../../etc' not in"),
    "a model that is not there": (with_model("none"), "There is no VQ-Diffusion model 'none'|'none' not in"),
}

REFUSED_BY_COMFYUI = {
    "no steps": (text_to_image(steps=0), "smaller than min of 1: steps"),
    "more truncation than all": (text_to_image(truncation=1.5), "bigger than max of 1.0: truncation"),
}


@pytest.mark.parametrize(("workflow", "message"), RAISED_BY_A_NODE.values(), ids=RAISED_BY_A_NODE)
def test_a_node_says_what_came_and_what_it_expected(comfy, workflow, message):
    with pytest.raises(NodeError) as raised:
        comfy.run(workflow)
    assert message in raised.value.message


@pytest.mark.parametrize(("workflow", "message"), REFUSED_BY_COMFYUI.values(), ids=REFUSED_BY_COMFYUI)
def test_comfyui_refuses_what_a_schema_rules_out(comfy, workflow, message):
    with pytest.raises(Rejected, match=message):
        comfy.run(workflow)


@pytest.mark.parametrize(("workflow", "message"), CHOICES.values(), ids=CHOICES)
def test_what_is_not_among_the_choices_is_refused_by_comfyui_or_the_node(comfy, workflow, message):
    with pytest.raises((NodeError, Rejected), match=message):
        comfy.run(workflow)


def test_a_very_long_prompt_is_read_as_far_as_the_model_reads(comfy):
    beginning = "a teddy bear on a blue background, " * 300
    assert len(beginning) > 10_000
    first, second = (shipped.image(comfy, text_to_image(beginning + end)) for end in ("red", "an owl"))
    assert first.tobytes() == second.tobytes()


# Model folders


def cut_short(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def make_web_page(file):
    file.write_text("<!DOCTYPE html><html><body>404: Not Found</body></html>")


def make_code(file):
    file.unlink()
    file.with_suffix(".bin").write_bytes(pickle.dumps(print))


DAMAGES = {
    "weights cut short": (WEIGHTS, cut_short, "where its header promises"),
    "weights missing": (WEIGHTS, lambda file: file.unlink(), "has no weights"),
    "weights empty": (WEIGHTS, lambda file: file.write_bytes(b""), "it is empty"),
    "weights that are a web page": (WEIGHTS, make_web_page, "web page"),
    "weights that are code": (WEIGHTS, make_code, "could run code; it was not opened"),
    "a part missing": ("vqvae", shutil.rmtree, "missing; expected a file"),
    "settings cut short": ("scheduler/scheduler_config.json", cut_short, "has no readable JSON"),
}


@pytest.mark.parametrize(("part", "damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_model_is_refused(comfy, copied_model, part, damage, message):
    damage(copied_model / part)
    with pytest.raises(NodeError) as raised:
        comfy.run(with_model(copied_model.name))
    assert raised.value.node_type == "VQDiffusionLoader"
    assert message in raised.value.message


def test_a_damaged_model_works_once_it_is_whole_again(comfy, copied_model, good):
    whole = (copied_model / WEIGHTS).read_bytes()
    cut_short(copied_model / WEIGHTS)
    with pytest.raises(NodeError):
        comfy.run(with_model(copied_model.name))
    (copied_model / WEIGHTS).write_bytes(whole)
    assert shipped.image(comfy, with_model(copied_model.name)).tobytes() == good.tobytes()


def test_an_empty_folder_is_no_model(comfy):
    folder = comfy.base / "models" / "vq_diffusion" / "empty"
    folder.mkdir(parents=True)
    with pytest.raises((NodeError, Rejected), match=r"There is no VQ-Diffusion model 'empty'|'empty' not in"):
        comfy.run(with_model(folder.name))
