"""Image files as cameras, scanners and painting programs write them: upright, 8 bits, opaque, or named in an error."""

import struct
import zlib

import numpy as np
import pytest
from pack.vqdiffusion_core.files.images import open_image, open_mask
from PIL import Image

ORIENTATION = 0x0112
FLAT = (200, 40, 40)


def marked_corner(size=(32, 16)):
    """Black, but for a white corner at the top left."""
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), (0, 0, 8, 8))
    return image


def pixels(path, **options):
    image = open_image(path, **options)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


# Upright


@pytest.mark.parametrize(
    ("orientation", "size", "corner"),
    [(1, (32, 16), (0, 0)), (3, (32, 16), (-1, -1)), (6, (16, 32), (0, -1)), (8, (16, 32), (-1, 0))],
)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_an_image_stands_upright(suffix, orientation, size, corner, tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    marked_corner().save(tmp_path / f"photo{suffix}", exif=exif)
    image = pixels(tmp_path / f"photo{suffix}")
    assert image.shape[1::-1] == size
    assert image[corner].min() > 200 and (image > 128).all(2).sum() == 64


@pytest.mark.filterwarnings("error")
def test_broken_exif_says_nothing(tmp_path):
    marked_corner().save(tmp_path / "photo.jpg", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff garbage")
    assert pixels(tmp_path / "photo.jpg").shape == (16, 32, 3)


# Deep numbers


def ramp(dtype, white):
    return (np.linspace(0, 1, 256).reshape(16, 16) * white).astype(dtype)


@pytest.mark.parametrize(
    ("suffix", "dtype", "white"),
    [
        (".png", np.uint16, 65535),
        (".tif", np.uint16, 65535),
        (".tif", ">u2", 65535),
        (".tif", np.int32, 255),
        (".tif", np.int32, 2**31 - 1),
        (".tif", np.float32, 1),
        (".tif", np.float32, 255),
    ],
)
def test_deep_grey_keeps_its_shades(suffix, dtype, white, tmp_path):
    Image.fromarray(ramp(dtype, white)).save(tmp_path / f"scan{suffix}")
    grey = pixels(tmp_path / f"scan{suffix}")
    assert np.abs(grey[..., 0].flatten() - np.arange(256)).max() <= 1
    assert (grey[..., 0] == grey[..., 2]).all()


def test_a_deep_pgm_keeps_its_shades(tmp_path):
    (tmp_path / "scan.pgm").write_bytes(b"P5 16 16 65535 " + ramp(">u2", 65535).tobytes())
    assert np.abs(pixels(tmp_path / "scan.pgm")[..., 0].flatten() - np.arange(256)).max() <= 1


def test_a_dark_scan_stays_dark(tmp_path):
    Image.fromarray(ramp(np.uint16, 1000)).save(tmp_path / "scan.png")
    assert pixels(tmp_path / "scan.png").max() <= 4


def test_floats_that_are_no_numbers_are_black(tmp_path):
    values = ramp(np.float32, 1)
    values[0, 0], values[0, 1] = np.nan, -3
    Image.fromarray(values).save(tmp_path / "depth.tif")
    assert not pixels(tmp_path / "depth.tif")[0, :2].any()


# Transparency and palettes


def half_clear(mode="RGBA"):
    """Red on the left; on the right transparent, with green hidden under it."""
    image = Image.new("RGBA", (16, 16), (*FLAT, 255))
    image.paste((0, 200, 0, 0), (8, 0, 16, 16))
    return image.convert(mode)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".gif"])
@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (10, 20, 230)])
def test_what_is_transparent_shows_the_background(suffix, colour, tmp_path):
    options = {"lossless": True} if suffix == ".webp" else {}
    half_clear().save(tmp_path / f"logo{suffix}", **options)
    image = pixels(tmp_path / f"logo{suffix}", background=colour)
    assert np.abs(image[:, :8] - FLAT).max() <= 1 and (image[:, 8:] == colour).all()


@pytest.mark.parametrize("kind", ["palette with an index", "palette with alphas", "colour key", "grey with alpha"])
def test_transparency_of_any_kind_shows_white(kind, tmp_path):
    image = Image.new("P", (16, 16), 0)
    image.putpalette([*FLAT, 0, 200, 0])
    image.paste(1, (8, 0, 16, 16))
    options = {"palette with an index": 1, "palette with alphas": b"\xff\x00", "colour key": (0, 200, 0)}
    if kind == "grey with alpha":
        image = half_clear("LA")
    elif kind == "colour key":
        image = image.convert("RGB")
    image.save(tmp_path / "image.png", **({"transparency": options[kind]} if kind in options else {}))
    shown = pixels(tmp_path / "image.png")
    assert (shown[:, 8:] == 255).all() and (shown[:, :8] < 255).any(2).all()


def test_half_transparent_colours_are_mixed(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 128)).save(tmp_path / "grey.png")
    assert np.abs(pixels(tmp_path / "grey.png") - 127).max() <= 1


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", ".jpg"), ("CMYK", ".tif"), ("P", ".bmp"), ("1", ".png")])
def test_other_modes_become_rgb(mode, suffix, tmp_path):
    Image.new("RGB", (16, 16), (255, 255, 255)).convert(mode).save(tmp_path / f"image{suffix}")
    assert pixels(tmp_path / f"image{suffix}").min() > 240


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_of_several_frames_the_first_is_taken(suffix, tmp_path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((250, 250, 250), (0, 0, 0))]
    frames[0].save(tmp_path / f"film{suffix}", save_all=True, append_images=frames[1:])
    assert pixels(tmp_path / f"film{suffix}").min() > 240


