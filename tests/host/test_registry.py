"""What managers, the registry and other people's editors read of the pack."""

import ast
import json
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
import tomlkit
import yaml
from pack import packages
from pack.tests.host import installed, shipped, stamp
from pack.tests.host.boot import PACK
from pack.tests.host.fetch import CHECKOUT, comfyui
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

PYPROJECT = tomlkit.parse((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")).unwrap()
PROJECT, COMFY = PYPROJECT["project"], PYPROJECT["tool"]["comfy"]

# The names in requirements.txt of ComfyUI 0.33.0, github.com/comfyanonymous/ComfyUI, August 2026.
NEWEST = """
    comfyui-frontend-package comfyui-workflow-templates comfyui-embedded-docs torch torchsde torchvision torchaudio
    numpy einops transformers tokenizers sentencepiece safetensors aiohttp yarl pyyaml Pillow scipy tqdm psutil alembic
    SQLAlchemy filelock av comfy-kitchen comfy-aimdo requests simpleeval blake3 kornia spandrel pydantic
    pydantic-settings PyOpenGL comfy-angle
"""


def test_the_registry_would_take_the_pack(tmp_path):
    check = installed.comfy_cli("node", "validate", cwd=CHECKOUT, home=tmp_path)
    said = check.stdout + check.stderr
    assert check.returncode == 0 and "warning" not in said.lower(), said


def test_the_linter_of_packs_finds_nothing_in_the_pages_scripts():
    """Its other half wants ComfyUI's layers in place of PyTorch's, but the core has to run without ComfyUI."""
    lint = Path(sys.executable).with_name("comfy-test")
    command = [lint, "lint", "--check", "javascript", CHECKOUT]
    check = subprocess.run(command, capture_output=True, text=True, check=False)
    said = check.stdout + check.stderr
    assert check.returncode == 0 and " 0 error(s)" in said, said


# What is installed


def names_of(requirements):
    return {canonicalize_name(Requirement(line).name) for line in requirements}


@pytest.mark.parametrize("host", ["the one that is tested", "0.33.0"])
def test_managers_install_what_the_pack_needs_beside_comfyui_and_nothing_else(host):
    """Anything more could change a user's other packages for nothing."""
    lines = NEWEST.split() if host == "0.33.0" else installed.read_requirements(comfyui() / "requirements.txt")
    brought = names_of(lines) | names_of(line for line in requires("transformers") if "extra ==" not in line)
    missing = [line for line in PROJECT["dependencies"] if not names_of([line]) & brought]
    listed = installed.read_requirements(CHECKOUT / "requirements.txt")
    assert [Requirement(line) for line in listed] == [Requirement(line) for line in missing]


def test_at_the_start_the_pack_looks_for_all_that_it_needs():
    assert names_of(packages.MODULES) == names_of(PROJECT["dependencies"])


# Which nodes are whose


def nodes_for_the_manager(code):
    """The node ids that the scanner of ComfyUI-Manager finds in a file: classes whose base is written ComfyNode, by
    the node_id of their schema or else by name, and what is written as a key of the mappings of classes.
    """
    classes = [part for part in ast.walk(ast.parse(code)) if isinstance(part, ast.ClassDef)]
    found = {schema_id(one) or one.name for one in classes if any(last_name(base) == "ComfyNode" for base in one.bases)}
    for written in re.findall(r"_MAPPINGS\s*(?::[^=\n]+)?(?:=\s*\\?\s*|\.update\(\s*)\{([^}]*)\}", code):
        found |= set(re.findall(r"""["']([^"']*)["']\s*:""", written))
    return found | set(re.findall(r"""_MAPPINGS\[["']([^"']*)["']\]""", code))


def last_name(expression):
    return getattr(expression, "attr", getattr(expression, "id", None))


def schema_id(node_class):
    for call in ast.walk(node_class):
        if isinstance(call, ast.Call) and last_name(call.func) == "Schema":
            for word in call.keywords:
                if word.arg == "node_id" and isinstance(word.value, ast.Constant):
                    return word.value.value
    return None


def test_the_manager_knows_exactly_our_nodes(comfy):
    found = [nodes_for_the_manager((CHECKOUT / name).read_text("utf-8")) for name in installed.files_of_git("*.py")]
    info = comfy.object_info()
    assert set().union(*found) == {name for name in info if info[name]["python_module"] == f"custom_nodes.{PACK}"}
    assert not (CHECKOUT / "node_list.json").exists(), "it adds names, and removes none"


MAPPINGS = "NODE_CLASS" + "_MAPPINGS"  # in one piece the scanner would read on from here


@pytest.mark.parametrize(
    ("code", "nodes"),
    [
        ("class A(io.ComfyNode): pass", {"A"}),
        ("class A(Options, ComfyNode): pass", {"A"}),
        ("class A(io.ComfyNode):\n def define_schema(cls): return io.Schema(node_id='B')", {"B"}),
        ("class A(Base): pass", set()),
        (f"{MAPPINGS} = {{'A': B, \"C\": D}}", {"A", "C"}),
        (f"{MAPPINGS}: dict = {{'A': B}}", {"A"}),
        (f"{MAPPINGS}.update({{'A': B}})", {"A"}),
        (f"{MAPPINGS}['A'] = B", {"A"}),
        (f"{MAPPINGS} = dict(A=B)", set()),
    ],
)
def test_the_rule_of_the_manager_is_followed_as_it_is(code, nodes):
    assert nodes_for_the_manager(code) == nodes


@pytest.mark.parametrize("path", stamp.WORKFLOWS, ids=lambda path: path.stem)
def test_a_shipped_workflow_says_where_our_nodes_are_from(path):
    """`.venv/bin/python -m tests.host.stamp` writes it."""
    properties = [node["properties"] for node in stamp.our_nodes(json.loads(path.read_text(encoding="utf-8")))]
    assert properties
    assert {(one.get("cnr_id"), one.get("ver")) for one in properties} == {(PROJECT["name"], PROJECT["version"])}


# The pack's page


def test_one_name_leads_everywhere_to_the_repository():
    home = PROJECT["urls"]["Repository"]
    assert re.fullmatch(rf"https://github\.com/[\w.-]+/{PACK}", home)
    assert PROJECT["urls"]["Issues"] == f"{home}/issues"
    raw = home.replace("github.com", "raw.githubusercontent.com") + "/main/docs"
    assert (COMFY["Icon"], COMFY["Banner"]) == (f"{raw}/icon.png", f"{raw}/banner.png")


def test_icon_and_banner_have_the_shapes_that_the_registry_asks_for():
    icon, banner = (Image.open(CHECKOUT / "docs" / name) for name in ("icon.png", "banner.png"))
    assert icon.width == icon.height <= 400
    assert banner.width * 9 == banner.height * 21


@pytest.mark.parametrize("name", [name for name in shipped.NAMES if not shipped.needs_other_model(name)])
def test_an_image_of_the_gallery_carries_the_workflow_as_it_is_shipped(name):
    """`./dev images gallery` makes them anew."""
    with Image.open(CHECKOUT / "docs" / "gallery" / f"{name}.png") as image:
        carried = {key: json.loads(text) for key, text in image.info.items()}
    workflow = json.loads((shipped.EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    assert carried == {"prompt": shipped.load(name), "workflow": workflow}


def test_the_changes_of_this_version_are_told():
    headings = re.findall(r"^## (.+)$", (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0] == PROJECT["version"]
    assert PROJECT["version"] in headings


def test_github_publishes_by_the_registrys_action_and_tests_by_our_command():
    steps = {}
    for path in (CHECKOUT / ".github" / "workflows").glob("*.yml"):
        jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
        steps[path.stem] = [step.get("uses", step.get("run")) for job in jobs for step in job["steps"]]
    assert "Comfy-Org/publish-node-action@v1" in steps["publish"]
    assert "./dev test" in steps["test"]
