import os
import shutil

import folder_paths
import pytest
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


def test_the_built_in_model_is_first_and_the_default(places, folder):
    shutil.copytree(folder, places[1] / "aaa")
    shutil.copytree(folder, places[0] / "zzz")
    model_input, dtype_input = loaders.VQDiffusionLoader.define_schema().inputs
    assert model_input.options[0] == loaders.POCKET == model_input.default
    assert set(model_input.options[1:]) == {"aaa", "zzz"}
    assert dtype_input.options == ["auto", "float32", "bfloat16", "float16"]


def test_of_two_models_with_one_name_the_first_place_counts(places, folder):
    for place in places:
        shutil.copytree(folder, place / "tiny")
    assert loaders.model_folders()["tiny"] == places[0] / "tiny"


def test_a_place_that_does_not_exist_is_no_error(places):
    for place in places:
        place.rmdir()
    assert list(loaders.model_folders()) == [loaders.POCKET]


@pytest.mark.parametrize("name", ["nothing", "../a", "", "/"])
def test_only_what_is_in_the_menu_can_be_opened(places, name):
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
    key = (places[0] / "tiny", loaders.stamp(places[0] / "tiny"), held[0].dtype)
    assert key in loaders.LOADED
    del held
    gc.collect()
    assert key not in loaders.LOADED


def fingerprint(name):
    return loaders.VQDiffusionLoader.fingerprint_inputs(name, "auto")
