"""The node that teaches, with two steps of a model of a few thousand weights."""

import errno
import gc
import weakref

import comfy.model_management
import comfy.utils
import folder_paths
import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from pack.nodes import loaders, teach
from pack.nodes.lora import VQDiffusionLora, with_lora
from pack.nodes.model import ManagedModel
from pack.nodes.teach import VQDiffusionTeach
from pack.tests.core import tiny, tiny_lora
from pack.vqdiffusion_core.checkpoints import CheckpointError
from pack.vqdiffusion_core.lora import read_lora, write_lora
from pack.vqdiffusion_core.lora.file import to_tensors
from pack.vqdiffusion_core.model import VQDiffusion
from safetensors.torch import save_file

from .test_lora import drawn

SIDE = 16  # pixels of the tiny model's images


@pytest.fixture(autouse=True)
def loras(tmp_path, monkeypatch):
    """The host's folder of LoRAs, empty."""
    names = folder_paths.folder_names_and_paths | {"loras": ([str(tmp_path / "loras")], {".safetensors"})}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", names)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    (tmp_path / "loras").mkdir()
    return tmp_path / "loras"


def images(count=3, side=SIDE, channels=3):
    return torch.rand(count, side, side, channels, generator=torch.Generator().manual_seed(1))


def taught(model, **changes):
    """The node as the host calls it, all inputs in lists."""
    given = {"vq_model": model, "images": images(), "word": "zimbo", "captions": "", "name": ""}
    given |= {"steps": 2, "rank": 2, "learning_rate": 1e-2, "batch": 4, "seed": 5}
    lists = {name: value if isinstance(value, list) else [value] for name, value in (given | changes).items()}
    return VQDiffusionTeach.execute(**lists).args


def test_the_model_that_comes_out_draws_as_with_the_file_at_the_lora_node(model, loras):
    plain = drawn(model, model.clip)
    vq_model, clip, loss, *_ = taught(model)
    assert read_lora(loras / "zimbo.safetensors").about.words == ("zimbo",)
    assert torch.equal(drawn(vq_model, clip), drawn(*VQDiffusionLora.execute(model, "zimbo.safetensors", 1.0).args))
    assert torch.equal(drawn(model, model.clip), plain), "the model itself has changed"
    assert loss.ndim == 4 and loss.shape[-1] == 3 and 0 <= loss.min() < loss.max() <= 1


def test_the_cores_nodes_save_what_was_learned_and_plot_the_losses(model, loras, tmp_path):
    *_, lora, loss_map = taught(model)
    save_file(lora, tmp_path / "saved.safetensors")  # what Save LoRA Weights does
    ours, saved = read_lora(loras / "zimbo.safetensors"), read_lora(tmp_path / "saved.safetensors")
    assert same(ours, saved) and len(loss_map["loss"]) == 2
    assert torch.equal(*(drawn(*with_lora_of(model, lora)) for lora in (ours, saved)))


def same(one, other):
    """Whether two LoRAs have the same numbers."""
    one, other = to_tensors(one), to_tensors(other)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def with_lora_of(model, lora):
    patched = with_lora(model, lora, 1.0)
    return patched, patched.clip


def test_an_earlier_lora_is_gone_on_with_and_stays_as_it_is(model, loras):
    taught(model)
    first = (loras / "zimbo.safetensors").read_bytes()
    taught(model, existing_lora="zimbo.safetensors", learning_rate=1e-6, word="")
    assert (loras / "zimbo.safetensors").read_bytes() == first
    one, more = (read_lora(loras / name) for name in ("zimbo.safetensors", "zimbo_2.safetensors"))
    before, after = to_tensors(one), to_tensors(more)
    assert more.about.words == ("zimbo",) and not same(one, more)
    assert all(torch.allclose(before[key], after[key], atol=1e-4) for key in before), "it began anew"


def test_a_lora_of_another_model_cannot_be_gone_on_with(model, loras, tmp_path):
    write_lora(tiny_lora.lora(tiny_lora.model(tmp_path / "run", width=24)), loras / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"other\.safetensors is a LoRA of another model than tiny"):
        taught(model, existing_lora="other.safetensors")
    with pytest.raises(ValueError, match=r"There is no LoRA '\.\./secret'"):
        taught(model, existing_lora="../secret")
    assert [path.name for path in loras.iterdir()] == ["other.safetensors"]


def test_the_null_learns_where_that_is_asked_for(model, loras):
    taught(model, learn_null=True)
    assert read_lora(loras / "zimbo.safetensors").null_1LD is not None


