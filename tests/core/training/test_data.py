"""Folders of images: what is learned from them, and what is wrong with them, said before the work begins."""

import json
import random

import numpy as np
import pytest
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.notices import notices_to
from pack.vqdiffusion_core.training.data import MOST_NAMED, Folder
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(("fox", "owl")):
        Image.new("RGB", (20 + 8 * i, 20 + 8 * i), (60 + 90 * i, 120, 30)).save(tmp_path / f"{name}.png")
    return tmp_path


def caption(folder, name, text):
    (folder / f"{name}.txt").write_text(text)


def items(source):
    return [source[i] for i in range(len(source))]


def test_captions_are_the_lines_of_text_files(folder):
    caption(folder, "fox", "a fox\n\nthe animal in the fog \n")
    caption(folder, "owl", "an owl")
    source = Folder(folder, 16)
    assert [captions for _, captions in items(source)] == [["a fox", "the animal in the fog"], ["an owl"]]
    assert [*source.captions()] == ["a fox", "the animal in the fog", "an owl"]
    assert {image.size for image, _ in items(source)} == {(16, 16)}


def test_captions_are_the_lines_of_metadata(folder):
    caption(folder, "owl", "an owl")
    lines = [{"file_name": "fox.png", "text": text} for text in ("a fox", "a red fox")]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [captions for _, captions in items(Folder(folder, 16))] == [["a fox", "a red fox"], ["an owl"]]


def test_images_are_cut_to_the_middle(tmp_path):
    stripes = np.zeros((16, 48, 3), dtype=np.uint8)
    stripes[:, 16:32] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    image = Folder(tmp_path, 16, captions=False).random_image(random.Random(0))
    assert np.asarray(image).min() == 255


def test_an_image_follows_from_its_number(folder):
    source = Folder(folder, 16, captions=False)
    first, again = (source.random_image(random.Random(3)) for _ in range(2))
    assert first.tobytes() == again.tobytes()


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no images to learn from: it is empty"):
        Folder(tmp_path, 16)


def test_an_image_without_caption_is_refused(folder):
    caption(folder, "fox", "a fox")
    with pytest.raises(ValueError, match=r"owl\.png has no caption; expected owl\.txt"):
        Folder(folder, 16)


