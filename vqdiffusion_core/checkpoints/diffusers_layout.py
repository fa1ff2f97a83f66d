"""The folder that diffusers' VQDiffusionPipeline is published in: read, in every form that it has been written in, and
written. What that layout has no word for is added to it:

- vqvae/: `quantize.proj` (Gumbel codecs); `junk_code` in config.json (see VQGANSpec)
- transformer/: `norm3.emb`, `norm3.linear` (class conditioning, the null class last); no `norm2`, `attn2` (no text);
  `ff.conv1`, `ff.conv2` (convolutional MLP); `sample_size` is the token grid, which the position tables may exceed
- scheduler/: `alpha_bar`, `beta_bar`, `gamma_bar`, T + 1 numbers each, where straight lines do not give them
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..model import VQDiffusion
from ..networks.specs import TextSpec
from ..networks.text_encoder import TextEncoder, clip_tokenizer
from ..networks.transformer import Transformer
from ..networks.vqgan import VQGAN
from . import key_maps
from .build import Dtypes, build_text_model, build_transformer, build_vqgan, check_parts
from .diffusers_config import (
    INDEX,
    LIBRARY,
    NULL,
    compare,
    grid_of,
    number,
    schedule_config,
    schedule_of,
    text_config,
    transformer_config,
    vqgan_config,
)
from .errors import CheckpointError
from .probe import text_spec, transformer_spec, vqgan_spec
from .read import read_json, read_tensors
from .rename import rename, rename_back, strip_wrappers
from .vocabulary import Vocabulary, find_vocabulary, vocabulary_of, write_json, write_vocabulary
from .write import write_safetensors

PIPELINE = "VQDiffusionPipeline"
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
VARIANTS = ("", ".fp16", ".bf16")  # the most exact first
WEIGHTS = [  # the best first
    name
    for variant in VARIANTS
    for suffix in ("safetensors", "bin")
    for stem in STEMS
    for name in (f"{stem}{variant}.{suffix}", f"{stem}.{suffix}.index{variant}.json")
]
HALF = [name for name in WEIGHTS if ".fp16." in name]
OnBytes = Callable[[int], None]  # called with the size of each tensor written; may raise to stop


def is_diffusers_folder(folder: Path) -> bool:
    return (folder / INDEX).is_file() or (folder / "transformer").is_dir()


# Reading


def load_folder(folder: Path, dtypes: Dtypes, tokenizer: Path | None) -> VQDiffusion:
    """`tokenizer`: where else to look for one. Raises CheckpointError."""
    check_index(folder)
    transformer = load_transformer(folder / "transformer", dtypes)
    vqgan = load_vqgan(folder / "vqvae", dtypes)
    file = folder / "scheduler" / "scheduler_config.json"
    schedule = schedule_of(read_json(file), transformer.spec, file)
    text = null_1LD = None
    if transformer.spec.condition == "text":
        text = load_text_encoder(folder, dtypes, [folder / "tokenizer", *([tokenizer] if tokenizer else [])])
        null_1LD = load_null(folder / NULL)
    model = VQDiffusion(folder.name, transformer, schedule, vqgan, text, null_1LD)
    check_parts(model)
    return model


def check_index(folder: Path) -> None:
    """Raise CheckpointError for a pipeline of another kind. Without an index, the parts speak for themselves."""
    if (folder / INDEX).exists() and (name := read_json(folder / INDEX).get("_class_name")) != PIPELINE:
        raise CheckpointError(f"{folder} holds a {name}; expected a {PIPELINE}.")


def load_vqgan(folder: Path, dtypes: Dtypes) -> VQGAN:
    config, file = read_json(folder / "config.json"), folder / "config.json"
    state, source = read_weights(folder)
    levels = len({name.split(".")[2] for name in state if name.startswith("encoder.down_blocks.")})
    weights = rename(key_maps.vqgan_diffusers(levels), state, source)
    spec = vqgan_spec(weights, number(config, "norm_num_groups", 32, file), config.get("junk_code") is True)
    compare(config, vqgan_config(spec), file)
    return build_vqgan(spec, weights, dtypes)


def load_transformer(folder: Path, dtypes: Dtypes) -> Transformer:
    config, file = read_json(folder / "config.json"), folder / "config.json"
    state, source = read_weights(folder, dtypes.transformer)
    weights = rename(key_maps.TRANSFORMER_DIFFUSERS, state, source)
    spec = transformer_spec(weights, number(config, "num_attention_heads", 16, file), grid_of(config, file))
    compare(config, transformer_config(spec), file)
    return build_transformer(spec, weights, dtypes)


def load_text_encoder(folder: Path, dtypes: Dtypes, tokenizers: list[Path]) -> TextEncoder:
    config, file = read_json(folder / "text_encoder" / "config.json"), folder / "text_encoder" / "config.json"
    state, source = read_weights(folder / "text_encoder")
    weights = rename(key_maps.TEXT_TRANSFORMERS, state, source)
    activation = config.get("hidden_act", "quick_gelu")
    spec = text_spec(weights, number(config, "num_attention_heads", 8, file), activation)
    compare(config, text_config(spec), file)
    vocabulary = vocabulary_for(spec, tokenizers)
    return TextEncoder(build_text_model(spec, weights, dtypes), clip_tokenizer(vocabulary.ids, vocabulary.merges))


def vocabulary_for(spec: TextSpec, folders: list[Path]) -> Vocabulary:
    """The vocabulary in the first folder that has one. Raises CheckpointError if none has, or one of another size."""
    vocabulary = find_vocabulary(folders)
    folder = " or ".join(map(str, folders))
    if vocabulary is None:
        raise CheckpointError(
            f"There is no tokenizer in {folder}; expected vocab.json and merges.txt, tokenizer.json, or OpenAI's "
            "bpe_simple_vocab_16e6.txt.gz. Every released model uses the tokenizer of openai/clip-vit-base-patch32."
        )
    if len(vocabulary.ids) != spec.vocabulary:
        raise CheckpointError(
            f"The tokenizer in {folder} knows {len(vocabulary.ids)} tokens, the text encoder {spec.vocabulary}: they "
            "are not of one model."
        )
    return vocabulary


def load_null(folder: Path) -> Tensor | None:
    """The learned null embedding (1, L, D), float32; None where there is none, as in early copies of the release."""
    if not folder.is_dir() or read_json(folder / "config.json").get("learnable") is False:
        return None
    state, source = read_weights(folder)
    if list(state) != ["embeddings"] or state["embeddings"].dim() != 2 or not state["embeddings"].is_floating_point():
        raise CheckpointError(f"{source}: expected one table of floats, embeddings; it has {', '.join(state)[:200]}.")
    return state["embeddings"].float()[None]


def read_weights(folder: Path, dtype: torch.dtype | None = None) -> tuple[dict[str, Tensor], str]:
    """The tensors of a part, and the file to name in messages: full precision before half, unless float16 is what the
    weights are wanted in, then safetensors before pickles.
    """
    names = [*HALF, *WEIGHTS] if dtype is torch.float16 else WEIGHTS
    file = next((folder / name for name in names if (folder / name).exists()), None)
    if file is None:
        raise CheckpointError(
            f"{folder} has no weights; expected {WEIGHTS[0]} (or .bin, or .fp16.safetensors). "
            "Was the model copied or downloaded whole?"
        )
    state = read_shards(file) if file.suffix == ".json" else read_tensors(file)
    if odd := [name for name, tensor in state.items() if not (isinstance(name, str) and torch.is_tensor(tensor))]:
        raise CheckpointError(f"{file} holds {odd[0]!r}, which is no tensor; expected named tensors alone.")
    return {strip_wrappers(name): tensor for name, tensor in state.items()}, str(file)


def has_weights(folder: Path) -> bool:
    return any((folder / name).exists() for name in WEIGHTS)


def shards_beside(index: str, names: list[str]) -> list[str]:
    """Of the names beside an index, those that its shards can have.

    >>> shards_beside("model.bin.index.json", ["model-00001-of-00002.bin", "model-00001-of-00002.fp16.bin"])
    ['model-00001-of-00002.bin']
    """
    stem, suffix, _, *variant, _ = index.split(".")
    number, kind = r"-[0-9]{5}-of-[0-9]{5}", "".join(rf"\.{name}" for name in variant)
    shard = re.compile(rf"{stem}({kind}{number}|{number}{kind})\.{suffix}")  # libraries put the variant here or there
    return [name for name in names if shard.fullmatch(name)]


def read_shards(index: Path) -> dict[str, Tensor]:
    shards = read_json(index).get("weight_map")
    names = set(shards.values()) if isinstance(shards, dict) and all(map(is_plain, shards.values())) else set()
    if not names:
        raise CheckpointError(f"{index} names no files, or files outside its own folder. Not opened.")
    state: dict[str, Tensor] = {}
    for name in sorted(names):
        state |= read_tensors(index.parent / name)
    return state


def is_plain(name: Any) -> bool:
    """Whether a name from a file stays in the folder of that file."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_. -]*", name) is not None


