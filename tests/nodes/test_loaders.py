import os
import shutil
from pathlib import Path

import folder_paths
import pytest
from comfy.cli_args import args
from pack.nodes import loaders


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Two empty places for models, as extra_model_paths.yaml can name them."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    names = {loaders.FOLDER: ([str(folder) for folder in folders], set())}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", names)
    return folders


def test_the_built_in_models_are_first_and_the_first_is_the_default(places, folder):
    shutil.copytree(folder, places[1] / "aaa")
    shutil.copytree(folder, places[0] / "zzz")
    model_input, dtype_input = loaders.VQDiffusionLoader.define_schema().inputs
    built_in, others = model_input.options[: len(loaders.BUILT_IN)], model_input.options[len(loaders.BUILT_IN) :]
    assert built_in == [*loaders.BUILT_IN] and built_in[0] == model_input.default and "pocket (built in)" in built_in
    assert set(others) == {"aaa", "zzz"}
    assert dtype_input.options == ["auto", "float32", "bfloat16", "float16"]


def test_of_two_models_with_one_name_the_first_place_counts(places, folder):
    for place in places:
        shutil.copytree(folder, place / "tiny")
    assert loaders.model_folders()["tiny"] == places[0] / "tiny"


def test_a_place_that_does_not_exist_is_no_error(places):
    for place in places:
        place.rmdir()
    assert list(loaders.model_folders()) == [*loaders.BUILT_IN]


def test_a_model_in_a_folder_of_folders_is_opened_by_the_name_that_the_host_would_give_it(places, folder):
    shutil.copytree(folder, places[1] / "friends" / "tiny")
    (opened, *_) = loaders.VQDiffusionLoader.execute("friends/tiny", "auto").args
    assert "friends/tiny" in loaders.VQDiffusionLoader.define_schema().inputs[0].options
    assert opened.null() is not None


def test_what_is_not_in_the_menu_is_said_in_the_log_once(places, folder, caplog, monkeypatch):
    monkeypatch.setattr(loaders, "SAID", set())
    shutil.copytree(folder, places[0] / "tiny")
    (places[0] / "last.ckpt").touch()
    (places[1] / "notes").mkdir()
    for _ in range(3):
        assert list(loaders.model_folders()) == [*loaders.BUILT_IN, "tiny"]
    loose, empty = (record.getMessage() for record in caplog.records)
    assert loose.startswith(f"VQ-Diffusion: last.ckpt in {places[0]}: not listed.")
    assert empty.startswith(f"VQ-Diffusion: {places[1] / 'notes'} is not listed")


CONFIGURED = {
    "a default": ("big:\n  base_path: {}\n  is_default: true\n  vq_diffusion: vq\n", "{}/vq"),
    "no default": ("big:\n  base_path: {}\n  vq_diffusion: vq\n", None),
    "a default for other kinds": (
        "big:\n  base_path: {}\n  is_default: true\n  loras: lo\nall:\n  vq_diffusion: {}\n",
        None,
    ),
    "a default among others": ("all:\n  vq_diffusion: {}/x\nbig:\n  is_default: true\n  vq_diffusion: {}/y\n", "{}/y"),
    "nothing": ("", None),
}


@pytest.mark.parametrize(("text", "place"), CONFIGURED.values(), ids=CONFIGURED)
def test_a_new_model_goes_where_the_host_puts_new_ones(text, place, tmp_path, monkeypatch):
    """The host reads its configuration first, then the pack adds its own place."""
    from utils.extra_config import load_extra_path_config

    file = tmp_path / "extra.yaml"
    file.write_text(text.replace("{}", str(tmp_path)))
    monkeypatch.setattr(args, "extra_model_paths_config", [[str(file)]])
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", {})
    if text:
        load_extra_path_config(str(file))
    folder_paths.add_model_folder_path(loaders.FOLDER, str(loaders.HOME))
    assert loaders.new_model_folder() == (Path(place.format(tmp_path)) if place else loaders.HOME)


@pytest.mark.parametrize("name", ["nothing", "../a", "", "/", "tiny/vqvae", "tiny/../tiny"])
def test_only_what_is_in_the_menu_can_be_opened(places, name):
    (places[0] / "tiny" / "transformer").mkdir(parents=True)
    with pytest.raises(ValueError, match="There is no VQ-Diffusion model"):
        loaders.VQDiffusionLoader.execute(name, "auto")


def test_a_number_type_that_is_not_in_the_menu_is_refused(places, folder):
    shutil.copytree(folder, places[0] / "tiny")
    with pytest.raises(ValueError, match="dtype is 'float8'; expected auto, float32, bfloat16, float16"):
        loaders.VQDiffusionLoader.execute("tiny", "float8")


def test_a_model_is_loaded_once_for_all_who_ask(places, folder):
    shutil.copytree(folder, places[0] / "tiny")
    one, other = (loaders.VQDiffusionLoader.execute("tiny", dtype).args for dtype in ("auto", "float32"))
    assert all(a is b for a, b in zip(one, other, strict=True))
    assert loaders.VQDiffusionLoader.execute("tiny", "bfloat16")[0] is not one[0]


def test_changed_files_are_another_model(places, folder):
    shutil.copytree(folder, places[0] / "tiny")
    (before, *_), mark = loaders.VQDiffusionLoader.execute("tiny", "auto").args, fingerprint("tiny")
    os.utime(places[0] / "tiny" / "vqvae" / "config.json", ns=(1, 1))
    assert fingerprint("tiny") != mark
    assert loaders.VQDiffusionLoader.execute("tiny", "auto")[0] is not before


def test_what_nobody_holds_any_more_is_let_go(places, folder):
    import gc

    shutil.copytree(folder, places[0] / "tiny")
    held = loaders.VQDiffusionLoader.execute("tiny", "auto")
    key = (places[0] / "tiny", loaders.fingerprint(places[0] / "tiny"), held[0].model.dtype)
    assert key in loaders.LOADED
    del held
    gc.collect()
    assert key not in loaders.LOADED


def fingerprint(name):
    return loaders.VQDiffusionLoader.fingerprint_inputs(name, "auto")
