"""Workflows that nobody should send, through POST /prompt of a real ComfyUI: every one must end in an image, in a
refusal by ComfyUI, or in an error that a node raised on purpose, and the next good workflow must draw what it always
drew.

The command for it is in reliability.py.
"""

import collections
import json
import random
import re
import shutil
import statistics
from pathlib import Path

import requests

from ..core.tiny_checkpoints import diffusers_folder
from ..core.tiny_originals import imagenet_folder
from . import shipped
from .comfy import ComfyError, NodeError, Rejected
from .fetch import CHECKOUT
from .shipped import node, text_to_image

HOSTILE = Path(__file__).with_name("hostile")
EXAMPLES = Path(__file__).with_name("found")  # workflows that a search once found to do harm: every run sends them
FOUND = CHECKOUT / ".cache" / "found"  # those that the last searches found
GOOD_EVERY = 25  # prompts
WARM_UP = 400  # prompts, before the memory is looked at
GROWTH = 1.05  # of the memory held, from the warm-up to the end

# Values for an input whatever it expects. Numbers that are allowed and merely take for ever are left out.
ODD_VALUES = [
    *(-1, 0, 1, 2, 3, -(2**31), 2**31, 2**63, 2**64 - 1, 2**64, -(2**64), 10**30, 10**400),
    *(0.5, -0.0, -1.5, 1e-320, 1e-50, 1e308, -1e308, "nan", "inf", "-inf", "1e400", "0x10", "1_0", " 2 "),
    *(
        "",
        " ",
        "\0",
        "\n",
        "../../etc/passwd",
        "/dev/zero",
        "C:\\x",
        "%s%n",
        "{0.__class__}",
        "${jndi:x}",
        "\ud83d\ude00",
    ),
    *(
        "\ud800",
        "\u202e",
        "x" * 1_000_000,
        "\u0661",
        "pocket (built in) ",
        "True",
        "None",
        "auto",
        "float8",
        "ancestral",
    ),
    *(None, True, False, [], [[]], {}, {"a": 1}, {"__value__": [1, 2]}, ["x"], [1, 2, 3], ["Loader"], ["Loader", "0"]),
]
PAINTED = [
    *(
        "12x12: 0-11,0-11",
        "3x3: 1,1",
        "12x12:",
        "x",
        "12x12",
        "0x0:",
        "257x1:",
        "999x999: 0,0",
        "12x12: 12,0",
        "12x12: 3-1,0",
    ),
    *(
        "12x12: -1,0",
        "12x12: 1,1,1",
        "12x12: a,b",
        "12x12: 1;1",
        "12x12: 999999999999,0",
        "\u0661x1: 0,0",
        "12 x 12: 0,0",
    ),
    *(
        "256x256: " + "0,0 " * 70_000,
        "256x256: " + "1,1 " * 300_000,
        "1x1:" * 10_000,
        "12x12: \0",
        "9" * 1_000_000 + "x1:",
    ),
]
LATENT_NODES = {
    "flip": lambda r, s: node("LatentFlip", samples=s, flip_method=r.choice(["x-axis: vertically", "sideways"])),
    "rotate": lambda r, s: node("LatentRotate", samples=s, rotation=r.choice(["90 degrees", "none"])),
    "crop": lambda r, s: node(
        "LatentCrop", samples=s, width=r.choice([8, 64, 96]), height=64, x=r.choice([0, 80]), y=0
    ),
    "upscale": lambda r, s: node(
        "LatentUpscale",
        samples=s,
        upscale_method=r.choice(["nearest-exact", "bilinear", "bicubic", "area"]),
        width=r.choice([8, 96, 128]),
        height=r.choice([96, 128]),
        crop=r.choice(["disabled", "center"]),
    ),
    "repeat": lambda r, s: node("RepeatLatentBatch", samples=s, amount=r.choice([1, 3])),
    "cut": lambda r, s: node("LatentFromBatch", samples=s, batch_index=r.choice([0, 5]), length=1),
    "multiply": lambda r, s: node("LatentMultiply", samples=s, multiplier=r.choice([-1.0, 0.0, 0.5, 10.0])),
    "add": lambda r, s: node("LatentAdd", samples1=s, samples2=s),
    "blend": lambda r, s: node("LatentBlend", samples1=s, samples2=s, blend_factor=r.random()),
    "mask": lambda r, s: node("SetLatentNoiseMask", samples=s, mask=["mask", 0]),
    "composite": lambda r, s: node(
        "LatentComposite", samples_to=s, samples_from=s, x=r.choice([0, 8, 88]), y=8, feather=r.choice([0, 16])
    ),
}
CONDITIONING_NODES = {
    "area": lambda r, c: node(
        "ConditioningSetArea",
        conditioning=c,
        width=r.choice([64, 512]),
        height=64,
        x=r.choice([0, 32, 4096]),
        y=0,
        strength=r.choice([0.0, 0.5, 10.0]),
    ),
    "share": lambda r, c: node(
        "ConditioningSetAreaPercentage", conditioning=c, width=r.random(), height=1.0, x=r.random(), y=0.0, strength=1.0
    ),
    "masked": lambda r, c: node(
        "ConditioningSetMask", conditioning=c, mask=["mask", 0], strength=r.choice([0.0, 1.0]), set_cond_area="default"
    ),
    "bounds": lambda r, c: node(
        "ConditioningSetMask", conditioning=c, mask=["mask", 0], strength=1.0, set_cond_area="mask bounds"
    ),
    "time": lambda r, c: node("ConditioningSetTimestepRange", conditioning=c, start=r.random(), end=r.random()),
    "zero": lambda r, c: node("ConditioningZeroOut", conditioning=c),
    "both": lambda r, c: node("ConditioningCombine", conditioning_1=c, conditioning_2=c),
    "long": lambda r, c: node("ConditioningConcat", conditioning_to=c, conditioning_from=c),
    "mean": lambda r, c: node(
        "ConditioningAverage", conditioning_to=c, conditioning_from=c, conditioning_to_strength=r.random()
    ),
}
SETTINGS = {
    "VQDiffusionGuidanceOptions": {
        "guidance_schedule": ["constant", "ramp"],
        "guidance_start": [0, 0.5, 1],
        "guidance_end": [0, 0.5, 1],
    },
    "VQDiffusionSamplerOptions": {
        "spacing": ["uniform", "masked", "cosine", "loop"],
        "temperature": [0, 1e-50, 1, 10],
        "top_k": [0, 1, 10**6],
        "sharpness": [0, 10],
        "purity": [0, 10],
        "luck": [0, 100],
        "remask": ["cap", "rescale", "confidence"],
        "remask_strength": [0, 1],
    },
    "VQDiffusionEditOptions": {"soft": [True, False], "rounds": [1, 2, 100], "overlap": [0, 0.9]},
}


