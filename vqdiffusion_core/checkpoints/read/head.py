"""The first bytes of a file, and whether it may be opened at all."""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError

AGAIN = "Copy or download it again."


def read_head(path: Path) -> bytes:
    """The first bytes of a regular file of the model; a device or a pipe could be read for ever."""
    if not path.is_file():
        raise CheckpointError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; expected a file.")
    check_link(path)
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


def check_link(path: Path) -> None:
    """Refuse a link that a stranger could have packed to have any file of this machine read.

    Files of one model and of models side by side may be shared; in the hub's cache, those of all versions of a model.
    The model's own folder may lie, or be linked, anywhere.
    """
    target = path.resolve()
    versions = [folder for folder in path.absolute().parents if folder.name == "snapshots"]
    allowed = [folder.resolve() for folder in (path.absolute().parents[1], *(found.parent for found in versions[:1]))]
    if not any(target.is_relative_to(folder) for folder in allowed):
        raise CheckpointError(f"{path} is a link out of its model, to {target}. Not opened. Put the file itself there.")


def describe(head: bytes) -> str:
    """What a file is that is no model, as far as its first bytes tell.

    >>> describe(b"<!DOCTYPE html>")
    'it is a web page, which a server sent in place of the file.'
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not text:
        return "it is empty."
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "it is a web page, which a server sent in place of the file."
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not yet the file that it stands for (git lfs pull fetches that)."
    return f"it begins with {head[:16]!r}."
