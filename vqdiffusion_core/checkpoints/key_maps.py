"""The names of other layouts and ours, as data; how they are read: rename.py.

Ours are the original checkpoints' own names, so that the original needs hardly a table.
"""

from __future__ import annotations

from collections.abc import Mapping

KeyMap = Mapping[str, str | tuple[str, ...] | None]

# diffusers: Transformer2DModel with discrete input; the rows of `ff.conv`, `norm3` with a table: our extension

TRANSFORMER_DIFFUSERS: KeyMap = {
    "latent_image_embedding": "content_emb",
    "transformer_blocks.{}.norm1": "blocks.{}.ln1",
    "transformer_blocks.{}.norm2": "blocks.{}.ln1_1",
    "transformer_blocks.{}.norm3": "blocks.{}.ln2",
    "transformer_blocks.{}.attn1.to_q": "blocks.{}.attn1.query",
    "transformer_blocks.{}.attn1.to_k": "blocks.{}.attn1.key",
    "transformer_blocks.{}.attn1.to_v": "blocks.{}.attn1.value",
    "transformer_blocks.{}.attn1.to_out.0": "blocks.{}.attn1.proj",
    "transformer_blocks.{}.attn2.to_q": "blocks.{}.attn2.query",
    "transformer_blocks.{}.attn2.to_k": "blocks.{}.attn2.key",
    "transformer_blocks.{}.attn2.to_v": "blocks.{}.attn2.value",
    "transformer_blocks.{}.attn2.to_out.0": "blocks.{}.attn2.proj",
    "transformer_blocks.{}.ff.net.0.proj": "blocks.{}.mlp.0",
    "transformer_blocks.{}.ff.net.2": "blocks.{}.mlp.2",
    "transformer_blocks.{}.ff.conv1": "blocks.{}.mlp.conv1",
    "transformer_blocks.{}.ff.conv2": "blocks.{}.mlp.conv2",
    "norm_out": "to_logits.0",
    "out": "to_logits.1",
}

# diffusers: VQModel. The attention layers were called otherwise before 2023.

ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "query": "q",
    "key": "k",
    "value": "v",
    "proj_attn": "proj_out",
}
MAX_LEVELS = 16  # of a codec, each of half the other's size; the names of more are unknown


def vqgan_diffusers(levels: int) -> KeyMap:
    """For a codec of so many levels: its decoder counts them from the smallest, ours from full resolution."""
    ups = {f"decoder.up_blocks.{level}": f"decoder.up.{levels - 1 - level}" for level in range(min(levels, MAX_LEVELS))}
    resnets = {
        "encoder.down_blocks.{}.resnets.{}": "encoder.down.{}.block.{}",
        "encoder.mid_block.resnets.0": "encoder.mid.block_1",
        "encoder.mid_block.resnets.1": "encoder.mid.block_2",
        **{f"{theirs}.resnets.{{}}": f"{ours}.block.{{}}" for theirs, ours in ups.items()},
        "decoder.mid_block.resnets.0": "decoder.mid.block_1",
        "decoder.mid_block.resnets.1": "decoder.mid.block_2",
    }
    attentions = {
        "encoder.down_blocks.{}.attentions.{}": "encoder.down.{}.attn.{}",
        "encoder.mid_block.attentions.0": "encoder.mid.attn_1",
        **{f"{theirs}.attentions.{{}}": f"{ours}.attn.{{}}" for theirs, ours in ups.items()},
        "decoder.mid_block.attentions.0": "decoder.mid.attn_1",
    }
    return {
        "encoder.conv_in": "encoder.conv_in",
        "encoder.conv_norm_out": "encoder.norm_out",
        "encoder.conv_out": "encoder.conv_out",
        "encoder.down_blocks.{}.downsamplers.0": "encoder.down.{}.downsample",
        "decoder.conv_in": "decoder.conv_in",
        "decoder.conv_norm_out": "decoder.norm_out",
        "decoder.conv_out": "decoder.conv_out",
        **{f"{theirs}.upsamplers.0": f"{ours}.upsample" for theirs, ours in ups.items()},
        "quant_conv": "quant_conv",
        "post_quant_conv": "post_quant_conv",
        "quantize.embedding": "quantize.embedding",
        "quantize.proj": "quantize.proj",  # our extension: Gumbel codecs
        **{f"{theirs}.conv_shortcut": f"{ours}.nin_shortcut" for theirs, ours in resnets.items()},
        **resnets,
        **{f"{at}.{a}": f"{here}.{b}" for at, here in attentions.items() for a, b in ATTENTION.items()},
    }


# transformers: CLIPTextModel, with a prefix before version 5 and in every published file, or a whole CLIPModel