def test_a_full_disk_leaves_what_was_learned_on_the_outputs(model, loras, monkeypatch, caplog):
    def full(lora, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(teach, "write_lora", full)
        vq_model, clip, _, lora, _ = taught(model)
    assert "zimbo.safetensors could not be written" in caplog.text and "Save LoRA Weights" in caplog.text
    taught(model)
    expected = read_lora(loras / "zimbo.safetensors")
    assert all(torch.equal(tensor, to_tensors(expected)[key]) for key, tensor in lora.items())
    assert torch.equal(drawn(vq_model, clip), drawn(*with_lora_of(model, expected)))


def test_a_lora_learns_and_the_same_seed_learns_the_same(model, loras):
    for seed in (5, 5, 6):
        taught(model, seed=seed)
    first, second, other = ((loras / f"zimbo{n}.safetensors").read_bytes() for n in ("", "_2", "_3"))
    assert first == second != other
    assert any(B_or.any() for _, B_or in read_lora(loras / "zimbo.safetensors").pairs.values())


def test_without_captions_it_learns_from_other_colours_too_and_with_them_from_the_images_alone(model, monkeypatch):
    encoded, encode = [], model.model.vqgan.__class__.encode

    def seen(self, images_B3HW):
        encoded.extend(images_B3HW)
        return encode(self, images_B3HW)

    monkeypatch.setattr(model.model.vqgan.__class__, "encode", seen)
    taught(model, captions="a zimbo\na zimbo\na zimbo")
    own = {image.numpy().tobytes() for image in encoded}
    encoded.clear()
    taught(model)
    shown = {image.numpy().tobytes() for image in encoded}
    assert len(own) == 3 and own < shown


def test_a_file_that_is_there_stays(model, loras, caplog):
    (loras / "mine.safetensors").write_bytes(b"another's")
    taught(model, name="mine.safetensors")
    assert sorted(path.name for path in loras.iterdir()) == ["mine.safetensors", "mine_2.safetensors"]
    assert (loras / "mine.safetensors").read_bytes() == b"another's" and "which stays" in caplog.text


@pytest.mark.parametrize("name", ["../mine", "a/b", "a\\b", ".hidden", "C:mine", "x" * 61])
def test_a_name_that_is_no_file_s_or_of_another_folder_is_refused(name, model):
    with pytest.raises(ValueError, match="without the name of a folder"):
        taught(model, name=name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"word": " "}, "word is empty"),
        ({"captions": "a zimbo\na zimbo"}, "2 captions and 3 images"),
        ({"captions": ["a zimbo", "", "a zimbo"]}, "no caption for image 2 of 3"),
        ({"images": images(side=SIDE - 1)}, "15 x 15 pixels; expected 16 x 16 or more"),
        ({"images": images() * float("nan")}, "not numbers"),
        ({"images": None}, r"images is \[None\]; expected images"),
        ({"rank": 0}, "rank is 0"),
    ],
)
def test_what_cannot_be_taught_is_one_error_before_any_work(changes, message, model, loras, monkeypatch):
    monkeypatch.setattr(teach, "teach_lora", lambda *given: pytest.fail("work has begun"))
    with pytest.raises(ValueError, match=message):
        taught(model, **changes)
    assert [*loras.iterdir()] == []


def test_a_model_that_reads_no_text_is_refused(model):
    mute = VQDiffusion("mute", tiny.transformer(), tiny.SCHEDULE, model.vae.first_stage_model)
    with pytest.raises(ValueError, match="mute does not draw from prompts"):
        taught(ManagedModel.of(mute, model.folder))


def know(monkeypatch, word):
    """Let a model that is taught have had captions with this word alone."""
    load_anew = teach.load_anew

    def load_with_word(vq_model):
        loaded = load_anew(vq_model)
        loaded.text_encoder.known_words = frozenset({word})
        return loaded

    monkeypatch.setattr(teach, "load_anew", load_with_word)


def test_a_word_that_the_model_knows_is_refused(model, monkeypatch):
    know(monkeypatch, "fox")
    with pytest.raises(ValueError, match="knows the word 'Fox' already"):
        taught(model, word="Fox")
    taught(model, word="zimbo")


@pytest.mark.parametrize("shape", [{"channels": 4}, {"channels": 1}, {"side": 40}])
def test_grey_transparent_and_larger_images_are_learned_from(shape, model, loras):
    taught(model, images=images(**shape))
    assert (loras / "zimbo.safetensors").exists()


