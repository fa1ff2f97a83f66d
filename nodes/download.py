"""Fetching a published model, for an artist who has seen what it takes."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from comfy_api.latest import io, ui

from ..vqdiffusion_core.checkpoints.releases import ON_HUB
from . import loaders, runtime
from .sockets import schema

if TYPE_CHECKING:
    from ..vqdiffusion_core.checkpoints.download import Plan

OFF = "Nothing was asked for. Set download to yes to see what it takes."
READY = "{name} is there: {folder}. Press R to refresh the menus, then choose it in VQ-Diffusion Loader."

# What each download has to be confirmed with. It is shown with the size, here and now: no workflow file can know it.
NUMBERS: dict[Plan, str] = {}


class VQDiffusionDownload(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VQDiffusionDownload",
            display_name="VQ-Diffusion Download",
            description="Fetches a published model from the Hugging Face hub into models/vq_diffusion, once you have "
            "seen its size and confirmed it.",
            search_aliases=["get model", "install model", "hugging face", "ithq"],
            is_output_node=True,
            inputs=[
                io.Combo.Input("model", options=list(ON_HUB), tooltip="Its name on the Hugging Face hub."),
                io.Boolean.Input(
                    "download",
                    default=False,
                    label_on="yes",
                    label_off="no",
                    tooltip="No: nothing happens, and nothing is sent anywhere. Yes: the hub is asked for the size.",
                ),
                io.String.Input(
                    "confirm",
                    default="",
                    tooltip="The number that is shown with the size. With it, the download begins.",
                ),
            ],
            outputs=[io.String.Output(display_name="message", tooltip="What has happened, for Preview as Text.")],
        )

    @classmethod
    def fingerprint_inputs(cls, model: str, download: bool, confirm: str) -> bool | float:
        """A model that was deleted can be fetched again, by a host that remembers more than the last run, too: what is
        not there yet is like nothing that was.
        """
        return True if not download or name_of(model) else float("nan")

    @classmethod
    def execute(cls, model: str, download: bool, confirm: str) -> io.NodeOutput:
        message = fetch(model, confirm) if download else OFF
        return io.NodeOutput(message, ui=ui.PreviewText(message))


def fetch(repo: str, confirm: str) -> str:
    """Fetch a model if the number is right; else say in an error what it takes, and the number."""
    from ..vqdiffusion_core.checkpoints import download as hub  # here, because it brings the hub's library in

    if repo not in ON_HUB:
        raise ValueError(f"model is {repo!r:.100}; expected one of {', '.join(ON_HUB)}.")
    name = name_of(repo)
    if name is None:
        files = hub.plan(repo)
        number = NUMBERS.setdefault(files, str(secrets.randbelow(9000) + 1000))
        if confirm.strip() != number:
            raise ValueError(
                f"Not downloaded yet: {hub.summary(files, loaders.new_model_folder())} To download it, write {number} "
                "into confirm and run again."
            )
        progress = runtime.Progress(files.size)
        name = hub.download(files, loaders.new_model_folder(), lambda done, total: progress(done)).name
    return READY.format(name=name, folder=loaders.folder_of(name))


def name_of(repo: str) -> str | None:
    """What the menu calls a published model that is there already, in a folder of folders and the hub's cache too."""
    name = repo.rpartition("/")[2]
    return next((known for known in loaders.model_folders() if known.rpartition("/")[2] == name), None)
