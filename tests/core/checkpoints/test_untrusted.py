"""Files from strangers: whatever they claim, nothing of them is run, nothing outside the model's folder is read, and no
memory is taken that the file itself does not have.
"""

from __future__ import annotations

import ast
import json
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, CheckpointError, find, load
from pack.vqdiffusion_core.checkpoints.read import read_tensors, unpickle
from pack.vqdiffusion_core.checkpoints.read.leftovers import skip_unknown_names
from pack.vqdiffusion_core.checkpoints.read.safetensors_file import check_safetensors
from pack.vqdiffusion_core.checkpoints.read.text import read_json
from pack.vqdiffusion_core.checkpoints.read.torchscript import read_jit_archive

from .. import tiny_checkpoints, tiny_originals

CHECKOUT = POCKET_FOLDER.parents[1]
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The tiny models, by layout, to be copied and changed."""
    makers = {"diffusers": tiny_checkpoints.diffusers_folder, "ithq": tiny_originals.ithq_folder}
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in makers.items()}


@pytest.fixture
def diffusers(made, tmp_path):
    return shutil.copytree(made["diffusers"], tmp_path / "models" / "diffusers")


@pytest.fixture
def ithq(made, tmp_path):
    return shutil.copytree(made["ithq"], tmp_path / "models" / "ithq")


class Memory:
    """The most memory that the process held while the block ran, in bytes more than before."""

    def __enter__(self):
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
        self.before = self.peak()
        return self

    def __exit__(self, *_):
        self.taken = self.peak() - self.before

    def peak(self):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


# What a file claims, and what it has


class Large:
    """Pickles as a call that makes a gigabyte."""

    def __reduce__(self):
        return bytearray, (1 << 30,)


def pickled(content, protocol=2):
    return pickle.dumps(content, protocol=protocol).replace(b"c__builtin__\n", b"cbuiltins\n")


def in_archive(path, index, *, constants=False):
    """A PyTorch file, or a TorchScript one with `constants`, with this index."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", index)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        if constants:
            archive.writestr("archive/constants.pkl", b"")


def with_long_directory(path):
    """A zip file whose end promises a directory of 200 MB, and which has it: one gap."""
    size = 200 * MEGABYTE
    with path.open("wb") as file:
        file.write(b"PK\3\4")
        file.truncate(4 + size)
        file.seek(4 + size)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, size, 4, 0))


def with_long_directory_in_the_large_form(path):
    size = 200 * MEGABYTE
    with path.open("wb") as file:
        file.truncate(4 + size)
        file.seek(0)
        file.write(b"PK\3\4")
        file.seek(4 + size)
        file.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, 4))
        file.write(struct.pack("<4sLQL", b"PK\6\7", 0, 4 + size, 1))
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))


def with_a_second_end_inside_its_end(path):
    """The directory stands where, read as bytes, an end begins: what follows would be taken for a directory of 0."""
    size, start = 9 * MEGABYTE, int.from_bytes(b"PK\5\6", "little")
    with path.open("wb") as file:
        file.write(b"PK\3\4")
        file.truncate(start + size)
        file.seek(start + size)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, size, start, 0))


def with_entries_twice(path):
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("archive/data.pkl", "archive/DATA.pkl"):
            archive.writestr(name, pickled({}))


def with_a_far_memo(path):
    """ "Keep this object as number 200 million": 8 bytes, for which C's unpickler makes room for all numbers below."""
    in_archive(path, b"\x80\x02}" + b"r" + struct.pack("<L", 200_000_000) + b".", constants=True)


