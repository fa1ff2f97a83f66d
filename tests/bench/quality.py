"""Image quality against steps, for each sampler: .venv/bin/python -m tests.bench.quality [--world --model FOLDER]

A model draws what it knows; a judge that is not the model (juries.py) looks at the images. Beside our samplers stand
the rules by which the authors' code and diffusers take fewer steps, which exist nowhere else in here. All of it takes
hours; the most telling comes first, and a run can be cut off: what is measured stays in quality.json and on the page.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from vqdiffusion_core.checkpoints import POCKET_FOLDER, load
from vqdiffusion_core.cli.options import parse_model
from vqdiffusion_core.diffusion.denoiser import Denoiser
from vqdiffusion_core.diffusion.guidance import cfg
from vqdiffusion_core.diffusion.inpainting import Region
from vqdiffusion_core.diffusion.noise import Noise
from vqdiffusion_core.diffusion.posterior import change_probability, draw_posterior
from vqdiffusion_core.diffusion.predictor import Predictor
from vqdiffusion_core.diffusion.sampling import sample
from vqdiffusion_core.diffusion.settings import Settings
from vqdiffusion_core.model import VQDiffusion
from vqdiffusion_core.pipeline import decode

from .juries import PocketJury, WorldJury, head

OTHER_SEEDS = "ancestral, other seeds"  # how far apart two lines are by chance alone
PAPERS = partial(Settings, truncation=0.86)  # where a line names none
OURS = {
    "the defaults": Settings(),
    "confidence": PAPERS(sampler="confidence"),
    "confidence, truncation 0.5": Settings(sampler="confidence", truncation=0.5),
    "confidence, truncation 1": Settings(sampler="confidence", truncation=1.0),
    "confidence, luck 1": PAPERS(sampler="confidence", luck=1.0),
    "ancestral": PAPERS(sampler="ancestral"),
    OTHER_SEEDS: PAPERS(sampler="ancestral"),
    "exact count": PAPERS(sampler="exact count"),
    "purity": PAPERS(sampler="purity"),
    "remask, rescale 0.1": PAPERS(sampler="remask", remask="rescale", remask_strength=0.1),
    "remask, confidence 0.3": PAPERS(sampler="remask", remask="confidence", remask_strength=0.3),
    "remask, loop": PAPERS(sampler="remask", remask="rescale", remask_strength=0.1, spacing="loop"),
}


def shifted(predict, masked_BN: Tensor, schedule, steps: int, noise: Noise) -> Iterator[Tensor]:
    """The authors' inference with fewer steps: the network at index i, then one step of the chain as if the state were
    that of i - skip already.
    """
    T = schedule.num_timesteps
    indices = list(range(T - 1, -1, -max(1, round(T / steps))))
    indices += [0] * (indices[-1] != 0)
    skip = max(1, round(T / steps)) - 1
    x_BN = masked_BN
    for i in indices:
        s = i - skip if i > skip else i
        x_BN = one_jump(predict, x_BN, schedule, told=i + 1, s=s, t=s + 1, noise=noise)
        yield x_BN


def unshifted(predict, masked_BN: Tensor, schedule, steps: int, noise: Noise) -> Iterator[Tensor]:
    """diffusers' set_timesteps: the last `steps` states of the chain, from a canvas that is all masked."""
    x_BN = masked_BN
    for i in reversed(range(min(steps, schedule.num_timesteps))):
        x_BN = one_jump(predict, x_BN, schedule, told=i + 1, s=i, t=i + 1, noise=noise)
        yield x_BN


RULES = {"the authors' rule": shifted, "diffusers' rule": unshifted}

EVERY = (*OURS, *RULES)
CHIEF = ("the defaults", "confidence", "ancestral", "confidence, truncation 0.5")
MEASURED = (  # guidance and steps, by which rules, in this order; what comes again is there already
    *product(((1.5, 16), (1.5, 1), (1.5, 4)), EVERY),
    *product(((1.5, 25), (1.5, 8), (1.5, 2), (1.0, 16), (3.0, 16), (1.5, 100), (1.5, 50)), CHIEF),
    *product(((1.0, 16), (3.0, 16), (1.0, 1), (3.0, 1)), EVERY),
    *product(((1.5, steps) for steps in (100, 2, 8, 25, 50)), EVERY),
    *product(((guidance, steps) for guidance in (1.0, 3.0) for steps in (2, 4, 8, 25)), EVERY),
)


