"""The table of the published models: their shapes have the sizes of the real ones, and docs/models.md lists them."""

from pathlib import Path

import pytest
import torch
from pack.vqdiffusion_core.checkpoints.releases import (
    ITHQ_VQGAN,
    MIRROR,
    ON_HUB,
    RELEASES,
    TWO_STAGES,
    releases_like,
    two_stages_like,
)
from pack.vqdiffusion_core.networks.gpt import GPT
from pack.vqdiffusion_core.networks.inference import FastTransformer
from pack.vqdiffusion_core.networks.specs import GPTSpec
from pack.vqdiffusion_core.networks.vqgan import VQGAN

from ..full_size import CODECS, transformer_spec

MODELS = (Path(__file__).parents[3] / "docs" / "models.md").read_text()

# Counted once in the original classes, built from the authors' configurations.
MILLIONS = {"ithq": 1359.274624, "coco": 388.8, "imagenet": 518.0, "ffhq": 411.2}


def millions(module_class, spec):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in module_class(spec).parameters()) / 1e6


@pytest.mark.parametrize("release", [r for r in RELEASES if r.name in MILLIONS], ids=lambda release: release.name)
def test_a_release_has_the_size_of_the_real_one(release):
    assert millions(FastTransformer, transformer_spec(release)) == pytest.approx(MILLIONS[release.name], abs=0.05)


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_a_release_is_known_by_its_shape_and_its_codec_fits(release):
    assert release in releases_like(transformer_spec(release))
    assert release.codebook_size == CODECS[release.vqgan].codebook_size or release.code_map


# Millions, counted from the configurations; taming-transformers' page says 1.4 billion of ImageNet's.
@pytest.mark.parametrize(("release", "size"), [*zip(TWO_STAGES, (802, 1411), strict=True)])
def test_an_autoregressive_release_is_known_by_its_shape(release, size):
    spec = GPTSpec(release.codebook_size, (16, 16), release.layers, release.width, release.heads, condition="none")
    assert two_stages_like(spec.codebook_size, spec.layers, spec.width) is release
    assert round(millions(GPT, spec)) == size


def test_the_vqgan_of_ithq_has_the_size_of_the_real_one():
    assert millions(VQGAN, CODECS[ITHQ_VQGAN]) == 64.009667


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_the_page_of_models_names_the_files_of_every_release(release):
    assert [name for name in (release.checkpoint, release.vqgan, release.code_map) if name and name not in MODELS] == []


def test_the_readme_says_where_they_come_from():
    assert MIRROR in MODELS and all(name in MODELS for name in ON_HUB)
