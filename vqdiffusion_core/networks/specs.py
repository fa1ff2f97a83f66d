"""What defines a model's shape: frozen dataclasses that the loaders read from a file and the modules are built from."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal


@dataclass(frozen=True)
class VQGANSpec:
    """Shape of a taming-transformers VQGAN (Esser et al. 2021), the codec of every VQ-Diffusion release."""

    level_channels: tuple[int, ...]  # one entry per resolution, full resolution first
    res_blocks: int  # per encoder level; a decoder level has one more
    attention_levels: tuple[int, ...]  # levels that have self-attention, 0 = full resolution
    latent_channels: int  # channels between the encoder and `quant_conv`
    code_dim: int  # width of one codebook entry
    codebook_size: int  # K, without the mask token
    norm_groups: int = 32
    gumbel: bool = False  # encode by the logits of a 1x1 projection, not by the nearest entry
    junk_code: bool = False  # code 0 stands for every unused code (reduced codebooks): never encode to it
    cells_alone: bool = False  # encode each token's pixels by themselves: the same ones have the same code anywhere

    @property
    def downscale(self) -> int:
        """Pixels per token, along each side."""
        return 2 ** (len(self.level_channels) - 1)


@dataclass(frozen=True)
class PriorSpec:
    """What every transformer over tokens has, in whichever order it draws them."""

    codebook_size: int  # K; the mask token is id K
    grid: tuple[int, int]  # token rows, token columns
    layers: int
    width: int
    heads: int
    _: KW_ONLY
    condition: Literal["text", "class", "none"] = "text"
    text_width: int = 512  # width of the text vectors; only where condition is "text"
    class_rows: int = 1001  # classes and, last, the null class; only where condition is "class"

    @property
    def num_tokens(self) -> int:
        """N, the tokens of one image."""
        return self.grid[0] * self.grid[1]

    @property
    def null_class(self) -> int:
        """The row of the class table that stands for no class: the last, in every model that is loaded."""
        return self.class_rows - 1

    @property
    def mask_id(self) -> int:
        """The absorbing state: always the id after the last codebook entry."""
        return self.codebook_size


@dataclass(frozen=True)
class TransformerSpec(PriorSpec):
    """Shape of the VQ-Diffusion transformer (Gu et al. 2022, section 4.2)."""

    num_timesteps: int  # T
    mlp: Literal["linear", "conv"] = "linear"
    mlp_ratio: int = 4
    position_grid: tuple[int, int] | None = None  # rows and columns of the position tables; None: those of `grid`

    @property
    def position_tables(self) -> tuple[int, int]:
        return self.position_grid or self.grid


@dataclass(frozen=True)
class GPTSpec(PriorSpec):
    """Shape of the transformer of taming-transformers (Esser et al. 2021). It has no row for a null class."""

    prefix: int = 1  # P, the positions before the image: those of a text, or one for a class or for nothing

    @property
    def positions(self) -> int:
        """Of the table: the last token of an image is never read."""
        return self.prefix + self.num_tokens - 1


@dataclass(frozen=True)
class TextSpec:
    """Shape of a CLIP text tower (Radford et al. 2021); the defaults that a file cannot tell are those of ViT-B/32."""

    vocabulary: int
    length: int  # L, the tokens of one prompt
    width: int  # D
    layers: int
    heads: int
    mlp_width: int
    activation: str = "quick_gelu"
