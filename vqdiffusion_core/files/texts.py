"""Text files as editors on any system save them."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import NamedTuple

MARKS = {  # byte order marks; that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
FALLBACK = "cp1252"  # Windows in western languages; nearly any bytes are text in it


class Text(NamedTuple):
    """What a file says."""

    lines: list[str]
    guessed: bool  # it is no Unicode and was read as FALLBACK


def read_text(path: Path) -> Text:
    """The lines of a file, ended in any way. Raises ValueError, with the file's name, where it is no text."""
    data = path.read_bytes()
    encoding = encoding_of(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise no_text(path, str(error)) from error
    if "\0" in text:
        raise no_text(path, "it holds zero bytes")
    return Text(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), encoding == FALLBACK)


def encoding_of(data: bytes) -> str:
    """
    >>> [encoding_of(text) for text in (b"caf\\xc3\\xa9", b"caf\\xe9", b"\\xff\\xfec\\0", b"c\\0a\\0", b"\\0c\\0a")]
    ['utf-8', 'cp1252', 'utf-16', 'utf-16-le', 'utf-16-be']
    """
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            return encoding
    if 0 in data:
        return "utf-16-le" if data[1::2].count(0) > data[::2].count(0) else "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return FALLBACK
    return "utf-8"


def no_text(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is no text in UTF-8, UTF-16 or cp1252 ({why}); save it as UTF-8.")


def guess_notice(paths: list[Path]) -> str:
    """That files were read as FALLBACK, in a line."""
    files = f"{paths[0]} was" if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more text files were"
    return f"{files} no UTF-8 and read as Windows' {FALLBACK}; save as UTF-8 if letters come out wrong."