CLAIMS = {
    "a number repeated a trillion times": (
        lambda path: torch.save({"w": torch.zeros(()).expand(10**6, 10**6)}, path),
        r"claims tensors of 4,000,000,000,000 bytes in a file of",
    ),
    "one storage under a thousand names": (
        lambda path: torch.save(dict.fromkeys(map(str, range(1000)), torch.ones(1000)), path),
        r"claims tensors of 4,000,000 bytes in a file of",
    ),
    "a pickle that asks for a gigabyte": (
        lambda path: in_archive(path, pickled({"w": Large()})),
        r"holds more than tensors and could run code; it was not opened \(builtins.bytearray\)",
    ),
    "an old pickle that asks for a gigabyte": (
        lambda path: path.write_bytes(b"".join(map(pickled, [0x1950A86A20F9469CFC6C, 1001, {}, Large(), []]))),
        r"holds more than tensors and could run code; it was not opened \(builtins.bytearray\)",
    ),
    "a pickle of another protocol": (
        lambda path: in_archive(path, pickled({"w": Large()}, protocol=4)),
        r"could run code; it was not opened \(builtins.bytearray\)",
    ),
    "a pickle alone": (
        lambda path: path.write_bytes(pickled(Large())),
        r"holds more than tensors and could run code; it was not opened \(builtins.bytearray\)",
    ),
    "one in the last of an old file's pickles": (
        lambda path: path.write_bytes(b"".join(map(pickled, [0x1950A86A20F9469CFC6C, 1001, {}, {}, Large()]))),
        r"holds more than tensors and could run code; it was not opened \(builtins.bytearray\)",
    ),
    "a zip file with a directory of 200 MB": (with_long_directory, r"has a directory of 209,715,200 bytes"),
    "the same in the large form": (with_long_directory_in_the_large_form, r"has a directory of 209,715,200 bytes"),
    "one whose end holds another end": (with_a_second_end_inside_its_end, r"has a directory of 9,437,184 bytes"),
    "two entries that differ in case alone": (with_entries_twice, r"two entries of one name"),
    "sparse tensors": (
        lambda path: torch.save({"w": torch.eye(8).to_sparse()}, path),
        r"could run code; it was not opened \(torch._utils._rebuild_sparse_tensor\)",
    ),
    "tensors without numbers": (
        lambda path: torch.save({"w": torch.ones(8, device="meta")}, path),
        r"could run code; it was not opened \(torch._utils._rebuild_meta_tensor_no_storage\)",
    ),
}


@pytest.mark.parametrize(("write", "message"), CLAIMS.values(), ids=CLAIMS)
def test_a_file_gets_no_memory_for_what_it_merely_claims(write, message, tmp_path):
    path = tmp_path / "model.pth"
    write(path)
    with Memory() as memory, pytest.raises(CheckpointError, match=message):
        read_tensors(path)
    assert memory.taken < 50 * MEGABYTE


def test_an_archive_with_a_program_gets_no_memory_for_the_number_of_an_object(tmp_path):
    path = tmp_path / "clip.pt"
    with_a_far_memo(path)
    with Memory() as memory, zipfile.ZipFile(path) as archive, pytest.raises(CheckpointError, match="damaged"):
        read_jit_archive(path, archive.infolist(), print)
    assert memory.taken < 50 * MEGABYTE


# Pickles with more in them than tensors: what is not known is refused, or left out where that is asked for

MANY = b"".join(b"U\x04" + struct.pack("<L", i) + b"K\x01" for i in range(50_000))  # 50,000 items
SQUARED = b"\x80\x02cmy\nOwn\n0" + b"(" + MANY + b"l" + b"q\x00\x85q\x010"  # a list of them, alone in a tuple


BOMBS = {
    "a call that makes a gigabyte": pickled({"w": Large()}),
    "the same in another protocol": pickled({"w": Large()}, protocol=5),
    "bytes that are merely claimed": b"\x80\x05cmy\nOwn\n\x96" + struct.pack("<Q", 1 << 30) + b".",
    "a long list copied by each of 10,000 calls": SQUARED + b"ccollections\nOrderedDict\nh\x01R0" * 10_000 + b"}.",
    "a long dictionary as the attributes of 10,000 objects": b"\x80\x02cmy\nOwn\nq\x000}("
    + MANY
    + b"uq\x010"
    + b"h\x00)\x81h\x01b0" * 10_000
    + b"}.",
    "a tensor with 100,000 dimensions": b"\x80\x02cmy\nOwn\n0("
    + b"K\x01" * 100_000
    + b"tq\x000ctorch._utils\n_rebuild_tensor_v2\n(h\x00K\x00h\x00h\x00tR.",
    "a key that is nested 100,000 times": b"\x80\x02cmy\nOwn\n0})" + b"\x85" * 100_000 + b"K\x01s.",
    "a set of what is nested 100,000 times": b"\x80\x04cmy\nOwn\n0\x8f()" + b"\x85" * 100_000 + b"\x900}.",
    "keys that double a hundred times": b"\x80\x02cmy\nOwn\n0})" + b"2\x86" * 100 + b"K\x01s.",
    "the name of a storage that doubles": b"\x80\x02cmy\nOwn\n0(X\x07\x00\x00\x00storagectorch\nFloatStorage\n)"
    + b"2\x86" * 100
    + b"NK\x01tQ.",
}