# Writing


def write_folder(model: VQDiffusion, folder: Path, dtype: torch.dtype | None, on_bytes: OnBytes) -> None:
    """Write a model into an empty folder; `dtype` is that of the files, None: as the weights are.

    Raises CheckpointError for a model that was made ready for drawing, which lacks the weights that it needs no more.
    """
    if model.transformer.adaln_cached:
        raise CheckpointError(f"{model.name} was made ready for drawing (tabulated); load it anew to save it.")
    text = model.text_encoder
    parts = LIBRARY if text else ["vqvae", "transformer", "scheduler"]
    listing = {part: LIBRARY[part] if part in parts else [None, None] for part in LIBRARY}
    write_json({"_class_name": PIPELINE, **listing}, folder / INDEX)
    write = partial(write_part, dtype=dtype, on_bytes=on_bytes)
    write_codec(model.vqgan, folder / "vqvae", dtype, on_bytes)
    state = rename_back(key_maps.TRANSFORMER_DIFFUSERS, model.transformer.state_dict())
    write(folder / "transformer", transformer_config(model.transformer.spec), state)
    (folder / "scheduler").mkdir()
    write_json(schedule_config(model.schedule), folder / "scheduler" / "scheduler_config.json")
    if text:
        write(folder / "text_encoder", text_encoder_config(text), text_state(text), stem="model")
        write_vocabulary(vocabulary_of(text), text.length, folder / "tokenizer")
        write(folder / NULL, null_config(model.learned_null_1LD), null_state(model.learned_null_1LD))


