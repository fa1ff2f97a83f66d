import subprocess
import sys
from pathlib import Path

from pack.tests.host.fetch import CHECKOUT


def test_the_registry_would_take_the_pack(tmp_path):
    comfy = Path(sys.executable).with_name("comfy")
    flags = ("--skip-prompt", "--no-enable-telemetry")
    home = {"HOME": str(tmp_path), "PATH": str(comfy.parent)}  # comfy writes into the home folder, and calls ruff
    check = subprocess.run(
        [comfy, *flags, "node", "validate"], cwd=CHECKOUT, env=home, capture_output=True, text=True, check=False
    )
    said = check.stdout + check.stderr
    assert check.returncode == 0 and "warning" not in said.lower(), said


def test_the_linter_of_packs_finds_nothing_in_the_pages_scripts():
    """Its other half wants ComfyUI's layers in place of PyTorch's, but the core has to run without ComfyUI."""
    lint = Path(sys.executable).with_name("comfy-test")
    command = [lint, "lint", "--check", "javascript", CHECKOUT]
    check = subprocess.run(command, capture_output=True, text=True, check=False)
    said = check.stdout + check.stderr
    assert check.returncode == 0 and " 0 error(s)" in said, said