class Fuzzer:
    """Makes workflows, each from its own number alone, out of what this ComfyUI has."""

    def __init__(self, info, seed):
        self.info, self.seed = info, seed
        self.hostile = {name: kinds(info[name]) for name in info if name.startswith("Hostile")}

    def prompt(self, number):
        """A workflow that draws, with one to four things wrong or unusual in it."""
        chance = random.Random(f"{self.seed}/{number}")
        workflow = self.usual(chance)
        for _ in range(chance.choice([1, 1, 2, 2, 3, 4])):
            change = chance.choice(
                [self.odd_value] * 4 + [self.odd_link] * 2 + [self.horror] * 3 + [self.core_node] * 3
            )
            change(chance, workflow)
        return workflow

    def usual(self, chance):
        """The text-to-image workflow, with some of our other nodes in its way and models of three kinds."""
        samplers = self.info["VQDiffusionSampler"]["input"]["required"]["sampler"]
        workflow = text_to_image(
            chance.choice(["an owl on red", "", "red", "a" * 500]),
            batch_size=chance.choice([1, 1, 2]),
            steps=chance.choice([1, 2, 3]),
            seed=chance.choice([0, 7, 2**64 - 1]),
            sampler=chance.choice(options(samplers)),
            guidance=chance.choice([0.0, 1.0, 1.5, 100.0]),
            truncation=chance.choice([0.0, 0.5, 1.0]),
            denoise=chance.choice([0.0, 0.4, 1.0, 1.0]),
        )
        workflow["mask"] = node("SolidMask", value=chance.choice([0.0, 0.3, 1.0]), width=96, height=96)
        workflow["Loader"]["inputs"]["model"] = chance.choice(["pocket (built in)"] * 4 + ["tiny", "classes"])
        for place in ("guidance", "options", "edit", "token mask", "encode", "look", "class"):
            if chance.random() < 0.3:
                self.add(place, chance, workflow)
        return workflow

    def add(self, place, chance, workflow):
        sampler, decode = workflow["Sampler"]["inputs"], workflow["Decode"]["inputs"]
        if place in ("guidance", "options", "edit"):
            name = f"VQDiffusion{ {'guidance': 'Guidance', 'options': 'Sampler', 'edit': 'Edit'}[place] }Options"
            chosen = {key: chance.choice(values) for key, values in SETTINGS[name].items()}
            workflow[place] = node(name, vq_model=sampler["vq_model"], **chosen)
            sampler["vq_model"] = [place, 0]
        elif place == "token mask":
            extra = {"mask": ["mask", 0]} if chance.random() < 0.5 else {}
            extra |= {"vae": ["Loader", 2]} if chance.random() < 0.5 else {}
            painted = chance.choice(PAINTED)
            workflow[place] = node(
                "VQDiffusionTokenMask",
                samples=sampler["latent"],
                grow=chance.choice([0, 1, 64]),
                **extra,
                painted=painted,
            )
            sampler["latent"] = [place, 0]
        elif place == "encode":
            workflow["image"] = node(
                "EmptyImage", width=chance.choice([96, 99, 104]), height=96, batch_size=1, color=255
            )
            encode = chance.choice(["VQDiffusionEncode", "VAEEncode"])
            workflow[place] = node(encode, pixels=["image", 0], vae=["Loader", 2])
            sampler["latent"] = [place, 0]
        elif place == "look":
            view = chance.choice(["tokens", "confidence", "history"])
            workflow[place] = node("VQDiffusionTokenInspector", samples=decode["samples"], vae=["Loader", 2], show=view)
        else:
            label = chance.choice(["0", "3", "-1", "1000", "goldfish", "x" * 5000])
            workflow[place] = node("VQDiffusionClassEncode", vq_model=["Loader", 0], class_label=label)
            sampler["positive" if chance.random() < 0.5 else "negative"] = [place, 0]

    def odd_value(self, chance, workflow):
        """Another value for a widget, or for a link."""
        name = chance.choice([name for name in workflow if name != "mask"])
        inputs = workflow[name]["inputs"]
        key = chance.choice(sorted(inputs))
        inputs[key] = chance.choice(PAINTED if key == "painted" else ODD_VALUES)

    def odd_link(self, chance, workflow):
        """A link from anywhere, also from a node itself, from after it, or from one that is not there."""
        content = workflow[chance.choice(sorted(workflow))]
        if content["inputs"]:
            source = chance.choice([*sorted(workflow), "nobody"])
            content["inputs"][chance.choice(sorted(content["inputs"]))] = [source, chance.choice([0, 0, 1, 2, 7, -1])]

    def horror(self, chance, workflow):
        """What no honest node hands on, in a place of its type."""
        kind = chance.choice(sorted(self.hostile))
        places = {
            "HostileLatent": [
                ("Sampler", "latent"),
                ("Decode", "samples"),
                ("look", "samples"),
                ("token mask", "samples"),
            ],
            "HostileConditioning": [("Sampler", "positive"), ("Sampler", "negative")],
            "HostileMask": [("token mask", "mask")],
            "HostileImage": [("encode", "pixels")],
        }[kind]
        place, key = chance.choice(places)
        if place not in workflow:
            self.add(place, chance, workflow)
        workflow["horror"] = node(kind, kind=chance.choice(self.hostile[kind]))
        workflow[place]["inputs"][key] = ["horror", 0]
        if chance.random() < 0.2:
            workflow["Decode"]["class_type"] = "VAEDecode"

    def core_node(self, chance, workflow):
        """A latent or conditioning node of the core between two of ours."""
        inputs, key, nodes = chance.choice(
            [
                (workflow["Sampler"]["inputs"], "latent", LATENT_NODES),
                (workflow["Decode"]["inputs"], "samples", LATENT_NODES),
                (workflow["Sampler"]["inputs"], "positive", CONDITIONING_NODES),
                (workflow["Sampler"]["inputs"], "positive", CONDITIONING_NODES),
            ]
        )
        if isinstance(inputs.get(key), list):
            name = f"core {len(workflow)}"
            workflow[name] = nodes[chance.choice(sorted(nodes))](chance, inputs[key])
            inputs[key] = [name, 0]


