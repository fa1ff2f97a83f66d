"""Checkpoints of one's own load, whatever a trainer left beside their tensors, and nothing of that is run."""

from __future__ import annotations

import argparse
import collections
import datetime
import importlib
import pathlib
import sys
import types

import numpy as np
import pytest
import torch
from pack.vqdiffusion_core.checkpoints import CheckpointError, load_codec
from pack.vqdiffusion_core.checkpoints.read import read_tensors

from .. import tiny_originals as tiny

STATE = tiny.vqgan_state(tiny.F16)


def of_library(name, base=object):
    """A class under the name that a library gives it. The library itself is not there when the file is read."""
    module, _, simple = name.rpartition(".")
    return type(simple, (base,), {"__module__": module, "__init__": lambda self, *args, **values: None})


def lightning(place):
    """What a Lightning checkpoint holds: callbacks by their class, hyperparameters, a scheduler's state."""
    stopping, saving = (of_library(f"{place}.callbacks.{name}") for name in CALLBACKS)
    attributes = of_library(f"{place}.utilities.parsing.AttributeDict", dict)
    hyperparameters = attributes()
    hyperparameters.update(lr=4.5e-6, steps=[1, 2])
    hyperparameters.kept = True
    state = saving()
    state.best_model_score = torch.ones(())
    return {"callbacks": {stopping: state, saving: {"best": state}}, "hyper_parameters": hyperparameters}


CALLBACKS = ("early_stopping.EarlyStopping", "model_checkpoint.ModelCheckpoint")


def omegaconf():
    config, node, meta = (
        of_library(f"omegaconf.{name}") for name in ("dictconfig.DictConfig", "nodes.AnyNode", "base.M")
    )
    settings, value = config(), node()
    settings.__dict__.update(_content={"embed_dim": value}, _metadata=meta())
    value.__dict__.update(_val=256, _metadata=meta())
    return {"config": settings}


def of_numpy():
    return {"score": np.float64(3.5), "curve": np.arange(5), "kind": np.dtype("int64"), "class": np.float32}


LEFTOVERS = {
    "Lightning": lambda: lightning("pytorch_lightning"),
    "Lightning 2": lambda: lightning("lightning.pytorch"),
    "argparse": lambda: {"args": argparse.Namespace(out=pathlib.Path("runs"), channels=[1, 2])},
    "numpy": of_numpy,
    "omegaconf": omegaconf,
    "PyTorch": lambda: {"dtype": torch.bfloat16, "device": torch.device("cpu"), "size": torch.Size([3])},
    "an optimizer as a whole": lambda: {"optimizer": torch.optim.AdamW([torch.ones(3, requires_grad=True)])},
    "sets": lambda: {"frozen": frozenset(["a"]), "names": {"a", ("b", 1)}, "none": set()},
    "collections": lambda: {"losses": collections.defaultdict(list, rec=[0.5]), "last": collections.deque([1.0, 2.0])},
    "times": lambda: {"began": datetime.datetime(2024, 5, 1), "took": datetime.timedelta(hours=3), "raw": b"\x00\xff"},
    "a namespace": lambda: {"cfg": types.SimpleNamespace(a=1), "counts": collections.Counter("aab"), "z": 1 + 2j},
}
WAYS = {
    "PyTorch": {},
    "PyTorch before 1.6": {"_use_new_zipfile_serialization": False},
    "a later protocol": {"pickle_protocol": 5},
}


def save(content, path, **ways):
    """Save as if the libraries were installed, and forget them."""
    with pytest.MonkeyPatch.context() as patch:
        classes = [value for value in made if isinstance(value, type)] if (made := classes_in(content)) else []
        for cls in classes:
            parts = cls.__module__.split(".")
            for i in range(1, len(parts) + 1):
                name = ".".join(parts[:i])
                if name not in sys.modules:
                    patch.setitem(sys.modules, name, types.ModuleType(name))
            patch.setattr(sys.modules[cls.__module__], cls.__name__, cls, raising=False)
        torch.save(content, path, **ways)


def classes_in(value):
    if isinstance(value, type):
        return {value}
    inside = (
        [*(vars(value).values() if hasattr(value, "__dict__") else ()), type(value)]
        if not isinstance(value, type)
        else []
    )
    if isinstance(value, dict):
        inside += [*value.keys(), *value.values()]
    return set().union(*map(classes_in, inside)) if inside else set()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("leftovers", LEFTOVERS.values(), ids=LEFTOVERS)
def test_leftovers_of_training_do_no_harm_and_are_never_imported(leftovers, way, tmp_path, monkeypatch):
    save({"state_dict": STATE, **leftovers()}, tmp_path / "last.ckpt", **WAYS[way])
    monkeypatch.setattr(importlib, "import_module", lambda name: pytest.fail(f"{name} was imported"))
    codec = load_codec(tmp_path / "last.ckpt")
    assert torch.equal(codec.quantize.embedding.weight, STATE["quantize.embedding.weight"])