def test_images_of_another_shape_are_said_to_be_cut(model, caplog):
    taught(model, images=[images(2), torch.rand(1, SIDE, 2 * SIDE, 3)])
    assert f"1 of 3 images are cut around their middle, to the shape of {SIDE} x {SIDE} pixels" in caplog.text


@pytest.mark.parametrize(
    "given",
    [
        {"captions": "a zimbo\n\n two zimbos \nno zimbo\n"},
        {"captions": ["a zimbo", "two zimbos\n", " no zimbo"], "images": [images(2), images(1, side=20)]},
    ],
)
def test_captions_are_a_line_an_image_or_a_text_an_image(given, model, monkeypatch):
    seen, learn = [], teach.learn
    monkeypatch.setattr(teach, "learn", lambda training, *given: seen.append(training) or learn(training, *given))
    taught(model, **given)
    tokenize = model.clip.cond_stage_model.tokenize
    ids = [ids_1L[0].tolist() for ids_1L in seen[0].examples.ids]
    assert ids == [tokenize(caption) for caption in ("a zimbo", "two zimbos", "no zimbo")]


def test_an_image_may_be_called_by_every_line_of_its_text(model, monkeypatch):
    seen, learn = [], teach.learn
    monkeypatch.setattr(teach, "learn", lambda training, *given: seen.append(training) or learn(training, *given))
    taught(model, captions=["a zimbo\na thing", "two zimbos", "no zimbo"])
    assert [len(ids_CL) for ids_CL in seen[0].examples.ids] == [2, 1, 1]


def test_captions_that_are_too_long_are_said_to_be_cut(model, caplog):
    taught(model, captions="\n".join(["a zimbo", "a zimbo on red", "zimbo " * 100]))
    assert "that the model reads: 3. Their ends are left out." in caplog.text


def hear_progress(monkeypatch, hook):
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    for limit in ("INTERVAL", "PERCENT"):  # newer ComfyUIs leave out what follows soon
        monkeypatch.setattr(comfy.utils, f"PROGRESS_THROTTLE_MIN_{limit}", 0, raising=False)


def test_progress_is_shown_with_a_sheet_of_samples_at_the_end(model, monkeypatch):
    shown = []
    hear_progress(monkeypatch, lambda value, total, preview, node_id=None: shown.append((value, total, preview)))
    monkeypatch.setattr("pack.nodes.runtime.previews_are_wanted", lambda: True)
    taught(model)
    assert [(value, total) for value, total, _ in shown] == [(1, 2), (2, 2)]
    (first, (_, sheet, _)) = (preview for _, _, preview in shown)
    assert first is None and sheet.size == (8 * SIDE, 2 * SIDE)


def test_an_interrupt_keeps_what_was_learned_and_leaves_no_model_behind(model, loras, monkeypatch, caplog):
    trainings, learn = [], teach.learn

    def watched(training, *given):
        trainings.append(weakref.ref(training))
        return learn(training, *given)

    monkeypatch.setattr(teach, "learn", watched)
    hear_progress(monkeypatch, lambda *told, **named: comfy.model_management.interrupt_current_processing())
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        taught(model, steps=9)
    assert read_lora(loras / "zimbo.safetensors").about.recipe["steps"] == 2
    gc.collect()
    assert trainings[0]() is None
    assert "stopped after step 2 of 9" in caplog.text
    monkeypatch.undo()
    assert len(drawn(model, model.clip)) == 16


def test_steps_are_taken_in_parts_where_the_memory_is_small(model, loras, monkeypatch):
    from pack.vqdiffusion_core.training import memory

    steps, learn = [], teach.learn
    monkeypatch.setattr(teach, "learn", lambda training, *given: steps.append(training) or learn(training, *given))
    monkeypatch.setattr(memory, "device_bytes", lambda device: 1)
    with pytest.raises(ValueError, match="Training takes at least some"):
        taught(model)
    monkeypatch.setattr(memory, "CLEARLY", 1e9)
    taught(model)
    assert (steps[-1].accumulate, steps[-1].networks.checkpoint_activations) == (4, True)