def kinds(about):
    return options(about["input"]["required"]["kind"])


def options(combo):
    """The choices of a COMBO, as old and new nodes write it."""
    return combo[0] if isinstance(combo[0], list) else combo[1]["options"]


# What came of it

FRAME = re.compile(r'File "(?P<file>[^"<]+)", line \d+, in .*\n\s+(?P<code>\S.*)')


def outcome(comfy, workflow):
    """In a word what a workflow ended in. Raises AssertionError if it is not what an artist should see."""
    try:
        comfy.run(workflow)
    except Rejected:
        return "refused by ComfyUI"
    except NodeError as error:
        frames = [match for match in FRAME.finditer(error.traceback)]
        ours = [frame for frame in frames if comfy.pack.name in frame["file"] or "/vqdiffusion_core/" in frame["file"]]
        if not ours:
            return "an error of another node"
        last = frames[-1]
        on_purpose = last is ours[-1] and last["code"].startswith("raise ")
        assert on_purpose, f"{str(error)[:300]}\n{error.traceback[-1000:]}"
        assert len(error.message.splitlines()) == 1 and len(error.message) < 2500, (
            f"not one line: {error.message[:3000]}"
        )
        return "a clear error"
    return "an image"


def memory(comfy):
    """Resident bytes of the ComfyUI: those that it holds, and those that glibc keeps for it, free ones among them.

    What is kept follows the largest workflows so far, of which there are ever new ones; what is held tells a leak.
    """
    answer = requests.get(f"{comfy.url}/hostile/memory", timeout=300)
    answer.raise_for_status()
    return answer.json()["held"], answer.json()["kept"]