@pytest.mark.parametrize("index", BOMBS.values(), ids=BOMBS)
def test_what_is_left_out_of_a_file_takes_no_memory_and_no_time_either(index, tmp_path):
    """The same files are refused as a whole where nobody asked for leaving out."""
    path = tmp_path / "model.pth"
    in_archive(path, index)
    with pytest.raises(
        CheckpointError, match=r"it was not opened \((my.Own|builtins.bytearray)\)|cut short or damaged"
    ):
        read_tensors(path)
    with Memory() as memory, skip_unknown_names():
        try:
            read_tensors(path)
        except CheckpointError as error:
            assert "cut short or damaged" in str(error)
    assert memory.taken < 150 * MEGABYTE


class Calls:
    """Pickles as calls of whatever could do harm, in each of the ways in which a pickle can call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def calls(ran):
    yield pickled(Calls(os.mkdir, str(ran)))
    yield pickled(Calls(os.mkdir, str(ran)), protocol=4)
    yield f"\x80\x02(S'{ran}'\nios\nmkdir\n.".encode("latin-1")
    yield f"\x80\x02(cos\nmkdir\nS'{ran}'\no.".encode("latin-1")
    yield f"\x80\x02cos\nmkdir\nS'{ran}'\n\x85\x81.".encode("latin-1")
    yield f"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}}S'__code__'\nS'{ran}'\nsbcmy\nOwn\n.".encode("latin-1")
    yield b"\x80\x02cmy\nOwn\nN}U\x04toldN" + b"s\x86bcos\nmkdir\n."


def test_nothing_of_a_file_is_run_or_changed_where_it_is_left_out(tmp_path):
    ran, path = tmp_path / "ran", tmp_path / "model.pth"
    before = vars(unpickle.StandIn).copy(), vars(unpickle.rebuild_tensor).copy()
    for index in calls(ran):
        in_archive(path, index)
        with skip_unknown_names() as names:
            read_tensors(path)
        assert set(names) & {"os.mkdir", "posix.mkdir", "my.Own"}
    assert not ran.exists()
    assert (vars(unpickle.StandIn), vars(unpickle.rebuild_tensor)) == before
    torch.save({"w": torch.ones(3), "own": Calls(print, "x")}, path)
    with skip_unknown_names():
        assert read_tensors(path)["w"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("old", [False, True], ids=["PyTorch", "PyTorch before 1.6"])
def test_leaving_out_never_imports_and_never_looks_a_name_up(old, tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    torch.save({"w": torch.ones(3), "own": Calls(print, "x")}, path, _use_new_zipfile_serialization=not old)
    asked = []
    monkeypatch.setattr("builtins.__import__", lambda name, *rest: asked.append(name))
    with skip_unknown_names() as names:
        content = read_tensors(path)
    monkeypatch.undo()
    assert asked == [] and list(names) == ["builtins.print"] and content["w"].tolist() == [1, 1, 1]


def test_a_model_with_other_things_than_tensors_in_its_weights_is_refused(diffusers):
    weights = diffusers / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    torch.save({7: "seven"}, weights.with_suffix(".bin"))
    with pytest.raises(CheckpointError, match="holds 7, which is no tensor"):
        load(diffusers)


# JSON


def nested(depth):
    return ('{"a":' * depth + "1" + "}" * depth).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (nested(900), "nests its JSON deeper than 16 levels"),
        (nested(17), "nests its JSON deeper than 16 levels"),
        (b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}", "nests its JSON deeper than 16 levels"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "no readable JSON"),
        (b'{"a": "' + b"x" * (9 << 20) + b'"}', "9,437,193 bytes; at most 8,388,608 are allowed"),
        (b"\xff\xfe{\x00}\x00" + b"\xd8\x00" * 3, "no readable JSON"),
    ],
    ids=["deep", "a little too deep", "deep lists", "a number of 5,001 digits", "large", "broken UTF-16"],
)
def test_json_is_bounded_in_size_and_depth(content, message, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    with Memory() as memory, pytest.raises(CheckpointError, match=message):
        read_json(tmp_path / "config.json")
    assert memory.taken < 100 * MEGABYTE


def test_a_header_of_fifty_megabytes_is_not_read(tmp_path):
    path = tmp_path / "model.safetensors"
    header = b"{" + b" " * (50 * MEGABYTE) + b"}"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with Memory() as memory, pytest.raises(CheckpointError, match="its header has 52,428,802 bytes"):
        check_safetensors(path)
    assert memory.taken < 10 * MEGABYTE


# What is just within a limit, and what is just beyond it


@pytest.mark.parametrize("beyond", [0, 1], ids=["within", "beyond"])
def test_json_may_have_eight_megabytes(beyond, tmp_path):
    (tmp_path / "config.json").write_bytes(b"{" + b" " * (8 * MEGABYTE - 2 + beyond) + b"}")
    check(beyond, "at most 8,388,608 are allowed", read_json, tmp_path / "config.json")


@pytest.mark.parametrize("beyond", [0, 1], ids=["within", "beyond"])
def test_json_may_nest_sixteen_levels(beyond, tmp_path):
    (tmp_path / "config.json").write_bytes(nested(16 + beyond))
    check(beyond, "nests its JSON deeper", read_json, tmp_path / "config.json")


@pytest.mark.parametrize("beyond", [0, 8], ids=["within", "beyond"])
def test_a_header_may_have_eight_megabytes(beyond, tmp_path):
    path = tmp_path / "model.safetensors"
    header = b"{" + b" " * (8 * MEGABYTE - 2 + beyond) + b"}"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    check(beyond, "its header has 8,388,616 bytes", check_safetensors, path)


@pytest.mark.parametrize("beyond", [0, 1], ids=["within", "beyond"])
def test_an_index_may_have_eight_megabytes(beyond, tmp_path):
    path = tmp_path / "model.pth"
    text = "x" * (8 * MEGABYTE - len(pickled({"": "x" * 1000})) + 1000 + beyond)  # of 4 bytes of length, as 1000 is
    in_archive(path, pickled({"": text}))
    check(beyond, "has an index of 8,388,609 bytes", read_tensors, path)


@pytest.mark.parametrize("names", [2, 3], ids=["within", "beyond"])
def test_the_bytes_of_a_file_may_be_claimed_twice(names, tmp_path):
    path = tmp_path / "model.pth"
    torch.save({str(i): ones for ones in [torch.ones(100_000)] for i in range(names)}, path)
    check(names > 2, "claims tensors of 1,200,000 bytes", read_tensors, path)


def check(beyond, message, read, path):
    if beyond:
        with pytest.raises(CheckpointError, match=message):
            read(path)
    else:
        read(path)


def test_a_file_with_a_comment_at_its_end_opens(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"w": torch.ones(3)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"from a friend"
    assert read_tensors(path)["w"].tolist() == [1, 1, 1]


# Shapes and types that no model has

ODD = {
    "empty": lambda t: t[:0],
    "a single number": lambda t: torch.ones(()),
    "one dimension more": lambda t: t[None],
    "a trillion rows of nothing": lambda t: torch.zeros(10**12, 0),
    "whole numbers": lambda t: t.long(),
    "complex numbers": lambda t: t.to(torch.complex64),
    "twice as many rows": lambda t: torch.cat([t, t]) if t.dim() else t,
    "text": lambda t: "text",
    "nothing": lambda t: None,
}


def odd_cases(names, count):
    """Some of the many thousand cases, always the same ones; half of them are tensors that a shape is read off."""
    told = [
        "transformer.content_emb.emb.weight",
        "transformer.content_emb.height_emb.weight",
        "transformer.blocks.0.ln1.emb.weight",
        "transformer.blocks.0.mlp.0.weight",
        "transformer.blocks.0.attn2.key.weight",
        "condition_emb.token_embedding.weight",
        "condition_emb.positional_embedding",
        "empty_text_embed",
        "log_cumprod_at",
    ]
    telling = [(name, kind) for name in told for kind in ODD]
    others = [(name, kind) for name in names for kind in ODD if name not in told]
    chosen = random.Random(0)
    return chosen.sample(telling, count // 2) + chosen.sample(others, count // 2)


def test_a_tensor_of_any_other_shape_or_type_is_refused_or_of_no_use(ithq):
    whole = torch.load(ithq / "ithq.pth")
    for name, kind in odd_cases(whole["ema"], int(os.environ.get("ODD_TENSORS", "40"))):
        tensor = whole["ema"][name]
        changed = whole | {"ema": whole["ema"] | {name: ODD[kind](tensor)}}
        torch.save(changed, ithq / "ithq.pth")
        try:
            load(ithq)
        except CheckpointError:
            continue
        except Exception as error:
            raise AssertionError(f"{name} as {kind}: {type(error).__name__} instead of a clear error") from error
        unused = any(part in name for part in ("Lt_", "log_1", "log_at", "log_bt", "log_ct", "mask", "text_projection"))
        not_averaged = kind in ("text", "nothing")  # then the last state of the training, which is whole, stands in
        assert unused or not_averaged, f"{name} as {kind} was loaded"


@pytest.mark.parametrize("number", ["99999", "9" * 5000, "\u0661"])
def test_the_number_of_a_layer_is_a_small_one(ithq, number):
    whole = torch.load(ithq / "ithq.pth")
    whole["ema"][f"transformer.blocks.{number}.ln2.bias"] = torch.zeros(32)
    torch.save(whole, ithq / "ithq.pth")
    with pytest.raises(CheckpointError, match="unknown names"):
        load(ithq)


# Places


def linked(path, target):
    path.unlink()
    path.symlink_to(target)


OUTSIDE = [
    ("diffusers", "vqvae/diffusion_pytorch_model.safetensors"),
    ("diffusers", "transformer/config.json"),
    ("diffusers", "scheduler/scheduler_config.json"),
    ("diffusers", "tokenizer/vocab.json"),
    ("diffusers", "tokenizer/merges.txt"),
    ("diffusers", "model_index.json"),
    ("ithq", "ithq.pth"),
    ("ithq", "bpe_simple_vocab_16e6.txt.gz"),
]


@pytest.mark.parametrize(("layout", "name"), OUTSIDE)
def test_a_link_out_of_the_model_is_not_followed(made, layout, name, tmp_path):
    folder = shutil.copytree(made[layout], tmp_path / "models" / layout)
    secret = tmp_path / "secret" / Path(name).name
    secret.parent.mkdir()
    file = folder / name
    if file.exists():
        shutil.move(file, secret)
    else:
        secret.write_text('{"_class_name": "VQDiffusionPipeline"}')
    file.symlink_to(secret)
    with pytest.raises(CheckpointError, match=f"{file.name} is a link out of its model, to {secret}"):
        load(folder)


def test_a_linked_part_is_not_followed_out_of_the_model(diffusers, tmp_path):
    shutil.move(diffusers / "vqvae", tmp_path / "elsewhere")
    (diffusers / "vqvae").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"config.json is a link out of its model, to .*elsewhere/config.json"):
        load(diffusers)


def test_a_model_folder_may_be_a_link_and_models_side_by_side_may_share_files(ithq, tmp_path):
    store = tmp_path / "disk" / "models"
    store.mkdir(parents=True)
    shutil.move(ithq, store / "ithq")
    shared = store / "shared" / "vocabulary.gz"
    shared.parent.mkdir()
    shutil.move(store / "ithq" / "bpe_simple_vocab_16e6.txt.gz", shared)
    (store / "ithq" / "words.gz").symlink_to(shared)
    ithq.symlink_to(store / "ithq")
    assert load(ithq).name == "ithq"


def test_the_cache_of_the_hub_opens_as_it_is(diffusers, tmp_path):
    """There every file of a version is a link to its content, which the versions share."""
    repository = tmp_path / "hub" / "models--some--model"
    version = repository / "snapshots" / "0123abc"
    version.parent.mkdir(parents=True)
    (repository / "blobs").mkdir()
    shutil.move(diffusers, version)
    for i, file in enumerate(sorted(path for path in version.rglob("*") if path.is_file())):
        blob = shutil.move(file, repository / "blobs" / str(i))
        file.symlink_to(os.path.relpath(blob, file.parent))
    load(version)


def test_a_link_out_of_a_version_reaches_its_repository_and_no_further(tmp_path):
    """Wherever that repository lies: here in a folder that is called as those of versions are."""
    version = tmp_path / "snapshots" / "models--some--model" / "snapshots" / "0123abc"
    version.mkdir(parents=True)
    for place, refused in ((version.parents[1], False), (tmp_path, True)):
        torch.save({"w": torch.ones(3)}, place / "weights.pth")
        link = version / "model.pth"
        link.unlink(missing_ok=True)
        link.symlink_to(place / "weights.pth")
        if refused:
            with pytest.raises(CheckpointError, match="is a link out of its model"):
                read_tensors(link)
        else:
            assert read_tensors(link)["w"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "name", ["../x.bin", "/etc/passwd", "C:x.bin", "a\x00.bin", "a\n.bin", "a\r.bin", ".", "", "\u202e"]
)
def test_a_list_of_pieces_names_plain_files_alone(diffusers, name):
    weights = diffusers / "vqvae" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    weights.with_name(f"{weights.name}.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="files outside its own folder"):
        load(diffusers)


@pytest.mark.parametrize("kind", ["pipe", "device", "loop"])
@pytest.mark.parametrize(
    "layout_name", ["ithq/ithq.pth", "diffusers/vqvae/config.json", "diffusers/tokenizer/merges.txt"]
)
def test_what_is_no_regular_file_is_not_read(made, kind, layout_name, tmp_path):
    layout, _, name = layout_name.partition("/")
    folder = shutil.copytree(made[layout], tmp_path / layout)
    path = folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"device": "/dev/zero", "loop": path.name}[kind])
    with pytest.raises(CheckpointError):
        load(folder)


def test_a_pickle_under_any_other_name_is_no_less_distrusted(diffusers, tmp_path):
    ran = tmp_path / "ran"

    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(ran),)

    weights = diffusers / "vqvae" / "diffusion_pytorch_model.safetensors"
    for write in (lambda path: torch.save({"x": Malice()}, path), lambda path: path.write_bytes(pickled(Malice()))):
        write(weights)
        with pytest.raises(CheckpointError):
            load(diffusers)
        for name in ("x.SafeTensors", "x.PTH", "x.Bin", "x"):
            other = tmp_path / "other"
            other.mkdir(exist_ok=True)
            shutil.copy(weights, other / name)
            with pytest.raises(CheckpointError):
                load(other)
            (other / name).unlink()
    assert not ran.exists()


def test_names_from_a_file_cannot_send_commands_to_a_terminal_nor_fill_it(ithq):
    whole = torch.load(ithq / "ithq.pth")
    whole["ema"]["transformer.blocks.0.\x1b[2J\nx"] = torch.zeros(3)
    whole["ema"]["transformer.blocks.0." + "y" * 100_000] = torch.zeros(3)
    torch.save(whole, ithq / "ithq.pth")
    with pytest.raises(CheckpointError, match="unknown names") as raised:
        load(ithq)
    message = str(raised.value)
    assert message.isprintable() and len(message) < 2100 and r"\x1b[2J\nx" in message


def test_a_folder_that_may_not_be_read_does_not_hide_the_other_models(diffusers, monkeypatch):
    locked = diffusers.parent / "a locked one"
    locked.mkdir()
    scandir = os.scandir

    def refuse(path):
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # the tests may run as root, who may read everything
    found = find([diffusers.parent])
    assert list(found.models) == ["diffusers"]
    assert f"{locked} cannot be read: Permission denied." in found.unlisted


# Our own code


SOURCES = [
    CHECKOUT / "__init__.py",
    *(CHECKOUT / "nodes").rglob("*.py"),
    *(CHECKOUT / "vqdiffusion_core").rglob("*.py"),
]
FORBIDDEN_FUNCTIONS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_METHODS = {"system", "popen", "fork", "execv", "execve", "spawnv", "posix_spawn"}
FORBIDDEN_MODULES = {
    "subprocess",
    "socket",
    "http",
    "urllib",
    "requests",
    "ctypes",
    "multiprocessing",
    "marshal",
    "shelve",
    "huggingface_hub",
}
REACH_THE_NETWORK = {  # what a user asks for: a model's files, and the icons that a training draws
    Path("checkpoints/download.py"): {"huggingface_hub"},
    Path("training/world/material.py"): {"urllib"},
}


def test_no_source_file_runs_text_starts_a_program_or_opens_a_connection():
    allowed = {CHECKOUT / "vqdiffusion_core" / path: modules for path, modules in REACH_THE_NETWORK.items()}
    assert allowed.keys() <= set(SOURCES)
    for source in SOURCES:
        forbidden = FORBIDDEN_MODULES - allowed.get(source, set())
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                owner, _, name = ast.unparse(node.func).rpartition(".")
                assert name not in (FORBIDDEN_METHODS if owner else FORBIDDEN_FUNCTIONS), f"{source}:{node.lineno}"
                if (owner, name) == ("torch", "load"):
                    trusted = [word.value for word in node.keywords if word.arg == "weights_only"]
                    assert len(trusted) == 1 and getattr(trusted[0], "value", None) is True, f"{source}:{node.lineno}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [part.name for part in node.names]
                tops = {name.partition(".")[0] for name in names if getattr(node, "level", 0) == 0}
                assert not tops & forbidden, f"{source}:{node.lineno} imports {tops & forbidden}"


# A run, watched by Python's own audit: what other libraries do while they are imported is theirs, so they come first.
WATCHED = """
import sys, types
from pathlib import Path

