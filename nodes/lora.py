"""LoRAs on a model, by the host's patches: its weights stay what they are, and its settings for memory hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import io

from ..vqdiffusion_core.lora import Lora, read_lora
from ..vqdiffusion_core.lora.merge import learn_words
from ..vqdiffusion_core.networks.inference import FastTransformer
from ..vqdiffusion_core.networks.text_encoder import TextEncoder
from . import runtime
from .loaders import lora_file, lora_names
from .model import ManagedModel
from .sockets import VQ_DIFFUSION, schema
from .validation import validate_inputs

MOST = 100.0  # as in the host's LoRA nodes

Patches = dict[Any, Any]  # of the host: a weight's name, or (name, which rows) -> what is added


class VQDiffusionLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VQDiffusionLora",
            display_name="VQ-Diffusion LoRA",
            description="Adds a character or a style that a LoRA was taught. Several go one after the other.",
            search_aliases=["load lora", "lora stack", "character", "style"],
            inputs=[
                VQ_DIFFUSION.Input("vq_model", tooltip="The model that the LoRA was taught on, or one like it."),
                io.Combo.Input(
                    "lora_name",
                    options=lora_names(),
                    tooltip="The files in models/loras, and two for the pocket model that come with this pack. One of "
                    "another model is refused, and the error says of which.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-MOST,
                    max=MOST,
                    step=0.01,
                    tooltip="How strongly it is added. 0 is the model as it was, below 0 takes away what was taught.",
                ),
            ],
            outputs=taught_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, lora_name: str, **others: Any) -> str:
        """Another file under the same name is another LoRA."""
        stat = lora_file(lora_name).stat() if lora_name in lora_names() else None
        return f"{others.get('strength')} {stat and (stat.st_mtime_ns, stat.st_size)}"

    @classmethod
    @validate_inputs
    def execute(cls, vq_model: ManagedModel, lora_name: str, strength: float) -> io.NodeOutput:
        patched = with_lora(vq_model, read_lora(lora_file(lora_name)), strength)
        return io.NodeOutput(patched, patched.clip)


def taught_outputs() -> list[io.Output]:
    """A model that has learned something, and what encodes its prompts."""
    return [
        VQ_DIFFUSION.Output(display_name="vq_model", tooltip="The model with the LoRA, for the sampler."),
        io.Clip.Output(
            display_name="clip", tooltip="The text encoder that knows the new words: encode your prompts with it."
        ),
    ]


def with_lora(vq_model: ManagedModel, lora: Lora, strength: float) -> ManagedModel:
    """A model that shares the weights of another, patched as it is loaded."""
    model = vq_model.model
    lora.check_fit(model)
    if strength == 0:
        return vq_model
    assert isinstance(model.transformer, FastTransformer)  # no other fits
    patcher, clip = vq_model.patcher.clone(), vq_model.clip and vq_model.clip.clone()
    patcher.add_patches(layer_patches(model.transformer, lora), strength)
    if clip is not None:
        clip.patcher.add_patches(token_patches(clip.cond_stage_model, lora), strength)
        learn_words(clip.cond_stage_model, lora)
    if lora.null_1LD is not None and model.learned_null_1LD is not None:
        null_1LD = model.learned_null_1LD
        model = replace(model, learned_null_1LD=(null_1LD.float() + strength * lora.null_1LD).to(null_1LD))
    return replace(vq_model, model=model, patcher=patcher, clip=clip)


def layer_patches(transformer: FastTransformer, lora: Lora) -> Patches:
    """Where products were made one, those of a layer are some rows of a weight."""
    patches: Patches = {}
    for layer, (A_ri, B_or) in lora.pairs.items():
        name, rows = transformer.place_of(f"{layer}.weight")
        whole = rows.start is None
        patches[name if whole else (name, (0, rows.start, rows.stop - rows.start))] = runtime.low_rank(B_or, A_ri)
    return patches


def token_patches(text_encoder: TextEncoder, lora: Lora) -> Patches:
    """All token vectors gain by one product of low rank, whose left part says which of them."""
    if not lora.tokens:
        return {}
    name = next(name for name, _ in text_encoder.named_parameters() if name.endswith("token_embedding.weight"))
    vectors_nD = torch.stack([*lora.tokens.values()])
    which_Vn = torch.zeros(text_encoder.get_parameter(name).shape[0], len(vectors_nD))
    for n, i in enumerate(lora.tokens):
        which_Vn[i, n] = 1
    return {name: runtime.low_rank(which_Vn, vectors_nD)}
