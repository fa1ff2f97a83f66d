"""The rest of an image's time: decoding, reading a prompt, loading a model, and importing the pack."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import dedent

import torch
from safetensors.torch import save_file

from vqdiffusion_core.checkpoints import POCKET_FOLDER, key_maps, load
from vqdiffusion_core.checkpoints.diffusers_config import transformer_config
from vqdiffusion_core.checkpoints.rename import rename_back

from ..host.fetch import comfyui
from . import models
from .clock import Times, paired
from .drawing import DEVICE
from .results import Row, compared, shown

CHECKOUT = Path(__file__).parents[2]


def decode(rounds: int) -> list[Row]:
    codec = models.vqgan(DEVICE)
    peer = models.peer_vqgan(codec)
    tokens = torch.randint(0, models.ITHQ_VQGAN.codebook_size, (1, 32, 32), device=DEVICE)

    @torch.no_grad()
    def theirs() -> None:
        shape = (1, 32, 32, models.ITHQ_VQGAN.code_dim)
        peer.decode(peer.quantize.get_codebook_entry(tokens, shape=shape), force_not_quantize=True)

    with torch.no_grad():
        times = paired({"ours": lambda: codec.decode(tokens), "peer": theirs}, rounds)
    return [compared("ITHQ: VQGAN decode, 256 x 256, float32", times)]


def text(rounds: int) -> list[Row]:
    """CLIP ViT-B/32's tower with the pocket model's tokenizer; the tower is transformers' own for both."""
    from transformers import CLIPTextConfig, CLIPTextModel

    from vqdiffusion_core.networks.text_encoder import TextEncoder

    tokenizer = load(POCKET_FOLDER).text_encoder.tokenizer
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=512, intermediate_size=2048, num_attention_heads=8, bos_token_id=0, eos_token_id=1
    )
    encoder = TextEncoder(CLIPTextModel(config).to(DEVICE).eval(), tokenizer)
    prompt = "a teddy bear playing in the pool, with a red ball on a sunny day"

    @torch.no_grad()
    def theirs() -> None:
        ids = tokenizer(prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        vectors = encoder.model(ids.to(DEVICE))[0]
        _ = vectors / vectors.norm(dim=-1, keepdim=True)

    tokenizer.pad_token = tokenizer.unk_token
    times = paired({"ours": lambda: encoder.encode([prompt]), "peer": theirs}, rounds)
    return [compared("prompt to text vectors, ViT-B/32, float32", times, "with ftfy's cleaning, as in the original")]


LOAD = """
    import sys, time, torch
    from vqdiffusion_core.checkpoints.build import Dtypes
    from vqdiffusion_core.checkpoints.diffusers_layout import load_transformer
    from pathlib import Path
    memory = peak()
    begin = time.perf_counter()
    network = load_transformer(Path(sys.argv[1]), Dtypes(None)).prepare_for_inference()
    total = sum(float(parameter.view(-1)[::512].sum()) for parameter in network.parameters())  # every page is there
    report(time.perf_counter() - begin, peak() - memory)
"""
READ = """
    import sys, time
    memory = peak()
    begin = time.perf_counter()
    data = open(sys.argv[1] + "/diffusion_pytorch_model.safetensors", "rb").read()
    report(time.perf_counter() - begin, peak() - memory)
"""
LIBRARY = """
    import sys, time, torch, safetensors.torch
    memory = peak()
    begin = time.perf_counter()
    state = safetensors.torch.load_file(sys.argv[1] + "/diffusion_pytorch_model.safetensors")
    total = sum(float(tensor.view(-1)[::512].sum()) for tensor in state.values())
    report(time.perf_counter() - begin, peak() - memory)
"""
HEAD = """
    import json
    def peak():  # of this program alone: what getrusage says begins with its parent's
        lines = open("/proc/self/status").read().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024
    def report(seconds, memory):
        print(json.dumps([seconds, memory]))
"""


def loading(rounds: int) -> list[Row]:
    """The COCO transformer in float32, each time in a process of its own; the file is in the system's cache."""
    with tempfile.TemporaryDirectory() as folder:
        network = models.transformer(models.COCO, torch.float32, "cpu")
        state = rename_back(key_maps.TRANSFORMER_DIFFUSERS, network.state_dict())
        save_file(state, Path(folder) / "diffusion_pytorch_model.safetensors")
        (Path(folder) / "config.json").write_text(json.dumps(transformer_config(models.COCO)))
        size = sum(tensor.numel() * tensor.itemsize for tensor in state.values())
        del network, state
        run(READ, folder)  # to warm up
        found: dict[str, list[tuple[float, float]]] = {"ours": [], "reading": [], "safetensors": []}
        for _ in range(rounds):
            for name, code in (("ours", LOAD), ("reading", READ), ("safetensors", LIBRARY)):
                found[name].append(run(code, folder))
    times = {name: Times(tuple(each[0] for each in results)) for name, results in found.items()}
    memory = {name: max(each[1] for each in results) for name, results in found.items()}
    gigabytes = {name: f"{value / 1e9:.2f} GB" for name, value in memory.items()}
    plain = f"safetensors' own load_file: {shown(times['safetensors'])}, {gigabytes['safetensors']}"
    return [
        compared("COCO: load the transformer, float32", {"ours": times["ours"], "peer": times["reading"]}, plain),
        Row(
            "COCO: peak memory of loading, beside reading the file",
            gigabytes["ours"],
            gigabytes["reading"],
            memory["reading"] / memory["ours"],
            f"{memory['ours'] / size:.2f} times the weights in the file, {size / 1e9:.2f} GB",
        ),
    ]


IMPORT = """
    import sys, time
    sys.path.insert(0, sys.argv[2])
    sys.argv[1:] = ["--cpu"]
    import comfy.options
    comfy.options.enable_args_parsing()
    import torch, nodes, comfy_api.latest, folder_paths, comfy.model_management, comfy.sd
    import importlib.util
    before = set(sys.modules)
    begin = time.process_time()
    spec = importlib.util.spec_from_file_location("pack", PACK + "/__init__.py", submodule_search_locations=[PACK])
    sys.modules["pack"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    report(time.process_time() - begin, len(set(sys.modules) - before))
"""


def importing(rounds: int) -> list[Row]:
    """The pack, as a host that is up already imports it."""
    code = f"PACK = {str(CHECKOUT)!r}\n" + dedent(IMPORT)
    found = [run(code, "-", str(comfyui())) for _ in range(rounds)]
    times = Times(tuple(each[0] for each in found))
    return [Row("import of the pack in ComfyUI", shown(times), note=f"processor seconds, {found[0][1]:.0f} modules")]


def run(code: str, *arguments: str) -> tuple[float, float]:
    """Seconds and bytes that a program of its own reports."""
    program = dedent(HEAD) + dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"A benchmark's program failed:\n{done.stderr[-2000:]}")
    took, memory = json.loads(done.stdout.strip().splitlines()[-1])
    return took, memory
