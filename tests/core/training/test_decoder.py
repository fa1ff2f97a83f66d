"""`vqdiffusion train codec --codec`: a codec that is there is trained on, whole or its decoder alone."""

import pytest
import torch
from pack.tests.core import tiny_checkpoints, tiny_originals
from pack.tests.core import tiny_training as tiny
from pack.tests.core.tiny_training import write_images
from pack.vqdiffusion_core.checkpoints import save
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.networks.vqgan import VQGAN
from pack.vqdiffusion_core.training import decoder
from pack.vqdiffusion_core.training.data import to_tensor
from pack.vqdiffusion_core.training.growth import grow
from pack.vqdiffusion_core.training.recipe import load_codec

PACE = ["--size", "16", "--steps", "3", "--batch", "2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def codec(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec") / "run"
    assert main(["train", "codec", str(folder), "--data", str(data), *PACE, "--channels", "8,8", "--codes", "16"]) == 0
    return folder


def train(folder, data, *options):
    return main(["train", "codec", str(folder), "--data", str(data), *PACE, *map(str, options)])


def images():
    return torch.stack([to_tensor(image) for image, _ in map(tiny.Images().__getitem__, range(3))])


def test_a_decoder_learns_and_every_image_keeps_its_tokens(codec, data, tmp_path):
    assert train(tmp_path / "run", data, "--codec", codec, "--learn", "decoder") == 0
    before, after = load_codec(codec), load_codec(tmp_path / "run")
    tokens = before.encode(images())
    assert after.encode(images()).equal(tokens) and not after.decode(tokens).equal(before.decode(tokens))
    changed = {
        name.split(".")[0] for name, weight in before.state_dict().items() if not weight.equal(after.state_dict()[name])
    }
    assert changed == {"decoder", "post_quant_conv"}


def test_a_decoder_goes_on_from_its_own_run(codec, data, tmp_path):
    assert train(tmp_path / "first", data, "--codec", codec, "--learn", "decoder") == 0
    assert train(tmp_path / "second", data, "--codec", tmp_path / "first", "--learn", "decoder") == 0
    tokens = load_codec(codec).encode(images())
    assert load_codec(tmp_path / "second").encode(images()).equal(tokens)


def test_a_codec_goes_on_with_the_codebook_that_it_has(codec, data, tmp_path):
    assert train(tmp_path / "run", data, "--codec", codec) == 0
    before, after = (load_codec(run).quantize.embedding.weight for run in (codec, tmp_path / "run"))
    assert not after.equal(before)
    still = (after - before).abs() < 0.25 * before.std()  # by k-means anew hardly any would be
    assert still.float().mean() > 0.8


def test_a_discriminator_pulls_as_its_weight_says(tmp_path):
    """At the last layer, in parts of the reconstruction's pull."""
    training = tiny.decoder(tmp_path, mixed=False)
    last, image = training.renderer.decoder.conv_out.weight, images()
    drawn = training.renderer(training.model.quantize.lookup(training.model.encode(image)))
    reconstruction, fooled = (drawn - image).abs().mean(), -training.discriminator(drawn).mean()
    ours, theirs = (torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in (reconstruction, fooled))
    weight = training.balance(reconstruction, fooled)
    assert (weight * theirs).norm().item() == pytest.approx(ours.norm().item(), rel=1e-2)


@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_a_discriminator_comes_in_slowly(progress, tmp_path):
    gradients = []
    for strength in (0.0, 0.5):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decoder, "ADVERSARIAL", strength)
            training = tiny.decoder(tmp_path, mixed=False)
            list(tiny.take_steps(training, 1, progress))
        gradients.append(torch.cat([weight.grad.flatten() for weight in training.weights]))
    assert gradients[0].equal(gradients[1]) == (progress == 0)


def test_a_discriminator_tells_drawn_from_true_images(tmp_path):
    losses = [metrics["discriminator"] for metrics in tiny.take_steps(tiny.decoder(tmp_path, learning_rate=1e-2), 40)]
    assert losses[0] > 0.8 > 0.4 > min(losses)


