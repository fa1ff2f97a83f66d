"""What a process shares among all packs of a ComfyUI, as it is before the pack comes, after its import and after a run.

python global_state.py COMFYUI CHECKOUT     prints what differs, one line each: "import: ..." or "run: ..."
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import locale
import logging
import os
import random
import signal
import sys
import threading
import types
import warnings
from pathlib import Path
from typing import Any

# What ComfyUI has imported when the first pack comes, and the libraries that prompts need.
WITH_COMFYUI = ("comfy.model_management", "comfy.sd", "comfy_api.latest", "nodes", "ftfy", "PIL.PngImagePlugin")

State = dict[str, Any]


def snapshot() -> State:
    return {**interpreter(), **libraries(), **loggers(), **attributes()}


def interpreter() -> State:
    return {
        "working folder": os.getcwd(),
        "module search path": tuple(sys.path),
        "finders": tuple(map(id, [*sys.meta_path, *sys.path_hooks])),
        "hooks": tuple(map(id, (sys.excepthook, sys.displayhook, sys.stdout, sys.stderr, threading.excepthook))),
        "recursion limit": sys.getrecursionlimit(),
        "garbage collector": (gc.isenabled(), gc.get_threshold()),
        "locale": locale.setlocale(locale.LC_ALL),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "warning filters": tuple(map(str, warnings.filters)),
        "warning output": id(warnings.showwarning),
        **{f"signal {number!s}": str(signal.getsignal(number)) for number in signal.valid_signals()},
        **{f"environment {name}": value for name, value in os.environ.items()},
    }


def libraries() -> State:
    import numpy
    import torch

    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    return {
        "default number type": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matrix products": (torch.get_float32_matmul_precision(), cuda.matmul.allow_tf32, cudnn.allow_tf32),
        "cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
        "attention": (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled()),
        "random numbers of torch": torch.get_rng_state().numpy().tobytes(),
        "random numbers of numpy": numpy.random.get_state()[1].tobytes(),
        "random numbers of Python": random.getstate(),
        "printing of tensors": vars(torch._tensor_str.PRINT_OPTS).copy(),
        "printing of arrays": numpy.get_printoptions(),
        "errors of arrays": numpy.geterr(),
    }


def loggers() -> State:
    root = logging.getLogger()
    named = {name: logger for name, logger in root.manager.loggerDict.items() if isinstance(logger, logging.Logger)}
    return {
        f"logger {name}": (logger.level, logger.disabled, logger.propagate, tuple(map(id, logger.handlers)))
        for name, logger in {"root": root, **named}.items()
    }


def attributes() -> State:
    """Every function and class of every module that is there, every method of ComfyUI's and torch's main classes."""
    found: State = {}
    for name, module in list(sys.modules.items()):
        if not isinstance(module, types.ModuleType) or name.startswith("torch.distributed"):  # which warns of a look
            continue
        for attribute, value in list(vars(module).items()):
            if isinstance(value, types.FunctionType | types.BuiltinFunctionType | type):
                found[f"{name}.{attribute}"] = id(value)
            if isinstance(value, type) and name.startswith(("comfy", "torch.nn.modules", "torch._tensor", "PIL")):
                methods = {key: id(method) for key, method in vars(value).items() if callable(method)}
                found |= {f"{name}.{attribute}.{key}": method for key, method in methods.items()}
    return found


def difference(before: State, after: State) -> list[str]:
    """What was there before and is no longer the same, and new environment variables; new modules do not matter."""
    changed = [name for name, value in before.items() if name not in after or bool(after[name] != value)]
    new = [name for name in after.keys() - before.keys() if name.startswith("environment")]
    return [f"{name} was {before[name]!s:.80}, is {after.get(name)!s:.80}" for name in changed] + new


def import_as_comfyui_does(checkout: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("custom_nodes.vq_diffusion", checkout / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(pack: types.ModuleType) -> None:
    """An image, and the image encoded, by the nodes themselves."""
    extension = asyncio.run(pack.comfy_entrypoint())
    nodes = {node.__name__: node for node in asyncio.run(extension.get_node_list())}
    for node in nodes.values():
        node.define_schema()
    model, clip, vae = nodes["VQDiffusionLoader"].execute("pocket (built in)", "auto").args
    (prompt,) = nodes["VQDiffusionTextEncode"].execute(clip, "an owl on red").args
    (canvas,) = nodes["VQDiffusionEmptyTokens"].execute(model, 2).args
    settings = {"seed": 1, "steps": 2, "guidance": 2.0, "truncation": 0.9, "sampler": "ancestral", "denoise": 1.0}
    (drawn,) = nodes["VQDiffusionSampler"].execute(vq_model=model, positive=prompt, latent=canvas, **settings).args
    (image,) = nodes["VQDiffusionDecode"].execute(drawn, vae).args
    nodes["VQDiffusionEncode"].execute(image, vae)
    numbers = random.getstate()
    nodes["VQDiffusionTokenInspector"].execute(drawn, vae)
    random.setstate(numbers)  # ComfyUI itself takes the names of preview files from them


def main(comfyui: str, checkout: str) -> None:
    sys.argv = sys.argv[:1]  # ComfyUI reads it
    sys.path.insert(0, comfyui)
    from comfy.cli_args import args

    args.cpu = True
    for name in WITH_COMFYUI:
        importlib.import_module(name)
    import folder_paths
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast  # noqa: F401 (imported when asked)

    folders = dict(folder_paths.folder_names_and_paths)
    start = snapshot()
    pack = import_as_comfyui_does(Path(checkout))
    imported = snapshot()
    with torch.inference_mode():
        run(pack)
    for phase, before, after in (("import", start, imported), ("run", start, snapshot())):
        for line in difference(before, after):
            print(f"{phase}: {line}")
    added = folder_paths.folder_names_and_paths.keys() - folders.keys()
    same = all(folder_paths.folder_names_and_paths[name] is place for name, place in folders.items())
    if added != {"vq_diffusion"} or not same:
        print(f"import: the folders of models changed: {added}")


if __name__ == "__main__":
    main(*sys.argv[1:])