def test_an_image_that_cannot_be_read_is_refused(folder):
    whole = (folder / "owl.png").read_bytes()
    for content in (b"no image", whole[: len(whole) // 2]):
        (folder / "owl.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"owl\.png cannot be read as an image"):
            Folder(folder, 16, captions=False)


def test_an_image_that_is_too_small_is_refused(folder):
    with pytest.raises(ValueError, match=r"fox\.png is 20 x 20 pixels; expected 32 x 32 or more"):
        Folder(folder, 32, captions=False)


@pytest.mark.parametrize("line", ['{"file_name": "fox.png"}', "fox.png, a fox", "[]"])
def test_broken_metadata_is_refused_by_line(folder, line):
    (folder / "metadata.jsonl").write_text('{"file_name": "fox.png", "text": "a fox"}\n' + line)
    with pytest.raises(ValueError, match=r"metadata\.jsonl, line 2"):
        Folder(folder, 16)


def save(path, colour=(60, 120, 30), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 24), colour).convert(mode).save(path, **options)


def learned(folder):
    """Captions by the image's path in the folder, and what is said about the rest."""
    notices = []
    with notices_to(notices.append):
        source = Folder(folder, 16)
    paths = [path.relative_to(folder).as_posix() for path in source.paths]
    return dict(zip(paths, source.listed, strict=True)), notices


# Text as editors save it

CAFE = "the artist\u2019s café, 5 €"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_captions_are_read_in_any_common_encoding(encoding, end, tmp_path):
    save(tmp_path / "cafe.png")
    (tmp_path / "cafe.txt").write_bytes(f"{CAFE}{end}{end}a café{end}".encode(encoding))
    captions, notices = learned(tmp_path)
    assert captions == {"cafe.png": [CAFE, "a café"]}
    assert [("cafe.txt" in line, "cp1252" in line) for line in notices] == [(True, True)] * (encoding == "cp1252")


def test_guessed_encodings_are_said_in_one_line(tmp_path):
    for name in ("a", "b", "c"):
        save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_bytes("Bär".encode("cp1252"))
    _, (notice,) = learned(tmp_path)
    assert "a.txt and 2 more text files were no UTF-8" in notice


def test_a_text_file_that_holds_no_text_is_named(tmp_path):
    save(tmp_path / "fox.png")
    for content in (b"\x00\x05\x16\x07\x00\x00\x00\x00", b"a\x81fox"):
        (tmp_path / "fox.txt").write_bytes(content)
        with pytest.raises(ValueError, match=r"fox\.txt is no text in UTF-8, UTF-16 or cp1252"):
            Folder(tmp_path, 16)


def test_images_that_are_not_square_are_said_to_be_cut(tmp_path):
    save(tmp_path / "square.png")
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")
    for name in ("square", "photo"):
        (tmp_path / f"{name}.txt").write_text(f"a {name}")
    _, (notice,) = learned(tmp_path)
    assert "1 of 2 images are cut around their middle, to the shape of 16 x 16 pixels" in notice


# Layouts


def write_jsonl(file, *entries, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(json.dumps(entry) for entry in entries), **options)


def test_metadata_may_begin_with_a_byte_order_mark(folder):
    entries = [{"file_name": f"{name}.png", "text": f"a {name}"} for name in ("fox", "owl")]
    write_jsonl(folder / "metadata.jsonl", *entries, encoding="utf-8-sig")
    assert learned(folder) == ({"fox.png": ["a fox"], "owl.png": ["a owl"]}, [])


@pytest.mark.parametrize("column", ["text", "caption", "additional_feature"])
@pytest.mark.parametrize("split", ["train", "data/train"])
def test_metadata_lies_beside_its_images_in_any_folder(split, column, tmp_path):
    save(tmp_path / split / "fox.png")
    save(tmp_path / split / "deep" / "owl.png")
    entries = [{"file_name": "fox.png", column: "a fox", "width": 24}, {"file_name": "deep\\owl.png", column: "an owl"}]
    write_jsonl(tmp_path / split / "metadata.jsonl", *entries)
    captions, notices = learned(tmp_path)
    assert captions == {f"{split}/fox.png": ["a fox"], f"{split}/deep/owl.png": ["an owl"]} and not notices


def test_an_entry_of_metadata_may_have_several_captions(folder):
    write_jsonl(
        folder / "metadata.jsonl",
        {"file_name": "fox.png", "text": ["a fox", " a red fox "]},
        {"file_name": "owl.png", "caption": "an owl", "other": "left alone"},
    )
    assert learned(folder)[0] == {"fox.png": ["a fox", "a red fox"], "owl.png": ["an owl"]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_metadata_may_be_a_table(delimiter, encoding, folder):
    rows = [
        ["file_name", "text", "source"],
        ["fox.png", '"a fox, a ""red"" one; café"', "x"],
        ["owl.png", "an owl", ""],
    ]
    content = "\r\n".join(delimiter.join(row) for row in rows)
    (folder / "metadata.csv").write_bytes(content.encode(encoding))
    assert learned(folder)[0] == {"fox.png": ['a fox, a "red" one; café'], "owl.png": ["an owl"]}


def test_a_table_without_the_columns_is_refused_by_line(folder):
    (folder / "metadata.csv").write_text("path,text\nfox.png,a fox\n")
    with pytest.raises(ValueError, match=r"metadata\.csv, line 2, is not .*; found path, text"):
        Folder(folder, 16)


def test_captions_may_be_called_captions(folder):
    for name, suffix in (("fox", "caption"), ("owl", "TXT"), ("owl", "caption")):
        (folder / f"{name}.{suffix}").write_text(f"a {name} in .{suffix}")
    assert learned(folder)[0] == {"fox.png": ["a fox in .caption"], "owl.png": ["a owl in .TXT"]}


def test_without_captions_the_names_of_folders_are_captions(tmp_path):
    for name in ("red_fox/1.png", "red_fox/2.png", "3_snow owl/1.png"):
        save(tmp_path / "train" / name)
    captions, (notice,) = learned(tmp_path)
    assert [*captions.values()] == [["snow owl"], ["red fox"], ["red fox"]]
    assert "images are called as their folders: red fox, snow owl" in notice


def test_what_is_held_out_is_not_learned(tmp_path):
    for split in ("train", "test", "validation"):
        save(tmp_path / split / "fox.png")
        (tmp_path / split / "fox.txt").write_text(f"a fox in {split}")
    captions, (notice,) = learned(tmp_path)
    assert captions == {"train/fox.png": ["a fox in train"]} and "test, validation" in notice
    assert learned(tmp_path / "test")[0] == {"fox.png": ["a fox in test"]}


def test_linked_folders_are_looked_into_once(tmp_path):
    save(tmp_path / "disk" / "fox.png")
    (tmp_path / "disk" / "fox.txt").write_text("a fox")
    (tmp_path / "set").mkdir()
    for name in ("a", "b"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "again").symlink_to(tmp_path / "set")
    assert learned(tmp_path / "set")[0] == {"a/fox.png": ["a fox"]}


# Files


def test_all_formats_of_images_are_learned_from(tmp_path):
    names = ["a.PNG", "b.jfif", "c.gif", "d.tif", "e.tiff", "f.webp", "g.bmp", "h.tga", "i.ppm", "j.jp2", "k.JPEG"]
    formats = {".jfif": "JPEG"}
    for name in names:
        save(tmp_path / name, format=formats.get(name[1:]))
        (tmp_path / name).with_suffix(".txt").write_text(name)
    captions, notices = learned(tmp_path)
    assert captions == {name: [name] for name in names} and not notices


def test_hidden_files_are_passed_over_and_other_kinds_are_counted(folder):
    for name in ("fox", "owl"):
        caption(folder, name, f"a {name}")
    hidden = ("._fox.png", "._fox.txt", ".DS_Store", "__MACOSX/fox.png", ".git/a.png", "@eaDir/owl.png", "Thumbs.db")
    for name in (*hidden, "film.mp4", "README.md", "more/a.zip", "more/b.zip"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\x00\x05\x16\x07")
    captions, (notice,) = learned(folder)
    assert captions == {"fox.png": ["a fox"], "owl.png": ["a owl"]}
    assert "has 2 images; passed over: 1 file (.md), 1 file (.mp4), 2 files (.zip), 1 file (hidden)" in notice


def test_a_folder_of_archives_says_what_it_holds(tmp_path):
    (tmp_path / "train-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"no images to learn from: it holds 1 file \(\.parquet\)"):
        Folder(tmp_path, 16)


def test_all_bad_files_are_named_at_once(folder):
    save(folder / "bear.png")
    save(folder / "good.png")
    Image.new("RGB", (9, 9)).save(folder / "tiny.png")
    (folder / "fox.png").write_bytes(b"no image")
    (folder / "owl.txt").write_bytes(b"\xff\xfea")
    for name in ("fox", "tiny", "good"):
        caption(folder, name, f"a {name}")
    with pytest.raises(ValueError, match="cannot be learned from for 4 reasons") as error:
        Folder(folder, 16)
    bad = str(error.value)
    for name, what in (("bear.png", "caption"), ("fox.png", "unknown"), ("owl.txt", "no text"), ("tiny.png", "9 x 9")):
        assert f"{name} " in bad and what in bad
    assert "good" not in bad and "\n" not in bad


def test_many_bad_files_are_counted(tmp_path):
    for i in range(MOST_NAMED + 5):
        (tmp_path / f"{i}.png").write_bytes(b"")
    with pytest.raises(ValueError, match="an empty file") as error:
        Folder(tmp_path, 16, captions=False)
    assert str(error.value).count(".png ") == MOST_NAMED and str(error.value).endswith("And 5 more.")


def test_metadata_of_images_that_are_not_there_is_said(folder):
    entries = [{"file_name": f"{name}.png", "text": name} for name in ("fox", "owl", "cat", "dog")]
    write_jsonl(folder / "metadata.jsonl", *entries)
    captions, (notice,) = learned(folder)
    assert captions == {"fox.png": ["fox"], "owl.png": ["owl"]}
    assert "metadata.jsonl, line 3: cat.png and 1 more" in notice


# What the files become


def test_images_are_upright_before_they_are_cut(tmp_path):
    stripes = np.zeros((48, 16, 3), dtype=np.uint8)
    stripes[:16] = 255  # upright: the right part of a wide image
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stripes).save(tmp_path / "lying.png", exif=exif)
    image = Folder(tmp_path, 16, captions=False).random_image(random.Random(0))
    assert np.asarray(image).max() == 0, "the middle third"
    with pytest.raises(ValueError, match="is 48 x 16 pixels"):
        Folder(tmp_path, 32, captions=False)


def test_transparent_images_are_laid_on_white_or_a_chosen_colour(tmp_path):
    layer = Image.new("RGBA", (16, 16), (0, 200, 0, 0))
    layer.save(tmp_path / "clear.png")
    for options, colour in (({}, 255), ({"background": (0, 0, 0)}, 0)):
        image = Folder(tmp_path, 16, captions=False, **options).random_image(random.Random(0))
        assert set(np.asarray(image).flatten()) == {colour}


def test_the_command_names_bad_files_and_makes_nothing(folder, tmp_path_factory, capsys):
    (folder / "fox.png").write_bytes(b"no image")
    run = tmp_path_factory.mktemp("runs") / "codec"
    assert main(["train", "codec", str(run), "--data", str(folder), "--size", "16"]) == 1
    assert "fox.png cannot be read as an image" in capsys.readouterr().err and not run.exists()