def one_jump(predict, x_BN: Tensor, schedule, told: int, s: int, t: int, noise: Noise) -> Tensor:
    coin_BN, pick_BN = noise.uniform(x_BN.shape[1]), noise.uniform(x_BN.shape[1])
    where_BN = coin_BN < change_probability(x_BN, s, t, schedule)
    if not where_BN.any():
        return x_BN
    x0_M = predict(x_BN, told, where_BN, pick_BN).x0_M
    return x_BN.masked_scatter(where_BN, draw_posterior(x_BN[where_BN], x0_M, s, t, schedule, coin_BN[where_BN]))


def tokens_of(model: VQDiffusion, rule: str, steps: int, guidance: float, prompts: list[str]) -> tuple[Tensor, int]:
    """The tokens (B, N) that a rule draws, and how often the network was asked."""
    spec, count = model.transformer.spec, len(prompts)
    guided = cfg(model.text_encoder.encode(prompts).to(model.dtype), model.null(), guidance)
    masked_BN = torch.full((count, spec.num_tokens), spec.mask_id)
    if rule in OURS:
        settings = Settings(**OURS[rule].__dict__ | {"steps": steps, "guidance": guidance})
        seeds = range(count, 2 * count) if rule == OTHER_SEEDS else range(count)
        states = sample(model.transformer, model.schedule, guided, masked_BN, None, settings, seeds)
        *_, last = states
        return last.x_BN, steps
    region = Region.from_mask(masked_BN, None, model.schedule, denoise=1.0)  # so that both are told times in one way
    denoiser = Denoiser(model.transformer, model.schedule, guided, region, device=model.device)
    likely = PAPERS()
    predict = Predictor(denoiser, likely.logits_processors(), likely.sharpness)
    states = list(RULES[rule](predict, masked_BN, model.schedule, steps, Noise(list(range(count)))))
    return states[-1], len(states)


def table(found: dict[str, dict], cell: str) -> str:
    planned = sorted({steps for (_, steps), _ in MEASURED})
    columns = [steps for steps in planned if any(f", {steps} steps, " in name for name in found)]
    lines = [
        "| guidance | sampler | " + " | ".join(f"{steps} step{'s' * (steps > 1)}" for steps in columns) + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    for guidance in sorted({guidance for (guidance, _), _ in MEASURED}):
        for rule in EVERY:
            cells = []
            for steps in columns:
                each = found.get(f"{rule}, {steps} steps, guidance {guidance:g}")
                cells.append(cell.format(**each) if each else "-")
            if set(cells) != {"-"}:
                lines.append(f"| {guidance:g} | {rule} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=parse_model, default=POCKET_FOLDER)
    parser.add_argument("--world", action="store_true", help="it draws stickers in landscapes")
    parser.add_argument("--images", type=int, default=76)
    parser.add_argument("--output", type=Path, default=Path("quality.json"), help="figures, kept while it runs")
    parser.add_argument("--dtype", default="float32", help="of the transformer")
    parser.add_argument("--page", type=Path, default=Path("quality.md"), help="the table")
    options = parser.parse_args(arguments)
    model = load(options.model, options.dtype).prepare_for_inference()
    found = json.loads(options.output.read_text()) if options.output.exists() else {}
    jury = (WorldJury if options.world else PocketJury)(model, options.images)
    spec = model.transformer.spec
    of = f"--world --model {options.model.name} --dtype {options.dtype} " if options.world else ""
    for (guidance, steps), rule in MEASURED:
        name = f"{rule}, {steps} steps, guidance {guidance:g}"
        if name in found:
            continue
        begin = time.perf_counter()
        tokens_BN, asked = tokens_of(model, rule, steps, guidance, jury.prompts)
        seconds = (time.perf_counter() - begin) / len(jury.prompts)
        tokens_Bhw = tokens_BN.unflatten(1, spec.grid).clamp(max=spec.codebook_size - 1)  # masks may be left
        figures = jury.figures(tokens_Bhw, decode(model, tokens_Bhw))
        found[name] = {**figures, "evaluations": asked, "seconds": round(seconds, 3)}
        print(f"{name}: {found[name]}", flush=True)
        replace_text(options.output, json.dumps(found, indent=1) + "\n")
        replace_text(options.page, head(jury, of) + table(found, jury.cell))


def replace_text(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".part")
    unfinished.write_text(text)
    os.replace(unfinished, path)


if __name__ == "__main__":
    main(sys.argv[1:])
