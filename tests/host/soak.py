"""Image after image in one ComfyUI, with everything changing: models, sizes, samplers, settings, and some runs
interrupted. Memory, open files, threads and the time of an image must stay what they were after the warm-up. The
command for it is in reliability.py.
"""

import random
import statistics
import time
from dataclasses import dataclass, field

import psutil
import requests

from . import shipped
from .comfy import Interrupted
from .fuzz import memory, options
from .shipped import node, text_to_image

READ_EVERY = 20  # images
LOOKS = 10  # at the process, between one request and the next
WARM = 0.3  # of all images; ComfyUI and PyTorch fill their caches meanwhile
GROWTH = 1.02  # of the memory held
SLOWER = 1.25  # of the time of an image: the machine is not alone
PROMPTS = ("an owl on red", "a teddy bear on a blue background", "red", "")
SIZES = ((0, 0), (0, 0), (96, 128), (128, 104))  # 0: the model's own


@dataclass
class Reading:
    """What ComfyUI's process holds, after so many images."""

    images: int
    held: int  # bytes of memory, without what the allocator keeps for later
    files: int
    threads: int  # but those of asyncio's pool, which are as many as were ever wanted at once


@dataclass
class Record:
    readings: list[Reading] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of the same image, drawn again at each reading
    drawn: int = 0
    interrupted: int = 0
    other_images: int = 0  # drawn again, and not the same


def workflow(chance, samplers):
    """An image of the built-in model or of a small one."""
    made = text_to_image(
        chance.choice(PROMPTS) + " " * chance.randrange(3),
        batch_size=chance.choice([1, 1, 1, 3]),
        seed=chance.randrange(2**64),
        steps=chance.choice([1, 2, 4]),
        sampler=chance.choice(samplers),
        guidance=chance.choice([1.0, 1.5, 4.0]),
        truncation=chance.choice([0.7, 1.0]),
        denoise=1.0,
    )
    made["Loader"]["inputs"]["model"] = chance.choice(["pocket (built in)", "pocket (built in)", "tiny"])
    if made["Loader"]["inputs"]["model"].startswith("pocket"):
        made["EmptyTokens"]["inputs"] |= dict(zip(("width", "height"), chance.choice(SIZES), strict=True))
    made["look"] = node("VQDiffusionTokenInspector", samples=["Sampler", 0], vae=["Loader", 2])
    show = next(name for name, content in made.items() if content["class_type"] in ("SaveImage", "PreviewImage"))
    made[show] = node("PreviewImage", images=["Decode", 0])
    return made


def soak(comfy, images, seed, report=print):
    chance, record = random.Random(seed), Record()
    sampler = comfy.object_info()["VQDiffusionSampler"]["input"]["required"]["sampler"]
    samplers = [name for name in options(sampler) if name != "autoregressive"]  # that of another kind of model
    good = text_to_image(seed=1, steps=4)
    first = shipped.image(comfy, good).tobytes()
    while record.drawn < images:
        made = workflow(chance, samplers)
        if chance.random() < 0.1:
            interrupt(comfy, made, chance)
            record.interrupted += 1
        else:
            comfy.run(made)
        if chance.random() < 0.03:
            comfy.free()
        record.drawn += 1
        if record.drawn % READ_EVERY == 0:
            begin = time.perf_counter()
            again = shipped.image(comfy, text_to_image(shipped.anew(), seed=1, steps=4)).tobytes()
            record.seconds.append(time.perf_counter() - begin)
            record.other_images += again != first
            record.readings.append(reading(comfy, record.drawn))
            report(f"{record.readings[-1]}, {record.seconds[-1]:.2f} s")
    return record


def interrupt(comfy, made, chance):
    """Interrupts a run at one of its messages, whatever it is doing then."""
    made["Sampler"]["inputs"]["steps"] = 40
    left = chance.randrange(12)

    def watch(event):
        nonlocal left
        left -= 1
        if left == 0:
            comfy.interrupt()

    try:
        comfy.run(made, watch=watch)
    except Interrupted:
        pass


def reading(comfy, images):
    process = psutil.Process(comfy.pid)
    looks = [(len(process.open_files()), process.num_threads() - pool(comfy)) for _ in range(LOOKS)]
    # Files without the connections of those who ask; the fewest, since ComfyUI opens one now and then.
    files, threads = map(min, zip(*looks, strict=True))
    return Reading(images, memory(comfy)[0], files, threads)


def pool(comfy):
    """How many threads asyncio's pool has."""
    return requests.get(f"{comfy.url}/hostile/pool", timeout=300).json()


def parts(record):
    """The readings just after the warm-up, and the last ones."""
    warm = record.readings[int(len(record.readings) * WARM) :]
    size = max(1, len(warm) // 4)
    return warm[:size], warm[-size:]


def ratio(record, of):
    begin, end = (statistics.median(map(of, part)) for part in parts(record))
    return end / begin


def slowdown(record):
    warm = record.seconds[int(len(record.seconds) * WARM) :]
    size = max(1, len(warm) // 4)
    return min(warm[-size:]) / min(warm[:size])


def complaints(record):
    found = []
    if ratio(record, lambda r: r.held) > GROWTH:
        found.append("the memory held has grown")
    for name in ("files", "threads"):
        begin, end = parts(record)
        if min(getattr(r, name) for r in end) > max(getattr(r, name) for r in begin):
            found.append(f"{name} have become more")
    if slowdown(record) > SLOWER:
        found.append("an image takes longer")
    if record.other_images:
        found.append(f"{record.other_images} images were not the same when they were drawn again")
    return found


def summary(record):
    begin, end = parts(record)
    return (
        f"{record.drawn} images, {record.interrupted} interrupted; memory held at the end "
        f"{ratio(record, lambda r: r.held):.4f} of the warm-up's ({begin[0].held / 1e6:.0f} MB); open files "
        f"{begin[0].files} and {end[-1].files}, threads {begin[0].threads} and {end[-1].threads}; the time "
        f"of an image {slowdown(record):.2f} of the warm-up's"
    )
