"""Files of every form that tensors come in, whole and damaged."""

import io
import struct
import zipfile

import pytest
import torch
from pack.vqdiffusion_core.checkpoints import CheckpointError
from pack.vqdiffusion_core.checkpoints.read import holds_tensors, read_tensors
from safetensors.torch import save_file

STATE = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([7], dtype=torch.int64)}


def old(path):
    torch.save(STATE, path, _use_new_zipfile_serialization=False)


def new(path):
    torch.save(STATE, path)


def safe(path):
    save_file(STATE, path)


FORMS = {"PyTorch before 1.6": old, "PyTorch": new, "safetensors": safe}
every_form = pytest.mark.parametrize("write", FORMS.values(), ids=FORMS)


@every_form
@pytest.mark.parametrize("name", ["model.pth", "model.bin", "model.weights", "model"])
def test_a_file_is_known_by_its_content_whatever_its_name(write, name, tmp_path):
    path = tmp_path / name
    write(path)
    content = read_tensors(path)
    assert list(content) == sorted(STATE, reverse=write is not safe)
    assert all(torch.equal(content[key], value) and content[key].dtype == value.dtype for key, value in STATE.items())
    assert holds_tensors(path)


@pytest.mark.parametrize("content", [b"", b"a text", b"0123456|", b"01234567|}", b"\x7fELF"])
def test_other_files_hold_no_tensors(content, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(content)
    assert not holds_tensors(path)
    with pytest.raises(CheckpointError, match="is neither a safetensors nor a PyTorch file"):
        read_tensors(path)


def test_a_page_in_place_of_weights_is_told_by_their_name(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("<!DOCTYPE html><html><body>404: Not Found</body></html>")
    with pytest.raises(CheckpointError, match=r"is no whole safetensors file: .*; it is a web page"):
        read_tensors(path)


@every_form
def test_a_file_cut_anywhere_is_refused(write, tmp_path):
    path = tmp_path / "model.pth"
    write(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"model.pth (is|has) .*(again|published them)\."):
            read_tensors(path)


def test_a_file_with_more_behind_what_its_header_promises_is_refused(tmp_path):
    path = tmp_path / "model.pth"
    safe(path)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(CheckpointError, match=r"has 156 bytes where its header promises 152\."):
        read_tensors(path)


def zipped(entries, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return bytearray(out.getvalue())


def test_a_compressed_archive_is_refused_however_small(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(zipped({"archive/data.pkl": b"\x80\x02}."}, zipfile.ZIP_DEFLATED))
    with pytest.raises(CheckpointError, match="it is compressed, which PyTorch's files never are"):
        read_tensors(path)


def test_an_entry_that_claims_more_than_the_file_has_is_refused(tmp_path):
    archive = zipped({"archive/data.pkl": b"\x80\x02}."})
    directory = archive.index(b"PK\1\2")
    struct.pack_into("<LL", archive, directory + 20, 1 << 30, 1 << 30)
    path = tmp_path / "model.pth"
    path.write_bytes(archive)
    with pytest.raises(CheckpointError, match="unfolds to 1,073,741,824 bytes from"):
        read_tensors(path)


PICKLES = {
    "a storage that PyTorch does not know": (
        b"\x80\x02ctorch\nFooStorage\n.",
        r"could run code; it was not opened \(Unsupported global: GLOBAL torch.FooStorage was not",
    ),
    "an instruction of a later protocol": (
        b"\x80\x02\x97.",
        r"could run code; it was not opened \(Unsupported operand 151\)",
    ),
    "a stack that is empty": (b"\x80\x02R.", r"is cut short or damaged \(pop from empty list\)"),
    "an end that is missing": (b"\x80\x02}", r"is cut short or damaged \(pickle exhausted before seeing STOP\)"),
    "no instruction": (b"\x80\x02\xff.", r"is cut short or damaged \(at position 2, opcode b'\\xff' unknown\)"),
}


@pytest.mark.parametrize(("pickled", "message"), PICKLES.values(), ids=PICKLES)
def test_a_pickle_that_is_no_state_says_in_short_what_is_wrong(pickled, message, tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(zipped({"archive/data.pkl": pickled, "archive/version": b"3\n", "archive/byteorder": b"little"}))
    with pytest.raises(CheckpointError, match=message):
        read_tensors(path)
