"""The pack as its users have it: packed as for the registry, and beside a Python that has no packages but those that
some requirements bring.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .fetch import CHECKOUT

UNASKED = ("requests", "packaging", "pip")  # ComfyUI imports two that it does not list; every environment has pip
SITECUSTOMIZE = """\
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

HIDDEN = frozenset({hidden})
find_spec = PathFinder.find_spec


def find_unless_hidden(name, path=None, target=None):
    return None if name.partition(".")[0] in HIDDEN else find_spec(name, path, target)


PathFinder.find_spec = find_unless_hidden
sys.meta_path[:] = [BuiltinImporter, FrozenImporter, PathFinder]  # none of a checkout that is installed as editable
"""


def comfy_cli(*arguments: str, cwd: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """comfy-cli, which writes into the home folder, and calls git and ruff."""
    program = Path(sys.executable).with_name("comfy")
    environment = {"HOME": str(home), "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    command = [program, "--skip-prompt", "--no-enable-telemetry", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def files_of_git(*patterns: str) -> list[str]:
    """Those of the checkout that are under version control or are about to be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    return sorted(name for name in listed.split("\0") if (CHECKOUT / name).is_file())


def pack(folder: Path) -> Path:
    """The zip that the registry would be given, made in this folder."""
    copy = folder / "copy"
    for name in files_of_git():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHECKOUT / name, copy / name)
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=copy, check=True)
    packed = comfy_cli("node", "pack", cwd=copy, home=folder)
    assert packed.returncode == 0, packed.stdout + packed.stderr
    return copy / "node.zip"


def unpack(archive: Path, target: Path) -> None:
    """As comfy-cli and ComfyUI-Manager do; it drops the right to run a file."""
    with zipfile.ZipFile(archive) as content:
        content.extractall(target)


def python_with_only(*requirements: Path, place: Path) -> dict[str, str]:
    """The environment variables of a Python that finds only what these files of requirements bring along."""
    wanted = [line for path in requirements for line in read_requirements(path)]
    there = closure([*(Requirement(line).name for line in wanted), *UNASKED])
    hidden = [
        module
        for module, owners in packages_distributions().items()
        if not there & {canonicalize_name(owner) for owner in owners}
    ]
    place.mkdir()
    (place / "sitecustomize.py").write_text(SITECUSTOMIZE.format(hidden=sorted(hidden)), encoding="utf-8")
    return {"PYTHONPATH": str(place)}


def read_requirements(path: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def closure(names: Iterable[str]) -> set[str]:
    """These packages and all that they need, as far as they are installed here."""
    found, waiting = set(), [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [canonicalize_name(needed.name) for needed in needs(name)]
    return found


def needs(name: str) -> list[Requirement]:
    try:
        needed = [Requirement(line) for line in requires(name) or ()]
    except PackageNotFoundError:  # what ComfyUI can do without
        return []
    return [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
