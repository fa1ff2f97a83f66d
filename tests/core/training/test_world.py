"""The world of the built-in model: what its scenes show, how they are called, and where its objects come from."""

import hashlib
import io
import json
import os
import pickle
import random
import re
import subprocess
import sys
import tarfile
import zlib
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from pack.tests.core import tiny
from pack.vqdiffusion_core.checkpoints import load, save
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.distributed import ALONE
from pack.vqdiffusion_core.networks.specs import VQGANSpec
from pack.vqdiffusion_core.networks.vqgan import VQGAN
from pack.vqdiffusion_core.training import measuring
from pack.vqdiffusion_core.training.data import to_tensor
from pack.vqdiffusion_core.training.decoder import DecoderTraining
from pack.vqdiffusion_core.training.recipe import Shape, load_codec, new_model
from pack.vqdiffusion_core.training.world import captions, grounds, material, recipe, scenes
from pack.vqdiffusion_core.training.world.evaluate import Exam, parts
from pack.vqdiffusion_core.training.world.grounds import COLOURS, LANDS, TIMES, Gradient, Land, Plain
from pack.vqdiffusion_core.training.world.judge import Judge, is_ground
from pack.vqdiffusion_core.training.world.looks import LOOKS, Sprites
from pack.vqdiffusion_core.training.world.random_scenes import any_ground, any_scene, seen_scene
from pack.vqdiffusion_core.training.world.scenes import Group, Scene
from pack.vqdiffusion_core.training.world.source import World
from pack.vqdiffusion_core.training.world.subjects import COUNTS, SUBJECTS
from PIL import Image, ImageDraw

BY_NAME = {subject.name: subject for subject in SUBJECTS}
FOX, OWL, BALLOON, TENT = (BY_NAME[name] for name in ("fox", "owl", "balloon", "tent"))
FEW = (FOX, OWL, BALLOON, TENT, *SUBJECTS[10:14])
SOME = [any_scene(random.Random(seed)) for seed in range(1500)]


CHECKOUT = Path(__file__).parents[3]
BENCH = """
import json, sys
from pathlib import Path
from tests.bench import juries, quality
from vqdiffusion_core import load
from vqdiffusion_core.training.world import recipe, scenes
icons = sys.argv[1].split(",")
recipe.CHOSEN = tuple(subject for subject in recipe.SUBJECTS if subject.icon in icons)
juries.REAL_SCENES = 20
quality.MEASURED = [((1.5, 2), rule) for rule in ("confidence, truncation 0.5", "diffusers' rule")]
jury = juries.WorldJury(load(Path(sys.argv[4])), 4)
tokens = quality.torch.cat([jury.exam.encode(scene) for scene in jury.asked])
print(json.dumps(jury.figures(tokens, [scenes.render(scene, jury.exam.sprites) for scene in jury.asked])))
quality.main(sys.argv[2:])
"""


def packed(icons, path):
    """A package as the registry has it."""
    listing = json.dumps({"width": 32, "height": 32, **icons}).encode()
    with tarfile.open(path, "w:gz") as package:
        entry = tarfile.TarInfo("package/icons.json")
        entry.size = len(listing)
        package.addfile(entry, io.BytesIO(listing))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def discs(seed):
    """Icons that are circles, each of a colour of its own."""
    colours = {subject.icon: zlib.crc32(f"{seed} {subject.icon}".encode()) & 0xFFFFFF for subject in SUBJECTS}
    return {"icons": {n: {"body": f'<circle cx="16" cy="16" r="14" fill="#{c:06x}"/>'} for n, c in colours.items()}}


