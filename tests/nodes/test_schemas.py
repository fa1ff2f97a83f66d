"""What workflow files and users hold on to: ids and sockets never change, and every part says what it is for."""

from pathlib import Path

import pytest
from comfy_api.latest import io
from pack.nodes import NODES, sockets
from pack.nodes.validation import SOCKETS

ROOT = Path(__file__).parents[2]
SCHEMAS = {schema.node_id: schema for schema in (node.GET_SCHEMA() for node in NODES)}

# ids in the order of the saved widget values, "?" for optional ones -> the outputs' types
CONTRACT = {
    "VQDiffusionLoader": ("model: COMBO, dtype: COMBO", "VQ_DIFFUSION, CLIP, VAE"),
    "VQDiffusionLora": ("vq_model: VQ_DIFFUSION, lora_name: COMBO, strength: FLOAT", "VQ_DIFFUSION, CLIP"),
    "VQDiffusionLoadImages": ("folder: COMBO", "IMAGE, STRING"),
    "VQDiffusionTeach": (
        "vq_model: VQ_DIFFUSION, images: IMAGE, word: STRING, captions: STRING, steps: INT, rank: INT, "
        "learning_rate: FLOAT, batch: INT, seed: INT, name: STRING, existing_lora?: COMBO, "
        "learn_null?: BOOLEAN, whole_model?: BOOLEAN",
        "VQ_DIFFUSION, CLIP, IMAGE, LORA_MODEL, LOSS_MAP",
    ),
    "VQDiffusionTextEncode": ("clip: CLIP, text: STRING", "CONDITIONING"),
    "VQDiffusionClassEncode": ("vq_model: VQ_DIFFUSION, class_label: STRING", "CONDITIONING"),
    "VQDiffusionEmptyTokens": ("vq_model: VQ_DIFFUSION, batch_size: INT, width?: INT, height?: INT", "LATENT"),
    "VQDiffusionSampler": (
        "vq_model: VQ_DIFFUSION, positive: CONDITIONING, latent: LATENT, seed: INT, steps: INT, guidance: FLOAT, "
        "truncation: FLOAT, sampler: COMBO, denoise: FLOAT, negative?: CONDITIONING",
        "LATENT",
    ),
    "VQDiffusionGuidanceOptions": (
        "vq_model: VQ_DIFFUSION, guidance_schedule: COMBO, guidance_start: FLOAT, guidance_end: FLOAT",
        "VQ_DIFFUSION",
    ),
    "VQDiffusionSamplerOptions": (
        "vq_model: VQ_DIFFUSION, spacing: COMBO, temperature: FLOAT, top_k: INT, sharpness: FLOAT, purity: FLOAT, "
        "luck: FLOAT, remask: COMBO, remask_strength: FLOAT",
        "VQ_DIFFUSION",
    ),
    "VQDiffusionEditOptions": (
        "vq_model: VQ_DIFFUSION, soft: BOOLEAN, rounds: INT, overlap: FLOAT",
        "VQ_DIFFUSION",
    ),
    "VQDiffusionDecode": ("samples: LATENT, vae: VAE", "IMAGE"),
    "VQDiffusionEncode": ("pixels: IMAGE, vae: VAE", "LATENT"),
    "VQDiffusionTokenMask": (
        "samples: LATENT, mask?: MASK, vae?: VAE, grow: INT, painted?: STRING, feather?: INT",
        "LATENT, MASK",
    ),
    "VQDiffusionTokenInspector": ("samples: LATENT, vae: VAE, show?: COMBO", "IMAGE"),
    "VQDiffusionDownload": ("model: COMBO, download: BOOLEAN, confirm: STRING", "STRING"),
}

every_schema = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)


def test_ids_and_sockets_are_those_that_shared_workflows_use():
    def inputs(schema):
        return ", ".join(f"{part.id}{'?' * part.optional}: {part.get_io_type()}" for part in schema.inputs)

    found = {name: (inputs(s), ", ".join(part.io_type for part in s.outputs)) for name, s in SCHEMAS.items()}
    assert found == CONTRACT


@every_schema
def test_every_part_says_what_it_is_for(schema):
    assert schema.category == "VQ-Diffusion" and schema.display_name.startswith("VQ-Diffusion ")
    assert schema.description
    untold = [part.id for part in [*schema.inputs, *schema.outputs] if not part.tooltip]
    assert untold == []


@every_schema
def test_what_comes_in_over_a_link_is_validated(schema):
    links = [part.id for part in schema.inputs if not isinstance(part, io.WidgetInput)]
    assert [name for name in links if name not in SOCKETS] == [], "to be named in validation.SOCKETS"


@every_schema
def test_every_node_has_a_help_page_that_explains_each_input_and_shows_the_node(schema):
    page = (ROOT / "web" / "docs" / f"{schema.node_id}.md").read_text()
    assert page.startswith(f"# {schema.display_name}\n")
    assert [part.id for part in schema.inputs if f"**{part.id}**" not in page] == []
    image = f"{schema.node_id}/result.png"  # ./dev images
    assert f"]({image})" in page and (ROOT / "web" / "docs" / image).exists()


def test_the_seed_can_change_by_itself_after_each_run():
    (seed,) = (part for part in SCHEMAS["VQDiffusionSampler"].inputs if part.id == "seed")
    assert seed.control_after_generate is True and seed.max == 2**64 - 1


def test_the_seed_of_teaching_stays_or_every_run_would_teach_anew():
    (seed,) = (part for part in SCHEMAS["VQDiffusionTeach"].inputs if part.id == "seed")
    assert seed.as_dict()["control_after_generate"] is False


def test_what_a_host_does_not_know_yet_is_left_out(monkeypatch):
    monkeypatch.setattr(sockets, "KNOWN", sockets.KNOWN - {"search_aliases", "is_experimental"})
    schema = sockets.schema("Node", display_name="a node", search_aliases=["thing"], is_experimental=True)
    assert schema.display_name == "a node" and schema.is_experimental is False
