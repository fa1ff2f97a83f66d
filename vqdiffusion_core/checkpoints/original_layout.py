"""The files that the authors published: a training checkpoint and, beside it, what it does not contain.

    checkpoint     transformer, noise schedule, learned null; often its VQGAN and text encoder as well
    VQGAN          of taming-transformers or of ITHQ, where the checkpoint has none
    code map       which codes of the VQGAN a model with a reduced codebook uses
    CLIP           OpenAI's ViT-B-32.pt or a transformers folder, where the checkpoint has none
    vocabulary     see vocabulary.py

They are told apart by the names in them, whatever they are called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..diffusion.schedule import Schedule
from ..model import VQDiffusion
from ..networks.specs import TransformerSpec, VQGANSpec
from ..networks.text_encoder import TextEncoder, clip_tokenizer
from ..networks.vqgan import VQGAN
from . import key_maps
from .build import Dtypes, build_text_model, build_transformer, build_vqgan, check_parts
from .detect import (
    CHECKPOINT,
    CLIP,
    CLIP_TRANSFORMERS,
    CODE_MAP,
    TAMING_GPT,
    TAMING_VQGAN,
    detect,
)
from .diffusers_layout import has_weights, read_weights, vocabulary_for
from .errors import CheckpointError, listed
from .probe import shape_of, text_spec, transformer_spec, vqgan_spec
from .read import holds_tensors, read_tensors
from .releases import CLASSES, HEADS, IMAGE_SIDE, MIRROR, parts_for
from .rename import Weights, rename, strip_wrappers

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
PIECE = re.compile(r"(.+)_([a-z]{2})")  # what `split` calls the pieces of a file
NESTED = ("model", "state_dict", "module", "model_state_dict")  # where trainers keep the tensors in what they save
CODECS = (TAMING_VQGAN, TAMING_GPT)  # the kinds of files that hold one
FIRST_STAGE = "first_stage_model."  # the VQGAN of taming's two-stage models
CODEBOOK = "quantize.embedding.weight"
CODE_TABLES = (CODEBOOK, "quantize.proj.weight", "quantize.proj.bias")  # a row a code
BUFFER_NOISE = 1e-4  # in log space: their average over the training, taken in float32, wanders by this at most


@dataclass(frozen=True)
class File:
    path: Path
    kind: str
    state: Mapping[str, Tensor]


def load_original(place: Path, dtypes: Dtypes, tokenizer: Path | None) -> VQDiffusion:
    """From a folder of files, or from a checkpoint with the folder that it lies in. Raises CheckpointError."""
    folder = place if place.is_dir() else place.parent
    files = files_of(place)
    checkpoint = choose_checkpoint(place, files)
    weights = with_null_class(rename(key_maps.TRANSFORMER_ORIGINAL, checkpoint.state, str(checkpoint.path)))
    vqgan = load_vqgan(checkpoint, files, shape_of(weights, "content_emb.emb.weight", 2)[0] - 1, dtypes)
    transformer = build_transformer(transformer_spec(weights, HEADS, grid_of(weights, vqgan.spec)), weights, dtypes)
    text = null_1LD = None
    if transformer.spec.condition == "text":
        text = load_text_encoder(checkpoint, files, [folder, *([tokenizer] if tokenizer else [])], dtypes)
        null_1LD = load_null(checkpoint)
    schedule = load_schedule(checkpoint, transformer.spec)
    name = place.name if place.is_dir() else place.stem
    model = VQDiffusion(name, transformer, schedule, vqgan, text, null_1LD)
    check_parts(model)
    return model


def load_codec(place: Path, dtypes: Dtypes) -> VQGAN:
    """The VQGAN of a file of its own, or of a model as `load_original` reads it. Raises CheckpointError."""
    files = [File(place, *open_file(place))] if place.is_file() else files_of(place)
    if any(file.kind == CHECKPOINT for file in files):
        files = files_of(place)
        checkpoint = choose_checkpoint(place, files)
        weights = rename(key_maps.TRANSFORMER_ORIGINAL, checkpoint.state, str(checkpoint.path))
        return load_vqgan(checkpoint, files, shape_of(weights, "content_emb.emb.weight", 2)[0] - 1, dtypes)
    codecs = [file for file in files if file.kind in CODECS]
    if len(codecs) != 1:
        there = listed([f"{file.path.name} is {file.kind}" for file in files])
        raise CheckpointError(
            f"{place} holds {len(codecs)} codecs ({there or 'no tensors'}); expected one VQGAN, or "
            "the folder of a run of vqdiffusion train codec."
        )
    vqgan = rename(key_maps.VQGAN_TAMING, codecs[0].state, str(codecs[0].path))
    return build_vqgan(vqgan_spec(vqgan, norm_groups=32, junk_code=False), vqgan, dtypes)


def holds_codec_alone(place: Path) -> bool:
    """Whether there is a VQGAN, and no checkpoint that it could belong to. Raises CheckpointError."""
    files = [File(place, *open_file(place))] if place.is_file() else files_of(place)
    kinds = {file.kind for file in files}
    return CHECKPOINT not in kinds and not kinds.isdisjoint(CODECS)


# The files


def files_of(place: Path) -> list[File]:
    """What lies in a folder, or a file and what lies beside it."""
    folder = place if place.is_dir() else place.parent
    check_joined(place, folder)
    files = [File(place, *open_file(place))] if place.is_file() else []
    return files + [File(path, *open_file(path)) for path in tensor_files(folder) if path != place]


def is_original_folder(folder: Path) -> bool:
    return any(is_called_like_weights(path) and path.is_file() for path in folder.iterdir())


def is_called_like_weights(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES or PIECE.fullmatch(path.name) is not None


def tensor_files(folder: Path) -> Iterator[Path]:
    """The files that should hold tensors, by their name or by their first bytes, and folders of transformers."""
    pieces = {piece for group in pieces_in(folder).values() for piece in group}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path in pieces:
            continue
        if path.is_dir():
            yield from [path] if has_weights(path) else []
        elif path.suffix.lower() in SUFFIXES or (not path.suffix and path.is_file() and holds_tensors(path)):
            yield path


def pieces_in(folder: Path) -> dict[str, list[Path]]:
    """{name of the whole: its pieces name_aa, name_ab ...}"""
    groups: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and (match := PIECE.fullmatch(path.name)) and (folder / f"{match[1]}_aa").exists():
            groups.setdefault(match[1], []).append(path)
    return groups


def check_joined(place: Path, folder: Path) -> None:
    """Raise CheckpointError for a file that is still in the pieces that it was published in."""
    there = {path.stem for path in folder.iterdir()}
    for whole, pieces in pieces_in(folder).items():
        if whole not in there and (place == folder or place in pieces):
            raise CheckpointError(in_pieces(folder, whole, pieces))


def open_file(path: Path) -> tuple[str, Mapping[str, Tensor]]:
    """What a file or a folder of transformers is, and its tensors."""
    content = read_weights(path)[0] if path.is_dir() else read_tensors(path)
    state = flatten(content)
    return detect(state), state


def flatten(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of interest: no optimizer, and the average over the training, `ema`, in place of the last state."""
    nested = next((content[key] for key in NESTED if isinstance(content.get(key), dict)), content)
    state = {name.removeprefix(FIRST_STAGE): tensor for name, tensor in named_tensors(nested)}
    if isinstance(ema := content.get("ema"), dict):
        state |= {f"transformer.{name}": tensor for name, tensor in named_tensors(ema)}
    return state


