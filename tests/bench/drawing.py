"""Steps and whole images beside diffusers and beside an autoregressive transformer, and what they cost by size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from vqdiffusion_core.diffusion.guidance import cfg
from vqdiffusion_core.diffusion.logits import apply_truncation
from vqdiffusion_core.diffusion.noise import Noise, categorical
from vqdiffusion_core.diffusion.posterior import change_probability, draw_posterior
from vqdiffusion_core.diffusion.predictor import draw, unpack
from vqdiffusion_core.diffusion.sampling import sample
from vqdiffusion_core.diffusion.settings import Settings
from vqdiffusion_core.networks.gpt import GPT, Cache
from vqdiffusion_core.networks.inference import FastTransformer
from vqdiffusion_core.networks.kernels import linear
from vqdiffusion_core.networks.specs import GPTSpec, TransformerSpec

from . import models
from .clock import Times, paired, timed
from .results import Row, compared, seconds, shown

STEPS = 16
COCO_GPT = GPTSpec(2887, (32, 32), 19, 1024, 16, text_width=512, prefix=models.LENGTH)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PEER_TYPES = {"float32": torch.float32, "bfloat16": torch.float16 if DEVICE == "cuda" else torch.bfloat16}


class Run:
    """An image of ours that begins anew whenever it is done; `step()` is one of its network evaluations."""

    def __init__(self, network: FastTransformer, guidance: float = models.GUIDANCE, batch: int = 1, steps: int = STEPS):
        self.network = network
        self.settings = Settings(steps=steps, guidance=guidance, truncation=models.TRUNCATION)
        dtype = network.dtype
        self.guidance = cfg(models.text(dtype, DEVICE, 1), models.text(dtype, DEVICE, 2), guidance)
        self.masked_BN = torch.full((batch, network.spec.num_tokens), network.spec.mask_id, device=DEVICE)
        self.states: Iterator = iter(())

    def begin(self) -> None:
        schedule, seeds = models.schedule(self.network.spec), list(range(len(self.masked_BN)))
        self.states = sample(self.network, schedule, self.guidance, self.masked_BN, None, self.settings, seeds)
        next(self.states)

    def step(self) -> None:
        if next(self.states, None) is None:
            self.begin()
            next(self.states)

    def image(self) -> Tensor:
        self.begin()
        *_, state = self.states
        return state


def products(spec: TransformerSpec, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """The two products of an MLP over a guided pair, by PyTorch's own choice and by the fastest kernel that it has."""
    rows, W = 2 * spec.num_tokens, spec.width
    x, inner = (torch.rand(rows, n, device=DEVICE, dtype=dtype) for n in (W, 4 * W))
    up, down = (torch.rand(*shape, device=DEVICE, dtype=dtype) for shape in ((4 * W, W), (W, 4 * W)))

    @torch.no_grad()
    def both(product: Callable) -> None:
        product(x, up)
        product(inner, down)

    return {"F.linear": partial(both, F.linear), "fastest": partial(both, linear)}


def product_flops(spec: TransformerSpec) -> float:
    return 2 * 2 * (2 * spec.num_tokens) * 4 * spec.width**2


def runs(spec: TransformerSpec, type_name: str) -> tuple[Run, models.PeerRun]:
    """Ours and diffusers', on the same weights."""
    dtype, peer_dtype = TYPES[type_name], PEER_TYPES[type_name]
    network = models.transformer(spec, dtype, DEVICE)
    texts = torch.cat([models.text(peer_dtype, DEVICE, 2), models.text(peer_dtype, DEVICE, 1)])
    peer = models.PeerRun(models.peer_transformer(network).to(peer_dtype), texts)
    return Run(network.prepare_for_inference()), peer


def step(spec: TransformerSpec, name: str, rounds: int, types: Sequence[str]) -> list[Row]:
    """One guided step, ours and diffusers', with large products between them: the machine's limit at that moment."""
    rows = []
    for type_name in types:
        ours, peer = runs(spec, type_name)
        times = paired({"ours": ours.step, "peer": peer.step, **products(spec, TYPES[type_name])}, rounds)
        rows.append(compared(f"{name}: guided step, {type_name}", times, limit_note(spec, times)))
        del ours, peer
    return rows


