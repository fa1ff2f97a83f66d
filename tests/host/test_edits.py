"""What each edit of the shipped workflows promises, on a real host: what is kept, to the token and to the pixel."""

import numpy as np
import pytest
from pack.tests.host import shipped
from pack.tests.host.shipped import node, save_latent
from pack.vqdiffusion_core.training import metrics
from PIL import Image


def run(comfy, name, **changes):
    """A shipped workflow, with these inputs of these nodes changed, and the tokens that every sampler in it gets and
    gives: its image, and {node id: (before, after)} as (B, h, w).
    """
    workflow = shipped.load(name)
    for place, inputs in changes.items():
        workflow[place]["inputs"] |= inputs
    samplers = [place for place, content in workflow.items() if content["class_type"] == "VQDiffusionSampler"]
    saves = {}
    for place in samplers:
        saves[f"before {place}"] = save_latent(workflow[place]["inputs"]["latent"], f"latents/{name}_before_{place}")
        saves[f"after {place}"] = save_latent([place, 0], f"latents/{name}_after_{place}")
    result = comfy.run(workflow | saves)
    grids = {save: shipped.tokens(comfy, result, save).numpy() for save in saves}
    images = [np.asarray(image.convert("RGB")) for image in comfy.images(result)]
    return images, {place: (grids[f"before {place}"], grids[f"after {place}"]) for place in samplers}


def last(edits):
    return edits[max(edits, key=int)]


@pytest.mark.parametrize("sampler", ["ancestral", "confidence", "remask"])
def test_inpainting_changes_the_painted_tokens_alone(comfy, sampler):
    (first, second), edits = run(comfy, "inpaint", **{"12": {"sampler": sampler}})
    before, after = last(edits)
    inside = np.zeros((24, 24), dtype=bool)
    inside[2:-2, 2:-2] = True
    assert (before == after)[0][~inside].all() and (before != after)[0][inside].any()
    pixels = inside.repeat(8, 0).repeat(8, 1)
    changed = (first != second).any(-1)
    assert not changed[~pixels].any() and changed[pixels].any()
    backgrounds = {metrics.background_of(Image.fromarray(image)) for image in (first, second)}
    assert backgrounds == {"blue"}


def test_outpainting_keeps_the_image_and_draws_beside_it(comfy):
    (wide,), edits = run(comfy, "outpaint")
    first, (before, after) = edits["4"][1], edits["11"]
    assert before.shape == after.shape == (1, 24, 48)
    assert (before[..., :24] == after[..., :24]).all() and (before[..., 24:] != after[..., 24:]).any()
    assert after.max() < shipped.CODES["stickers"], "no token is left masked"
    show = node("SaveImage", images=["5", 0], filename_prefix="outpaint-first")
    alone = np.asarray(shipped.image(comfy, shipped.load("outpaint") | {"14": show}))
    assert first.shape == (1, 24, 24) and (wide[:, :192] == alone).all()


def test_image_to_image_keeps_another_share_of_the_tokens_in_each_variation(comfy):
    _, edits = run(comfy, "image_to_image", **{"10": {"denoise": 0.4}})
    before, after = edits["10"]
    kept = before == after
    assert kept.shape == (4, 24, 24) and (kept.mean((1, 2)) > 0.5).all(), "0.4 of the tokens are taken back"
    assert len({grid.tobytes() for grid in after}) == 4 and not kept.all((1, 2)).any()
    _, untouched = last(run(comfy, "image_to_image", **{"10": {"denoise": 0.0}})[1])
    assert (untouched == before).all()


def test_two_regions_hear_their_own_prompts(comfy):
    """The right side obeys a change of its prompt, the left side does not; with one prompt twice there are no sides."""
    (image,), _ = run(comfy, "regions", **{"3": {"text": "an owl on a red background"}})
    left, right = (image[:8, half].mean((0, 1)) for half in (slice(0, 160), slice(224, 384)))
    assert image.shape == (192, 384, 3)
    assert left[1] > left[0] and right[0] > right[1], "green stays on the left, red has come on the right"
    one = {"2": {"text": "an owl on a red background"}, "3": {"text": "an owl on a red background"}}
    both = last(run(comfy, "regions", **one)[1])[1]
    whole = last(run(comfy, "regions", **one, **{"9": {"positive": ["2", 0]}})[1])[1]
    assert (both == whole).all()


def test_an_upscaler_gets_the_image_and_its_work_comes_back_as_tokens(comfy):
    images, edits = run(comfy, "upscale_and_back")
    before, after = last(edits)
    assert before.shape == after.shape and after.max() < shipped.CODES["stickers"]
    assert after.shape == (1, 24, 24) and {image.shape for image in images} == {(768, 768, 3)}
