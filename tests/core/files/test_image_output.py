"""Where the command writes: the suffix says the format, and what cannot be written is refused before drawing."""

import numpy as np
import pytest
from pack.vqdiffusion_core.cli import generate as generate_command
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.files.image_output import write_image
from PIL import Image

PICTURE = Image.fromarray(np.tile(np.arange(96, dtype=np.uint8)[:, None, None] * 2, (1, 96, 3)))


@pytest.fixture
def no_model(monkeypatch):
    """Whoever draws, or loads what draws, fails."""
    monkeypatch.setattr(generate_command, "load", lambda *given: pytest.fail("it loads a model"))


def generate(target, *options):
    return main(["generate", "a fox on red", "--steps", "1", "-o", str(target), *options])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("x.png", "PNG"), ("x.jpg", "JPEG"), ("x.JPEG", "JPEG"), ("x.webp", "WEBP"), ("x.tif", "TIFF"), ("x", "PNG")],
)
def test_the_suffix_decides_the_format(name, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(generate_command, "generate", lambda *given, **rest: [PICTURE])
    assert generate(tmp_path / "new" / "folder" / name) == 0
    with Image.open(tmp_path / "new" / "folder" / name) as image:
        assert image.format == kind
        assert np.abs(np.asarray(image).astype(int) - np.asarray(PICTURE)).max() <= 4
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == [name]


def test_several_images_are_numbered_in_any_format(tmp_path, monkeypatch):
    monkeypatch.setattr(generate_command, "generate", lambda *given, **rest: [PICTURE] * 2)
    assert generate(tmp_path / "x.webp", "--count", "2") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x_0.webp", "x_1.webp"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "is a folder; expected a file, such as"),
        ("x.txt", "ends in .txt, which is no format to save an image in; expected .png, .jpg"),
        ("x.pdf", "ends in .pdf"),
        ("file.txt/x.png", "cannot be written (Not a directory)"),
        ("file.txt/folder/x.png", "cannot be written (Not a directory)"),
        (f"{'x' * 252}.png", "File name too long"),
    ],
)
def test_what_cannot_be_written_is_refused_before_drawing(name, message, tmp_path, no_model, capsys):
    (tmp_path / "file.txt").write_text("kept")
    assert generate(tmp_path / name) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"] and (tmp_path / "file.txt").read_text() == "kept"


@pytest.mark.parametrize("place", ["/proc/x.png", "/dev/null"])
def test_places_of_the_system_are_left_alone(place, no_model, monkeypatch, capsys):
    monkeypatch.setattr("pack.vqdiffusion_core.files.image_output.FORMATS", {".png": ("PNG", {}), "": ("PNG", {})})
    assert generate(place) == 1
    assert place in capsys.readouterr().err


def test_one_of_several_that_cannot_be_written_is_enough(tmp_path, no_model, capsys):
    (tmp_path / "x_1.png").mkdir()
    assert generate(tmp_path / "x.png", "--count", "2") == 1
    assert "x_1.png is a folder" in capsys.readouterr().err


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_is_cut_off_leaves_the_earlier_image_and_nothing_else(error, tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    write_image(PICTURE, path)
    before = path.read_bytes()

    def save(self, file, **options):
        file.write_bytes(b"half")
        raise error

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(type(error)):
        write_image(PICTURE, path)
    assert [*tmp_path.iterdir()] == [path] and path.read_bytes() == before
