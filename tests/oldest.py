"""The tests of core and nodes with the oldest versions that pyproject.toml admits: ./dev oldest [PYTEST-ARGS]

Those of the newest are every other run: .venv takes the newest that pyproject.toml admits, but for what it pins. Needs
Python 3.12 or older, for which the old packages were built, and 6 GB for a virtual environment in .cache/oldest.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
PLACE = CHECKOUT / ".cache" / "oldest"
PACK = "vq-diffusion-nodes"

# The pack asks for no PyTorch of its own; this is the oldest that it was run with. diffusers is the newest peer that
# works beside the oldest hub library.
BESIDE = ("torch==2.6.0", "torchvision==0.21.0", "diffusers==0.32.2", "hypothesis>=6.100", "pytest>=8.2")
LEFT_OUT = {
    "test_what_we_save_opens_in_the_classes_of_diffusers_and_transformers": "diffusers 0.32 cannot open its own class",
    "test_a_converted_text_model_opens_in_the_classes_of_diffusers_and_agrees": "the same",
    "test_a_connection_that_breaks_half_way_is_taken_up_again": "this hub library does not go on by itself",
    "test_a_broken_connection_is_taken_up_again": "the same",
    "test_a_download_that_failed_goes_on_later_from_where_it_was": "the same",
    "test_graphics_card": "the simulated card needs a newer PyTorch",
    "test_a_shipped_workflow_draws_the_images_of_a_cpu": "the same",
    "test_the_image_is_the_same_when_another_pack_has_changed_what_new_tensors_are": "PyTorch 2.6 cannot say which its "
    "default device is, once that was None",
    "test_it_is_said_in_one_line_with_what_takes_less": "AdamW alone, without Muon, takes other bytes",
    "test_what_is_clearly_too_much_is_refused_with_what_would_fit": "the same",
}


def oldest() -> list[str]:
    """What the pack needs, also to train, each at its least version, and what its test host needs."""
    wanted = []
    for requirement in requires(PACK) or []:
        package, _, marker = requirement.partition("; ")
        if marker in ("", 'extra == "train"'):
            wanted.append(package.replace(">=", "=="))
        elif marker == 'extra == "host"' and not package.startswith(PACK):
            wanted.append(package)
    return [*wanted, *BESIDE]


def main(arguments: list[str]) -> int:
    python, done = PLACE / "bin" / "python", PLACE / "installed.txt"
    wanted = "\n".join(oldest())
    if not done.exists() or done.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", PLACE], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted.split("\n")], check=True)
        done.write_text(wanted)
    for name, why in LEFT_OUT.items():
        print(f"left out: {name}: {why}")
    names = " or ".join(LEFT_OUT)
    command = [python, "-m", "pytest", "-c", "tests/pytest.ini", "-k", f"not ({names})"]
    return subprocess.run([*command, *(arguments or ["tests/core", "tests/nodes"])], cwd=CHECKOUT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
