"""A VQGAN as the VAE that ComfyUI's own nodes know: VAEEncode, VAEDecode, their tiled forms, VAEEncodeForInpaint."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from ..vqdiffusion_core import preview
from ..vqdiffusion_core.memory import image_bytes
from ..vqdiffusion_core.networks.oom import AdaptiveBatches, first_that_fits
from ..vqdiffusion_core.networks.specs import VQGANSpec
from ..vqdiffusion_core.networks.vqgan import VQGAN
from ..vqdiffusion_core.notices import notify
from . import runtime
from .host_types import describe, is_image
from .latents import LatentError, read_tokens, to_samples

TILE = 512  # pixels
SMALL_TILES = (512, 256, 128)  # pixels: what is tried where an image does not fit whole


class Vae:
    """Images (B, H, W, 3) in 0..1 <-> token samples (B, 1, h, w). The attributes are those that other nodes read."""

    latent_channels = 1
    latent_dim = 2
    output_channels = 3
    extra_1d_channel = None
    disable_offload = False  # the host's word for: never half on the device
    vae_dtype = torch.float32

    def __init__(self, vqgan: VQGAN):
        self.patcher = runtime.manage(vqgan, "vae")
        self.downscale_ratio = self.upscale_ratio = vqgan.spec.downscale

    @property
    def first_stage_model(self) -> VQGAN:
        return self.patcher.model

    @property
    def spec(self) -> VQGANSpec:
        return self.first_stage_model.spec

    @property
    def device(self) -> torch.device:
        return self.patcher.load_device

    @property
    def output_device(self) -> torch.device:
        return runtime.intermediate_device()

    @runtime.with_notices
    @runtime.usual_defaults()
    def encode(self, pixels_BHWC: Tensor) -> Tensor:
        """The image's middle, cut to whole cells, as tokens."""
        image_BCHW = self.to_image(pixels_BHWC)
        batches = self.load(image_BCHW.shape, cell=1)

        def tokens(part: slice) -> Tensor:
            image = image_BCHW[part].to(self.device, self.vae_dtype)
            return self.first_stage_model.encode(image).to(self.output_device)

        whole = partial(batches.map, lambda part: to_samples(tokens(part)), len(image_BCHW))
        in_tiles = [partial(self.encode_tiled, pixels_BHWC, side, side, side // 8) for side in SMALL_TILES]
        return first_that_fits([whole, *in_tiles], "this image")

    @runtime.with_notices
    @runtime.usual_defaults()
    def encode_tiled(
        self, pixels_BHWC: Tensor, tile_x: int = TILE, tile_y: int = TILE, overlap: int = TILE // 8, **video: Any
    ) -> Tensor:
        """As `encode`, tile by tile. The continuous latents are blended where tiles overlap, then become tokens."""
        image_BCHW = self.to_image(pixels_BHWC)
        self.load((1, 3, tile_y, tile_x), cell=1)
        latents_BDhw = runtime.map_tiles(
            lambda tile: self.first_stage_model.latents(tile.to(self.device, self.vae_dtype)),
            image_BCHW,
            tile=(tile_y, tile_x),
            overlap=overlap,
            scale=1 / self.downscale_ratio,
            channels=self.spec.code_dim,
        )
        return to_samples(self.first_stage_model.quantize.nearest(latents_BDhw.to(self.device)).to(self.output_device))

    @runtime.usual_defaults()
    def decode(self, samples: Tensor, vae_options: dict[str, Any] | None = None) -> Tensor:
        tokens_Bhw = self.to_tokens(samples)
        batches = self.load(samples.shape, cell=self.upscale_ratio)
        whole = partial(batches.map, lambda part: self.image(tokens_Bhw[part]).movedim(1, -1), len(tokens_Bhw))
        in_tiles = [partial(self.decode_tiled, samples, side // 8, side // 8, side // 64) for side in SMALL_TILES]
        return first_that_fits([whole, *in_tiles], "this image")

    @runtime.usual_defaults()
    def decode_tiled(
        self,
        samples: Tensor,
        tile_x: int = TILE // 8,
        tile_y: int = TILE // 8,
        overlap: int = TILE // 64,
        **video: Any,
    ) -> Tensor:
        """As `decode`, tile by tile; sizes are in tokens. Images are blended where tiles overlap."""
        tokens_Bhw = self.to_tokens(samples)
        self.load((1, 1, tile_y, tile_x), cell=self.upscale_ratio)
        image_BCHW = runtime.map_tiles(
            lambda tile: self.image(tile[:, 0].long()),
            to_samples(tokens_Bhw),
            tile=(tile_y, tile_x),
            overlap=overlap,
            scale=self.upscale_ratio,
            channels=self.output_channels,
        )
        return image_BCHW.movedim(1, -1)

    def to_image(self, pixels_BHWC: Tensor) -> Tensor:
        """A node's images, RGB or grey, with alpha or without -> (B, 3, H, W) in -1..1, cut to whole cells around the
        middle, as the core does.
        """
        if not is_image(pixels_BHWC):
            raise LatentError(
                f"This image is {describe(pixels_BHWC)}; expected (images, height, width, 3) of floats, each "
                "above 0. Connect a node that gives an IMAGE."
            )
        height, width, channels = pixels_BHWC.shape[1:]
        cell = self.downscale_ratio
        if min(height, width) < cell:
            raise LatentError(
                f"This image is {width} x {height} pixels with {channels} channels; expected RGB of at least "
                f"{cell} x {cell} pixels, one token. Scale the image up first."
            )
        if height % cell or width % cell:
            whole = f"{width // cell * cell} x {height // cell * cell}"
            notify(f"The image of {width} x {height} pixels is cut around its middle to {whole}, whole tokens.")
        top, left = height % cell // 2, width % cell // 2
        cut = pixels_BHWC[:, top : top + height // cell * cell, left : left + width // cell * cell]
        cut = cut[..., :3] if channels >= 3 else cut[..., :1].expand(*cut.shape[:3], 3)  # grey, perhaps with alpha
        if not cut.isfinite().all():
            raise LatentError(
                "This image has values that are not numbers, so the node that made it has failed. If that is another "
                "model's VAE in 16 bits, start ComfyUI with --fp32-vae."
            )
        return cut.movedim(-1, 1) * 2 - 1

    def to_tokens(self, samples: Tensor) -> Tensor:
        """Samples that can be decoded -> ids (B, h, w); refuses those that still have masked tokens."""
        tokens_Bhw = read_tokens(samples, self.spec.codebook_size)
        masked = int((tokens_Bhw == self.spec.codebook_size).sum())
        if masked:
            raise LatentError(
                f"{masked} of {tokens_Bhw.numel()} tokens are still masked, and a masked token has no image. Draw "
                "them with VQ-Diffusion Sampler first, or look at the grid with VQ-Diffusion Token Inspector."
            )
        return tokens_Bhw

    def image(self, tokens_Bhw: Tensor) -> Tensor:
        """Ids (B, h, w) -> (B, 3, H, W) in 0..1, for a VQGAN that is loaded."""
        return (self.first_stage_model.decode(tokens_Bhw.to(self.device)).to(self.output_device) + 1) / 2

    @cached_property
    def preview_decoder(self) -> preview.LinearDecoder:
        """What previews are drawn with; worked out when the first one is wanted."""
        self.load((1, 1, preview.SIDE, preview.SIDE), cell=self.upscale_ratio)
        return preview.fit_linear_decoder(self.first_stage_model, self.device)

    def load(self, shape: tuple[int, ...], cell: int) -> AdaptiveBatches:
        """Makes the VQGAN ready for (any, any, h, w) cells of so many pixels, and for as many images as fit."""
        bytes_each = image_bytes(self.spec, shape[2] * shape[3] * cell**2, encoding=cell == 1)
        runtime.load(self.patcher, bytes_each)
        return runtime.batches_that_fit(bytes_each, self.device)

    def spacial_compression_decode(self) -> int:  # [sic], the host's spelling
        return self.upscale_ratio

    def spacial_compression_encode(self) -> int:
        return self.downscale_ratio

    def temporal_compression_decode(self) -> None:
        return None  # no video

    def throw_exception_if_invalid(self) -> None:
        """Nothing to throw: a VQGAN that could not be loaded never becomes a Vae."""

    def get_sd(self) -> dict[str, Tensor]:
        return self.first_stage_model.state_dict()

    def is_dynamic(self) -> bool:
        return getattr(self.patcher, "is_dynamic", lambda: False)()

    def model_size(self) -> int:
        return self.patcher.model_size()

    def get_ram_usage(self) -> int:
        return self.model_size()
