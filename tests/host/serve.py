"""`./dev host`: a real ComfyUI with this pack, open in the browser until ctrl-C."""

import os
import sys
import webbrowser

import requests

from .boot import PACK, ComfyError, Server, as_command, is_free
from .fetch import CHECKOUT

BASE = CHECKOUT / ".cache" / "host"


def main() -> None:
    port = next(port for port in range(8188, 8288) if is_free(port))
    with Server(base=BASE, port=port) as server:
        _skip_tutorial(server)
        address = f"{server.url}/?template=text_to_image&source={PACK}"
        print(f"ComfyUI is at {address} until you press ctrl-C.")
        print("More workflows of the pack: in its menu, Browse Templates.")
        print(f"Its input, output, models and log: {BASE.relative_to(CHECKOUT)}")
        _open_browser(address)
        server.wait_for_end()
    raise ComfyError(f"ComfyUI ended by itself; its log says why: {BASE / 'comfyui.log'}")


def _skip_tutorial(server: Server) -> None:
    # ComfyUI covers the canvas with its own template dialog until somebody has seen it once.
    requests.post(f"{server.url}/settings", json={"Comfy.TutorialCompleted": True}, timeout=30)


def _open_browser(address: str) -> None:
    # Without a desktop, Python would open a text browser in this terminal, if there is one.
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)


if __name__ == "__main__":
    as_command(main)