def test_a_codec_grows_to_images_of_twice_the_size(codec, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name, colour in tiny.COLOURS.items():
        tiny.paint(colour, 8).resize((32, 32)).save(data / f"{name}.png")
    assert train(tmp_path / "run", data, "--codec", codec, "--grow", "--size", "32") == 0
    assert load_codec(tmp_path / "run").encode(torch.zeros(1, 3, 32, 32)).shape == (1, 8, 8)


def test_a_grown_codec_begins_with_what_the_small_one_has_learned(codec):
    """But for what convolutions see of finer pixels, and of the rim."""
    small = load_codec(codec)
    large, image = grow(small), images()
    doubled = torch.nn.functional.interpolate(image, scale_factor=2)
    tokens = small.encode(image)
    fresh = VQGAN(large.spec).eval()
    fresh.quantize.load_state_dict(small.quantize.state_dict())
    drawn, grown, begun = (
        torch.nn.functional.avg_pool2d(each.decode(tokens), each.spec.downscale // 2) for each in (small, large, fresh)
    )
    assert (grown - drawn).abs().mean() < 0.5 * (begun - drawn).abs().mean()
    latents, ours, theirs = small.latents(image), large.latents(doubled), fresh.latents(doubled)
    assert (ours - latents).abs().mean() < 0.5 * (theirs - latents).abs().mean()


def gumbel(folder):
    torch.save({"state_dict": tiny_originals.vqgan_state(tiny_originals.GUMBEL_F8)}, folder / "last.ckpt")
    return folder / "last.ckpt"


def test_of_a_gumbel_codec_the_decoder_alone_is_trained_on(data, tmp_path, capsys):
    place = gumbel(tmp_path)
    assert train(tmp_path / "run", data, "--codec", place) == 1
    assert "train it with --learn decoder" in capsys.readouterr().err
    assert train(tmp_path / "run", data, "--codec", place, "--learn", "decoder") == 0


def test_the_codec_of_a_model_is_trained_on_and_drawn_with(data, tmp_path):
    model = tiny_checkpoints.diffusers_folder(tmp_path / "model")
    assert train(tmp_path / "run", data, "--codec", model, "--learn", "decoder") == 0
    codec = load_codec(tmp_path / "run")
    training = tiny.diffusion(tmp_path / "diffusion")
    training.vqgan = codec
    save(training.model("sharper"), tmp_path / "sharper")
    assert load_codec(tmp_path / "sharper").spec == codec.spec


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--learn", "decoder"], "--learn decoder goes on from a codec; expected --codec too"),
        (["--codec", "CODEC", "--codes", "8"], "--codec has its own shape; expected no --channels, --codes and"),
        (["--codec", "CODEC", "--cells-alone"], "expected no --channels, --codes and --cells-alone beside it"),
        (["--codec", "CODEC", "--learn", "decoder", "--accumulate", "2"], "for less memory take a smaller --batch"),
        (["--grow"], "--grow goes on from a codec; expected --codec too"),
        (["--codec", "CODEC", "--grow", "--learn", "decoder"], "gets other tokens, so all of it has to learn"),
        (["--codec", "NOWHERE"], "is no folder and no file; expected those of a model"),
        (["--codec", "CODEC", "--size", "15"], "2 resolutions need a multiple of 2"),
    ],
)
def test_what_cannot_go_on_is_said_in_one_line(options, said, codec, data, tmp_path, capsys):
    options = [{"CODEC": str(codec)}.get(option, option) for option in options]
    assert train(tmp_path / "run", data, *options) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line and not (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_run_of_a_whole_codec_is_not_gone_on_with_as_that_of_a_decoder(codec, data, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(run, data, "--codec", codec) == 0
    kept = (run / "checkpoint.pt").read_bytes()
    assert train(run, data, "--codec", codec, "--learn", "decoder", "--steps", "5") == 1
    assert "was begun with another model" in capsys.readouterr().err
    assert (run / "checkpoint.pt").read_bytes() == kept