def disc(svg, pixels):
    """What a renderer makes of such a document."""
    drawn = Image.new("RGBA", (pixels, pixels))
    edge = pixels / 16
    ImageDraw.Draw(drawn).ellipse((edge, edge, pixels - edge, pixels - edge), re.findall('fill="(.*?)"', svg)[0])
    return drawn


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A folder with packages of circles in place of the icon sets."""
    for name, package in material.PACKAGES.items():
        sha256 = packed(discs(name), tmp_path / package.file)
        monkeypatch.setitem(material.PACKAGES, name, replace(package, sha256=sha256))
    monkeypatch.setattr(material, "rasterise", disc)
    return tmp_path


def test_every_subject_has_names_of_its_own_each_with_a_plural():
    phrases = [name.phrase() for subject in SUBJECTS for name in subject.names]
    assert len(set(phrases)) == len(phrases)
    assert len(BY_NAME) == len({subject.icon for subject in SUBJECTS}) == len(SUBJECTS) >= 150
    for subject in SUBJECTS:
        assert subject.names[0].article in ("a", "an")
        assert all(name.several for name in subject.names)


def test_articles_follow_the_word_that_they_stand_before():
    owl, hourglass, unicorn, bread = (BY_NAME[n].names[0] for n in ("owl", "hourglass", "unicorn", "loaf of bread"))
    assert [owl.phrase(), owl.phrase(1, "small"), owl.phrase(3, "flat")] == ["an owl", "a small owl", "three flat owls"]
    assert [hourglass.phrase(), unicorn.phrase(1, "8-bit")] == ["an hourglass", "an 8-bit unicorn"]
    assert [bread.phrase(2), BY_NAME["loaf of bread"].names[1].phrase()] == ["two loaves of bread", "bread"]


@pytest.mark.parametrize(
    ("scene", "caption"),
    [
        (Scene((Group(FOX),), "3D", Land("meadow", "sunset")), "a 3D fox in a meadow at sunset"),
        (Scene((Group(OWL, 3),), "flat", Land("snow", "night")), "three flat owls in the snow at night"),
        (Scene((Group(FOX, 1, "small"),), "sticker", Plain("orange"), "left"),
         "a small fox sticker on the left on an orange background"),
        (Scene((Group(BALLOON),), "noto", Land("sea", "day")), "a noto balloon above the sea by day"),
        (Scene((Group(FOX), Group(TENT, 2)), "pixel", Gradient("red", "blue"), "above"),
         "a pixel-art fox above two tents on a gradient from red to blue"),
        (Scene((Group(OWL), Group(FOX), Group(TENT)), "outline", Plain("black")),
         "an outlined owl, a fox and a tent on a black background"),
        (Scene((), "flat", Land("snow", "night")), "a snowy landscape at night"),
        (Scene((), "flat", Plain("orange")), "an orange background"),
        (Scene((), "flat", Gradient("red", "blue")), "a gradient from red to blue"),
    ],
)  # fmt: skip
def test_plain_captions(scene, caption):
    assert captions.caption(scene) == caption


def mentioned(text, words):
    return {word for word in words if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text)}


def test_captions_say_the_number_of_every_group():
    for scene in SOME:
        text = captions.say(scene, random.Random(0))
        told = sorted(word for word in re.findall(r"[\w-]+", text) if word in COUNTS[2:])
        assert told == sorted(COUNTS[group.count] for group in scene.groups if group.count > 1), text


def test_captions_name_the_look_and_the_ground_of_the_scene_or_none():
    words = {
        look: {*w.adjectives, *w.styles, *w.media, *(noun for pair in w.nouns for noun in pair)}
        for look, w in captions.LOOK_WORDS.items()
    }
    colours = {name: {*captions.COLOUR_NAMES.get(name, ()), name} for name in COLOURS}
    lands = {land: {*here, *above, captions.SPARE_LANDS[land]} for land, (here, above) in captions.LAND_WORDS.items()}
    silent = {"look": 0, "ground": 0}
    for seed, scene in enumerate(SOME):
        groups = zip(scene.groups, (FOX, OWL, TENT), strict=False)
        scene = replace(scene, groups=tuple(replace(group, subject=subject) for group, subject in groups))
        text = captions.say(scene, random.Random(seed)).replace("dark blue", "navy")
        looks = {look for look, told in words.items() if mentioned(text, told)}
        found = {name for name, told in (colours | lands).items() if mentioned(text, told)}
        assert looks <= {scene.look}, text
        assert found <= set(scene.ground.parts), text
        silent["look"] += not looks
        silent["ground"] += not found
    assert all(0.15 < count / len(SOME) < 0.5 for count in silent.values()), silent


def test_captions_name_the_sides_as_they_are():
    pair = Scene((Group(FOX), Group(OWL)), "flat", Plain("red"))
    column = replace(pair, place="above")
    for seed in range(300):
        text = captions.say(pair, random.Random(seed))
        turned = bool(re.search(r"owl (to the )?right of", text))
        assert (text.index("fox") < text.index("owl")) != turned, text
        text = captions.say(column, random.Random(seed))
        turned = bool(re.search(r"owl (below|under)", text))
        assert (text.index("fox") < text.index("owl")) != turned, text


@pytest.mark.parametrize("land", LANDS)
def test_a_land_alone_is_told_in_words_of_its_own(land):
    said = {captions.say(Scene((), "3D", Land(land, "day")), random.Random(seed)) for seed in range(200)}
    times = "|".join(captions.TIME_WORDS["day"])
    assert {re.sub(f" ({times})$", "", text) for text in said} == {*captions.LANDS_ALONE[land]}
    assert said & {*captions.LANDS_ALONE[land]} and len(said) > len(captions.LANDS_ALONE[land])


def test_one_scene_in_twenty_is_a_ground_alone(cache):
    alone = [scene for scene in SOME if not scene.groups]
    assert 0.03 < len(alone) / len(SOME) < 0.07
    sprites = Sprites(1, material.Icons([], cache))
    for scene in alone:
        drawn = scenes.render(scene, sprites)
        assert np.array_equal(drawn, grounds.drawn(scene.ground, 24))


def test_wordings_are_many_and_the_barest_one_is_among_them():
    scene = Scene((Group(FOX),), "3D", Land("meadow", "sunset"))
    said = {captions.say(scene, random.Random(seed)) for seed in range(2000)}
    assert len(said) > 200
    assert {"fox", "a fox", "a 3D fox", "a fox at sunset", "a fox in a meadow at sunset"} <= said


def test_one_combination_in_ten_is_held_out():
    parts = [*COLOURS, *LANDS]
    held = [scenes.held_out(subject, part) for subject in SUBJECTS for part in parts]
    assert 0.09 < sum(held) / len(held) < 0.11
    assert scenes.held_out(FOX, "snow") == scenes.held_out(FOX, "snow")


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "docs/models.md", "docs/world.md"])
def test_pages_say_how_many_subjects_the_model_knows(page):
    numbers = re.findall(r"of \[?(\d+) (?:things|subjects)|learned (\d+) of|learns the (\d+) subjects", page_text(page))
    assert {int("".join(found)) for found in numbers} == {len(recipe.CHOSEN)}


def page_text(page: str) -> str:
    return " ".join((CHECKOUT / page).read_text(encoding="utf-8").split())


def test_training_never_sees_what_is_held_out(cache):
    world = World(24, 500, cache=cache)
    drawn = world.pool + [seen_scene(random.Random(seed)) for seed in range(500)]
    for scene in drawn:
        for group in scene.groups:
            assert not any(scenes.held_out(group.subject, part) for part in scene.ground.parts)
    assert not all(map(scenes.is_seen, SOME))


def test_a_world_may_have_fewer_looks(cache):
    world = World(24, 200, cache=cache, looks=recipe.LOOKS)
    assert {scene.look for scene in world.pool} == {*recipe.LOOKS} < {*LOOKS}
    few = {"flat": 1.0}
    assert {any_scene(random.Random(seed), FEW, few).look for seed in range(20)} == {*few}
    captions = " ".join(World(24, 20, FEW, cache, few).captions())
    assert "flat" in captions and "3D" not in captions


def test_objects_are_large_enough_and_do_not_cover_each_other():
    for scene in SOME:
        boxes = [box for _, box in scene.objects]
        for left, top, cells in boxes:
            assert 8 <= cells <= 20
            assert 0 <= left <= 24 - cells and 0 <= top <= 24 - cells, scene
        for a, b in combinations(boxes, 2):
            apart = a.left + a.cells <= b.left or b.left + b.cells <= a.left
            apart |= a.top + a.cells <= b.top or b.top + b.cells <= a.top
            assert apart, scene


def test_what_flies_is_above_what_stands():
    row = Scene((Group(BALLOON), Group(TENT)), "flat", Land("beach", "day"))
    (_, balloon), (_, tent) = row.objects
    assert balloon.top + balloon.cells <= tent.top + tent.cells - 8
    on_plain = replace(row, ground=Plain("red"))
    assert len({box.top for _, box in on_plain.objects}) == 1


def test_a_sky_has_one_moon():
    moon = BY_NAME["moon"]
    for seed in range(100):
        ground = any_ground(random.Random(seed), [moon])
        assert not (isinstance(ground, Land) and ground.has_light)


@pytest.mark.parametrize("size", [48, 96])
def test_images_follow_from_their_numbers(cache, size):
    one, another = World(size, 3, FEW, cache), World(size, 3, FEW, cache)
    for seed in range(12):
        first, again = (world.random_image(random.Random(seed)) for world in (one, another))
        assert first.size == (size, size)
        assert first.tobytes() == again.tobytes()
    ours, theirs = ([world[i] for i in range(len(world))] for world in (one, another))
    assert all(a.tobytes() == b.tobytes() and said == again for (a, said), (b, again) in zip(ours, theirs, strict=True))
    assert len(list(one.captions())) == sum(len(said) for _, said in ours)


def test_a_world_can_be_sent_to_the_processes_that_load_it(cache):
    world = World(48, 2, FEW, cache)
    sent = pickle.loads(pickle.dumps(world))
    assert sent.random_image(random.Random(1)).tobytes() == world.random_image(random.Random(1)).tobytes()
    assert [*sent.captions()] == [*world.captions()]


def test_a_size_that_the_cells_do_not_divide_is_refused(cache):
    with pytest.raises(ValueError, match="size is 100; the world is 24 cells wide"):
        World(100, 1, FEW, cache)


def test_an_object_is_where_its_box_is(cache):
    world = World(96, 0, FEW, cache)
    for place in ("left", "right"):
        scene = Scene((Group(FOX, 1, "small"),), "flat", Plain("white"), place)
        changed = np.asarray(scenes.render(scene, world.sprites)) != COLOURS["white"]
        rows, columns = np.nonzero(changed.any(-1))
        ((_, box),) = scene.objects
        assert 4 * box.left <= columns.min() < columns.max() < 4 * (box.left + box.cells)
        assert 4 * box.top <= rows.min() < rows.max() < 4 * (box.top + box.cells)
        assert columns.max() - columns.min() > 3 * box.cells


def test_every_look_is_another_image(cache):
    sprites = World(96, 0, FEW, cache).sprites
    assert len({sprites.sprite(FOX, look, 12).tobytes() for look in LOOKS}) == len(LOOKS)
    assert {sprites.sprite(FOX, look, 12).size for look in LOOKS} == {(48, 48)}


def test_lands_and_times_are_images_of_their_own():
    drawn = {(land, time, v): grounds.draw(Land(land, time, v), 48) for land in LANDS for time in TIMES for v in (0, 1)}
    assert len({image.tobytes() for image in drawn.values()}) == len(drawn)
    for land in LANDS:
        light = {time: np.asarray(drawn[land, time, 1]).mean() for time in TIMES}
        assert light["night"] < light["sunset"] < light["day"]


def test_icons_are_fetched_once_and_drawn_once(cache, monkeypatch):
    path = cache / material.PACKAGES["flat"].file
    kept = path.read_bytes()
    path.unlink()
    asked = []

    def download(url, file):
        asked.append(url)
        file.write_bytes(kept)

    monkeypatch.setattr(material, "download", download)
    first = material.Icons(["fox", "owl"], cache)
    drawn = [first.image("flat", name) for name in ("fox", "owl")]
    assert asked == ["https://registry.npmjs.org/@iconify-json/fluent-emoji-flat/-/fluent-emoji-flat-1.2.6.tgz"]
    monkeypatch.setattr(material, "rasterise", None)
    again = material.Icons(["fox", "owl"], cache).image("flat", "fox")
    assert again.tobytes() == drawn[0].tobytes()
    assert not list(cache.rglob("*.part"))


def test_a_package_that_is_cut_short_is_one_error_that_names_it(cache):
    path = cache / material.PACKAGES["noto"].file
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} is damaged or cut short, at .* bytes.*delete it"):
        material.Icons(["fox"], cache).image("noto", "fox")


def test_a_download_that_is_not_what_was_pinned_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(material, "download", lambda url, path: path.write_bytes(b"another"))
    with pytest.raises(ValueError, match=r"twemoji-1.2.5.tgz.* is damaged or cut short, at 7 bytes"):
        material.fetch(material.PACKAGES["twemoji"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_network_is_said_with_the_address(tmp_path, monkeypatch):
    monkeypatch.setattr(material, "REGISTRY", (tmp_path / "nothing").as_uri())
    with pytest.raises(OSError, match=r"noto-1.2.9.tgz cannot be fetched"):
        material.fetch(material.PACKAGES["noto"], tmp_path)


def test_icons_are_found_by_their_other_names_too(tmp_path):
    icons = {
        "icons": {"fox": {"body": "<g/>", "width": 64}},
        "aliases": {"red-fox": {"parent": "fox"}, "vixen": {"parent": "red-fox"}},
    }
    packed(icons, tmp_path / "icons.tgz")
    read = material.read_icons(tmp_path / "icons.tgz", ["fox", "vixen"])
    assert read["vixen"] == read["fox"]
    assert 'viewBox="0 0 64 32"' in read["fox"] and "<g/>" in read["fox"]
    with pytest.raises(ValueError, match=r"icons.tgz has no icon 'wolf'"):
        material.read_icons(tmp_path / "icons.tgz", ["wolf"])


def test_the_renderer_draws_what_the_document_says():
    svg = material.to_svg({"width": 32, "height": 32, **discs("3D")}, "fox")
    drawn, expected = (np.asarray(draw(svg, 64), dtype=float) for draw in (material.rasterise, disc))
    assert np.abs(drawn - expected).mean() < 8


def test_the_command_trains_on_the_world(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(material, "default_cache", lambda: cache)
    run = ["train", "codec", str(tmp_path / "run"), "--world", "--channels", "8,8", "--steps", "1", "--batch", "2"]
    assert main([*run, "--size", "48"]) == 0
    assert (tmp_path / "run" / "sheets" / "0000001.png").exists()
    assert main([*run, "--size", "50"]) == 1
    assert "the world is 24 cells wide: choose a multiple of that" in capsys.readouterr().err


def interrupted(*_):
    raise KeyboardInterrupt


def test_the_recipe_makes_a_model_that_draws_the_world(cache, tmp_path, monkeypatch, capsys):
    """In four runs, each with the steps that it is to have; what is there can be saved before the end."""
    monkeypatch.setattr(material, "default_cache", lambda: cache)
    small = VQGANSpec((8, 8), 1, (), 8, 4, codebook_size=16, norm_groups=4)
    sizes = {"SMALL_SIZE": 24, "SIZE": 48, "SCENES": 4, "CHOSEN": FEW, "SMALL_CODEC": small, "SHAPE": Shape(1, 16, 2)}
    steps = {"SMALL_STEPS": 2, "CONTINUOUS_STEPS": 1, "CODEC_STEPS": 2, "DECODER_STEPS": 2}
    for name, value in (sizes | steps).items():
        monkeypatch.setattr(recipe, name, value)
    for name in ("SMALL", "CODEC", "DIFFUSION", "DECODER"):
        monkeypatch.setattr(recipe, f"{name}_BATCH", 2)
    command = ["train", "world", str(tmp_path / "runs"), "--steps", "2", "--save-as", str(tmp_path / "model")]
    assert main([*command[:5], "--as-it-is"]) == 1 and "expected --save-as too" in capsys.readouterr().err
    assert main([*command, "--as-it-is"]) == 1 and "has learned nothing yet" in capsys.readouterr().err
    assert main(command) == 0
    for name in ("small", "codec", "diffusion", "decoder"):
        assert (tmp_path / "runs" / name / "sheets" / "0000002.png").exists(), name
    model = load(tmp_path / "model")
    assert model.transformer.spec.grid == (12, 12) and model.vqgan.spec.downscale == 4
    known = model.text_encoder.known_words or set()
    assert "kite" not in known

    monkeypatch.setattr(recipe, "CHOSEN", (*FEW, BY_NAME["kite"]))
    further = [*command[:2], str(tmp_path / "further"), "--steps", "1", "--save-as", str(tmp_path / "more")]
    assert main([*further, "--model", str(tmp_path / "model")]) == 0
    more = load(tmp_path / "more")
    assert {"kite", *known} <= more.text_encoder.known_words
    torch.testing.assert_close(more.transformer.state_dict(), model.transformer.state_dict(), atol=2e-3, rtol=0)
    assert not (tmp_path / "further" / "small").exists()
    assert main([*further, "--model", "pocket"]) == 1
    assert "pocket draws 96 x 96 pixels, the world has 48 x 48; expected --model stickers" in capsys.readouterr().err
    codec, sharpened = (load_codec(tmp_path / "runs" / name) for name in ("codec", "decoder"))
    image = World(48, 1, FEW, cache).random_image(random.Random(0))
    tokens_1hw = codec.encode(to_tensor(image)[None])
    assert torch.equal(sharpened.encode(to_tensor(image)[None]), tokens_1hw)
    drawn, soft, sharp = (each.decode(tokens_1hw) for each in (model.vqgan, codec, sharpened))
    torch.testing.assert_close(drawn, sharp, atol=0.02, rtol=0)
    assert (drawn - soft).abs().mean() > 2 * (drawn - sharp).abs().mean()

    begun = [*command[:2], str(tmp_path / "other"), *command[3:], "--codec", str(tmp_path / "runs" / "codec")]
    monkeypatch.setattr(DecoderTraining, "step", interrupted)
    assert main(begun) == 130 and main([*begun, "--as-it-is"]) == 0
    assert not (tmp_path / "other" / "small").exists()
    torch.testing.assert_close(load(tmp_path / "model").vqgan.decode(tokens_1hw), soft, atol=0.02, rtol=0)


@pytest.fixture
def untrained(cache, tmp_path, monkeypatch):
    """A folder with a model that has learned nothing of a world of few subjects, at 96 pixels."""
    monkeypatch.setattr(material, "default_cache", lambda: cache)
    subjects = (*FEW, BY_NAME["kite"], BY_NAME["airplane"])  # another that flies for each that does
    monkeypatch.setattr(recipe, "CHOSEN", subjects)
    torch.manual_seed(0)
    codec = VQGAN(VQGANSpec((8, 8, 8, 8), 1, (), 8, 4, codebook_size=16, norm_groups=4))
    model = new_model(codec, World(96, 8, subjects), tmp_path / "run", ALONE, Shape(1, 16, 2), "absorbing")
    save(model, tmp_path / "untrained", torch.float32)
    return tmp_path / "untrained"


def test_a_model_of_the_world_is_measured_and_goes_on_where_it_was_cut_off(untrained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "TIMED", 1)
    command = ["evaluate", "--world", "--model", str(untrained), "--prompts", "2", "--json", str(tmp_path / "it.json")]
    with monkeypatch.context() as cut_off:
        cut_off.setattr(Exam, "outpainting", interrupted)
        assert main(command) == 130
    kept = json.loads((tmp_path / "it.json").read_text())
    assert "inpainting" in kept and "outpainting" not in kept
    monkeypatch.setattr(Exam, "inpainting", interrupted)
    assert main([*command, "--card", str(tmp_path / "README.md")]) == 0
    figures = json.loads((tmp_path / "it.json").read_text())
    assert figures.items() >= kept.items()
    shares = {
        name: value
        for part, found in figures.items()
        if part not in ("of", "codec", "speed")
        for name, value in found.items()
    }
    assert all(0 <= value <= 1 for value in shares.values()) and shares["rest unchanged"] == 1
    assert shares["asked object there"] < 1 and shares["odd pairs across the seam"] <= 1
    assert shares["odd pairs of true scenes"] < 0.2
    table, card = capsys.readouterr().out.strip(), (tmp_path / "README.md").read_text()
    assert "| inpainting: rest unchanged | 1 |" in table and table in card and "{" not in card
    assert "a 3D render of" in card and "pixel art" not in card
    assert "# untrained\n" in card and "fox, owl" in card and "| @iconify-json/twemoji 1.2.5 | CC-BY-4.0 |" in card
    assert main([*command[:4], "--prompts", "3", *command[6:]]) == 130  # other figures are measured anew
    assert not {"inpainting", "outpainting"} & parts(tiny.rival(load(untrained, "float32")), 2).keys()


def test_true_scenes_are_what_was_asked_for(untrained, tmp_path, capsys):
    command = ["evaluate", "--model", str(untrained), "--prompts", "6", "--images", "true"]
    assert main(command) == 1 and "expected --world too" in capsys.readouterr().err
    assert main([*command, "--world", "--json", str(tmp_path / "it.json")]) == 0
    figures = json.loads((tmp_path / "it.json").read_text())
    del figures["of"], figures["codec"]
    assert all(value == 1 for part in figures.values() for value in part.values()), figures


def test_quality_against_steps_is_measured_of_a_world(untrained, tmp_path):
    """In a program of its own, as it is run; what it has measured of true scenes is right."""
    icons = material.Icons([subject.icon for subject in recipe.CHOSEN])
    for subject, icon_set in product(icons.names, material.PACKAGES):
        icons.image(icon_set, subject)
    (tmp_path / "kept" / "vqdiffusion").mkdir(parents=True)
    (tmp_path / "kept" / "vqdiffusion" / "icons").symlink_to(icons.cache)
    options = ["--world", "--model", untrained, "--output", tmp_path / "it.json", "--page", tmp_path / "page.md"]
    command = [sys.executable, "-W", "ignore", "-c", BENCH, ",".join(icons.names), *options, "--images", "2"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "kept")}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    true, *_ = map(json.loads, done.stdout.splitlines()[:1])
    assert true["subjects"] == true["coherence"] == true["number"] == 1 and true["odd pairs"] < 0.2
    found = json.loads((tmp_path / "it.json").read_text())
    assert "confidence, truncation 0.5, 2 steps, guidance 1.5" in found
    assert re.search(r"\| 1.5 \| diffusers' rule \| \d+% \d+% \d+% \d+\.\d% \|", (tmp_path / "page.md").read_text())


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("ground", [Plain("red"), Land("snow", "night")], ids=["plain", "land"])
def test_a_judge_counts_what_is_there_whatever_was_asked_for(count, ground, cache):
    icons = material.Icons([subject.icon for subject in FEW], cache)
    image = scenes.render(Scene((Group(FOX, count),), "sticker", ground), Sprites(4, icons))
    for asked in (1, 4):
        assert Judge(FEW, icons).count(image, Scene((Group(FOX, asked),), "flat", Plain("blue"))) == count


def judged(scene, cache, cell=4):
    icons = material.Icons([subject.icon for subject in FEW], cache)
    return Judge(FEW, icons)(scenes.render(scene, Sprites(cell, icons)), scene)


@pytest.mark.parametrize("seed", range(6))
def test_a_judge_recognises_what_is_drawn_as_it_should_be(seed, cache):
    scene = any_scene(random.Random(seed), FEW)
    ground, objects = judged(scene, cache)
    assert is_ground(ground, scene.ground)
    assert objects == [(subject, scene.look) for subject, _ in scene.objects]


def test_a_judge_is_not_told_what_was_asked_for(cache):
    """What was drawn is recognised where something else was asked for."""
    drawn = Scene((Group(FOX), Group(OWL)), "3D", Plain("pink"))
    icons = material.Icons([subject.icon for subject in FEW], cache)
    image = scenes.render(drawn, Sprites(4, icons))
    asked = Scene((Group(TENT), Group(FOX)), "flat", Land("snow", "night"))
    ground, objects = Judge(FEW, icons)(image, replace(asked, ground=Plain("blue")))
    assert ground == Plain("pink") and not is_ground(ground, asked.ground)
    assert objects == [(FOX, "3D"), (OWL, "3D")]


def test_a_land_is_the_same_with_other_hills_and_not_at_another_time():
    meadow = Land("meadow", "night", 3)
    assert is_ground(Land("meadow", "night", 8), meadow)
    assert not is_ground(Land("meadow", "day", 3), meadow) and not is_ground(Plain("green"), meadow)


def test_four_objects_fill_an_image_and_its_ground_is_seen_between_them(cache):
    scene = Scene((Group(BALLOON, 4),), "noto", Plain("navy"))
    ground, objects = judged(scene, cache)
    assert ground == Plain("navy") and {found.subject for found in objects} == {BALLOON}
