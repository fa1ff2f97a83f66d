"""Every way of drawing on a device: it obeys the device's rules, needs no float64 there, and gives the CPU's image."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pack.tests.core import tiny
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, load
from pack.vqdiffusion_core.diffusion.guidance import Guidance, GuidanceScale, Prompt, cfg
from pack.vqdiffusion_core.diffusion.predictor import OVERFLOW
from pack.vqdiffusion_core.diffusion.sampling import sample
from pack.vqdiffusion_core.diffusion.settings import SAMPLERS, Settings
from pack.vqdiffusion_core.editing import Inpaint
from pack.vqdiffusion_core.networks.specs import GPTSpec
from pack.vqdiffusion_core.notices import notices_to
from pack.vqdiffusion_core.pipeline import generate
from PIL import Image

from .fake import FakeDevice

N, K = tiny.SPEC.num_tokens, tiny.SPEC.codebook_size
HALF = (torch.arange(N) % 4 < 2).float().repeat(2, 1)
RISING = torch.linspace(0, 1, N).repeat(2, 1)

# A run's settings, and what it begins with: tokens, mask strength and canvas
RUNS = {
    "from nothing": ({}, {}),
    "inpaint": ({}, {"tokens_BN": tiny.tokens(batch=2), "mask_strength_BN": HALF}),
    "soft": ({"soft": True, "denoise": 0.7}, {"tokens_BN": tiny.tokens(batch=2), "mask_strength_BN": RISING}),
    "image to image": ({"denoise": 0.5}, {"tokens_BN": tiny.tokens(batch=2)}),
    "large canvas": ({}, {"tokens_BN": torch.full((2, 2 * N), K), "canvas": (4, 8)}),
    "rounds": ({"rounds": 2}, {}),
    "shaped": ({"truncation": 0.9, "temperature": 0.8, "top_k": 8, "sharpness": 1.0}, {}),
}
CONDITIONS = {
    "text": (tiny.text(1), tiny.text(2)),
    "class": (torch.tensor([3]), torch.tensor([5])),
    "none": (None, None),
}


def draw(device, settings, guidance, spec=tiny.SPEC, tokens_BN=None, mask_strength_BN=None, canvas=None, network=None):
    """The last state of two images."""
    network = (network or tiny.transformer(spec=spec)).to(device)
    guidance = guidance.to(torch.device(device), None)
    tokens_BN = (torch.full((2, N), K) if tokens_BN is None else tokens_BN).to(device)
    *_, last = sample(network, tiny.SCHEDULE, guidance, tokens_BN, mask_strength_BN, settings, [3, 4], canvas)
    return last


def same_on_a_device(settings, *args, **named):
    with FakeDevice(float64=False) as gpu:
        on_device = draw("cuda", settings, *args, **named)
    assert gpu.waits.total() <= 1 + settings.steps, gpu.waits  # one for the tokens that a run begins with
    on_cpu = draw("cpu", settings, *args, **named)
    assert torch.equal(on_device.x_BN, on_cpu.x_BN)
    torch.testing.assert_close(on_device.confidence_BN, on_cpu.confidence_BN)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("run", RUNS)
def test_every_sampler_draws_the_tokens_of_the_cpu(sampler, run):
    settings, start = RUNS[run]
    same_on_a_device(Settings(steps=4, sampler=sampler, **settings), cfg(*CONDITIONS["text"], 3.0), **start)


@pytest.mark.parametrize("canvas", [(4, 4), (4, 7)])
@pytest.mark.parametrize("kind", CONDITIONS)
def test_token_by_token(kind, canvas):
    """A wait a token, for the id that the next one is drawn from, and two before the first."""
    prefix = 7 if kind == "text" else 1
    spec = GPTSpec(K, (4, 4), 2, 32, 4, condition=kind, text_width=tiny.SPEC.text_width, class_rows=6, prefix=prefix)
    guidance, blank_BN = cfg(*CONDITIONS[kind], 1.0), torch.full((2, canvas[0] * canvas[1]), K)
    given = Settings(sampler="autoregressive", truncation=0.9), guidance, spec, blank_BN, None, canvas
    with FakeDevice(float64=False) as gpu:
        on_device = draw("cuda", *given, tiny.gpt(spec))
    assert gpu.waits.total() <= 2 + blank_BN.shape[1], gpu.waits
    assert torch.equal(on_device.x_BN, draw("cpu", *given, tiny.gpt(spec)).x_BN)


@pytest.mark.parametrize("mlp", ["linear", "conv"])
@pytest.mark.parametrize("kind", CONDITIONS)
def test_text_class_and_none(kind, mlp):
    spec = replace(tiny.SPEC, condition=kind, mlp=mlp)
    same_on_a_device(Settings(steps=3), cfg(*CONDITIONS[kind], 3.0), spec)


@pytest.mark.parametrize("canvas", [{}, {"tokens_BN": torch.full((2, 2 * N), K), "canvas": (4, 8)}])
def test_prompts_for_parts_of_the_image_and_of_the_run(canvas):
    size = 2 * N if canvas else N
    left = (torch.arange(size) % (size // 4) < size // 8).float()
    prompts = [Prompt(tiny.text(1), left), Prompt(tiny.text(3, length=5), 1 - left, end=0.6)]
    negative = [Prompt(torch.cat([tiny.text(4), tiny.text(5)]))]  # one an image
    scale = GuidanceScale(3.0, "ramp", 0.2, 0.9)
    same_on_a_device(Settings(steps=4), Guidance(prompts, negative, tiny.text(2), scale), **canvas)


def test_what_exceeds_float16_is_worked_out_again_in_bfloat16():
    said, network = [], tiny.beyond_float16(tiny.transformer()).half().prepare_for_inference()
    guidance = cfg(tiny.text(1).half(), tiny.text(2).half(), 3.0)
    with FakeDevice() as gpu, notices_to(said.append):
        last = draw("cuda", Settings(steps=3), guidance, network=network)
    assert said == [OVERFLOW]
    assert last.x_BN.max() < K
    assert 1 + 3 < gpu.waits.total() <= 1 + 3 * (1 + 2)  # each image is asked for again, alone


PICTURE = Image.effect_noise((96, 96), 60).convert("RGB")
MASK = Image.new("L", (96, 96))
MASK.paste(255, (30, 30, 70, 60))


@pytest.mark.parametrize(
    "ways",
    [{"edit": Inpaint(PICTURE, MASK, grow=1, feather=4)}, {"size": (120, 96), "count": 2}],
    ids=["edit", "large"],
)
def test_the_built_in_model_draws_the_images_of_the_cpu(ways):
    """Within one grey level: between two of them, another order of additions may round to the other."""
    images = {}
    with FakeDevice(float64=False):
        for device in ("cuda", "cpu"):
            model = load(POCKET_FOLDER).prepare_for_inference(device)
            images[device] = generate(
                model, "a (fox:1.3) on white", negative="a lion", settings=Settings(steps=2), **ways
            )
    for ours, expected in zip(images["cuda"], images["cpu"], strict=True):
        assert np.abs(np.asarray(ours, int) - np.asarray(expected, int)).max() <= 1
