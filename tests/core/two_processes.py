"""What each of the processes of test_processes runs, started by torchrun: codec, decoder and diffusion in steps."""

import runpy
import sys
from pathlib import Path

import torch

STEPS = 6


def train(folder, processes, accumulate=1):
    """Some steps of each training: their losses, their gradients in the first step, and the codebook at the end."""
    from pack.tests.core import tiny_training as tiny

    settings = {"mixed": False, "accumulate": accumulate}
    codec = tiny.codec(folder, processes, **settings)
    decoder = tiny.decoder(folder, processes, mixed=False)
    diffusion = tiny.diffusion(folder, processes, kernel="mask-and-replace", token_shares=[0.5], **settings)
    seen = {}
    for name, training in (("codec", codec), ("decoder", decoder), ("diffusion", diffusion)):
        losses = []
        for step, metrics in enumerate(tiny.take_steps(training, STEPS)):
            losses.append(mean_loss(metrics, processes))
            if step == 0:
                seen[f"{name} gradients"] = torch.cat([weight.grad.flatten() for weight in training.weights])
        seen[f"{name} losses"] = torch.stack(losses)
    tables = {"times": diffusion.times.mean_square, "costs": diffusion.costs.mean_K}
    return seen | tables | {"codebook": codec.model.quantize.embedding.weight}


def mean_loss(metrics, processes):
    return processes.all_gather(torch.tensor([metrics["loss"]])).mean()


def shard(folder, processes):
    """A run that begins with two images, one for each process, and what this process opened of them."""
    from pack.tests.core import tiny_training as tiny

    source = tiny.Images(2)
    training = tiny.diffusion(folder, processes, source=source, batch=2)
    losses = [mean_loss(metrics, processes) for metrics in tiny.take_steps(training, STEPS)]
    return {"tokens": training.examples.tokens_SN, "losses": torch.stack(losses), "opened": source.opened}


def match(folder, processes):
    """The text encoder of a run that has matched captions."""
    from pack.tests.core import tiny_training as tiny
    from pack.vqdiffusion_core.training.matching import match_captions

    training = tiny.diffusion(folder, processes)
    match_captions(training, folder, 2)
    return [weight.detach() for weight in training.networks.text_encoder.parameters()]


if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).parents[1] / "conftest.py"))
    from pack.vqdiffusion_core.distributed import init_processes

    with init_processes("cpu") as processes:
        seen = {accumulate: train(Path(sys.argv[1]), processes, accumulate) for accumulate in (1, 2)}
        shared = shard(Path(sys.argv[1]) / "shared", processes)
        shared["opened"] = processes.gather_objects([shared["opened"]])
        matched = processes.gather_objects([match(Path(sys.argv[1]) / "matched", processes)])
        if processes.is_main:
            patience = processes.patient._get_backend(torch.device("cpu")).options._timeout
            torch.save(
                seen | {"shared": shared, "matched": matched, "patience": patience}, Path(sys.argv[1]) / "seen.pt"
            )
        processes.barrier()
