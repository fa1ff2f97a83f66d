"""The shapes of the published models, which no file in this repository has."""

from __future__ import annotations

from dataclasses import replace

from pack.vqdiffusion_core.checkpoints import releases
from pack.vqdiffusion_core.networks.specs import TextSpec, TransformerSpec, VQGANSpec

F8 = VQGANSpec((128, 128, 256, 512), 2, (3,), latent_channels=256, code_dim=256, codebook_size=8192, gumbel=True)
F16 = VQGANSpec((128, 128, 256, 256, 512), 2, (4,), latent_channels=256, code_dim=256, codebook_size=16384)
CODECS = {
    releases.ITHQ_VQGAN: VQGANSpec((64, 128, 256, 512), 2, (3,), latent_channels=256, code_dim=128, codebook_size=4096),
    releases.OPENIMAGES_VQGAN: F8,
    releases.IMAGENET_VQGAN: F16,
    releases.FFHQ_VQGAN: replace(F16, codebook_size=1024),
}
CLIP = TextSpec(vocabulary=49408, length=77, width=512, layers=12, heads=8, mlp_width=2048)
TIMESTEPS = 100


def transformer_spec(release: releases.Release) -> TransformerSpec:
    side = releases.IMAGE_SIDE // CODECS[release.vqgan].downscale
    text = release.condition == "text"
    return TransformerSpec(
        codebook_size=release.codebook_size,
        grid=(side, side),
        layers=release.layers,
        width=release.width,
        heads=releases.HEADS,
        num_timesteps=TIMESTEPS,
        condition=release.condition,
        class_rows=releases.CLASSES,
        mlp="linear" if text else "conv",
        position_grid=None if text else (32, 32),
    )