def test_numbers_that_break_down_keep_what_was_learned(model, loras, monkeypatch):
    from pack.vqdiffusion_core.training.lora import LoraTraining

    step = LoraTraining.step

    def breaks(self, number, *given):
        if number == 1:
            raise FloatingPointError("the gradient is nan")
        return step(self, number, *given)

    monkeypatch.setattr(LoraTraining, "step", breaks)
    with pytest.raises(ValueError, match="broke down in step 2 of 3: the gradient is nan"):
        taught(model, steps=3)
    assert read_lora(loras / "zimbo.safetensors").about.recipe["steps"] == 1


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The place for models, empty."""
    monkeypatch.setattr(loaders, "new_model_folder", lambda: tmp_path / "models")
    return tmp_path / "models"


def weights(vq_model):
    """Of transformer and text encoder, by name."""
    return {**vq_model.model.transformer.state_dict(), **vq_model.clip.cond_stage_model.state_dict()}


def test_a_whole_model_that_learned_draws_as_its_folder_and_the_old_one_as_before(model, loras, models):
    plain = drawn(model, model.clip)
    vq_model, clip, _, lora, loss_map = taught(model, whole_model=True)
    opened = loaders.open_model(models / "zimbo", "float32")
    assert torch.equal(drawn(vq_model, clip), drawn(opened, opened.clip))
    assert torch.equal(drawn(model, model.clip), plain), "the model itself has changed"
    before, after = weights(model), weights(opened)
    assert {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])} >= {"blocks", "model"}
    codec = [vae.first_stage_model.state_dict() for vae in (model.vae, opened.vae)]
    for name, tensor in codec[0].items():
        torch.testing.assert_close(codec[1][name], tensor.half().float(), msg="images have other tokens")
    assert isinstance(lora, ExecutionBlocker) and len(loss_map["loss"]) == 2 and [*loras.iterdir()] == []


def test_a_whole_model_is_taught_on_and_one_that_is_there_stays(model, models, caplog):
    vq_model, *_ = taught(model, whole_model=True)
    kept = {path: path.read_bytes() for path in models.rglob("*") if path.is_file()}
    taught(vq_model, word="pim", name="zimbo", whole_model=True)
    assert sorted(path.name for path in models.iterdir()) == ["zimbo", "zimbo_2"] and "which stays" in caplog.text
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_whole_model_learns_the_null_where_that_is_asked_for_and_its_captions_words(model, models, monkeypatch):
    know(monkeypatch, "fox")
    plain, _, *_ = taught(model, whole_model=True, captions="a zimbo\na red zimbo\na zimbo")
    asked, _, *_ = taught(model, whole_model=True, learn_null=True)
    assert not torch.equal(plain.model.learned_null_1LD, asked.model.learned_null_1LD)
    assert plain.model.text_encoder.known_words == {"fox", "a", "red", "zimbo"}
    monkeypatch.undo()
    with pytest.raises(ValueError, match="zimbo knows the word 'zimbo' already"):
        taught(plain, whole_model=True, name="another")


def test_an_interrupt_keeps_the_whole_model_as_it_is_by_then(model, models, monkeypatch, caplog):
    hear_progress(monkeypatch, lambda *told, **named: comfy.model_management.interrupt_current_processing())
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        taught(model, steps=9, whole_model=True)
    monkeypatch.undo()
    kept = loaders.open_model(models / "zimbo", "float32")
    assert len(drawn(kept, kept.clip)) == 16 and "what was learned is kept in zimbo" in caplog.text


def test_a_whole_model_that_cannot_be_written_is_on_the_outputs(model, models, monkeypatch, caplog):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(teach, "save", full)
        vq_model, clip, *_ = taught(model, whole_model=True)
    assert "zimbo could not be written" in caplog.text and not models.exists()
    taught(model, whole_model=True)
    written = loaders.open_model(models / "zimbo", "float32")
    for name, tensor in weights(written).items():
        torch.testing.assert_close(weights(vq_model)[name], tensor, atol=2e-3, rtol=2e-3)  # the files are of 16 bits
    assert len(drawn(vq_model, clip)) == 16


def test_a_whole_model_is_not_begun_where_there_is_no_room_or_a_lora_to_go_on_with(model, loras, models, monkeypatch):
    monkeypatch.setattr(teach, "learn", lambda *given: pytest.fail("work has begun"))
    monkeypatch.setattr("pack.vqdiffusion_core.checkpoints.convert.free_space", lambda folder: 1)
    with pytest.raises(CheckpointError, match=r"zimbo would take .* the disk has 0\.00 GB left"):
        taught(model, whole_model=True)
    write_lora(tiny_lora.lora(model.model), loras / "pim.safetensors")
    with pytest.raises(ValueError, match=r"does not go on with a LoRA, here pim\.safetensors"):
        taught(model, whole_model=True, existing_lora="pim.safetensors")
    with pytest.raises(ValueError, match="without the name of a folder"):
        taught(model, whole_model=True, name="../mine")
    assert not models.exists()
