"""A model is measured on a device as on the CPU."""

import pytest
import torch
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, load
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.training import evaluate, measuring, scenes

from .fake import FakeDevice


@pytest.mark.skipif(
    not any(path.exists() for path in scenes.FONT_PATHS), reason="scenes need the font: apt fonts-noto-color-emoji"
)
def test_figures_and_tokens_are_those_of_the_cpu():
    figures, tokens = [], []
    with FakeDevice(float64=False):
        for device in ("cuda", "cpu"):
            model = load(POCKET_FOLDER, "float32").prepare_for_inference(device)
            figures.append(evaluate.codec_figures(model, 1))
            tokens.append(measuring.draw_tokens(model, ["a fox on white"], settings=Settings(steps=2)))
    assert figures[0] == pytest.approx(figures[1], abs=0.01) and torch.equal(*tokens)
