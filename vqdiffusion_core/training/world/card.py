"""The card of a model of the world: what may be asked for, how well it is drawn, how it is made, and of whose icons."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from torch import nn

from ...model import VQDiffusion
from ..measuring import Figures, table
from . import recipe
from .captions import COLOUR_NAMES, LAND_WORDS, LOOK_WORDS, TIME_WORDS
from .grounds import COLOURS
from .material import PACKAGES
from .source import WORDINGS

CARD = """# {name}

A VQ-Diffusion: {pixels} x {pixels} pixels, {rows} x {columns} tokens of {codes:,} codes. It draws stickers in
landscapes: one to four objects of one look, by number, size and place, in a land at a time of day, on a plain ground or
a gradient.

{facts}

## Measured

By `vqdiffusion evaluate --world`: {prompts} prompts of each kind, a sixteenth as many for outpainting, default
settings, seeds from 0 on. The judge is not the model: it takes an object for the nearest rendering of every subject
in every look, and the ground for the nearest of all grounds. One in ten combinations of a subject with a land or a
colour is in no training image: *unseen* are prompts that name such.

{table}

## Whose icons

The weights are MIT. What they learned from is drawn of these packages of the npm registry, of which nothing is in here:

| package | licence | credit |
|---|---|---|
{credits}
"""


def card(model: VQDiffusion, figures: Figures) -> str:
    """As Markdown; of a model that reads text, as it was loaded."""
    spec, codec, text_encoder = model.transformer.spec, model.vqgan.spec, model.text_encoder
    assert text_encoder is not None
    facts = {
        "Asked for": 'in the words of its captions: "a 3D fox in a meadow at sunset", "three flat sunflowers on a '
        'yellow background", "a tent and a tree in the mountains", or a ground alone: "a beach at night". Where no '
        "look or ground is named, it chooses one.",
        "Looks": listed(f'{look} ("{words.media[0]}")' for look, words in LOOK_WORDS.items() if look in recipe.LOOKS),
        "Lands": listed(f'"{standing[0]}"' for standing, _ in LAND_WORDS.values()),
        "Times of day": listed(f'"{words[0]}"' for words in TIME_WORDS.values()),
        "Colours": listed(" or ".join(COLOUR_NAMES.get(colour, (colour,))) for colour in COLOURS),
        "Subjects": listed(subject.name for subject in recipe.CHOSEN),
        "Shape": f"VQGAN {millions(model.vqgan)} M parameters, {', '.join(map(str, codec.level_channels))} channels; "
        f"transformer {millions(model.transformer)} M, {spec.layers} layers of {spec.width}, {spec.heads} heads; text "
        f"encoder {millions(text_encoder)} M, {text_encoder.length} tokens a prompt. A learned null.",
        "Made": f"by `vqdiffusion train world FOLDER`, of {recipe.SCENES:,} scenes with {WORDINGS} captions each.",
        "Limits": "it knows what is named here, and nothing else. Words that its captions never had are named where a "
        "prompt is encoded.",
    }
    return CARD.format(
        name=model.name,
        pixels=spec.grid[0] * codec.downscale,
        rows=spec.grid[0],
        columns=spec.grid[1],
        codes=spec.codebook_size,
        facts="\n".join(
            textwrap.fill(f"- **{name}**: {said}", 120, subsequent_indent="  ") for name, said in facts.items()
        ),
        prompts=figures["of"]["prompts"],
        table=table(figures),
        credits="\n".join(f"| {p.name} {p.version} | {p.licence} | {p.credit} |" for p in PACKAGES.values()),
    )


def listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def millions(network: nn.Module) -> str:
    return f"{sum(weight.numel() for weight in network.parameters()) / 1e6:.1f}"
