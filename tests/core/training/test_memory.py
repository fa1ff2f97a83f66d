"""What training says that it takes is what it takes, within a quarter; what is clearly too much is not begun."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pack.tests.core import full_size
from pack.tests.core import tiny_training as tiny
from pack.tests.core.allocations import Peak
from pack.vqdiffusion_core.checkpoints import releases
from pack.vqdiffusion_core.diffusion.schedule import Schedule
from pack.vqdiffusion_core.distributed import Processes
from pack.vqdiffusion_core.model import VQDiffusion
from pack.vqdiffusion_core.networks.inference import FastTransformer
from pack.vqdiffusion_core.networks.kernels import keep_freed_memory
from pack.vqdiffusion_core.networks.specs import GPTSpec, TextSpec, TransformerSpec, VQGANSpec
from pack.vqdiffusion_core.networks.text_encoder import TextEncoder, clip_text_model
from pack.vqdiffusion_core.networks.vqgan import VQGAN
from pack.vqdiffusion_core.training import memory
from pack.vqdiffusion_core.training.adapters import AdaptedNetworks
from pack.vqdiffusion_core.training.diffusion import DiffusionTraining
from pack.vqdiffusion_core.training.examples import Examples
from pack.vqdiffusion_core.training.lora import Lesson

CHECKOUT = Path(__file__).parents[3]
ENCODING = """
import torch
from PIL import Image
from vqdiffusion_core.checkpoints import STICKERS_FOLDER, load
from vqdiffusion_core.distributed import ALONE
from vqdiffusion_core.training.examples import encode

class Images:
    size = 192
    image = Image.effect_noise((192, 192), 60).convert("RGB")

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.image, ["a fox"] * 6

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