# Files that are no images


def png_header(width, height):
    head = b"IHDR" + struct.pack(">II", width, height) + bytes([8, 2, 0, 0, 0])
    data = struct.pack(">I", 100) + b"IDAT"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + data


def cut_off(path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1000])


BROKEN = {
    "nothing.png": (None, "does not exist"),
    "empty.png": (b"", "an empty file"),
    "page.jpg": (b"<!DOCTYPE html><html>", "an unknown format"),
    "pointer.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "phone.heic": (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "pip install pillow-heif"),
    "phone.jpg": (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00", "pip install pillow-heif"),
    "camera.NEF": (b"MM\x00\x2a", "a camera's raw file"),
    "new.jxl": (b"\xff\x0a\x00\x00", "does not read .jxl"),
    "broken.avif": (b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00", "cannot be read as an image"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("opener", [open_image, open_mask])
def test_a_file_that_is_no_image_is_named(opener, name, tmp_path):
    content, message = BROKEN[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name) as error:
        opener(tmp_path / name)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".gif", ".bmp"])
def test_a_file_that_is_cut_off_is_named(suffix, tmp_path):
    cut_off(tmp_path / f"half{suffix}")
    with pytest.raises(ValueError, match=f"half{suffix} cannot be read as an image"):
        open_image(tmp_path / f"half{suffix}")


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(ValueError, match="is a folder; expected an image file"):
        open_image(tmp_path)


def test_an_image_of_billions_of_pixels_is_refused_before_memory_is_taken(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_header(60_000, 50_000))
    with pytest.raises(ValueError, match=r"bomb\.png has more than 179 million pixels; scale it down"):
        open_image(tmp_path / "bomb.png")


@pytest.mark.filterwarnings("error")
def test_a_large_photograph_is_read_without_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    marked_corner().save(tmp_path / "photo.png")
    assert pixels(tmp_path / "photo.png").shape == (16, 32, 3)


# Masks


def layer(ground, strokes, size=(96, 96)):
    """A square of `strokes` on a ground, both RGBA."""
    image = Image.new("RGBA", size, ground)
    image.paste(strokes, (30, 30, 67, 67))
    return image


def square():
    return np.asarray(layer((0, 0, 0, 255), (255, 255, 255, 255)).convert("L"))


def noise():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)).convert("RGBA")


def photograph_with_a_hole():
    image = noise()
    image.paste((0, 0, 0, 0), (30, 30, 67, 67))
    return image


def mask_on_a_clear_ground():
    """A black sheet with a white square, and nothing around it."""
    image = layer((0, 0, 0, 0), (255, 255, 255, 255))
    image.paste((0, 0, 0, 255), (10, 10, 86, 30))
    return image


MASKS = {
    "white on black": lambda: layer((0, 0, 0, 255), (255, 255, 255, 255)),
    "black strokes on a clear ground": lambda: layer((0, 0, 0, 0), (0, 0, 0, 255)),
    "white strokes on a clear ground": lambda: layer((255, 255, 255, 0), (255, 255, 255, 255)),
    "red strokes on a clear ground": lambda: layer((9, 9, 9, 0), (220, 30, 30, 255)),
    "a hole in a white sheet": lambda: layer((255, 255, 255, 255), (255, 255, 255, 0)),
    "a hole in a black sheet": lambda: layer((0, 0, 0, 255), (0, 0, 0, 0)),
    "a hole in a photograph": photograph_with_a_hole,
    "a black and white mask with a clear border": mask_on_a_clear_ground,
    "grey with alpha": lambda: layer((0, 0, 0, 0), (0, 0, 0, 255)).convert("LA"),
    "16 bits": lambda: Image.fromarray(square().astype(np.uint16) * 257),
    "palette": lambda: layer((0, 0, 0, 255), (255, 255, 255, 255)).convert("P"),
    "1 bit": lambda: layer((0, 0, 0, 255), (255, 255, 255, 255)).convert("1"),
}


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_marks_what_was_painted(kind, tmp_path):
    MASKS[kind]().save(tmp_path / "mask.png")
    mask = open_mask(tmp_path / "mask.png")
    assert mask.mode == "L" and (np.asarray(mask) == square()).all()


def test_a_photograph_with_room_around_it_marks_the_room(tmp_path):
    image = Image.new("RGBA", (160, 96), (0, 0, 0, 0))
    image.paste(noise(), (32, 0))
    image.save(tmp_path / "wide.png")
    mask = np.asarray(open_mask(tmp_path / "wide.png"))
    assert (mask[:, :32] == 255).all() and not mask[:, 32:128].any() and (mask[:, 128:] == 255).all()


def test_soft_strokes_stay_soft(tmp_path):
    layer((0, 0, 0, 0), (0, 0, 0, 100)).save(tmp_path / "mask.png")
    assert np.asarray(open_mask(tmp_path / "mask.png"))[50, 50] == 100


def test_a_clear_mask_marks_nothing(tmp_path):
    Image.new("RGBA", (96, 96), (255, 255, 255, 0)).save(tmp_path / "mask.png")
    assert not np.asarray(open_mask(tmp_path / "mask.png")).any()