@pytest.mark.parametrize("way", WAYS)
def test_the_tensors_beside_leftovers_are_the_same_as_without(way, tmp_path):
    weight = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "whole": weight,
        "part": weight[1:, ::2],
        "turned": weight.T,
        "parameter": torch.nn.Parameter(weight.clone()),
        "half": weight.half(),
        "brain": weight.bfloat16(),
        "ids": torch.arange(5),
        "yes": weight > 3,
        "complex": weight.to(torch.complex64),
        "single": torch.tensor(7.0),
        "empty": torch.empty(0, 3),
    }
    torch.save({"state_dict": tensors, "args": argparse.Namespace()}, tmp_path / "x.pt", **WAYS[way])
    read = read_tensors(tmp_path / "x.pt")["state_dict"]
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype, name


@pytest.mark.parametrize("kind", [collections.defaultdict, of_library("easydict.EasyDict", dict)])
def test_tensors_in_a_dictionary_of_another_kind_are_found(kind, tmp_path):
    content = kind()
    content.update(STATE)
    save({"state_dict": content}, tmp_path / "last.ckpt")
    assert load_codec(tmp_path / "last.ckpt").spec == tiny.F16


# Names that training puts around a model


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_fsdp_wrapped_module."])
def test_the_wrappers_of_parallel_and_compiled_training_are_passed_by(prefix, tmp_path):
    torch.save({"state_dict": {prefix + name: tensor for name, tensor in STATE.items()}}, tmp_path / "last.ckpt")
    assert load_codec(tmp_path / "last.ckpt").spec == tiny.F16


def test_wrappers_around_a_part_are_passed_by_too(tmp_path):
    inner = {
        name.replace("encoder.", "encoder._orig_mod.").replace("decoder.", "decoder.module."): t
        for name, t in STATE.items()
    }
    assert inner.keys() != STATE.keys()
    torch.save({"state_dict": inner}, tmp_path / "last.ckpt")
    assert load_codec(tmp_path / "last.ckpt").spec == tiny.F16


@pytest.mark.parametrize("key", ["model", "state_dict", "module", "model_state_dict"])
def test_the_tensors_may_lie_where_each_trainer_puts_them(key, tmp_path):
    torch.save({key: STATE, "epoch": 3}, tmp_path / "last.ckpt")
    assert load_codec(tmp_path / "last.ckpt").spec == tiny.F16


# Codecs


def averaged(state):
    """What taming's EMAVectorQuantizer keeps."""
    book = state["quantize.embedding.weight"]
    return state | {"quantize.embedding.cluster_size": torch.ones(len(book)), "quantize.embedding.embed_avg": book}


def of_latent_diffusion(state):
    names = {f"model_ema.{name.replace('.', '')}": tensor for name, tensor in state.items()}
    return state | names | {"model_ema.decay": torch.tensor(0.99), "loss.discriminator.main.0.weight": torch.ones(2)}


CODECS = {
    "plain": lambda: {"state_dict": STATE},
    "of the authors, averaged": lambda: {"model": tiny.vqgan_state(tiny.F8, averaged=True)},
    "of taming, averaged": lambda: {"state_dict": averaged(STATE)},
    "of latent diffusion": lambda: {"state_dict": of_latent_diffusion(STATE)},
    "Gumbel": lambda: {"state_dict": tiny.vqgan_state(tiny.GUMBEL_F8)},
    "in a two-stage model": lambda: {"state_dict": {f"first_stage_model.{name}": t for name, t in STATE.items()}},
    "bare": lambda: STATE,
}


@pytest.mark.parametrize("content", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("in_folder", [False, True])
def test_every_form_of_a_vqgan_is_a_codec(content, in_folder, tmp_path):
    torch.save(content(), tmp_path / "last.ckpt")
    codec = load_codec(tmp_path if in_folder else tmp_path / "last.ckpt")
    tokens = codec.encode(tiny.value("image", (1, 3, 64, 64), 1.0))
    assert codec.decode(tokens).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("layout", ["ithq", "coco", "imagenet", "ffhq"])
@pytest.mark.parametrize("in_folder", [False, True])
def test_the_codec_of_a_model_is_the_one_that_the_model_draws_with(layout, in_folder, tmp_path):
    from pack.vqdiffusion_core.checkpoints import load

    folder = getattr(tiny, f"{layout}_folder")(tmp_path)
    codec, model = load_codec(folder if in_folder else folder / f"{layout}.pth"), load(folder)
    assert codec.spec == model.vqgan.spec
    assert all(torch.equal(tensor, codec.state_dict()[name]) for name, tensor in model.vqgan.state_dict().items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"w": torch.ones(2)},
            r"holds 0 codecs \(last.ckpt is nothing that is known here\); expected one VQGAN, or the",
        ),
        ({"state_dict": tiny.clip_state()}, r"holds 0 codecs \(last.ckpt is OpenAI's CLIP\)"),
        (
            {"state_dict": STATE | {"encoder.more": torch.ones(2)}},
            r"last.ckpt does not fit: unknown names: encoder.more",
        ),
    ],
)
def test_what_is_no_codec_says_what_it_is(content, message, tmp_path):
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=message):
        load_codec(tmp_path / "last.ckpt")


def test_two_codecs_in_a_folder_are_not_chosen_from(tmp_path):
    for name in ("a.ckpt", "b.ckpt"):
        torch.save({"state_dict": STATE}, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"holds 2 codecs \(a.ckpt is a VQGAN, b.ckpt is a VQGAN\)"):
        load_codec(tmp_path)
    load_codec(tmp_path / "b.ckpt")
