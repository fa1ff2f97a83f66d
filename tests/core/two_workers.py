"""What each of the processes of test_training_workers runs, started by torchrun: a codec and a diffusion in steps."""

import runpy
import sys
from pathlib import Path

import torch

STEPS = 6


def train(folder, workers):
    """Some steps of both trainings: their losses, their gradients in the first step, and the codebook at the end."""
    from pack.tests.core import tiny_training as tiny

    codec = tiny.codec(folder, workers, mixed=False)
    diffusion = tiny.diffusion(folder, workers, kernel="mask-and-replace", mixed=False)
    seen = {}
    for name, training in (("codec", codec), ("diffusion", diffusion)):
        losses = [workers.gather(torch.tensor([training.step(0, 0.5)["loss"]])).mean()]
        seen[f"{name} gradients"] = torch.cat([weight.grad.flatten() for weight in training.weights])
        losses += [workers.gather(torch.tensor([training.step(step, 0.5)["loss"]])).mean() for step in range(1, STEPS)]
        seen[f"{name} losses"] = torch.stack(losses)
    return seen | {"codebook": codec.model.quantize.embedding.weight, "times": diffusion.times.mean_square}


if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).parents[1] / "conftest.py"))
    from pack.vqdiffusion_core.training.workers import joined

    with joined("cpu") as workers:
        seen = train(Path(sys.argv[1]), workers)
        if workers.leads:
            torch.save(seen, Path(sys.argv[1]) / "seen.pt")
        workers.wait()
