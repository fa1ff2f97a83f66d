"""What to draw: prompts and classes."""

from __future__ import annotations

from comfy_api.latest import io

from ..vqdiffusion_core.networks.classes import class_number
from . import conditioning
from .clip import Clip
from .model import ManagedModel
from .sockets import VQ_DIFFUSION, schema
from .validation import validate_inputs


class VQDiffusionTextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VQDiffusionTextEncode",
            display_name="VQ-Diffusion Text Encode",
            description="Turns a prompt into what the transformer reads. CLIP Text Encode (Prompt) does the same.",
            search_aliases=["prompt", "clip text encode", "positive", "negative"],
            inputs=[
                io.Clip.Input("clip", tooltip="From VQ-Diffusion Loader."),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="The prompt. Upper and lower case are the same. What is longer than the model reads (75 "
                    "tokens, stickers 34, pocket 25) is left out, and a line on the node says so.",
                ),
            ],
            outputs=[io.Conditioning.Output(tooltip="The prompt, for the sampler.")],
        )

    @classmethod
    @validate_inputs
    def execute(cls, clip: Clip | None, text: str) -> io.NodeOutput:
        if clip is None:
            raise ValueError("This model has no text encoder: it draws classes. Use VQ-Diffusion Class Encode.")
        return io.NodeOutput(clip.encode_from_tokens_scheduled(clip.tokenize(text)))


class VQDiffusionClassEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VQDiffusionClassEncode",
            display_name="VQ-Diffusion Class Encode",
            description="Chooses what to draw by a class, for models that were trained on classes.",
            search_aliases=["class label", "imagenet"],
            inputs=[
                VQ_DIFFUSION.Input("vq_model", tooltip="A model that draws classes, such as one trained on ImageNet."),
                io.String.Input(
                    "class_label",
                    default="0",
                    tooltip="The number of the class, from 0, or for ImageNet's models its name: golden retriever.",
                ),
            ],
            outputs=[io.Conditioning.Output(tooltip="The class, for the sampler.")],
        )

    @classmethod
    @validate_inputs
    def execute(cls, vq_model: ManagedModel, class_label: str) -> io.NodeOutput:
        if vq_model.spec.condition == "none":  # the sampler's socket wants something, whatever it is
            return io.NodeOutput(conditioning.of_class(0))
        if vq_model.spec.condition != "class":
            raise ValueError(f"{vq_model.name} does not draw classes. Use VQ-Diffusion Text Encode with its CLIP.")
        return io.NodeOutput(conditioning.of_class(class_number(class_label, vq_model.spec.class_rows)))