def named_tensors(content: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    tensors = ((name, value) for name, value in content.items() if isinstance(name, str) and torch.is_tensor(value))
    return ((strip_wrappers(name), tensor) for name, tensor in tensors)


def choose_checkpoint(place: Path, files: list[File]) -> File:
    found = [file for file in files if file.kind == CHECKPOINT]
    if place.is_file():
        found = [file for file in found if file.path == place]
    if not found:
        raise CheckpointError(without_checkpoint(place, files))
    if len(found) > 1:
        names = listed([file.path.name for file in found])
        raise CheckpointError(f"{place} holds several models ({names}): name one of the files, or give each a folder.")
    return found[0]


def without_checkpoint(place: Path, files: list[File]) -> str:
    there = listed([f"{file.path.name} is {file.kind}" for file in files if place.is_dir() or file.path == place])
    return (
        f"{place} holds no VQ-Diffusion model ({there or 'no file in it holds tensors'}); expected a training "
        "checkpoint such as ithq_learnable.pth, or a folder in the diffusers layout with model_index.json."
    )


def in_pieces(folder: Path, whole: str, pieces: list[Path]) -> str:
    letters = [path.name[-2:] for path in pieces]
    wanted = [a + b for a in "abcdefghijklmnopqrstuvwxyz" for b in "abcdefghijklmnopqrstuvwxyz"]
    if gaps := [letter for letter in wanted[: wanted.index(letters[-1])] if letter not in letters]:
        return (
            f"{folder} holds {whole} in {len(pieces)} pieces, of which {whole}_{gaps[0]} is missing. Download it too."
        )
    return (
        f"{folder} holds {whole} in {len(pieces)} pieces, which must be joined first, in this folder: "
        f"cat {whole}_?? > {whole}.pth (on Windows: copy /b {whole}_a? {whole}.pth), then delete the pieces."
    )


# The parts


def with_null_class(weights: Weights) -> Weights:
    """Class tables without a trained null class get one: the mean of all classes, which the original computes when it
    is asked for class 1000.
    """
    tables = {name: table for name, table in weights.tensors.items() if name.endswith(".ln2.emb.weight")}
    means = {
        name: torch.cat([table, table.mean(0, keepdim=True)])
        for name, table in tables.items()
        if len(table) != CLASSES + 1
    }
    return replace(weights, tensors={**weights.tensors, **means})


def grid_of(transformer: Weights, vqgan: VQGANSpec) -> tuple[int, int] | None:
    """The tokens of an image. Models without text keep larger position tables than they use."""
    if "blocks.0.attn2.key.weight" in transformer.tensors:
        return None
    return IMAGE_SIDE // vqgan.downscale, IMAGE_SIDE // vqgan.downscale


def load_vqgan(checkpoint: File, files: list[File], codes: int, dtypes: Dtypes) -> VQGAN:
    """The VQGAN, inside the checkpoint or beside it, that has `codes` codes or is left with them by a code map."""
    if inside := under(key_maps.VQGAN_PREFIX, checkpoint.state):
        candidates = [rename(key_maps.VQGAN_IN_CHECKPOINT, inside, f"the VQGAN in {checkpoint.path}")]
    else:
        beside = [file for file in files if file.kind in CODECS]
        candidates = [rename(key_maps.VQGAN_TAMING, file.state, str(file.path)) for file in beside]
    maps = [next(iter(file.state.values())) for file in files if file.kind == CODE_MAP]
    fitting = [(vqgan, code_map) for vqgan in candidates for code_map in [None, *maps] if fits(vqgan, code_map, codes)]
    if len({vqgan.source for vqgan, _ in fitting}) != 1:
        raise CheckpointError(without_vqgan(checkpoint, candidates, maps, codes))
    vqgan, code_map = fitting[0]
    if code_map is None:
        return build_vqgan(vqgan_spec(vqgan, norm_groups=32, junk_code=False), vqgan, dtypes)
    vqgan = cut_codebook(vqgan, code_map)
    return build_vqgan(vqgan_spec(vqgan, norm_groups=32, junk_code=has_junk_code(code_map)), vqgan, dtypes)


def fits(vqgan: Weights, code_map: Tensor | None, codes: int) -> bool:
    entries = shape_of(vqgan, CODEBOOK, 2)[0]
    if code_map is None:
        return entries == codes
    return len(code_map) == entries and set(code_map.tolist()) == set(range(codes))


def cut_codebook(vqgan: Weights, code_map: Tensor) -> Weights:
    """With the codes that a model uses alone: for each number in the map the first code that has it."""
    kept = torch.stack([(code_map == number).nonzero()[0, 0] for number in code_map.unique()])
    cut = {name: vqgan.tensors[name][kept] for name in CODE_TABLES if name in vqgan.tensors}
    return replace(vqgan, tensors={**vqgan.tensors, **cut})


def has_junk_code(code_map: Tensor) -> bool:
    """Whether number 0 stands for many codes: all that the model never learned to draw."""
    return int((code_map == code_map.min()).sum()) > 1


def without_vqgan(checkpoint: File, candidates: list[Weights], maps: list[Tensor], codes: int) -> str:
    there = [f"{vqgan.source} has {shape_of(vqgan, CODEBOOK, 2)[0]} codes" for vqgan in candidates]
    there += [f"a code map leads from {len(code_map)} codes to {len(code_map.unique())}" for code_map in maps]
    return (
        f"{checkpoint.path} draws with {codes} codes and needs one VQGAN for them, {parts_for(codes)}, inside it or "
        f"beside it. There: {listed(there) or 'none'}. VQGANs are at {MIRROR}, code maps in help_folder/statistics "
        "of github.com/microsoft/VQ-Diffusion."
    )


def load_text_encoder(checkpoint: File, files: list[File], folders: list[Path], dtypes: Dtypes) -> TextEncoder:
    """The text encoder inside the checkpoint, which may have been averaged with it, else the one beside it."""
    if inside := under(key_maps.TEXT_PREFIX, checkpoint.state):
        weights = rename(key_maps.TEXT_OPENAI, inside, f"the text encoder in {checkpoint.path}")
    else:
        weights = text_beside(checkpoint, files)
    width = shape_of(weights, "embeddings.token_embedding.weight", 2)[1]
    spec = text_spec(weights, heads=width // 64, activation="quick_gelu")  # OpenAI's rule, for every size of CLIP
    vocabulary = vocabulary_for(spec, folders)
    return TextEncoder(build_text_model(spec, weights, dtypes), clip_tokenizer(vocabulary.ids, vocabulary.merges))


def text_beside(checkpoint: File, files: list[File]) -> Weights:
    tables = {CLIP: key_maps.TEXT_OPENAI, CLIP_TRANSFORMERS: key_maps.TEXT_TRANSFORMERS}
    for file in files:
        if file.kind in tables:
            return rename(tables[file.kind], file.state, str(file.path))
    raise CheckpointError(
        f"{checkpoint.path} has no text encoder inside, and none lies beside it. Put OpenAI's ViT-B-32.pt (also at "
        f"{MIRROR}) or a folder with openai/clip-vit-base-patch32 there."
    )


def under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a state dict under a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def load_null(checkpoint: File) -> Tensor | None:
    """The learned null embedding (1, L, D), float32 from float64; None where the model has none."""
    null_LD = checkpoint.state.get(key_maps.NULL_NAME)
    if null_LD is None:
        return None
    if null_LD.dim() != 2 or not null_LD.is_floating_point():
        raise CheckpointError(f"{checkpoint.path}: {key_maps.NULL_NAME} is {tuple(null_LD.shape)}, expected a table.")
    return null_LD.float()[None]


def load_schedule(checkpoint: File, spec: TransformerSpec) -> Schedule:
    """The schedule that the model was trained with, from its buffers: logarithms, float32, the clean state last.

    Where they are those of the usual schedule up to their own rounding, that one is taken, which is exact.
    """
    usual = Schedule.linear(spec.num_timesteps, spec.codebook_size)
    logs = [checkpoint.state[name].double() for name in key_maps.BARS if name in checkpoint.state]
    if not logs:
        return usual
    if [len(log) for log in logs] != [spec.num_timesteps + 1] * 3:
        raise CheckpointError(
            f"{checkpoint.path}: {', '.join(key_maps.BARS)} do not have {spec.num_timesteps + 1} times."
        )
    bars = [log.exp().roll(1).numpy() for log in logs]
    for bar, clean in zip(bars, (1.0, 0.0, 0.0), strict=True):
        bar[0] = clean if abs(bar[0] - clean) < BUFFER_NOISE else bar[0]  # logarithms have no 0
    same = (np.log(bar[1:]) - np.log(expected[1:]) for bar, expected in zip(bars, bars_of(usual), strict=True))
    if all(np.abs(difference).max() < BUFFER_NOISE for difference in same):
        return usual
    try:
        return Schedule(spec.codebook_size, *bars)
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.path}: the noise schedule makes no sense: {error}") from error


def bars_of(schedule: Schedule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return schedule.alpha_bar, schedule.beta_bar, schedule.gamma_bar
