"""Which Python packages the pack needs and does not find, and the command that installs them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path, PurePath, PureWindowsPath

# How pyproject.toml names each -> how Python does.
MODULES = {
    "ftfy": "ftfy",
    "huggingface_hub": "huggingface_hub",
    "numpy": "numpy",
    "pillow": "PIL",
    "safetensors": "safetensors",
    "tokenizers": "tokenizers",
    "tqdm": "tqdm",
    "transformers": "transformers",
}
REQUIREMENTS = Path(__file__).absolute().with_name("requirements.txt")
PORTABLE = "python_embeded"  # so spelled: where ComfyUI for Windows that needs no installation has its Python


def complaint() -> str:
    """One line that says what is missing and how to install it; empty if all is there. Imports none of them."""
    missing = [package for package, module in MODULES.items() if not is_there(module)]
    if not missing:
        return ""
    way = way_to_install(Path(sys.executable), REQUIREMENTS, unlisted(missing), pip=is_there("pip"))
    return f"VQ-Diffusion misses Python packages: {', '.join(missing)}. {way}"


def is_there(module: str) -> bool:
    if module in sys.modules:  # where find_spec fails if somebody has put it there by hand
        return True
    found = find_spec(module)
    return found is not None and found.has_location  # else it is an empty folder that an uninstallation has left


def unlisted(packages: Sequence[str]) -> list[str]:
    """Those that requirements.txt does not name: ComfyUI would bring them."""
    listed = re.findall(r"^[\w-]+", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    return [package for package in packages if package not in listed]


def way_to_install(python: PurePath, requirements: PurePath, packages: Sequence[str], *, pip: bool) -> str:
    """The command for the kind of installation that this Python belongs to, in a sentence."""
    where, program, options = "Run", str(python), ["-m", "pip", "install"]
    if python.parent.name == PORTABLE:
        home = python.parent.parent
        where, program = f"In the folder {home} run", f".\\{PORTABLE}\\{python.name}"
        options.insert(0, "-s")  # as ComfyUI is run there: what lies in the user's own folders does not count
        if requirements.is_relative_to(home):
            requirements = requirements.relative_to(home)
    elif not pip:  # a virtual environment made by uv has none
        program, options = "uv", ["pip", "install", "--python", program]
    words = [program, *options, "-r", str(requirements), *packages]
    command = subprocess.list2cmdline(words) if isinstance(python, PureWindowsPath) else shlex.join(words)
    return f"{where} this and restart ComfyUI: {command}"
