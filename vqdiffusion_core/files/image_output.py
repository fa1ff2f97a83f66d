"""Files to write images to: the suffix says the format, and what cannot be written is refused before drawing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from .atomic import atomic_write, part_of

FINE: dict[str, Any] = {"quality": 95}
JPEG: tuple[str, dict[str, Any]] = ("JPEG", FINE | {"subsampling": 0})  # colours as sharp as lightness
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".jfif": JPEG,
    ".webp": ("WEBP", FINE),
    ".avif": ("AVIF", FINE),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
    ".bmp": ("BMP", {}),
    "": ("PNG", {}),
}


def format_of(path: Path) -> tuple[str, dict[str, Any]]:
    """Pillow's name of the format that a file's suffix asks for, and how to save it. Raises ValueError."""
    Image.init()
    suffixes = [suffix for suffix, (name, _) in FORMATS.items() if name in Image.SAVE]
    if path.suffix.lower() not in suffixes:
        known = ", ".join(filter(None, suffixes))
        raise ValueError(f"{path} ends in {path.suffix}, which is no format to save an image in; expected {known}.")
    return FORMATS[path.suffix.lower()]


def check_output(path: Path) -> None:
    """Raises ValueError where no image can be written to a file, which is not made yet."""
    format_of(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected a file, such as {path / 'picture.png'}.")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file that could be replaced; expected a new file, or an image's.")
    try:
        probe = part_of(nearest(path.parent) / path.name)
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may look at the same place
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}); choose another place with -o.") from error


def nearest(folder: Path) -> Path:
    """A folder, or where it does not exist, the first above it that does."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def write_image(image: Image.Image, path: Path) -> None:
    name, options = format_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        image.save(part, format=name, **options)
