"""Folders of the diffusers layout load in every variant, and our modules agree with diffusers' numbers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import Transformer2DModel, VQDiffusionPipeline, VQDiffusionScheduler, VQModel
from diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion import LearnedClassifierFreeSamplingEmbeddings
from pack.vqdiffusion_core.checkpoints import load, save
from pack.vqdiffusion_core.checkpoints.vocabulary import read_vocabulary
from pack.vqdiffusion_core.diffusion.settings import SAMPLERS, Settings
from pack.vqdiffusion_core.networks.text_encoder import clean, clip_tokenizer
from pack.vqdiffusion_core.pipeline import generate
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from .. import reference
from .. import tiny_checkpoints as tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.diffusers_folder(tmp_path_factory.mktemp("diffusers"))


@pytest.fixture(scope="module")
def model(folder):
    return load(folder)


def test_transformer_gives_the_log_probabilities_of_diffusers_at_every_time(model):
    peer = tiny.peer_transformer()
    generator = torch.Generator().manual_seed(1)
    x_BN = torch.randint(tiny.K + 1, (2, tiny.GRID**2), generator=generator)
    text_BLD = torch.randn(2, tiny.LENGTH, tiny.TEXT_WIDTH, generator=generator)
    memory = model.transformer.precompute_kv(text_BLD)
    for t in range(tiny.T):
        theirs = peer(x_BN, encoder_hidden_states=text_BLD, timestep=torch.tensor(t)).sample
        ours = model.transformer(x_BN, torch.tensor([t]), memory).log_softmax(-1).transpose(1, 2)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_vqgan_encodes_to_the_same_codes_and_decodes_to_the_same_image(model):
    peer = tiny.peer_vqgan()
    image_BCHW = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    codes = peer.quantize(peer.encode(image_BCHW).latents)[2][2].view(2, 4, 4)
    assert torch.equal(model.vqgan.encode(image_BCHW), codes)
    assert codes.unique().numel() > 3
    latents = peer.quantize.get_codebook_entry(codes.flatten(), shape=(2, 4, 4, 5))
    image = peer.decode(latents, force_not_quantize=True).sample.clamp(-1, 1)
    torch.testing.assert_close(model.vqgan.decode(codes), image, atol=1e-5, rtol=0)


def test_text_encoder_gives_the_vectors_of_transformers(model):
    peer = tiny.peer_text_encoder()
    ids = torch.tensor([model.text_encoder.tokenize("A red b")])
    theirs = torch.nn.functional.normalize(peer(input_ids=ids).last_hidden_state, dim=-1)
    torch.testing.assert_close(model.text_encoder.encode(["A red b"]), theirs, atol=1e-5, rtol=0)
    assert ids.tolist() == [[56, 28, 55, 29, 57, 0, 0]]


def test_saving_and_loading_gives_the_same_tensors_and_numbers(model, tmp_path):
    save(model, tmp_path / "copy")
    again = load(tmp_path / "copy")
    for part in ("transformer", "vqgan", "text_encoder"):
        before, after = getattr(model, part), getattr(again, part)
        assert before.state_dict().keys() == after.state_dict().keys()
        assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())
    assert torch.equal(model.learned_null_1LD, again.learned_null_1LD)
    assert (model.schedule.alpha_bar == again.schedule.alpha_bar).all()
    assert model.text_encoder.tokenize("a red car") == again.text_encoder.tokenize("a red car")
    assert model.transformer.spec == again.transformer.spec
    assert model.vqgan.spec == again.vqgan.spec


# The whole way, from a prompt to an image


def peer_pipeline(folder):
    """diffusers' pipeline, put together by hand: it cannot open the folder that it saves."""
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", pad_token="!", model_max_length=tiny.LENGTH)
    null = LearnedClassifierFreeSamplingEmbeddings(learnable=True, hidden_size=tiny.TEXT_WIDTH, length=tiny.LENGTH)
    parts = {
        "vqvae": tiny.peer_vqgan(),
        "transformer": tiny.peer_transformer(),
        "text_encoder": tiny.peer_text_encoder(),
        "tokenizer": tokenizer,
        "scheduler": VQDiffusionScheduler(num_vec_classes=tiny.K + 1, num_train_timesteps=tiny.T),
        "learned_classifier_free_sampling_embeddings": tiny.randomise(null),
    }
    pipeline = VQDiffusionPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize(("prompt", "seed"), [("a red b", 0), ("bad", 1), ("", 2)])
