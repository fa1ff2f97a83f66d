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


def share(folder, workers):
    """A run that begins with two images, one for each process, and what this process opened of them."""
    from pack.tests.core import tiny_training as tiny

    source = tiny.Images(2)
    training = tiny.diffusion(folder, workers, source=source, batch=2)
    losses = [workers.gather(torch.tensor([training.step(step, 0.5)["loss"]])).mean() for step in range(STEPS)]
    return {"tokens": training.examples.tokens_SN, "losses": torch.stack(losses), "opened": source.opened}


if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).parents[1] / "conftest.py"))
    from pack.vqdiffusion_core.distributed import joined

    with joined("cpu") as workers:
        seen = train(Path(sys.argv[1]), workers)
        shared = share(Path(sys.argv[1]) / "shared", workers)
        shared["opened"] = workers.collect([shared["opened"]])
        if workers.is_main:
            patience = workers.patient._get_backend(torch.device("cpu")).options._timeout
            torch.save(seen | {"shared": shared, "patience": patience}, Path(sys.argv[1]) / "seen.pt")
        workers.wait()
