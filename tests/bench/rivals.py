"""The built-in model and its rival, judged on the same scenes: .venv/bin/python -m tests.bench.rivals [PART ...]

drawn    scenes of one object, by the judge of quality.py: rows to be read beside docs/quality_pocket.md
mistake  when a quarter of an image is drawn, some of these tokens become others, and the drawing goes on
hole     a quarter of a subject is drawn anew, from a prompt or from what lies around it alone
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from vqdiffusion_core.checkpoints import POCKET_FOLDER, RIVAL_FOLDER, load
from vqdiffusion_core.diffusion.autoregressive import draw_rows
from vqdiffusion_core.diffusion.guidance import Guidance, cfg
from vqdiffusion_core.diffusion.noise import Noise
from vqdiffusion_core.diffusion.samplers import State
from vqdiffusion_core.diffusion.sampling import sample
from vqdiffusion_core.diffusion.settings import AUTOREGRESSIVE, Settings
from vqdiffusion_core.model import VQDiffusion
from vqdiffusion_core.networks.gpt import GPT
from vqdiffusion_core.pipeline import decode
from vqdiffusion_core.training import scenes
from vqdiffusion_core.training.codec import psnr
from vqdiffusion_core.training.data import to_tensor
from vqdiffusion_core.training.evaluate import is_first
from vqdiffusion_core.training.measuring import mean

from .juries import PocketJury

GUIDANCES = (1.0, 1.5, 3.0)
EARLY = 36  # tokens of 144
MISTAKES = (0, 6)  # among them
GRID = 12  # tokens a side
CELL = scenes.CANVAS // GRID  # pixels of one
HOLES = {"upper left": slice(1, 6), "lower right": slice(6, 11)}  # rows, and columns too
SHOWN = {
    "fox": "white",
    "owl": "green",
    "teddy bear": "blue",
    "strawberry": "yellow",
    "rocket": "purple",
    "guitar": "pink",
    "penguin": "orange",
}
TILE = 128  # pixels

Prompts = Sequence[str] | None  # None: what the model has learned as no prompt, without guidance


class Way(NamedTuple):
    """A model with the settings that it is drawn by."""

    model: VQDiffusion
    settings: Settings

    @property
    def is_by_rows(self) -> bool:
        return isinstance(self.model.transformer, GPT)

    def guidance(self, prompts: Prompts) -> Guidance:
        null = self.model.null()
        if prompts is None:
            return cfg(null, null, 1.0)
        return cfg(self.model.text_encoder.encode(prompts), null, self.settings.guidance)

    def states(self, prompts: Prompts, tokens_BN: Tensor | None, region_BN: Tensor | None) -> Iterator[State]:
        """Of an image a prompt, or a row of `tokens_BN`, by the seeds from 0 on."""
        spec = self.model.transformer.spec
        if tokens_BN is None:
            tokens_BN = torch.full((len(prompts), spec.num_tokens), spec.mask_id)
        given = self.model.transformer, self.model.schedule, self.guidance(prompts), tokens_BN
        return sample(*given, None if region_BN is None else region_BN.float(), self.settings, range(len(tokens_BN)))

    def draw(self, prompts: Prompts, tokens_BN: Tensor | None = None, region_BN: Tensor | None = None) -> Tensor:
        *_, last = self.states(prompts, tokens_BN, region_BN)
        return last.x_BN

    def images(self, tokens_BN: Tensor) -> list[Image.Image]:
        return decode(self.model, tokens_BN.unflatten(1, self.model.transformer.spec.grid))


Ways = dict[str, Way]


def ways() -> Ways:
    papers = partial(Settings, truncation=0.86)
    by_steps, by_rows = (load(folder, "float32").prepare_for_inference() for folder in (POCKET_FOLDER, RIVAL_FOLDER))
    return {
        "token by token": Way(by_rows, papers(sampler=AUTOREGRESSIVE, guidance=1.0)),  # more makes it worse
        "confidence, 16 steps": Way(by_steps, papers(sampler="confidence")),
        "remask, 16 steps": Way(by_steps, papers(sampler="remask", remask="rescale", remask_strength=0.1)),
        "remask, 50 steps": Way(by_steps, papers(50, sampler="remask", remask="rescale", remask_strength=0.1)),
    }


def ask(count: int) -> list[scenes.Scene]:
    rng = random.Random(6)
    return [scenes.plain(rng.choice(scenes.SUBJECTS), rng.choice([*scenes.COLOURS])) for _ in range(count)]


def subjects_right(asked: Sequence[scenes.Scene], images: Sequence[Image.Image]) -> float:
    return mean(is_first(scene, image, 0) for scene, image in zip(asked, images, strict=True))


def likeness(images: Sequence[Image.Image], truth: Sequence[Image.Image], where_BN: Tensor) -> float:
    """PSNR in dB over the tokens that are marked."""
    where_BHW = where_BN.unflatten(1, (GRID, GRID)).repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)
    drawn_P3, true_P3 = (torch.stack([*map(to_tensor, each)]).movedim(1, -1)[where_BHW] for each in (images, truth))
    return psnr(drawn_P3, true_P3)


# What is drawn


def judge_drawn(known: Ways, count: int) -> None:
    way = known["token by token"]
    jury, grid = PocketJury(way.model, count), way.model.transformer.spec.grid
    print("| token by token, guidance | subject first, likeness, odd pairs |\n|---|---|")
    for guidance in GUIDANCES:
        x_BN = way._replace(settings=replace(way.settings, guidance=guidance)).draw(jury.prompts)
        figures = jury.figures(x_BN.unflatten(1, grid), way.images(x_BN))
        print(f"| {guidance:g} | {jury.cell.format(**figures)} |", flush=True)


# A mistake


class Mistaken(NamedTuple):
    """Images in whose drawing some of the first tokens were replaced."""

    x_BN: Tensor
    wrong_BN: Tensor  # what they were replaced by, elsewhere -1

    @property
    def still_there(self) -> float:
        return (self.x_BN == self.wrong_BN)[self.wrong_BN >= 0].float().mean().item()


def draw_with_mistakes(way: Way, prompts: Sequence[str], count: int) -> Mistaken:
    K = way.model.transformer.spec.codebook_size
    if way.is_by_rows:
        x_BN = way.draw(prompts)
        early_BN = (torch.arange(x_BN.shape[1]) < EARLY).expand_as(x_BN)
        wrong_BN = mistakes(x_BN, early_BN, count, K)
        return Mistaken(way.draw(prompts, torch.where(wrong_BN < 0, x_BN, wrong_BN), ~early_BN), wrong_BN)
    wrong_BN = None
    for x_BN, _ in way.states(prompts, None, None):
        early_BN = x_BN != K
        if wrong_BN is None and early_BN.sum(1).min() >= EARLY:
            wrong_BN = mistakes(x_BN, early_BN, count, K)
            x_BN.copy_(torch.where(wrong_BN < 0, x_BN, wrong_BN))  # the run goes on from the tokens that it has given
    return Mistaken(x_BN, wrong_BN)


def mistakes(x_BN: Tensor, among_BN: Tensor, count: int, K: int) -> Tensor:
    """Codes that these tokens do not have, at `count` of them; elsewhere -1."""
    luck = torch.Generator().manual_seed(0)
    chosen_BM = torch.rand(x_BN.shape, generator=luck).masked_fill(~among_BN, -1).topk(count).indices
    others_BM = (x_BN.gather(1, chosen_BM) + torch.randint(1, K, chosen_BM.shape, generator=luck)) % K
    return torch.full_like(x_BN, -1).scatter(1, chosen_BM, others_BM)


def judge_mistakes(known: Ways, count: int) -> None:
    asked = ask(count)
    truth = [scenes.render(scene) for scene in asked]
    print("| wrong tokens | drawn by | still there | subject first | likeness of the others |\n|---|---|---|---|---|")
    for number in MISTAKES:
        for name, way in known.items():
            drawn = draw_with_mistakes(way, [scene.caption for scene in asked], number)
            images = way.images(drawn.x_BN)
            still = f"{drawn.still_there:.0%}" if number else "-"
            like = likeness(images, truth, drawn.wrong_BN < 0)
            print(f"| {number} | {name} | {still} | {subjects_right(asked, images):.0%} | {like:.1f} dB |", flush=True)


# A hole


def fill(way: Way, prompts: Prompts, tokens_BN: Tensor, hole_BN: Tensor) -> Tensor:
    """Token by token, those in the hole see what lies before them, above or to the left, and nothing else: the node
    refuses that.
    """
    if not way.is_by_rows:
        return way.draw(prompts, tokens_BN, hole_BN)
    spec, noise = way.model.transformer.spec, Noise([*range(len(tokens_BN))])
    given = way.guidance(prompts), State.from_tokens(tokens_BN, spec.mask_id), hole_BN
    *_, last = draw_rows(
        way.model.transformer, *given, way.settings.logits_processors(), noise, spec.grid, way.model.device
    )
    return last.x_BN


@torch.no_grad()
def tokens_of(way: Way, images: Sequence[Image.Image]) -> Tensor:
    return torch.cat([way.model.vqgan.encode(to_tensor(image)[None]).flatten(1) for image in images])


def hole_of(part: slice) -> Tensor:
    hole_hw = torch.zeros(GRID, GRID, dtype=torch.bool)
    hole_hw[part, part] = True
    return hole_hw.flatten()


def judge_holes(known: Ways, count: int) -> None:
    asked = ask(count)
    known = {name: way for name, way in known.items() if way.settings.sampler != "remask"}
    print("| hole | prompt | filled by | subject first | likeness of the hole |\n|---|---|---|---|---|")
    for place, part in HOLES.items():
        for name, way in known.items():
            tokens_BN = tokens_of(way, [scenes.render(scene) for scene in asked])
            hole_BN = hole_of(part).expand_as(tokens_BN)
            for said, prompts in (("yes", [scene.caption for scene in asked]), ("none", None)):
                images = way.images(fill(way, prompts, tokens_BN, hole_BN))
                like, right = likeness(images, way.images(tokens_BN), hole_BN), subjects_right(asked, images)
                print(f"| {place} | {said} | {name} | {right:.0%} | {like:.1f} dB |", flush=True)


# Images for docs/compare.md


def pictures() -> Iterator[tuple[str, Image.Image]]:
    """Names and images: both ways; a mistake; a hole."""
    known = ways()
    subjects = {subject.name: subject for subject in scenes.SUBJECTS}
    asked = [scenes.plain(subjects[name], colour) for name, colour in SHOWN.items()]
    prompts = [scene.caption for scene in asked]
    first, second, third = (known[name] for name in ("token by token", "confidence, 16 steps", "remask, 50 steps"))
    yield "compare_drawn.jpg", sheet([way.images(way.draw(prompts)) for way in (second, first)])
    spoilt = [(way, draw_with_mistakes(way, prompts, MISTAKES[-1]).x_BN) for way in (first, second, third)]
    yield "compare_mistake.jpg", sheet([way.images(x_BN) for way, x_BN in spoilt])
    tokens_BN = tokens_of(second, [scenes.render(scene) for scene in asked])
    hole_BN = hole_of(HOLES["upper left"]).expand_as(tokens_BN)
    filled = [way.images(fill(way, None, tokens_BN, hole_BN)) for way in (second, first)]
    yield "compare_hole.jpg", sheet([with_hole(second.images(tokens_BN)), *filled])


def with_hole(images: Sequence[Image.Image]) -> list[Image.Image]:
    """A grey square in place of the upper left quarter of the subject."""
    ends = [CELL * each for each in (HOLES["upper left"].start, HOLES["upper left"].stop)]
    for image in images:
        image.paste((128, 128, 128), (ends[0], ends[0], ends[1], ends[1]))
    return [*images]


def sheet(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    whole = Image.new("RGB", (TILE * len(rows[0]), TILE * len(rows)))
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            whole.paste(image.resize((TILE, TILE), Image.Resampling.BICUBIC), (x * TILE, y * TILE))
    return whole


PARTS = {"drawn": judge_drawn, "mistake": judge_mistakes, "hole": judge_holes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--images", type=int, default=76, help="of each part")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    known = ways()
    for part in options.parts or PARTS:
        PARTS[part](known, options.images)


if __name__ == "__main__":
    main()