def limit_note(spec: TransformerSpec, times: dict[str, Times]) -> str:
    """What share of its time a step would need if it were products alone, by each rate measured beside it."""
    work, products_work = models.step_flops(spec, passes=2), product_flops(spec)
    parts = []
    for product in ("fastest", "F.linear"):
        rate = products_work / times[product].median
        shares = ", ".join(f"{who} {work / rate / times[who].median:.0%}" for who in ("ours", "peer"))
        parts.append(f"{shares} of {product} products at {rate / 1e9:.0f} GFLOP/s")
    return "; ".join(parts)


def image(rounds: int, types: Sequence[str]) -> list[Row]:
    """16 exact steps and a decode, in full; diffusers' 100 steps from several of them, spread over the run."""
    found = {type_name: image_times(rounds, type_name) for type_name in types}
    note = f"{STEPS} steps in full; diffusers: 100 times the median of 3 steps a round, and a decode"
    rows = [compared(f"COCO: whole image, {type_name}", times, note) for type_name, times in found.items()]
    if found.keys() == TYPES.keys():
        times = {"ours": found["bfloat16"]["ours"], "peer": found["float32"]["peer"]}
        rows.append(compared("COCO: whole image, bfloat16 against diffusers' default, float32", times))
    return rows


@torch.no_grad()
def image_times(rounds: int, type_name: str) -> dict[str, Times]:
    codec = models.vqgan(DEVICE)
    peer_codec = models.peer_vqgan(codec)
    tokens = torch.zeros(1, *models.COCO.grid, dtype=torch.long, device=DEVICE)
    embeddings = torch.zeros(1, models.ITHQ_VQGAN.code_dim, *models.COCO.grid, device=DEVICE)
    ours, peer = runs(models.COCO, type_name)

    def drawn() -> None:
        ours.image()
        codec.decode(tokens)

    def decoded() -> None:
        peer_codec.decode(embeddings, force_not_quantize=True)

    ours.step()  # to warm up
    peer.step()
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(rounds):
        times["ours"].append(timed(drawn))
        times["peer"].append(100 * median(timed(peer.step) for _ in range(3)) + timed(decoded))
    return {who: Times(tuple(each)) for who, each in times.items()}


def sampler(rounds: int) -> list[Row]:
    """What follows the network in a step, for the tokens that a step of 16 uncovers, on log p of a random network."""
    spec = models.COCO
    K, N = spec.codebook_size, spec.num_tokens
    schedule, noise = models.schedule(spec), Noise([0])
    logits = 3 * torch.randn(2, N, K, device=DEVICE)
    masked = torch.full((1, N), spec.mask_id, device=DEVICE)
    state = masked.cpu()
    peer = models.PeerRun.__new__(models.PeerRun)
    peer.scheduler = models.VQDiffusionScheduler(num_vec_classes=K + 1)
    peer.scheduler.set_timesteps(100, device=DEVICE)
    peer.generator = torch.Generator(DEVICE).manual_seed(0)
    both = logits.log_softmax(-1).transpose(1, 2).contiguous()

    def ours() -> None:
        coin, pick = noise.uniform(N), noise.uniform(N)
        where = coin < change_probability(state, 50.0, 56.0, schedule)
        asked = where[0].nonzero()[:, 0].to(DEVICE)
        log_p, log_p_null = (each[asked].log_softmax(-1) for each in logits)
        mixed = apply_truncation((5 * log_p - 4 * log_p_null).log_softmax(-1), models.TRUNCATION)
        x0 = unpack(draw(mixed, mixed.amax(-1), pick[where])).x0_M
        state.masked_scatter(where, draw_posterior(state[where], x0, 50.0, 56.0, schedule, coin[where]))

    def theirs() -> None:
        peer.tokens = masked
        peer.draw(both, torch.tensor(55, device=DEVICE))

    return [compared("COCO: a step without its network", paired({"ours": ours, "peer": theirs}, rounds))]


