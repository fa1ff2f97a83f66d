"""From what the inspector sends to what the editor says of it: Python's output, read by the page's own script."""

import json
import subprocess
from pathlib import Path

import torch
from pack.nodes.inspector import token_info
from pack.nodes.prompt import VQDiffusionTextEncode
from pack.nodes.sampling import VQDiffusionSampler
from pack.nodes.tokens import VQDiffusionEmptyTokens


def canvas(model):
    return VQDiffusionEmptyTokens.execute(model, 1)[0]


def draw(model, latent, seed=0):
    red = VQDiffusionTextEncode.execute(model.clip, "red")[0]
    return VQDiffusionSampler.execute(model, red, latent, seed, 4, 2.0, 1.0, "ancestral", 1.0)[0]


SAY = """
import { readFileSync } from "node:fs";
import { gridOf, lastFrame, describeToken } from "./web/js/tokenInfo.js";
import { ENGLISH, fill } from "./web/js/i18n.js";

const tokens = JSON.parse(readFileSync(0, "utf8"));
const { columns, rows } = gridOf(tokens);
const frames = [0, lastFrame(tokens)];
const say = (frame, cell) => (({ key, values }) => fill(ENGLISH[key], values))(describeToken(tokens, cell, frame));
const cells = [...Array(rows * columns).keys()].map(i => ({ column: i % columns, row: Math.floor(i / columns) }));
console.log(JSON.stringify(frames.map(frame => cells.map(cell => say(frame, cell)))));
"""


def readings(sent):
    """What the page says of each token, before the run and after it."""
    command = ["node", "--input-type=module", "-e", SAY]
    root = Path(__file__).parents[2]
    said = subprocess.run(command, input=json.dumps(sent), capture_output=True, text=True, check=True, cwd=root)
    return json.loads(said.stdout)


def sent_by_the_inspector(latent, model, monkeypatch):
    monkeypatch.setattr("comfy_api.latest.ui.PreviewImage.as_dict", lambda preview: {"images": ["an image"] * 5})
    monkeypatch.setattr("comfy_api.latest.ui.PreviewImage.__init__", lambda preview, images, cls: None)
    history = latent.get("vq_history")
    return json.loads(json.dumps(token_info(latent["samples"][:, 0].long(), history, model.vae, None)))


def test_a_token_that_an_inpainting_kept_reads_kept_and_the_others_by_their_step(model, monkeypatch):
    region = torch.zeros(4, 4)
    region[2:] = 1
    image = draw(model, canvas(model))
    drawn = draw(model, image | {"noise_mask": region}, seed=9)
    before, after = readings(sent_by_the_inspector(drawn, model, monkeypatch))
    ids = drawn["samples"].flatten().int().tolist()
    assert after[:8] == [f"Column {i % 4}, row {i // 4}: id {ids[i]}, kept" for i in range(8)] == before[:8]
    assert all("drawn in step" in said for said in after[8:]) and all(
        "still to be drawn" in said for said in before[8:]
    )


def test_no_token_of_a_new_image_reads_kept(model, monkeypatch):
    before, after = readings(sent_by_the_inspector(draw(model, canvas(model)), model, monkeypatch))
    assert not any("kept" in said for said in before + after)


def test_tokens_without_a_run_are_told_by_their_ids(model, monkeypatch):
    (said, again) = readings(sent_by_the_inspector(canvas(model), model, monkeypatch))
    assert said == again == [f"Column {i % 4}, row {i // 4}: id 11" for i in range(16)]
