"""From the folders of models to what a workflow works with."""

from __future__ import annotations

import logging
import re
from itertools import chain, count
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import folder_paths
import torch
from comfy_api.latest import io

from ..vqdiffusion_core import checkpoints
from ..vqdiffusion_core.checkpoints.build import NAMED
from ..vqdiffusion_core.model import VQDiffusion
from ..vqdiffusion_core.notices import notify
from . import runtime
from .model import ManagedModel
from .sockets import VQ_DIFFUSION, schema

FOLDER = "vq_diffusion"  # under ComfyUI's models, and the name that extra_model_paths.yaml uses
LORAS = "loras"  # the host's own folder
BUILT_IN = {f"{name} (built in)": folder for name, folder in checkpoints.BUILT_IN.items()}
EXAMPLES = Path(__file__).parents[1] / "example_workflows"  # with what they open
ZIMBO = "zimbo (built in)"  # drawings of it, and a LoRA
BUILT_IN_LORAS = {f"{name} (built in)": EXAMPLES / "loras" / f"{name}.safetensors" for name in ("zimbo", "moonlit")}

# What some workflow still holds. Two loaders of one model share it, and it is read again only when its files change.
LOADED: WeakValueDictionary[tuple[Any, ...], ManagedModel] = WeakValueDictionary()

HOME = Path(folder_paths.models_dir) / FOLDER  # the one of the places for models that is ours
SAID: set[str] = set()  # why something is not in the menu: once is enough

folder_paths.add_model_folder_path(FOLDER, str(HOME))


class VQDiffusionLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VQDiffusionLoader",
            display_name="VQ-Diffusion Loader",
            description="Opens a VQ-Diffusion model: the transformer that draws, its text encoder and its VQGAN.",
            search_aliases=["load vq-diffusion", "vqdiffusion checkpoint", "ithq", "vqgan", "pocket model"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=list(model_folders()),
                    default=next(iter(BUILT_IN)),
                    tooltip="Stickers and pocket come with this pack: stickers in landscapes, and emoji. Others are "
                    "the folders in models/vq_diffusion.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=["auto", *NAMED],
                    default="auto",
                    tooltip="Number type of the transformer: auto takes what suits the device, the 16-bit types halve "
                    "its memory. Text encoder and VQGAN are small and stay float32.",
                ),
            ],
            outputs=[
                VQ_DIFFUSION.Output(display_name="vq_model", tooltip="The transformer with its noise schedule."),
                io.Clip.Output(
                    display_name="clip", tooltip="Its text encoder; CLIP Text Encode (Prompt) works with it too."
                ),
                io.Vae.Output(
                    display_name="vae", tooltip="Its VQGAN, images to tokens and back; VAE Decode works with it too."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, model: str, dtype: str) -> str:
        """Other files under the same name are another model."""
        return f"{fingerprint(model_folders().get(model))} {dtype}"

    @classmethod
    @runtime.usual_defaults()
    def execute(cls, model: str, dtype: str) -> io.NodeOutput:
        vq_model = open_model(folder_of(model), dtype)
        return io.NodeOutput(vq_model, vq_model.clip, vq_model.vae)


def model_folders() -> dict[str, Path]:
    """Name in the menu -> folder, the built-in ones first."""
    found = checkpoints.find(folder_paths.get_folder_paths(FOLDER))
    for sentence in found.unlisted:
        if sentence not in SAID:
            SAID.add(sentence)
            logging.warning("VQ-Diffusion: %s", sentence)
    return BUILT_IN | found.models


def new_model_folder() -> Path:
    """Where a new model goes, as for the host's own kinds: the first place if somebody made it the default, else ours.
    The host keeps an order alone, in which what was configured stands before what a pack adds.
    """
    return Path(folder_paths.get_folder_paths(FOLDER)[0]) if has_default() else HOME


def has_default() -> bool:
    """Whether a configuration of the host names a default place for our models."""
    from comfy.cli_args import args

    given = chain.from_iterable(args.extra_model_paths_config or [])
    files = [Path(folder_paths.__file__).with_name("extra_model_paths.yaml"), *map(Path, given)]
    sections = chain.from_iterable(sections_of(file) for file in files if file.is_file())
    return any(section.get("is_default") and FOLDER in section for section in sections)


def sections_of(file: Path) -> list[dict[str, Any]]:
    import yaml

    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [section for section in (content or {}).values() if isinstance(section, dict)]


def folder_of(name: str) -> Path:
    """The folder of a name in the menu: nothing else is ever opened, whatever a workflow file says."""
    folders = model_folders()
    if not isinstance(name, str) or name not in folders:
        raise ValueError(
            f"There is no VQ-Diffusion model {name!r:.100}; expected one of {', '.join(folders)}. Put its folder into "
            "models/vq_diffusion, then refresh the node definitions (R)."
        )
    return folders[name]


def open_model(folder: Path, dtype_name: str) -> ManagedModel:
    """The model in a folder, its transformer of the type of that name."""
    return open_folder(
        folder, runtime.transformer_dtype() if dtype_name == "auto" else checkpoints.choose_dtype(dtype_name)
    )


def open_folder(folder: Path, dtype: torch.dtype) -> ManagedModel:
    """The model in a folder, the one that is open already if its files are still the same."""
    key = (folder, fingerprint(folder), dtype)
    vq_model = LOADED.get(key)
    if vq_model is None:
        vocabulary = runtime.clip_vocabulary()
        model = runtime.with_room(lambda: checkpoints.load(folder, dtype, vocabulary), f"the model {folder.name}")
        vq_model = LOADED[key] = ManagedModel.of(model, folder)
    return vq_model


def load_anew(vq_model: ManagedModel) -> VQDiffusion:
    """The model that its files hold, in float32: what draws is made ready for that, and cannot be trained."""
    return checkpoints.load(vq_model.folder, "float32", runtime.clip_vocabulary())


def fingerprint(folder: Path | None) -> tuple[tuple[str, int, int], ...]:
    """Changes whenever a file in the folder does."""
    if folder is None:
        return ()
    files = sorted(path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file())
    return tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files)


