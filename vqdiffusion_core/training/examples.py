"""What a diffusion model learns from: images as tokens, encoded once and kept, and captions as ids."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..checkpoints.write import bytes_of
from ..distributed import Processes
from ..networks.text_encoder import TextEncoder, clean
from ..networks.vqgan import VQGAN
from ..notices import notify
from .changes import check_data
from .checkpoint import read_tensors, write_tensors
from .data import Source, load_shard, to_tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Examples:
    """Images as tokens, each with its captions as ids."""

    tokens_SN: Tensor
    ids: list[Tensor]  # of each image: (its captions, L)
    codec: str  # `fingerprint` of the VQGAN whose tokens they are
    data: str | None = None  # `changes.check_data` of what was encoded; version 0.1.0 kept none

    @property
    def length(self) -> int:
        """L, of the captions."""
        return self.ids[0].shape[1]

    def draw(self, ticket: int) -> tuple[Tensor, Tensor]:
        """Tokens (N,) and ids (L,) of the example that follows from this number."""
        rng = random.Random(ticket)
        i = rng.randrange(len(self.tokens_SN))
        return self.tokens_SN[i].long(), self.ids[i][rng.randrange(len(self.ids[i]))]


@torch.no_grad()
def encode(
    source: Source, vqgan: VQGAN, text_encoder: TextEncoder, processes: Processes
) -> tuple[Tensor, list[Tensor]]:
    """Every image of a source as its tokens (S, N), with its captions as ids (C, L): each process encodes its shard,
    and the main one has them all, the others nothing.

    All tokens have their place beforehand, and captions are lists till the end: a small tensor made and kept among the
    large ones that come and go keeps their memory from being used again, a megabyte for every image of 192 pixels.
    """
    shard = load_shard(source, processes)
    tokens_SN = np.empty((len(shard), (source.size // vqgan.spec.downscale) ** 2), dtype=np.int32)
    every_ids: list[list[list[int]]] = []
    progress_bar = tqdm(shard, "encoded", unit="image", disable=processes.quiet)
    for tokens_N, (image, captions) in zip(tokens_SN, progress_bar, strict=True):
        tokens_N[:] = vqgan.encode(to_tensor(image)[None].to(processes.device)).flatten().cpu()
        every_ids.append([text_encoder.tokenize(caption) for caption in captions])
    every = processes.gather_objects([*zip(tokens_SN, every_ids, strict=True)])
    tokens, ids = zip(*every, strict=True) if every else ((), ())
    return torch.from_numpy(np.array(tokens)), [torch.tensor(each) for each in ids]


def fingerprint(module: nn.Module) -> str:
    """Tells weights from other weights."""
    digest = hashlib.sha256()
    for weight in module.state_dict().values():
        digest.update(bytes_of(weight))
    return digest.hexdigest()[:16]


def load_or_encode(
    source: Source, vqgan: VQGAN, text_encoder: TextEncoder, folder: Path, processes: Processes, new_data: bool
) -> Examples:
    """The run's examples, encoded once by all processes and kept. Raises ValueError where the source is no longer
    what was encoded, unless the run is to go on with `new_data`.
    """
    path, codec = folder / "examples.pt", fingerprint(vqgan)
    kept = Examples(**read_tensors(path)) if path.exists() else None
    if kept and kept.codec != codec:
        raise ValueError(f"{path} holds tokens of another codec; give the run another folder, or delete that file.")
    data = check_data(source, folder, new_data, processes)
    stale = kept is None or kept.length != text_encoder.length or (kept.data != data if kept.data else new_data)
    if kept and not processes.max(processes.is_main and stale):
        return kept
    tokens_SN, ids = encode(source, vqgan, text_encoder, processes)
    if processes.is_main:
        write_tensors(asdict(Examples(tokens_SN, ids, codec, data)), path)
        notify_of_cut_captions(source.captions(), text_encoder)
    processes.barrier()
    return Examples(**read_tensors(path))


def notify_of_cut_captions(captions: Iterable[str], text_encoder: TextEncoder) -> None:
    most = text_encoder.length - 2
    if cut := sum(count > most for count in caption_lengths(captions, text_encoder.tokenizer)):
        notify(f"Captions with more than the {most} tokens that the model reads: {cut}. Their ends are left out.")


def caption_lengths(captions: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Of each different caption, in tokens."""
    return [len(tokenizer(clean(caption), add_special_tokens=False)["input_ids"]) for caption in set(captions)]