def scaling(rounds: int) -> list[Row]:
    """Seconds of a step by size, on a network of two layers, and the exponent of a straight line through the logs."""
    base = replace(models.COCO, layers=2)
    cases: dict[str, list[tuple[int, Callable[[], object]]]] = {
        "N (tokens)": [(side**2, Run(small(replace(base, grid=(side, side)))).step) for side in (16, 24, 32, 40)],
        "B (images)": [(batch, Run(small(base), batch=batch).step) for batch in (1, 2, 4)],
        "K (codes)": [(K, Run(small(replace(base, codebook_size=K))).step) for K in (1024, 4096, 16384)],
    }
    rows = []
    for what, sizes in cases.items():
        times = paired({str(size): call for size, call in sizes}, rounds)
        points = [(math.log(size), math.log(times[str(size)].median)) for size, _ in sizes]
        found = ", ".join(f"{size}: {seconds(times[str(size)].median)}" for size, _ in sizes)
        rows.append(Row(f"cost by {what}, 2 layers of the COCO size", f"exponent {slope(points):.2f}", note=found))
    return rows


def small(spec: TransformerSpec) -> FastTransformer:
    return models.transformer(spec, torch.float32, DEVICE).prepare_for_inference()


def slope(points: list[tuple[float, float]]) -> float:
    """Of the least squares line.

    >>> slope([(0, 1), (1, 3), (2, 5)])
    2.0
    """
    mean_x, mean_y = (sum(each) / len(points) for each in zip(*points, strict=True))
    over = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return over / sum((x - mean_x) ** 2 for x, _ in points)


def autoregressive(rounds: int, batches: Sequence[int], types: Sequence[str]) -> list[Row]:
    """An image of 1024 tokens one after the other, from tokens timed along it, against 100, 50, 25 and 16 steps."""
    rows = []
    for type_name in types:
        network = models.transformer(models.COCO, TYPES[type_name], DEVICE).prepare_for_inference()
        gpt = gpt_of(COCO_GPT, TYPES[type_name])
        for batch in batches:
            ours = Run(network, guidance=1.0, batch=batch, steps=25)
            step, whole = against(ours, gpt, batch, rounds)
            for steps in (100, 50, 25, 16):
                times = {"ours": Times(tuple(steps * each for each in step.rounds)), "peer": whole}
                what = f"COCO: {steps} steps against a token at a time, {type_name}, B = {batch}"
                rows.append(compared(what, times, "a cache of keys and values; both without guidance"))
    return rows


def gpt_of(spec: GPTSpec, dtype: torch.dtype) -> GPT:
    with torch.device("meta"):
        network = GPT(spec)
    network = network.to(dtype).to_empty(device=DEVICE).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.uniform_(-0.035, 0.035)
    return network


@torch.no_grad()
def against(ours: Run, gpt: GPT, batch: int, rounds: int) -> tuple[Times, Times]:
    """A step of ours, and a whole batch of images token by token: its text, and all tokens from nine along the way."""
    count = gpt.spec.num_tokens
    places = torch.linspace(0, count - 2, 9).int().tolist()
    prefix = gpt.prefix(models.text(gpt.head.weight.dtype, DEVICE), batch, DEVICE)
    uniform, token = torch.rand(batch, device=DEVICE), torch.zeros(batch, 1, dtype=torch.long, device=DEVICE)
    cache = Cache(gpt.spec, prefix)
    for kept in cache.layers:
        kept.zero_()

    def along() -> None:
        for place in places:
            cache.length = gpt.spec.prefix + place
            categorical(gpt.next(token, cache).float(), uniform)

    times = paired(
        {"step": ours.step, "tokens": along, "text": lambda: gpt.next(token[:, :0], Cache(gpt.spec, prefix))}, rounds
    )
    both = zip(times["tokens"].rounds, times["text"].rounds, strict=True)
    return times["step"], Times(tuple(count * tokens / len(places) + begin for tokens, begin in both))


def throughput(rounds: int, batches: tuple[int, ...]) -> list[Row]:
    """Whole images a second, 16 guided steps."""
    network = models.transformer(models.COCO, torch.bfloat16, DEVICE).prepare_for_inference()
    runs = {str(batch): Run(network, batch=batch).image for batch in batches}
    times = paired(runs, rounds)
    return [
        Row(
            f"COCO: {STEPS} guided steps, bfloat16, B = {batch}",
            f"{batch / times[str(batch)].median:.2f} images/s",
            note=f"{shown(times[str(batch)])} a batch",
        )
        for batch in batches
    ]
