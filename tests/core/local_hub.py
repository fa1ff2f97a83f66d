"""A server on this machine that speaks the hub's language: a folder as a repository. It can break off half-way."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download
from pack.vqdiffusion_core.checkpoints.releases import ON_HUB

(ITHQ,) = ON_HUB
COMMIT = "0123456789abcdef0123456789abcdef01234567"
BIG = "transformer/diffusion_pytorch_model.safetensors"


class Hub(ThreadingHTTPServer):
    """Serves a folder as a repository. `breaks`: how often it hangs up in the middle of BIG, after which it refuses all
    if `dies`; `down`: it refuses now; `may_go_on`: while that is not set, it gives one file and keeps the next back.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.breaks = 0
        self.dies = False
        self.down = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.requests: list[tuple[str, str | None]] = []
        self.claimed: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self):
        if self.server.down:
            return self.send_error(503)
        if self.path.startswith(f"/api/models/{ITHQ}"):
            return self.send(json.dumps(self.listing()).encode())
        match = re.fullmatch(rf"/{ITHQ}/resolve/{COMMIT}/(.*)", self.path)
        if not match or match[1] not in self.server.files:
            return self.send_error(404)
        self.send_file(match[1])

    def listing(self) -> dict:
        siblings = []
        for name, data in self.server.files.items():
            digest = self.server.claimed.get(name, hashlib.sha256(data).hexdigest())
            lfs = {"sha256": digest, "size": len(data), "pointerSize": 130} if name.endswith("safetensors") else None
            siblings.append({"rfilename": name, "size": len(data)} | ({"lfs": lfs} if lfs else {}))
        return {"id": ITHQ, "modelId": ITHQ, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}

    def send_file(self, name: str) -> None:
        data = self.server.files[name]
        asked = self.headers.get("Range")
        self.server.requests.append((name, asked))
        if len(self.server.requests) > 1:
            self.server.may_go_on.wait()
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        self.send(data[start:], 206 if asked else 200, breaking=name == BIG and self.server.breaks > 0)

    def send(self, data: bytes, status: int = 200, breaking: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if breaking:
            self.server.breaks -= 1
            self.server.down = self.server.dies
            data = data[: len(data) // 2]
            self.close_connection = True
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    server = Hub(folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def ask_there(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub's library in this process ask at another address, and write small pieces: what has less is lost when
    a line breaks.
    """
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)  # of before 1.0
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