TEXT_TRANSFORMERS: KeyMap = {
    "text_model.embeddings.position_ids": None,
    "text_model.embeddings": "embeddings",
    "text_model.encoder": "encoder",
    "text_model.final_layer_norm": "final_layer_norm",
    "embeddings.position_ids": None,
    "embeddings": "embeddings",
    "encoder": "encoder",
    "final_layer_norm": "final_layer_norm",
    "vision_model": None,
    "visual_projection": None,
    "text_projection": None,
    "logit_scale": None,
}

# OpenAI: the text tower of CLIP, alone in a VQ-Diffusion checkpoint or in a whole model

TEXT_OPENAI: KeyMap = {
    "token_embedding": "embeddings.token_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "transformer.resblocks.{}.ln_1": "encoder.layers.{}.layer_norm1",
    "transformer.resblocks.{}.ln_2": "encoder.layers.{}.layer_norm2",
    **{
        f"transformer.resblocks.{{}}.attn.in_proj_{part}": tuple(
            f"encoder.layers.{{}}.self_attn.{which}_proj.{part}" for which in "qkv"
        )
        for part in ("weight", "bias")
    },
    "transformer.resblocks.{}.attn.out_proj": "encoder.layers.{}.self_attn.out_proj",
    "transformer.resblocks.{}.mlp.c_fc": "encoder.layers.{}.mlp.fc1",
    "transformer.resblocks.{}.mlp.c_proj": "encoder.layers.{}.mlp.fc2",
    "ln_final": "final_layer_norm",
    "text_projection": None,
    "visual": None,
    "logit_scale": None,
    "input_resolution": None,
    "context_length": None,
    "vocab_size": None,
}

# The original training checkpoint (its `model`, overlaid by `ema`). Each table drops what another one reads.

TEXT_PREFIX = "transformer.condition_emb."
VQGAN_PREFIX = "content_codec."
NULL_NAME = "transformer.empty_text_embed"
BARS = ("transformer.log_cumprod_at", "transformer.log_cumprod_bt", "transformer.log_cumprod_ct")  # alpha, beta, gamma

TRANSFORMER_ORIGINAL: KeyMap = {
    "transformer.transformer.content_emb": "content_emb",
    "transformer.transformer.blocks": "blocks",
    "transformer.transformer.blocks.{}.attn": "blocks.{}.attn1",  # where there is no text, there is one attention
    "transformer.transformer.blocks.{}.attn2.mask": None,  # a causal mask that nothing reads
    "transformer.transformer.to_logits": "to_logits",
    TEXT_PREFIX.rstrip("."): None,
    VQGAN_PREFIX.rstrip("."): None,
    NULL_NAME: None,
    **dict.fromkeys(BARS),
    "transformer.log_at": None,  # single steps, which follow from the bars
    "transformer.log_bt": None,
    "transformer.log_ct": None,
    "transformer.log_1_min_ct": None,
    "transformer.log_1_min_cumprod_ct": None,
    "transformer.Lt_history": None,  # how often and how well a time was trained
    "transformer.Lt_count": None,
}

# taming-transformers' GPT, in one file with the VQGAN whose codes it draws

GPT_TAMING: KeyMap = {
    "transformer.tok_emb": "tok_emb",
    "transformer.pos_emb": "pos_emb.weight",  # (1, positions, W): with a batch of one
    "transformer.blocks": "blocks",
    "transformer.blocks.{}.attn.mask": None,  # the causal mask
    "transformer.ln_f": "ln_f",
    "transformer.head": "head",
    **dict.fromkeys(("encoder", "decoder", "quant_conv", "post_quant_conv", "quantize", "loss", "colorize")),
}

GPT_OURS: KeyMap = {name: name for name in ("tok_emb", "pos_emb", "text_emb", "blocks", "ln_f", "head")}

# taming-transformers' VQGAN; the codebook is a buffer (ITHQ), an Embedding (f16) or called `embed` (Gumbel)

VQGAN_TAMING: KeyMap = {
    "encoder": "encoder",
    "decoder": "decoder",
    "quant_conv": "quant_conv",
    "post_quant_conv": "post_quant_conv",
    "quantize.embedding": "quantize.embedding.weight",
    "quantize.embedding.weight": "quantize.embedding.weight",
    "quantize.embed": "quantize.embedding",
    "quantize.proj": "quantize.proj",
    "quantize.cluster_size": None,
    "quantize.embedding_avg": None,
    "quantize.embedding.cluster_size": None,  # the same of a codebook that is an EmbeddingEMA
    "quantize.embedding.embed_avg": None,
    "model_ema": None,  # averages under names of one word, which latent diffusion's VQGANs keep beside the weights
    "loss": None,
    "colorize": None,
    "transformer": None,  # of the models that draw code after code
    "cond_stage_model": None,
    "permuter": None,
}
VQGAN_IN_CHECKPOINT: KeyMap = {
    **{f"enc.{theirs}": ours for theirs, ours in VQGAN_TAMING.items()},
    "dec.decoder": "decoder",
    "dec.post_quant_conv": "post_quant_conv",
    "dec.quantize": None,  # the same codebook once more
}
