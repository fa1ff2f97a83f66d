"""A model that draws token by token, through the same nodes: loader, class or text, sampler, decoding."""

from dataclasses import replace

import pytest
import torch
from pack.nodes import runtime
from pack.nodes.loaders import open_model
from pack.nodes.prompt import VQDiffusionClassEncode
from pack.nodes.sampling import VQDiffusionSampler
from pack.nodes.tokens import VQDiffusionDecode, VQDiffusionEmptyTokens
from pack.tests.core import tiny_originals as tiny
from pack.vqdiffusion_core.checkpoints import load, releases
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.pipeline import generate


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return open_model(tiny.two_stages_folder(tmp_path_factory.mktemp("models") / "faces"), "float32")


def draw(model, batch=1, positive=None, size=0, **changes):
    positive = positive or VQDiffusionClassEncode.execute(model, "")[0]
    settings = {"seed": 0, "steps": 4, "guidance": 1.5, "truncation": 1.0, "sampler": "autoregressive", "denoise": 1.0}
    latent = VQDiffusionEmptyTokens.execute(model, batch, width=size)[0]
    return VQDiffusionSampler.execute(model, positive, latent, **(settings | changes))[0]


def test_an_image_is_drawn_and_decoded(faces):
    latent = draw(faces)
    assert latent["samples"].shape == (1, 1, 4, 4) and latent["samples"].max() < tiny.FULL_K
    assert VQDiffusionDecode.execute(latent, faces.vae)[0].shape == (1, 64, 64, 3)


def test_image_i_of_a_batch_is_that_of_seed_plus_i_and_of_the_command(faces, tmp_path):
    batch = draw(faces, 3, seed=5)["samples"]
    assert torch.equal(batch, torch.cat([draw(faces, seed=5 + i)["samples"] for i in range(3)]))
    drawn = []
    settings = Settings(sampler="autoregressive", truncation=1.0)
    generate(load(tiny.two_stages_folder(tmp_path)), seed=5, settings=settings, on_step=lambda i, x: drawn.append(x))
    assert drawn[-1].flatten().tolist() == batch[0].flatten().tolist()


def test_progress_goes_row_by_row_and_a_run_can_be_stopped(faces, monkeypatch):
    reports = []

    def stop_at_two(self, done, preview=None):
        reports.append((done, self.total))
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(runtime.Progress, "__call__", stop_at_two)
    with pytest.raises(KeyboardInterrupt):
        draw(faces, steps=50)
    assert reports == [(0, 4), (1, 4), (2, 4)]
    monkeypatch.undo()
    assert draw(faces)["samples"].max() < tiny.FULL_K


def test_a_wider_canvas_is_drawn_through_a_window(faces):
    assert draw(faces, size=112)["samples"].shape == (1, 1, 4, 7)


def test_another_sampler_names_the_one_that_fits(faces, model):
    with pytest.raises(ValueError, match="Use the sampler 'autoregressive'"):
        draw(faces, sampler="confidence")
    with pytest.raises(ValueError, match="Use the sampler 'remask'"):
        draw(model, positive=[[torch.zeros(1, 7, 24), {}]])


def test_a_published_shape_that_draws_classes_is_known(tmp_path, monkeypatch):
    spec = replace(tiny.TOKEN_BY_TOKEN, layers=3, condition="class", class_rows=10)
    row = releases.TwoStages("ours", spec.codebook_size, 3, spec.width, 8, "class")
    monkeypatch.setattr(releases, "TWO_STAGES", (row,))
    torch.save(tiny.two_stages(spec), tmp_path / "last.ckpt")
    classes = open_model(tmp_path, "float32")
    assert classes.spec.condition == "class" and classes.spec.heads == 8
    drawn = [
        draw(classes, positive=VQDiffusionClassEncode.execute(classes, label)[0], guidance=1.0)["samples"]
        for label in ("3", "4")
    ]
    assert not torch.equal(*drawn)
    with pytest.raises(ValueError, match="Set guidance to 1"):
        draw(classes, positive=VQDiffusionClassEncode.execute(classes, "3")[0])
