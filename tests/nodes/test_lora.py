"""The LoRA node patches a model that the host manages, and leaves the one it came from as it was."""

import folder_paths
import pytest
import torch
from pack.nodes import loaders, prompt, sampling, tokens
from pack.nodes.loaders import BUILT_IN_LORAS
from pack.nodes.lora import VQDiffusionLora
from pack.tests.core import tiny_lora
from pack.vqdiffusion_core import apply_loras, generate
from pack.vqdiffusion_core.checkpoints import POCKET_FOLDER, CheckpointError, load
from pack.vqdiffusion_core.diffusion.settings import Settings
from pack.vqdiffusion_core.lora import read_lora, write_lora


@pytest.fixture
def loras(folder, tmp_path, monkeypatch):
    """Two of the tiny model and one of another shape, in the host's folder of LoRAs."""
    base = load(folder, "float32")
    made = {f"{seed}.safetensors": tiny_lora.lora(base, seed=seed, size=0.4) for seed in range(2)}
    made["other.safetensors"] = tiny_lora.lora(tiny_lora.model(tmp_path / "run", width=24))
    for name, lora in made.items():
        write_lora(lora, tmp_path / "loras" / name)
    names = folder_paths.folder_names_and_paths | {"loras": ([str(tmp_path / "loras")], {".safetensors"})}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", names)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return made


def drawn(vq_model, clip):
    """The image's tokens at the sampler node."""
    (canvas,) = tokens.VQDiffusionEmptyTokens.execute(vq_model, 1).args
    (positive,) = prompt.VQDiffusionTextEncode.execute(clip, "green").args
    (latent,) = sampling.VQDiffusionSampler.execute(vq_model, positive, canvas, 3, 4, 1.5, 1.0, "confidence", 1.0).args
    return latent["samples"].flatten().int()


def expected(folder, *weighed):
    seen = []
    model = apply_loras(load(folder, "float32"), weighed).prepare_for_inference()
    settings = Settings(4, 1.5, 1.0, "confidence")
    generate(model, "green", seed=3, settings=settings, on_step=lambda step, x_BN: seen.append(x_BN[0]))
    return seen[-1].int()


def test_a_patched_model_draws_what_the_core_draws_and_the_first_stays_as_it_was(model, folder, loras):
    plain = drawn(model, model.clip)
    first, clip = VQDiffusionLora.execute(model, "0.safetensors", 1.0).args
    assert torch.equal(drawn(first, clip), expected(folder, (loras["0.safetensors"], 1.0)))
    both, clip = VQDiffusionLora.execute(first, "1.safetensors", -0.5).args
    weighed = ((loras["0.safetensors"], 1.0), (loras["1.safetensors"], -0.5))
    assert torch.equal(drawn(both, clip), expected(folder, *weighed))
    assert torch.equal(drawn(model, model.clip), plain)
    assert not torch.equal(plain, expected(folder, *weighed))


def test_strength_0_is_the_model_itself(model, loras):
    unchanged, clip = VQDiffusionLora.execute(model, "0.safetensors", 0.0).args
    assert unchanged is model and clip is model.clip


def test_settings_of_the_model_are_kept(model, loras):
    patched, _ = VQDiffusionLora.execute(model.with_options(temperature=0.5), "0.safetensors", 1.0).args
    assert patched.options == {"temperature": 0.5}


def test_a_lora_of_another_model_is_refused_with_what_fits(model, loras):
    with pytest.raises(CheckpointError, match=r"other\.safetensors is a LoRA of another model than tiny"):
        VQDiffusionLora.execute(model, "other.safetensors", 1.0)


@pytest.mark.parametrize("name", ["../secret.safetensors", "missing.safetensors"])
def test_only_what_is_in_the_menu_is_opened(name, model, loras):
    with pytest.raises(ValueError, match="There is no LoRA"):
        VQDiffusionLora.execute(model, name, 1.0)
    assert VQDiffusionLora.define_schema().inputs[1].options == [*sorted(loras), *BUILT_IN_LORAS]


@pytest.mark.parametrize("name", BUILT_IN_LORAS)
def test_what_comes_along_fits_the_built_in_model(name):
    lora = read_lora(loaders.lora_file(name))
    lora.check_fit(load(POCKET_FOLDER, "float32"))
    assert f"{lora.about.words[0]} (built in)" == name and lora.name.removesuffix(".safetensors") == lora.about.words[0]


def test_the_menu_s_file_that_changes_is_another_lora(model, loras, tmp_path):
    before = VQDiffusionLora.fingerprint_inputs("0.safetensors", strength=1.0)
    write_lora(loras["1.safetensors"], tmp_path / "loras" / "1.safetensors")
    (tmp_path / "loras" / "0.safetensors").write_bytes(b"longer" * 9999)
    assert VQDiffusionLora.fingerprint_inputs("0.safetensors", strength=1.0) != before
