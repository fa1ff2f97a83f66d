"""The node that opens a folder of images with their captions, to teach from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from comfy_api.latest import io
from PIL import Image
from torch import Tensor

from ..vqdiffusion_core.files.image_folder import ImageFolder, read_captions
from ..vqdiffusion_core.files.images import open_image
from ..vqdiffusion_core.notices import notify
from . import runtime
from .loaders import ZIMBO, fingerprint, image_folders
from .sockets import schema
from .validation import validate_inputs


class VQDiffusionLoadImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VQDiffusionLoadImages",
            display_name="VQ-Diffusion Load Images",
            description="Opens images, with their captions where they have some, to teach a model from. Drop yours on "
            "it.",
            search_aliases=["load folder", "dataset", "training images", "character", "style"],
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=list(image_folders()),
                    default=ZIMBO,
                    tooltip="A folder in ComfyUI's input. Images that you drop on the node are put into a new one. The "
                    "zimbo, eight drawings of a character, comes with this pack.",
                )
            ],
            outputs=[
                io.Image.Output(
                    display_name="images",
                    is_output_list=True,
                    tooltip="All images of the folder, in the order of names.",
                ),
                io.String.Output(
                    display_name="captions",
                    is_output_list=True,
                    tooltip="What each image may be called, a line a caption; nothing where the folder has no "
                    "captions.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str) -> str:
        """Other files in the folder are other images."""
        return str(fingerprint(image_folders().get(folder)))

    @classmethod
    @validate_inputs
    def execute(cls, folder: str) -> io.NodeOutput:
        folders = image_folders()
        if folder not in folders:
            raise ValueError(
                f"There is no folder {folder!r:.100} in ComfyUI's input; drop images on this node, or put a folder of "
                "images there and refresh the node definitions (R)."
            )
        return io.NodeOutput(*read_folder(folders[folder]))


def read_folder(folder: Path) -> tuple[list[Tensor], list[str]]:
    """Images, (1, H, W, 3) in 0..1, each with its captions as lines. Raises ValueError for what cannot be read."""
    found = ImageFolder.of(folder)
    lines = [""] * len(found.images)
    notices = found.notices()
    if found.texts or found.metadata:
        captions = read_captions(found)
        if captions.wrong:
            raise ValueError(" ".join(captions.wrong))
        lines = ["\n".join(captions.of[path]) for path in found.images]
        notices += captions.notices
    for notice in notices:
        notify(notice)
    return [to_image(open_image(path)) for path in found.images], lines


def to_image(picture: Image.Image) -> Tensor:
    """RGB -> what an IMAGE link carries, (1, H, W, 3) in 0..1."""
    return torch.from_numpy(np.array(picture))[None].to(runtime.intermediate_device(), torch.float32) / 255