def prepare(base):
    """A folder for a ComfyUI with the hostile pack and, beside the built-in model, one for text and one for classes."""
    shutil.copytree(HOSTILE, base / "custom_nodes" / "hostile")
    classes = base / "models" / "vq_diffusion" / "classes"
    classes.mkdir(parents=True)
    imagenet_folder(classes)
    diffusers_folder(classes.with_name("tiny"))


def examples():
    """The workflows of EXAMPLES, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(EXAMPLES.glob("*.json"))}


def random_workflows(comfy, numbers, seed):
    """The workflows of these numbers, by name."""
    fuzzer = Fuzzer(comfy.object_info(), seed)
    return {f"fuzz-{seed}-{number}": fuzzer.prompt(number) for number in numbers}


def keep(name, workflow):
    """Writes a workflow that did harm, and says how every run sends it from now on."""
    FOUND.mkdir(parents=True, exist_ok=True)
    path = FOUND / f"{name}.json"
    path.write_text(json.dumps(workflow, indent=1))
    return f"mkdir -p tests/host/found && cp {path.relative_to(CHECKOUT)} tests/host/found/"


def attack(comfy, workflows, report=print):
    """Sends these workflows, by name: how often each outcome came, what should not have been, and the memory held over
    time.
    """
    counts, findings, held = collections.Counter(), [], []
    good = shipped.image(comfy, text_to_image(seed=1)).tobytes()
    for sent, (name, workflow) in enumerate(workflows, 1):
        try:
            counts[outcome(comfy, workflow)] += 1
        except (AssertionError, ComfyError, TimeoutError, requests.RequestException) as error:
            counts["a finding"] += 1
            findings.append(f"{name}: {str(error)[:1500]}\nTo send it in every run: {keep(name, workflow)}")
            report(findings[-1])
        if sent % GOOD_EVERY == 0:
            again = shipped.image(comfy, text_to_image(shipped.anew(), seed=1)).tobytes()
            if again != good:
                findings.append(f"after {name} the good workflow draws another image")
            comfy.clear_history()  # of enormous prompts: what the host keeps by its own rule is not what grows
            held_now, kept = memory(comfy)
            held.append(held_now)
            report(f"{sent}: {dict(counts)}, {held_now / 1e6:.0f} MB held, {kept / 1e6:.0f} MB kept")
    return counts, findings, held


def growth(held, warm_up=WARM_UP):
    """How many times as much memory is held at the end as after the warm-up, by medians of some readings."""
    warm = held[warm_up // GOOD_EVERY :]
    part = max(1, len(warm) // 4)
    return statistics.median(warm[-part:]) / statistics.median(warm[:part]) if warm else 1.0
