"""Data flows one way: which part of the code may import which. A breach names the rule that it breaks."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = "vqdiffusion_core"

# A part (the longest name that fits a module) -> the parts of the core that it may import, and why no other.
RULES = {
    f"{CORE}.notices": ("", "what everything may say imports nothing"),
    f"{CORE}.distributed": ("", "processes know nothing of what they share"),
    f"{CORE}.files": ("notices", "images and texts as files know no model"),
    f"{CORE}.networks": ("networks notices", "networks know no diffusion"),
    f"{CORE}.diffusion": ("diffusion networks notices", "diffusion knows no files, no prompts and no images"),
    f"{CORE}.model": ("networks diffusion notices", "a model is its networks and its schedule"),
    f"{CORE}.checkpoints": ("checkpoints model networks diffusion notices", "loading neither draws nor trains"),
    f"{CORE}.lora": ("lora checkpoints files model networks notices", "a LoRA is files and weights"),
    f"{CORE}.memory": ("networks diffusion", "an estimate reads shapes and settings"),
    f"{CORE}.preview": ("networks diffusion", "a preview needs a codec and tokens"),
    f"{CORE}.tiles": ("networks diffusion", "tiles need a codec and a grid"),
    f"{CORE}.editing": ("tiles files model networks diffusion notices", "inference imports no training"),
    f"{CORE}.pipeline": ("tiles editing files model networks diffusion notices", "inference imports no training"),
    f"{CORE}.training": (
        "training lora checkpoints pipeline files distributed model networks diffusion notices",
        "training is above inference and below the command",
    ),
    f"{CORE}.cli": (
        "cli training lora checkpoints pipeline editing files distributed model networks diffusion notices",
        "the command is above all of the core",
    ),
    CORE: ("checkpoints lora pipeline editing files model networks diffusion notices", "inference imports no training"),
    "nodes": (
        "checkpoints lora pipeline editing preview memory files model networks diffusion notices",
        "nodes call the core: not its training, not its command",
    ),
    "nodes.teach": (
        "training checkpoints distributed lora model diffusion notices",
        "the node that teaches calls training too, and not the command",
    ),
}
MODULES = sorted(path.relative_to(ROOT) for folder in (CORE, "nodes") for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    """Every module of ours that a module imports, wherever in it, by its full name."""
    package = path.parts[:-1]
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in (CORE, "nodes")}


def part_of(module: str) -> str:
    return max((part for part in RULES if module == part or module.startswith(f"{part}.")), key=len)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_imports_only_what_lies_below_it(path):
    part = part_of(name_of(path))
    allowed, rule = RULES[part]
    below = {part, *(f"{CORE}.{name}" for name in allowed.split())}
    if path.parts[0] == "nodes":
        below |= {"nodes", "nodes.teach"}
    breaches = sorted(name for name in imported(path) if part_of(name) not in below)
    assert not breaches, f"{path} imports {', '.join(breaches)}: {rule} (see ARCHITECTURE.md)"


def test_comfyui_s_start_imports_no_training():
    for path in MODULES:
        at_start = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
        lines = [ast.unparse(node) for node in at_start if isinstance(node, ast.Import | ast.ImportFrom)]
        assert path.parts[0] != "nodes" or not [line for line in lines if "vqdiffusion_core.training" in line], path


def test_a_breach_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    file = Path(CORE, "networks", "vqgan.py")
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("def f():\n    from ..diffusion.schedule import Schedule\n    import torch\n")
    with pytest.raises(AssertionError, match="networks know no diffusion"):
        test_a_module_imports_only_what_lies_below_it(file)