def image_folders() -> dict[str, Path]:
    """Name in the menu -> folder, the example first; nothing else is ever opened, whatever a workflow file says."""
    place, names = Path(folder_paths.get_input_directory()), folder_paths.get_input_subfolders()
    return {ZIMBO: EXAMPLES / "drawings" / "zimbo"} | {name: place / name for name in names}


def lora_names() -> list[str]:
    """The menu: what the user has, then what comes along."""
    own = [name for name in folder_paths.get_filename_list(LORAS) if name.endswith(".safetensors")]
    return [*own, *BUILT_IN_LORAS]


def lora_file(name: str) -> Path:
    """The file of a name in the menu: nothing else is ever opened, whatever a workflow file says."""
    if name not in lora_names():
        raise ValueError(
            f"There is no LoRA {name!r:.100}; put its .safetensors file into models/loras, then refresh the node "
            "definitions (R)."
        )
    return BUILT_IN_LORAS.get(name) or Path(folder_paths.get_full_path_or_raise(LORAS, name))


def new_lora_file(name: str) -> Path:
    """Where a new LoRA of this name goes: nothing that is there is written over, and no other folder is reached."""
    return unused(Path(folder_paths.get_folder_paths(LORAS)[0]), name.removesuffix(".safetensors"), ".safetensors")


def new_folder(name: str) -> Path:
    """As `new_lora_file`, of a whole model."""
    return unused(new_model_folder(), name, "")


def unused(place: Path, stem: str, suffix: str) -> Path:
    """The first of NAME, NAME_2, NAME_3, ... that is not there. Raises ValueError for what is no plain name."""
    if not re.fullmatch(r"[\w-][\w .-]{0,59}", stem):
        raise ValueError(
            f"name is {stem!r:.100}; expected a file's name of at most 60 letters, digits, spaces, dots and dashes, "
            "without the name of a folder."
        )
    first = place / f"{stem}{suffix}"
    if not first.exists():
        return first
    numbered = (place / f"{stem}_{number}{suffix}" for number in count(2))
    free = next(path for path in numbered if not path.exists())
    notify(f"There is something called {first.name} already, which stays: this one is {free.name}.")
    return free
