"""Image files as phones, scanners and painting programs write them -> upright RGB of 8 bits, or a mask."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
Colour = tuple[int, ...]  # red, green, blue, each 0..255

# Suffixes of the formats that may hold an image: what Pillow turns into pixels, by itself or with a plugin.
SUFFIXES = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .mpo .jp2 .j2k .jpf .jpx .webp .avif .avifs .heic .heif .hif .jxl .gif .bmp .dib "
    ".tif .tiff .tga .pcx .ppm .pgm .pbm .pnm .pfm .psd .qoi .dds".split()
)
RAW = frozenset(".arw .cr2 .cr3 .dng .nef .orf .raf .rw2".split())  # Pillow shows their thumbnails, if anything

FULL = (1, 255, 2**16 - 1, 2**31 - 1)  # what may stand for white in an image of deep numbers
PLAIN = 48  # how far the colours of strokes, 0..255, may lie apart and still be one


class ImageError(ValueError):
    """A file that is no image, with its name and what to do."""


def open_image(path: Path, background: Colour = WHITE) -> Image.Image:
    """The image of a file, as `to_rgb` gives it; of several frames the first. Raises ImageError."""
    return to_rgb(read_image(path), background)


def open_mask(path: Path) -> Image.Image:
    """The mask of a file, as `to_mask` gives it. Raises ImageError."""
    return to_mask(read_image(path))


def read_image(path: Path) -> Image.Image:
    """A file's pixels as they are stored, all of them read. Raises ImageError."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise ImageError(f"{path} {found}; expected an image file.")
    if path.suffix.lower() in RAW:
        raise ImageError(f"{path} is a camera's raw file; develop it and save it as TIFF, PNG or JPEG.")
    try:
        return load_pixels(path)
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise ImageError(f"{path} has more than {most:.0f} million pixels; scale it down first.") from error
    except Exception as error:  # Pillow's readers raise nearly anything where a file is broken
        raise ImageError(f"{path} cannot be read as an image ({reason(path, error)}") from error


def load_pixels(path: Path) -> Image.Image:
    if holds_heic(path):
        from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]  (an optional plugin)

        register_heif_opener()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an image is large, or its EXIF odd: it is read all the same
        with Image.open(path) as image:
            image.load()
            return upright(image)


def holds_heic(path: Path) -> bool:
    """Whether a file is what phones write under .heic, or under any other name."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def reason(path: Path, error: Exception) -> str:
    """Why a file is not read, and what to do about it; closes the bracket."""
    if isinstance(error, ImportError):
        return "HEIC, as phones write it); pip install pillow-heif, or export it as JPEG or PNG."
    if not isinstance(error, Image.UnidentifiedImageError):
        return f"{error}); mend it or take it out."
    head = path.read_bytes()[:40]
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself); fetch it with git lfs pull."
    if path.suffix.lower() in (".avif", ".avifs", ".jxl"):
        return f"this Pillow does not read {path.suffix}); export it as JPEG or PNG."
    return f"{'an unknown format' if head else 'an empty file'}); mend it or take it out."


def upright(image: Image.Image) -> Image.Image:
    """Turned as a camera's EXIF says."""
    if image.format == "TIFF":
        return image.copy()  # Pillow turns these by itself, and older ones would do it twice
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF that cannot be read says nothing about the image, whose pixels are there already
        return image.copy()


def to_rgb(image: Image.Image, background: Colour = WHITE) -> Image.Image:
    """RGB of 8 bits a channel, laid on `background` where the image is transparent."""
    shallow = to_8_bits(image)
    if not has_alpha(shallow):
        return shallow.convert("RGB")
    layer = shallow.convert("RGBA")
    ground = Image.new("RGBA", layer.size, (*background[:3], 255))
    return Image.alpha_composite(ground, layer).convert("RGB")


def has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info


def to_8_bits(image: Image.Image) -> Image.Image:
    """An image of 16 or 32 bits or of floats as grey of 8; any other as it is.

    White is the full range of 16 bits. Whole numbers of 32 bits and floats may count to anything: white is then the
    least of 1, 255, 2**16 - 1 and 2**31 - 1 that no pixel exceeds.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.nan_to_num(np.asarray(image, dtype=np.float64)).clip(0, FULL[-1])
    white = FULL[2] if image.mode.startswith("I;16") else next(full for full in FULL if values.max() <= full)
    return Image.fromarray((values * (255 / white)).round().astype(np.uint8))


def to_mask(image: Image.Image) -> Image.Image:
    """Grey of 8 bits, white where the mask marks.

    Without transparency, its lightness. On a clear ground, strokes of one colour mark where they are, in black as in
    white; where nothing but black and white is seen, white marks. Of any other image, such as a photograph with a part
    erased, what is clear is marked. The ground is what most of the border is.
    """
    shallow = to_8_bits(image)
    if not has_alpha(shallow):
        return shallow.convert("L")
    layer = shallow.convert("RGBA")
    layer_HW4 = np.asarray(layer)
    alpha_HW = layer_HW4[..., 3]
    if alpha_HW.min() == 255:
        return layer.convert("L")
    if border(alpha_HW).mean() < 128:
        seen_M3 = layer_HW4[alpha_HW >= 128][:, :3]
        if len(seen_M3) == 0 or np.ptp(seen_M3, axis=0).max() <= PLAIN:
            return Image.fromarray(alpha_HW)
        if ((seen_M3 <= PLAIN).all(1) | (seen_M3 >= 255 - PLAIN).all(1)).all():
            return to_rgb(shallow, BLACK).convert("L")
    return Image.fromarray(255 - alpha_HW)


def border(values_HW: np.ndarray) -> np.ndarray:
    """The outermost values."""
    return np.concatenate([values_HW[0], values_HW[-1], values_HW[:, 0], values_HW[:, -1]])