@pytest.mark.parametrize(("guidance", "rate"), [(1.0, 1.0), (5.0, 1.0), (1.0, 0.86), (3.0, 0.86)])
def test_a_whole_run_has_the_tokens_of_the_diffusers_pipeline_at_every_step_and_its_image(
    folder, model, guidance, rate, prompt, seed, monkeypatch
):
    theirs, ours = [], []
    (image,) = peer_pipeline(folder)(
        prompt,
        num_inference_steps=tiny.T,
        guidance_scale=guidance,
        truncation_rate=rate,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
        callback=lambda step, t, tokens: theirs.append(tokens.clone()),
    ).images
    step = reference.drawing_from(torch.Generator().manual_seed(seed))
    monkeypatch.setitem(SAMPLERS, "ancestral", lambda settings: step)
    settings = Settings(steps=tiny.T, guidance=guidance, truncation=rate, sampler="ancestral")
    generate(model, prompt, settings=settings, on_step=lambda step, tokens: ours.append(tokens))
    assert [tokens.tolist() for tokens in ours[1:]] == [tokens.tolist() for tokens in theirs]
    assert len(ours[-1].unique()) > 2
    decoded = (model.vqgan.decode(ours[-1].unflatten(1, (tiny.GRID, tiny.GRID))) + 1) / 2
    torch.testing.assert_close(decoded[0].permute(1, 2, 0), torch.from_numpy(image), atol=1e-4, rtol=0)


# The forms that a folder has been published in


def rewritten(folder, part, change=lambda name, tensor: (name, tensor), stem="diffusion_pytorch_model"):
    """Take a part's file away and give its tensors, changed, under new names."""
    (file,) = (folder / part).glob("*.safetensors")
    state = dict(change(name, tensor.clone()) for name, tensor in load_file(file).items())
    file.unlink()
    return state


def as_pickle(folder):
    torch.save(rewritten(folder, "transformer"), folder / "transformer" / "diffusion_pytorch_model.bin")
    torch.save(rewritten(folder, "text_encoder"), folder / "text_encoder" / "pytorch_model.bin")


def as_fp16_variant(folder):
    state = rewritten(folder, "vqvae")
    save_file(state, folder / "vqvae" / "diffusion_pytorch_model.fp16.safetensors")


def with_the_wrappers_of_parallel_training(folder):
    state = rewritten(folder, "transformer", lambda name, tensor: (f"module.{name}", tensor))
    torch.save(state, folder / "transformer" / "diffusion_pytorch_model.bin")


def as_bf16_shards(folder):
    state = rewritten(folder, "vqvae")
    save_file(state, folder / "vqvae" / "diffusion_pytorch_model-00001-of-00001.bf16.safetensors")
    index = {"weight_map": dict.fromkeys(state, "diffusion_pytorch_model-00001-of-00001.bf16.safetensors")}
    (folder / "vqvae" / "diffusion_pytorch_model.safetensors.index.bf16.json").write_text(json.dumps(index))


def with_half_precision_beside(folder):
    """A pickle in full precision, as the hub's vqvae has it, and half of another model: were it read, it would show."""
    for part, stem in (("vqvae", "diffusion_pytorch_model"), ("text_encoder", "pytorch_model")):
        state = rewritten(folder, part)
        torch.save(state, folder / part / f"{stem}.bin")
        for variant in ("fp16", "bf16"):
            other = {name: torch.zeros_like(tensor).half() for name, tensor in state.items()}
            save_file(other, folder / part / f"{stem.removeprefix('pytorch_')}.{variant}.safetensors")


def with_old_attention_names_and_convolutions(folder):
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def change(name, tensor):
        for new, before in old.items():
            if f".{new}." in name:
                conv = tensor[:, :, None, None] if name.endswith("weight") else tensor
                return name.replace(f".{new}.", f".{before}."), conv
        return name, tensor

    state = rewritten(folder, "vqvae", change)
    assert "encoder.mid_block.attentions.0.proj_attn.weight" in state
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "vqvae" / "model.safetensors")


