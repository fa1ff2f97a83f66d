"""Finer settings, for those who want them: each node hands on the model with other habits, as the core's own do."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..vqdiffusion_core.diffusion.schedule import SPACINGS
from ..vqdiffusion_core.diffusion.settings import DEFAULTS, GUIDANCE, RANGES, REMASK
from .model import VQModel
from .sockets import VQ_DIFFUSION, schema
from .validation import validate_inputs


def number(name: str, step: float, tooltip: str) -> io.Float.Input:
    low, high = RANGES[name]
    return io.Float.Input(
        name, default=getattr(DEFAULTS, name), min=low, max=high, step=step, round=step / 10, tooltip=tooltip
    )


def whole(name: str, tooltip: str) -> io.Int.Input:
    low, high = RANGES[name]
    return io.Int.Input(name, default=getattr(DEFAULTS, name), min=low, max=high, tooltip=tooltip)


def choice(name: str, options: Any, tooltip: str) -> io.Combo.Input:
    return io.Combo.Input(name, options=list(options), default=getattr(DEFAULTS, name), tooltip=tooltip)


class Options:
    """A model in, the same model out, with the settings of this node's inputs.

    Not itself a ComfyNode: ComfyUI-Manager takes for a node whatever names io.ComfyNode as its base, and nothing else.
    """

    @classmethod
    @validate_inputs
    def execute(cls, vq_model: VQModel, **options: Any) -> io.NodeOutput:
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
                choice(
                    "guidance_schedule",
                    GUIDANCE,
                    "constant: the same in every step. ramp: from none to the sampler's guidance, so that images "
                    "differ more and still follow the prompt.",
                ),
                number("guidance_start", 0.01, "The part of the run, 0 to 1, from which on guidance speaks."),
                number("guidance_end", 0.01, "The part of the run, 0 to 1, until which guidance speaks."),
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
                choice(
                    "spacing",
                    SPACINGS,
                    "uniform: evenly in time. masked: as many tokens in each step. cosine: few at first, many at the "
                    "end. loop: holds a tenth masked for half of the run; use it with the sampler remask.",
                ),
                number("temperature", 0.05, "Below 1 tokens are drawn more safely, above 1 more wildly."),
                whole("top_k", "Each token is drawn among so many likeliest ones. 0: all of them."),
                number("sharpness", 0.1, "Makes a token of which the model is sure surer still. 0: as it is."),
                number("purity", 0.1, "Sampler purity: how much sure tokens come first. 0: in any order."),
                number("luck", 0.1, "Sampler confidence: how much chance there is in the order of the tokens."),
                choice(
                    "remask",
                    REMASK,
                    "Sampler remask, which tokens are taken back. cap: each with the same small chance. rescale: more "
                    "of them early, fewer late. confidence: as rescale, and rather the unsure ones.",
                ),
                number("remask_strength", 0.01, "Sampler remask: how often tokens are taken back. 0: never."),
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
                io.Boolean.Input(
                    "soft",
                    default=DEFAULTS.soft,
                    tooltip="On: a faintly marked token is let go late in the run, so that little of it changes. Off: "
                    "any mark counts in full.",
                ),
                whole("rounds", "How often each step is taken back and done again. More fits edits in better."),
                number("overlap", 0.05, "How much neighbouring windows share on a canvas larger than the model's own."),
            ],
        )