torch.set_num_threads(1)
model = load(STICKERS_FOLDER, "float32")
encode(Images(20), model.vqgan, model.text_encoder, ALONE)
before = resident()
tokens_SN, ids = encode(Images(150), model.vqgan, model.text_encoder, ALONE)
print(resident() - before)
assert tokens_SN.shape == (150, 576) and {tuple(each.shape) for each in ids} == {(6, 36)}
"""
SPEC = TransformerSpec(codebook_size=50, grid=(8, 8), layers=4, width=64, heads=4, num_timesteps=100)
WIDE = replace(SPEC, width=128)
MANY_TOKENS = replace(SPEC, grid=(16, 16), width=32)  # most is scores
MANY_CODES = replace(SPEC, layers=2, codebook_size=1000)  # most is the head's
LONG_TEXT = TextSpec(vocabulary=50, length=77, width=64, layers=4, heads=2, mlp_width=256)
CASES = {
    "mixed": (SPEC, {}),
    "float32": (SPEC, {"mixed": False}),
    "one image": (WIDE, {"batch": 1}),
    "many tokens": (MANY_TOKENS, {}),
    "many codes": (MANY_CODES, {}),
    "many codes, replaced": (MANY_CODES, {"kernel": "uniform", "mixed": False}),
    "long text": (SPEC, {"text": LONG_TEXT}),
    "in parts": (SPEC, {"batch": 16, "accumulate": 4}),
    "checkpoints": (SPEC, {"batch": 32, "checkpoint_activations": True}),
    "checkpoints, float32": (SPEC, {"batch": 32, "checkpoint_activations": True, "mixed": False}),
    "the transformer alone": (SPEC, {"learn": "transformer"}),
    "the null alone": (SPEC, {"learn": "null"}),
    "a LoRA": (WIDE, {"rank": 8}),
    "a LoRA of high rank": (SPEC, {"rank": 64}),
    "a LoRA, long text": (SPEC, {"rank": 8, "text": LONG_TEXT}),
    "a LoRA, checkpoints": (WIDE, {"rank": 8, "batch": 32, "checkpoint_activations": True}),
}


def assert_taken(begin):
    """That the training which this begins takes what it says."""
    keep_freed_memory()  # once a process, and given back at once
    with Peak() as peak:
        training = begin()
        for _ in tiny.take_steps(training, 2):  # the first makes the optimizers' states
            pass
    estimate = training.memory(training.accumulate, training.checkpoint_activations)
    assert 0.8 <= estimate.total / peak.bytes <= 1.25, (str(estimate), peak.bytes)


@pytest.mark.parametrize("case", CASES)
def test_the_estimate_is_what_training_takes_within_a_quarter(case):
    spec, settings = CASES[case]
    assert_taken(lambda: tiny.on_tokens(spec, **{"batch": 8} | settings))


CAUSAL = GPTSpec(codebook_size=50, grid=(8, 8), layers=4, width=64, heads=4, text_width=24, prefix=10)
CAUSAL_CASES = {
    "mixed": (CAUSAL, {}),
    "float32": (CAUSAL, {"mixed": False}),
    "wide": (replace(CAUSAL, width=128), {"batch": 2}),
    "many tokens": (replace(CAUSAL, grid=(16, 16), width=32), {}),
    "many codes": (replace(CAUSAL, layers=2, codebook_size=1000), {}),
    "in parts": (CAUSAL, {"batch": 16, "accumulate": 4}),
}


@pytest.mark.parametrize("case", CAUSAL_CASES)
def test_token_after_token_too(case):
    spec, settings = CAUSAL_CASES[case]
    assert_taken(lambda: tiny.causal_on_tokens(spec, **{"batch": 8} | settings))


@pytest.mark.parametrize("begin", [tiny.codec, tiny.decoder])
@pytest.mark.parametrize("settings", [{}, {"mixed": False}, {"batch": 32}], ids=str)
def test_a_codec_too(begin, settings, monkeypatch):
    monkeypatch.setattr(tiny, "CODEC", VQGANSpec((16, 32), 1, (1,), 32, 8, codebook_size=64, norm_groups=4))
    assert_taken(lambda: begin(None, **{"batch": 16} | settings))


def test_of_a_decoder_nothing_takes_less(monkeypatch):
    monkeypatch.setattr(memory, "device_bytes", lambda device: 10**9)
    assert "--" not in memory.check_memory(tiny.decoder(None)) and "--accumulate 4" in memory.check_memory(
        tiny.codec(None, batch=4)
    )


@pytest.mark.parametrize(("name", "most"), [("ithq", 12e9), ("coco", 5e9)])
def test_a_lora_of_a_published_model_is_taught_where_there_is_so_much(name, most):
    """One image at a time, frozen weights in 16 bits; by the estimate, since no test has such a model."""
    (release,) = (release for release in releases.RELEASES if release.name == name)
    with torch.device("meta"):
        encoder = TextEncoder(clip_text_model(full_size.CLIP), tokenizer=None)
        transformer, codec = (
            FastTransformer(full_size.transformer_spec(release)),
            VQGAN(full_size.CODECS[release.vqgan]),
        )
        null_1LD = torch.zeros(1, encoder.length, encoder.width)
    schedule = Schedule.linear(full_size.TIMESTEPS, release.codebook_size)
    networks = AdaptedNetworks(VQDiffusion(name, transformer, schedule, codec, encoder, null_1LD), Lesson.rank, [3])
    networks.freeze_in(torch.bfloat16)
    examples, processes = Examples(torch.zeros(1, 1), [], codec=""), Processes(device=torch.device("meta"))
    training = DiffusionTraining(networks, schedule, examples, codec, processes, batch=1)
    plain, again = (training.memory(1, checkpoint).total for checkpoint in (False, True))
    assert again < plain / 2 and plain < most


def said(monkeypatch, available, **settings):
    monkeypatch.setattr(memory, "device_bytes", lambda device: available)
    return memory.check_memory(tiny.on_tokens(SPEC, **settings))


def test_it_is_said_in_one_line_with_what_takes_less(monkeypatch):
    line = said(monkeypatch, 10**9, batch=64)
    assert line.startswith("takes some 0.11 GB (weights 0.0016, ") and "activations 0.1)" in line
    assert line.endswith("; --accumulate 4: 0.032") and "\n" not in line


def test_where_nothing_takes_less_nothing_is_advised(monkeypatch):
    assert "--" not in said(monkeypatch, None, batch=1, checkpoint_activations=True)


@pytest.mark.parametrize(
    ("available", "advice"),
    [
        (35 * 10**6, "Give --accumulate 4: some 0.032 GB."),
        (7_700_000, "Give --checkpoint-activations --accumulate 64: some 0.0069 GB."),
        (10**6, "No --accumulate makes it fit: train a smaller model, or on a device with more."),
    ],
)
def test_what_is_clearly_too_much_is_refused_with_what_would_fit(available, advice, monkeypatch):
    with pytest.raises(ValueError, match=r"Training takes some 0\.1.* but cpu has") as error:
        said(monkeypatch, available, batch=64)
    assert str(error.value).endswith(advice)


def test_what_is_too_much_by_less_than_the_estimate_may_be_wrong_is_tried(monkeypatch):
    assert said(monkeypatch, 95 * 10**6, batch=64).startswith("takes some 0.1")


def test_a_cpu_has_the_memory_of_its_machine():
    assert (memory.device_bytes(torch.device("cpu")) or 0) > 10**9


@pytest.mark.parametrize(
    ("available", "way"), [(None, (1, False)), (10**9, (1, False)), (45 * 10**6, (4, False)), (7 * 10**6, (64, True))]
)
def test_the_quickest_way_that_fits_is_found(available, way, monkeypatch):
    monkeypatch.setattr(memory, "device_bytes", lambda device: available)
    assert memory.quickest_that_fits(tiny.on_tokens(SPEC, batch=64)) == way


def test_a_model_that_no_way_makes_fit_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "device_bytes", lambda device: 10**6)
    with pytest.raises(ValueError, match=r"at least some .* but cpu has .* expected a smaller model"):
        memory.quickest_that_fits(tiny.on_tokens(SPEC, batch=64))


def test_what_encoding_takes_does_not_grow_by_the_images():
    """In a program of its own, whose memory nothing else has torn to pieces before."""
    done = subprocess.run([sys.executable, "-c", ENCODING], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40e6  # bytes; it was 0.7 MB an image
