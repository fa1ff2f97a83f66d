"""Finer settings, for those who want them: each node hands on the model with other habits, as the core's own do."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .model import ManagedModel
from .sockets import VQ_DIFFUSION, schema, setting_input
from .validation import validate_inputs


class Options:
    """A model in, the same model out, with the settings of this node's inputs.

    Not itself a ComfyNode: ComfyUI-Manager takes for a node whatever names io.ComfyNode as its base, and nothing else.
    """

    @classmethod
    @validate_inputs
    def execute(cls, vq_model: ManagedModel, **options: Any) -> io.NodeOutput:
        return io.NodeOutput(vq_model.with_options(**options))


def options_schema(node_id: str, inputs: list[Any], **parts: Any) -> io.Schema:
    return schema(
        node_id,
        inputs=[VQ_DIFFUSION.Input("vq_model", tooltip="From the loader, or another options node."), *inputs],
        outputs=[VQ_DIFFUSION.Output(display_name="vq_model", tooltip="The model, for the sampler.")],
        **parts,
    )


class VQDiffusionGuidanceOptions(Options, io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return options_schema(
            "VQDiffusionGuidanceOptions",
            display_name="VQ-Diffusion Guidance Options",
            description="When guidance speaks. Outside of its part of the run the network looks once, not twice.",
            search_aliases=["cfg schedule", "guidance interval", "cfg ramp"],
            inputs=[
                setting_input("guidance_schedule"),
                setting_input("guidance_start", 0.01),
                setting_input("guidance_end", 0.01),
            ],
        )


class VQDiffusionSamplerOptions(Options, io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return options_schema(
            "VQDiffusionSamplerOptions",
            display_name="VQ-Diffusion Sampler Options",
            description="How tokens are chosen and drawn.",
            search_aliases=["temperature", "top k", "purity", "remdm", "maskgit", "step schedule"],
            inputs=[
                setting_input("spacing"),
                setting_input("temperature", 0.05),
                setting_input("top_k"),
                setting_input("sharpness", 0.1),
                setting_input("purity", 0.1),
                setting_input("luck", 0.1),
                setting_input("remask"),
                setting_input("remask_strength", 0.01),
            ],
        )


class VQDiffusionEditOptions(Options, io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return options_schema(
            "VQDiffusionEditOptions",
            display_name="VQ-Diffusion Edit Options",
            description="How regions and large canvases are drawn.",
            search_aliases=["differential diffusion", "soft inpainting", "repaint", "outpaint overlap"],
            inputs=[
                setting_input("soft"),
                setting_input("rounds"),
                setting_input("overlap", 0.05),
            ],
        )