checkout, original = sys.argv[1:]
import dataclasses, csv, hashlib, gzip, ftfy, numpy, safetensors.torch, tokenizers, torch, transformers
from PIL import Image, ImageFont, PngImagePlugin
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

seen = []
NEVER = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect",
         "socket.getaddrinfo", "socket.bind", "urllib.Request", "ctypes.dlopen", "pty.spawn", "winreg.OpenKey")
phase = "import"

def watch(event, arguments):
    if event in NEVER:
        seen.append((phase, event, str(arguments)[:200]))
    if event in ("exec", "compile"):
        caller = sys._getframe(1)
        ours = caller.f_code.co_filename.startswith(checkout)
        if ours or phase == "run":
            seen.append((phase, event, caller.f_code.co_filename, caller.f_lineno))
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        if not str(arguments[0]).startswith("/dev/"):
            seen.append((phase, event, str(arguments[0])))

sys.addaudithook(watch)
pack = types.ModuleType("pack"); pack.__path__ = [checkout]; sys.modules["pack"] = pack
from pack.vqdiffusion_core import cli, pipeline
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, convert, load
from pack.vqdiffusion_core.diffusion import settings

def run():
    load(original)
    pipeline.generate(load(POCKET_FOLDER), "a fox", settings=settings.Settings(steps=2))
run()  # modules that are imported when they are first needed
phase = "run"
run()
print(seen)
"""


def test_importing_loading_and_drawing_start_nothing_connect_nowhere_and_write_nothing(ithq):
    command = [sys.executable, "-B", "-c", WATCHED, str(CHECKOUT), str(ithq)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"
