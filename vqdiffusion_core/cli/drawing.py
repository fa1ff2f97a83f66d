"""The images of a list, drawn by any number of processes on any number of machines (torchrun starts them).

Every line is one image with a seed of its own, so it does not matter who draws it, when, or together with which others:
what is there already is not drawn again, and the same command goes on where it was cut off.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..diffusion.guidance import Condition
from ..diffusion.settings import notify_of_unheard
from ..distributed import ALONE, Processes
from ..files.image_output import write_image
from ..model import VQDiffusion
from ..networks.oom import AdaptiveBatches, is_out_of_memory
from ..notices import notices_of
from ..pipeline import generate_each
from .lists import Job

Report = Callable[[str], None]

# Tokens of the images in one run, on a CPU and elsewhere. More would be no faster, and an interrupt would cost more: a
# CPU's products are fastest from a thousand rows on, a GPU's from some thousands (docs/performance.md).
TOKENS_TOGETHER = {True: 1 << 10, False: 1 << 13}


def draw(
    model: VQDiffusion, jobs: Sequence[Job], processes: Processes = ALONE, report: Report = lambda line: None
) -> int:
    """Draw this process's part of the images that are not there yet; returns how many failed, of all processes.

    An image that fails does not end the others: `report` is told of each that is drawn or fails. Call it in every
    process: it returns when all of them are done.
    """
    mine, failed = jobs[processes.rank :: processes.count], 0
    on_cpu = model.device.type == "cpu"
    batches = AdaptiveBatches(max(1, TOKENS_TOGETHER[on_cpu] // model.transformer.spec.num_tokens))
    with tqdm(total=len(mine), unit="image", disable=processes.quiet) as bar:
        for group in alike(mine):

            def draw_part(part: slice, group: Sequence[Job] = group) -> Tensor:
                failures = draw_batch(model, [job for job in group[part] if not job.path.exists()], report)
                bar.update(part.stop - part.start)
                return torch.tensor([failures])

            failed += int(batches.map(draw_part, len(group)).sum())
    return processes.sum(failed)


def alike(jobs: Iterable[Job]) -> list[list[Job]]:
    """Those that one run can draw: with the same settings, and all of them with negative prompts or none."""
    groups: dict[object, list[Job]] = defaultdict(list)
    for job in jobs:
        groups[job.settings, job.negative is None].append(job)
    return list(groups.values())


def draw_batch(model: VQDiffusion, jobs: Sequence[Job], report: Report) -> int:
    """Draws images in one run and writes them; returns how many failed. If the run fails, each is drawn by itself;
    if memory runs out for several, that is for the caller to know.
    """
    if not jobs:
        return 0
    try:
        images = draw_together(model, jobs)
    except Exception as error:  # whatever it is, the other prompts may be drawn
        if len(jobs) == 1:
            report(f"line {jobs[0].line} failed: {type(error).__name__}: {error}")
            return 1
        if is_out_of_memory(error):
            raise
        return sum(draw_batch(model, [job], report) for job in jobs)
    return sum(not wrote(image, job, report) for image, job in zip(images, jobs, strict=True))


def draw_together(model: VQDiffusion, jobs: Sequence[Job]) -> list[Image.Image]:
    conditions, nulls = zip(*(read_prompts(model, job) for job in jobs), strict=True)
    learned = jobs[0].negative is None  # then all have the same
    settings, seeds = jobs[0].settings, [job.seed for job in jobs]
    return generate_each(model, conditions, nulls[:1] if learned else nulls, seeds, settings)


def read_prompts(model: VQDiffusion, job: Job) -> tuple[Condition, Condition]:
    """What the network reads of the prompt and of the negative one; notices are said to be of this line."""
    with notices_of(f"line {job.line}"):
        notify_of_unheard(job.settings, has_negative=job.negative is not None)
        return model.encode(job.prompt), model.null() if job.negative is None else model.encode(job.negative)


def wrote(image: Image.Image, job: Job, report: Report) -> bool:
    try:
        write_image(image, job.path)
    except Exception as error:
        report(f"line {job.line} failed: {type(error).__name__}: {error}")
        return False
    report(str(job.path))
    return True