def write_codec(vqgan: VQGAN, folder: Path, dtype: torch.dtype | None, on_bytes: OnBytes) -> None:
    """Write a VQGAN alone, as the vqvae/ of a model."""
    write_part(folder, vqgan_config(vqgan.spec), vqgan_state(vqgan), dtype, on_bytes)


def vqgan_state(vqgan: VQGAN) -> dict[str, Tensor]:
    """Under diffusers' names, and with the linear layers that its attention has where ours has 1x1 convolutions."""
    state = rename_back(key_maps.vqgan_diffusers(len(vqgan.spec.level_channels)), vqgan.state_dict())
    pointwise = {name for name, tensor in state.items() if ".attentions." in name and tensor.dim() == 4}
    return {name: tensor[:, :, 0, 0] if name in pointwise else tensor for name, tensor in state.items()}


def text_state(text: TextEncoder) -> dict[str, Tensor]:
    tower = getattr(text.model, "text_model", text.model)  # transformers 4 has one module more
    return rename_back(key_maps.TEXT_TRANSFORMERS, tower.state_dict())


def text_encoder_config(text: TextEncoder) -> dict[str, Any]:
    config = {key: getattr(text.model.config, key) for key in text_config(TextSpec(0, 0, 0, 0, 0, 0))}
    config |= {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "pad_token_id": 0}
    return config | {"bos_token_id": text.tokenizer.bos_token_id, "eos_token_id": text.tokenizer.eos_token_id}


def null_state(null_1LD: Tensor | None) -> dict[str, Tensor]:
    return {} if null_1LD is None else {"embeddings": null_1LD[0]}


def null_config(null_1LD: Tensor | None) -> dict[str, Any]:
    length, width = (None, None) if null_1LD is None else null_1LD.shape[1:]
    return {"_class_name": LIBRARY[NULL][1], "learnable": null_1LD is not None, "hidden_size": width, "length": length}


def write_part(
    folder: Path,
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    dtype: torch.dtype | None,
    on_bytes: OnBytes,
    stem: str = STEMS[0],
) -> None:
    folder.mkdir(exist_ok=True)
    write_json(dict(config), folder / "config.json")
    write_safetensors(state, folder / f"{stem}.safetensors", dtype, on_bytes)