def with_the_other_text_prefix(folder):
    def change(name, tensor):
        return name.removeprefix("text_model.") if name.startswith("text_model.") else f"text_model.{name}", tensor

    state = rewritten(folder, "text_encoder", change)
    positions = {"text_model.embeddings.position_ids": torch.arange(tiny.LENGTH)[None]}
    save_file(state | positions, folder / "text_encoder" / "model.safetensors")


def in_shards(folder):
    state = rewritten(folder, "transformer")
    place, names = folder / "transformer", sorted(state)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: state[name] for name in part}, place / file)
    index = {"weight_map": {name: file for file, part in halves.items() for name in part}}
    (place / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def with_one_tokenizer_file(folder):
    """What transformers 5 saves."""
    from transformers import CLIPTokenizerFast

    CLIPTokenizerFast.from_pretrained(folder / "tokenizer").save_pretrained(folder / "saved")
    shutil.rmtree(folder / "tokenizer")
    (folder / "saved").rename(folder / "tokenizer")
    for name in ("vocab.json", "merges.txt"):  # that transformers 4 saves beside it
        (folder / "tokenizer" / name).unlink(missing_ok=True)


def as_of_2022(folder):
    """Without an index, and with configs that say less."""
    (folder / "transformer" / "config.json").write_text('{"num_attention_heads": 4, "norm_type": "layer_norm"}')
    (folder / "vqvae" / "config.json").write_text('{"norm_num_groups": 4, "scaling_factor": 0.18215}')
    (folder / "model_index.json").unlink(missing_ok=True)


VARIANTS = [
    as_pickle,
    as_fp16_variant,
    as_bf16_shards,
    with_half_precision_beside,
    with_the_wrappers_of_parallel_training,
    with_old_attention_names_and_convolutions,
    with_the_other_text_prefix,
    in_shards,
    with_one_tokenizer_file,
    as_of_2022,
]


@pytest.mark.parametrize("variant", VARIANTS, ids=[variant.__name__ for variant in VARIANTS])
def test_every_form_of_the_folder_gives_the_same_model(variant, folder, model, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    variant(copy)
    again = load(copy)
    for part in ("transformer", "vqgan", "text_encoder"):
        before, after = getattr(model, part).state_dict(), getattr(again, part).state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before), part
    assert again.transformer.spec == model.transformer.spec and again.vqgan.spec == model.vqgan.spec
    assert again.text_encoder.model.config.num_attention_heads == model.text_encoder.model.config.num_attention_heads
    assert again.text_encoder.tokenize("a red car") == model.text_encoder.tokenize("a red car")


def test_half_precision_is_read_where_it_is_what_was_asked_for(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    for part in ("transformer", "vqvae"):
        file = copy / part / "diffusion_pytorch_model.safetensors"
        other = {name: torch.ones_like(tensor).half() for name, tensor in load_file(file).items()}
        save_file(other, file.with_name("diffusion_pytorch_model.fp16.safetensors"))
    for dtype, half in (("float16", True), ("bfloat16", False), ("float32", False)):
        model = load(copy, dtype)
        assert bool((model.transformer.to_logits[1].weight == 1).all()) is half
        assert not (model.vqgan.quant_conv.weight == 1).all(), "the VQGAN stays float32"


def test_a_config_that_does_not_say_how_many_heads_there_are_means_the_usual_number(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    for part in ("transformer", "text_encoder"):
        file = copy / part / "config.json"
        config = json.loads(file.read_text())
        file.write_text(json.dumps({key: value for key, value in config.items() if "attention_head" not in key}))
    model = load(copy)
    assert (model.transformer.spec.heads, model.text_encoder.model.config.num_attention_heads) == (16, 8)


def test_without_the_learned_embeddings_the_empty_prompt_is_the_null(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(copy / "learned_classifier_free_sampling_embeddings")
    bare = load(copy)
    assert bare.learned_null_1LD is None
    assert torch.equal(bare.null(), bare.text_encoder.encode([""]))


def test_the_dtype_is_the_transformers_alone(folder):
    half = load(folder, "bfloat16")
    assert {parameter.dtype for parameter in half.transformer.parameters()} == {torch.bfloat16}
    others = [*half.vqgan.parameters(), *half.text_encoder.parameters(), half.learned_null_1LD]
    assert {parameter.dtype for parameter in others} == {torch.float32}


def test_what_we_save_opens_in_the_classes_of_diffusers_and_transformers(model, tmp_path):
    save(model, tmp_path / "copy")
    peers = {
        "vqvae": (VQModel, tiny.peer_vqgan()),
        "transformer": (Transformer2DModel, tiny.peer_transformer()),
        "text_encoder": (CLIPTextModel, tiny.peer_text_encoder()),
    }
    for part, (cls, expected) in peers.items():
        opened = cls.from_pretrained(tmp_path / "copy" / part)
        assert all(torch.equal(opened.state_dict()[name], value) for name, value in expected.state_dict().items())
    scheduler = VQDiffusionScheduler.from_pretrained(tmp_path / "copy" / "scheduler")
    assert scheduler.config.num_vec_classes == tiny.K + 1
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "copy" / "tokenizer")
    words = model.text_encoder.tokenize("a red car")
    assert tokenizer("a red car")["input_ids"][: tiny.LENGTH - 1] == words[: tiny.LENGTH - 1]


def test_saving_over_a_model_that_is_loaded_from_there_works(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    model = load(copy)
    save(model, copy)
    assert torch.equal(load(copy).transformer.to_logits[1].weight, model.transformer.to_logits[1].weight)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_loading_maps_the_file_instead_of_reading_it(folder):
    """Every float32 tensor lies in one mapping of its file."""
    weights = load(folder).transformer.state_dict()
    starts = sorted(tensor.data_ptr() for tensor in weights.values())
    size = sum(tensor.nbytes for tensor in weights.values())
    assert starts[-1] - starts[0] < size


def test_opening_a_transformer_does_not_bring_in_the_compiler(folder):
    """Which takes ten times as long to import as COCO's weights take to open."""
    code = """
import sys
from pathlib import Path
from vqdiffusion_core.checkpoints.build import Dtypes
from vqdiffusion_core.checkpoints.diffusers_layout import load_transformer
assert load_transformer(Path(sys.argv[1]), Dtypes(None)).prepare_for_inference().is_prepared
print("torch._dynamo" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(folder / "transformer")]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


CLIP_FOLDER = Path(__file__).parents[3] / ".cache" / "comfyui-0.3.75" / "comfy" / "sd1_tokenizer"
# Recorded by running OpenAI's own tokenizer, as open_clip carries it, on the prompts as they are.
OPENAI_IDS = {
    "horse": [4558],
    "": [],
    "w " * 100: [342] * 100,
    "Caf\u00e9 &amp;amp; bar": [15304, 261, 2411],
    "two \U0001f600\U0001f389 \U0001f469\u200d\U0001f469\u200d\U0001f467": [1237, 12832, 3986, 26304, 26304, 964, 356],
    "UPPER it's they'll 1234": [7067, 585, 568, 889, 1342, 272, 273, 274, 275],
    "\u65e5\u672c\u8a9e \u0661\u0662\u0663": [39121, 44353, 34002, 508, 149, 350, 149, 351, 149, 352],
}


@pytest.mark.skipif(not CLIP_FOLDER.is_dir(), reason="CLIP's vocabulary comes with the test host: ./dev test")
def test_prompts_become_the_ids_of_openai_and_of_transformers():
    vocabulary = read_vocabulary(CLIP_FOLDER)
    ours = clip_tokenizer(vocabulary.ids, vocabulary.merges)
    theirs = CLIPTokenizer.from_pretrained(CLIP_FOLDER)
    for prompt, expected in OPENAI_IDS.items():
        assert ours(clean(prompt), add_special_tokens=False)["input_ids"] == expected
        assert theirs(clean(prompt), add_special_tokens=False)["input_ids"] == expected
    assert (ours.bos_token_id, ours.eos_token_id, vocabulary.ids["!"]) == (49406, 49407, 0)


def test_a_long_prompt_keeps_its_end_and_a_short_one_is_padded_with_zero(model):
    long, short = (model.text_encoder.tokenize(text) for text in ("b " * 50, "b"))
    assert len(long) == len(short) == tiny.LENGTH
    assert long[-1] == model.text_encoder.tokenizer.eos_token_id and 0 not in long
    assert short[2:] == [model.text_encoder.tokenizer.eos_token_id] + [0] * (tiny.LENGTH - 3)
    norms = model.text_encoder.encode(["b"]).norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones(1, tiny.LENGTH))
