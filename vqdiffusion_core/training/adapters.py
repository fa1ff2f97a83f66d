"""Networks that are frozen but for what a LoRA learns: a low-rank update of each linear layer (Hu et al. 2021), and
where asked the vectors of new words and the null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..lora import About, Lora
from ..lora.lora import adaptable
from ..model import VQDiffusion
from ..networks.inference import FastTransformer
from .diffusion import Learn, Networks


class AdaptedLinear(nn.Linear):
    """x W^T + b + x A^T B^T, of which A and B learn; W may be of 16 bits."""

    lora_A: nn.Linear
    lora_B: nn.Linear

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if not torch.is_autocast_enabled(input.device.type):
            weight, bias = weight.to(input.dtype), bias.to(input.dtype)
        return F.linear(input, weight, bias) + self.lora_B(self.lora_A(input))


class AdaptedEmbedding(nn.Embedding):
    """A table of vectors, of which some learn: `delta_nD` is added to them."""

    delta_nD: nn.Parameter
    place: Tensor  # of each id in `delta_nD`, n where it has none

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + F.pad(self.delta_nD, (0, 0, 0, 1))[self.place[input]]


class AdaptedNetworks(Networks):
    """The networks of a model, which this changes, with adapters of some rank. They begin as nothing, or as a LoRA that
    is gone on with. State dicts hold what learns, and nothing else.
    """

    def __init__(
        self,
        model: VQDiffusion,
        rank: int,
        token_ids: Sequence[int] = (),
        *,
        learn_null: bool = False,
        start: Lora | None = None,
        seed: int = 0,
    ):
        assert model.text_encoder is not None and isinstance(model.transformer, FastTransformer)
        null_1LD = model.null()
        assert isinstance(null_1LD, Tensor)
        super().__init__(model.transformer.float(), model.text_encoder.float(), null_1LD)
        self.requires_grad_(False)
        self.base_null_1LD = self.null_1LD.detach().clone()
        self.learn_null = learn_null
        self.rank = rank
        self.token_ids = sorted({*token_ids, *(start.tokens if start else ())})
        generator = torch.Generator().manual_seed(seed)
        self.adapted = {
            name: adapt(
                model.transformer.get_submodule(name), rank, generator, start.pairs.get(name) if start else None
            )
            for name in adaptable(model.transformer)
        }
        adapt_tokens(self.words, self.token_ids, start.tokens if start else {})
        if start and start.null_1LD is not None:
            self.null_1LD.data += start.null_1LD
        self.learn("all")

    @property
    def words(self) -> AdaptedEmbedding:
        """The text encoder's token vectors."""
        return cast(AdaptedEmbedding, self.text_encoder.model.get_input_embeddings())

    def learn(self, what: Learn) -> None:
        for layer in self.adapted.values():
            layer.lora_A.requires_grad_(True)
            layer.lora_B.requires_grad_(True)
        self.words.delta_nD.requires_grad_(len(self.token_ids) > 0)
        self.null_1LD.requires_grad_(self.learn_null)
        self.learned = [name for name, weight in self.named_parameters() if weight.requires_grad]

    def freeze_in(self, dtype: torch.dtype) -> None:
        """Keep the frozen weights of adapted layers, most of all, in this type."""
        for layer in self.adapted.values():
            layer.weight.data = layer.weight.data.to(dtype)

    def state_dict(self, *args: Any, **given: Any) -> dict[str, Any]:
        return {name: self.get_parameter(name).detach() for name in self.learned}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        if missing := [name for name in self.learned if name not in state_dict]:
            raise ValueError(f"{missing[0]} is missing")
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def lora(self, name: str, about: About) -> Lora:
        """What has been learned until now, in main memory."""

        def kept(tensor: Tensor) -> Tensor:
            return tensor.detach().cpu().clone()

        pairs = {layer: (kept(each.lora_A.weight), kept(each.lora_B.weight)) for layer, each in self.adapted.items()}
        tokens = dict(zip(self.token_ids, kept(self.words.delta_nD), strict=True))
        null_1LD = kept(self.null_1LD - self.base_null_1LD)
        return Lora(name, pairs, about, tokens, null_1LD if null_1LD.any() else None)


def adapt(
    layer: nn.Module, rank: int, generator: torch.Generator, start: tuple[Tensor, Tensor] | None
) -> AdaptedLinear:
    """The layer itself, with an adapter: A begins at random and B at 0, or as `start`."""
    layer.__class__ = AdaptedLinear
    adapted = cast(AdaptedLinear, layer)
    A_ri = torch.randn(rank, adapted.in_features, generator=generator) * adapted.in_features**-0.5
    B_or = torch.zeros(adapted.out_features, rank)
    if start:
        A_ri[: len(start[0])], B_or[:, : len(start[0])] = start
    adapted.lora_A, adapted.lora_B = linear_of(A_ri), linear_of(B_or)
    return adapted


def linear_of(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight.to(torch.float32))
    return layer


def adapt_tokens(embedding: nn.Embedding, ids: Sequence[int], start: Mapping[int, Tensor]) -> None:
    """A table of vectors, of which those of some ids may learn from now on."""
    embedding.__class__ = AdaptedEmbedding
    delta_nD = torch.zeros(len(ids), embedding.embedding_dim)
    for row_D, i in zip(delta_nD, ids, strict=True):
        row_D += start.get(i, 0.0)
    cast(AdaptedEmbedding, embedding).delta_nD = nn.Parameter(delta_nD)
    place = torch.full((embedding.num_embeddings,), len(ids))
    place[torch.tensor(ids, dtype=torch.int64)] = torch.arange(len(ids))
    embedding.register_buffer("place", place, persistent=False)
