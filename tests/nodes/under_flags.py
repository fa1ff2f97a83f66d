"""FILE [OPTION ...]: what the nodes draw in a ComfyUI that was started with these options, without its server."""

import runpy
import sys
from pathlib import Path

import torch


def main() -> None:
    path = sys.argv.pop(1)
    runpy.run_path(str(Path(__file__).parents[1] / "conftest.py"))
    from pack.tests.host.fetch import comfyui

    sys.path.append(str(comfyui()))
    import comfy.options

    comfy.options.enable_args_parsing()  # of what is left in sys.argv
    from pack.nodes.loaders import open_model
    from pack.tests.nodes.test_graphics_card import draw_and_edit
    from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER

    with torch.inference_mode():
        values = draw_and_edit(open_model(POCKET_FOLDER, "auto" if "--force-fp16" in sys.argv else "float32"))
    torch.save([value.float() for value in values], path)


if __name__ == "__main__":
    main()
