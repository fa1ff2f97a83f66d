"""The pack as a stranger gets it: zipped for the registry, unzipped into a ComfyUI whose Python has ComfyUI's own
packages and no others, and then those of requirements.txt.
"""

import subprocess
import sys
import zipfile
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from pack import packages
from pack.tests.host import installed, shipped
from pack.tests.host.boot import PACK, ComfyError
from pack.tests.host.comfy import Comfy
from pack.tests.host.fetch import CHECKOUT, comfyui

PORTABLE = PureWindowsPath("D:/ComfyUI_windows_portable")
PIP = "-m pip install -r"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return installed.pack(tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def base(archive, tmp_path_factory):
    """ComfyUI's folder with the pack unzipped in its custom_nodes."""
    base = tmp_path_factory.mktemp("comfyui")
    installed.unpack(archive, base / "custom_nodes" / PACK)
    return base


@pytest.fixture(scope="module")
def host(base, tmp_path_factory):
    """ComfyUI after an installation by its manager, which installs requirements.txt."""
    requirements = base / "custom_nodes" / PACK / "requirements.txt"
    place = tmp_path_factory.mktemp("python") / "after"
    python = installed.python_with_only(comfyui() / "requirements.txt", requirements, place=place)
    with Comfy(base=base, environment=python) as host:
        shipped.make_class_model(host)
        yield host


def test_the_zip_has_what_one_uses_and_nothing_else(archive):
    with zipfile.ZipFile(archive) as content:
        names = set(content.namelist())
    used = {"nodes", "vqdiffusion_core", "web", "locales", "example_workflows", "subgraphs"}
    assert {name for name in installed.files_of_git() if name.split("/")[0] in used} <= names
    assert {"__init__.py", "packages.py", "requirements.txt", "pyproject.toml", "LICENSE"} <= names
    assert {name.split("/")[0] for name in names if "/" in name} == {*used, "docs"}


@pytest.mark.parametrize("name", shipped.NAMES)
def test_after_a_manager_has_installed_it_every_shipped_workflow_draws(host, name):
    images = host.images(host.run(in_two_steps(shipped.load(name)), timeout=600))
    assert max(len(image.convert("RGB").getcolors(2**24)) for image in images) > 100


def in_two_steps(workflow):
    for content in workflow.values():
        if content["class_type"] in ("VQDiffusionSampler", "VQDiffusionTeach"):
            content["inputs"]["steps"] = 2
    return workflow


def test_without_its_packages_the_pack_says_in_one_line_at_the_start_which_command_installs_them(base, tmp_path):
    python = installed.python_with_only(comfyui() / "requirements.txt", place=tmp_path / "before")
    with (
        pytest.raises(ComfyError, match=r"could not load the pack: .* ftfy") as raised,
        Comfy(base=base, environment=python),
    ):
        pass
    log = (base / "comfyui.log").read_text(encoding="utf-8")
    assert len([line for line in log.splitlines() if "ftfy" in line]) == 1
    home = base / "custom_nodes" / PACK
    assert f'File "{home}' not in log, "a traceback"
    assert f"(IMPORT FAILED): {home}" in log
    command = str(raised.value).partition("restart ComfyUI: ")[2]
    assert command == f"{sys.executable} {PIP} {home / 'requirements.txt'}"


@pytest.mark.parametrize(
    ("python", "file", "pip", "way"),
    [
        (
            PORTABLE / "python_embeded" / "python.exe",
            PORTABLE / "ComfyUI" / "custom_nodes" / "vq" / "requirements.txt",
            True,
            r"In the folder D:\ComfyUI_windows_portable run this and restart ComfyUI: "
            rf".\python_embeded\python.exe -s {PIP} ComfyUI\custom_nodes\vq\requirements.txt",
        ),
        (
            PORTABLE / "python_embeded" / "python.exe",
            PureWindowsPath("E:/my packs/vq/requirements.txt"),
            True,
            r"In the folder D:\ComfyUI_windows_portable run this and restart ComfyUI: "
            rf'.\python_embeded\python.exe -s {PIP} "E:\my packs\vq\requirements.txt"',
        ),
        (
            PureWindowsPath("C:/Users/Ann/ComfyUI/.venv/Scripts/python.exe"),
            PureWindowsPath("C:/Users/Ann/ComfyUI/custom_nodes/vq/requirements.txt"),
            False,
            r"Run this and restart ComfyUI: uv pip install --python C:\Users\Ann\ComfyUI\.venv\Scripts\python.exe "
            r"-r C:\Users\Ann\ComfyUI\custom_nodes\vq\requirements.txt",
        ),
        (
            PurePosixPath("/home/ann/my conda/bin/python"),
            PurePosixPath("/home/ann/ComfyUI/custom_nodes/vq/requirements.txt"),
            True,
            f"Run this and restart ComfyUI: '/home/ann/my conda/bin/python' {PIP} "
            "/home/ann/ComfyUI/custom_nodes/vq/requirements.txt",
        ),
    ],
    ids=["portable", "portable, packs elsewhere", "made by uv", "conda"],
)
def test_the_command_is_that_of_the_kind_of_installation(python, file, pip, way):
    assert packages.way_to_install(python, file, [], pip=pip) == way


def test_what_comfyui_should_have_brought_is_named_in_the_command(monkeypatch):
    monkeypatch.setattr(packages, "is_there", lambda module: module not in {"ftfy", "PIL", "tokenizers"})
    assert packages.complaint().startswith("VQ-Diffusion misses Python packages: ftfy, pillow, tokenizers. ")
    assert packages.complaint().endswith("requirements.txt pillow tokenizers")


def test_a_folder_that_an_uninstallation_left_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "half_removed" / "__pycache__").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    assert not packages.is_there("half_removed")


def test_a_module_that_another_pack_has_put_in_place_counts(monkeypatch):
    monkeypatch.setitem(sys.modules, "made_by_hand", type(sys)("made_by_hand"))
    assert packages.is_there("made_by_hand")


def test_the_look_for_packages_imports_none_of_them():
    code = "import sys, packages; packages.complaint(); print(*sys.modules.keys() & set(packages.MODULES.values()))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == []
