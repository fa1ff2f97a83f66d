"""A real ComfyUI on a graphics card that is not there: run it in ComfyUI's folder, with the arguments of main.py."""

import os
import runpy
import sys
import threading
import types
from pathlib import Path

pack = types.ModuleType("pack")
pack.__path__ = [str(Path(__file__).parents[2])]
sys.modules["pack"] = pack

from pack.tests.device.card import Card  # noqa: E402

card = Card()
run = threading.Thread.run


def run_on_card(thread):
    with card.in_this_thread():
        run(thread)


threading.Thread.run = run_on_card
sys.argv[0] = "main.py"
sys.path[0] = os.getcwd()
with card:
    runpy.run_path("main.py", run_name="__main__")
