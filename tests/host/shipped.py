"""The shipped workflows in API form, and ways to change, extend and read them."""

import itertools
import json

from safetensors.torch import load_file

from ..core import tiny_originals
from .fetch import CHECKOUT

EXAMPLES = CHECKOUT / "example_workflows"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.json"))
CODES = {"pocket": 1024, "stickers": 2048}  # beside the mask
TEDDY = "a teddy bear on a blue background"

_spaces = itertools.count(1)


def load(name):
    return json.loads((EXAMPLES / "api" / f"{name}.json").read_text())


def needs_other_model(name):
    """Whether it wants a model that the pack does not carry; tests have one of random weights."""
    return "imagenet" in json.dumps(load(name))


def teaches(name):
    """Whether it trains, which takes minutes, and gives other numbers on another device."""
    return "VQDiffusionTeach" in json.dumps(load(name))


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


def the(workflow, class_type):
    """The id of the only node of this type."""
    (found,) = (name for name, content in workflow.items() if content["class_type"] == class_type)
    return found


def text_to_image(text=TEDDY, batch_size=1, model="pocket (built in)", **settings):
    """The shipped workflow with this prompt, this model, as quick as none, and these settings of its sampler; its nodes
    are named by their types.
    """
    shipped = load("text_to_image")
    names = {old: content["class_type"].removeprefix("VQDiffusion") for old, content in shipped.items()}
    workflow = {names[old]: content for old, content in shipped.items()}
    for content in workflow.values():
        for key, value in content["inputs"].items():
            if isinstance(value, list):
                content["inputs"][key] = [names[value[0]], value[1]]
    workflow["Loader"]["inputs"]["model"] = model
    workflow["TextEncode"]["inputs"]["text"] = text
    workflow["EmptyTokens"]["inputs"]["batch_size"] = batch_size
    workflow["Sampler"]["inputs"] |= settings
    return workflow


def make_class_model(comfy):
    """Puts a small model of ImageNet's kind, of random weights, where the workflow for classes looks for one."""
    folder = comfy.base / "models" / "vq_diffusion" / "imagenet"
    if not folder.exists():
        folder.mkdir(parents=True)
        tiny_originals.imagenet_folder(folder, class_rows=1000)
    return folder.name


def anew(text=TEDDY):
    """The same prompt to the model, and to ComfyUI another one, for which its cache has no answer."""
    return text + " " * next(_spaces)


def save_latent(source, prefix="latents/test"):
    return node("SaveLatent", samples=source, filename_prefix=prefix)


def image(comfy, workflow):
    """The only image of a workflow, as RGB."""
    (image,) = comfy.images(comfy.run(workflow))
    return image.convert("RGB")


def tokens(comfy, result, saved):
    """The token ids (B, h, w) that a SaveLatent node wrote."""
    (file,) = result.outputs[saved]["latents"]
    return read_latent(comfy.base / "output" / file["subfolder"] / file["filename"])


def read_latent(path):
    """The token ids (B, h, w) in a file that SaveLatent wrote."""
    return load_file(path)["latent_tensor"][:, 0].long()


def draw_tokens(comfy, workflow, source=("Sampler", 0)):
    return tokens(comfy, comfy.run(workflow | {"tokens": save_latent(list(source))}), "tokens")
