"""Modules filled with the tensors of a file: built without memory of their own, then given the file's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..model import VQDiffusion
from ..networks.specs import GPTSpec, TextSpec, TransformerSpec
from ..networks.text_encoder import TextEncoder, clip_text_model, clip_tokenizer
from .errors import CheckpointError, shortlist
from .misfit import check_names, name_in_file
from .rename import Weights
from .vocabulary import Vocabulary

NAMED = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FILLS = (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_, Tensor.normal_, Tensor.uniform_)
Spec = TypeVar("Spec")
Network = TypeVar("Network", bound=nn.Module)


class Dtypes(NamedTuple):
    """What the weights of a model are turned into; None: left as they are in the file.

    VQGAN and text encoder stay float32: they are a tenth of a model and run once an image, and both lose by half
    precision: near ties between codes flip, and half-precision text is the largest difference between the two reference
    implementations.
    """

    transformer: torch.dtype | None
    others: torch.dtype | None = torch.float32


def choose_dtype(name: str, device: torch.device | str = "cpu") -> torch.dtype:
    """The transformer's dtype by name. "auto" is float32 on a CPU, so that a seed means the same image on each CPU
    (bfloat16 is faster on some of them), else float16, which is nearer to it than bfloat16; where its range is too
    small, `Predictor` draws by a wider type. Raises CheckpointError for any other name.
    """
    if name == "auto":
        return torch.float32 if torch.device(device).type == "cpu" else torch.float16
    if not isinstance(name, str) or name not in NAMED:
        raise CheckpointError(f"dtype is {name!r:.100}; expected auto, {', '.join(NAMED)}.")
    return NAMED[name]


def build(network: Callable[[Spec], Network], spec: Spec, weights: Weights, dtype: torch.dtype | None) -> Network:
    """A network of this shape with these weights. Raises CheckpointError where they are not of that shape."""
    with on_meta():
        empty = network(spec)
    return fill(empty, weights, dtype)


def build_text_encoder(
    spec: TextSpec, weights: Weights, vocabulary: Vocabulary, dtype: torch.dtype | None
) -> TextEncoder:
    clip = clip_text_model(spec, on_meta())
    tower = getattr(clip, "text_model", clip)  # transformers 4 has one module more
    fill(tower, weights, dtype)
    positions = torch.arange(spec.length)[None]  # in no file, so still without memory
    tower.embeddings.register_buffer("position_ids", positions, persistent=False)
    return TextEncoder(clip, clip_tokenizer(vocabulary.ids, vocabulary.merges), vocabulary.words)


@contextmanager
def on_meta() -> Iterator[None]:
    """Modules built inside have no memory of their own, and no numbers are drawn for it."""
    with torch.device("meta"), SkipInit():
        yield


class SkipInit(TorchFunctionMode):
    """Leaves out what only fills a new weight. Without memory it has no effect but to take time: `normal_` alone has
    PyTorch import its compiler, a second of a program's start.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in FILLS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def fill(module: Network, weights: Weights, dtype: torch.dtype | None) -> Network:
    """Give a module built on "meta" its weights. Raises CheckpointError where a name or a shape does not fit."""
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    check_names(weights, expected)
    tensors = weights.tensors
    fitted = {name: match_shape(tensors[name], shape) for name, shape in expected.items()}
    wrong = [
        f"{name_in_file(weights, name)} is {tuple(tensors[name].shape)} {tensors[name].dtype}, "
        f"expected {tuple(expected[name])} of floats"
        for name, tensor in fitted.items()
        if tensor is None
    ]
    if wrong:
        raise CheckpointError(
            f"{weights.source} has tensors of other shapes than the rest asks for: {shortlist(wrong)}."
        )
    converted = {name: tensor.to(dtype or tensor.dtype) for name, tensor in fitted.items() if tensor is not None}
    module.load_state_dict(converted, assign=True)
    return module.requires_grad_(False).eval()


def match_shape(tensor: Tensor, shape: torch.Size) -> Tensor | None:
    """The tensor in the expected shape, None if that cannot be. A linear layer may stand for a 1x1 convolution."""
    if not tensor.is_floating_point():
        return None
    if tensor.shape == shape:
        return tensor
    pointwise = len(shape) == 4 and tensor.shape == shape[:2] and tensor.numel() == shape.numel()
    return tensor.reshape(shape) if pointwise else None


def check_parts(model: VQDiffusion) -> None:
    """Raise CheckpointError where the parts are not of one model."""
    spec, vqgan, schedule = model.transformer.spec, model.vqgan.spec, model.schedule
    claims = [
        ("codes", spec.codebook_size, "VQGAN", vqgan.codebook_size),
        ("codes", spec.codebook_size, "noise schedule", schedule.codebook_size),
    ]
    if isinstance(spec, TransformerSpec):
        claims.append(("timesteps", spec.num_timesteps, "noise schedule", schedule.num_timesteps))
    if text := model.text_encoder:
        if isinstance(spec, GPTSpec):
            claims.append(("vectors in a text", spec.prefix, "text encoder", text.length))
        claims.append(("numbers in a text vector", spec.text_width, "text encoder", text.width))
        if (null_1LD := model.learned_null_1LD) is not None:
            null = "learned null embedding"
            claims.append(("numbers in a text vector", spec.text_width, null, null_1LD.shape[2]))
            claims.append(("vectors in a text", text.length, null, null_1LD.shape[1]))
    wrong = [f"the {part} has {got} {unit}, the rest {want}" for unit, want, part, got in claims if got != want]
    if wrong:
        raise CheckpointError(f"The parts in this place are not of one model: {'; '.join(wrong)}.")
