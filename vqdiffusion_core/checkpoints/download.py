"""A published model from the Hugging Face hub, for those who asked for it: first what it would take, then the files.

The hub's library gives names, sizes, addresses and retries. Partial files are ours, since the library throws them away
when it gives up: a download of gigabytes goes on where it stopped, today or tomorrow.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from .diffusers_config import INDEX, LIBRARY
from .diffusers_files import WEIGHTS, is_plain, shards_beside
from .errors import CheckpointError
from .releases import ON_HUB
from .write import free_space

NETWORK_LIBRARIES = ("huggingface_hub", "httpx", "httpx2", "requests", "urllib3")  # they differ between its versions
BLOCK = 1 << 20
OTHER_WAYS = (
    "A proxy is set by HTTPS_PROXY, another hub by HF_ENDPOINT, a token by HF_TOKEN; or copy the model's folder from a "
    "machine that has it."
)
OnProgress = Callable[[int, int], None]  # bytes on the disk, bytes in all; may raise to stop


@dataclass(frozen=True)
class RemoteFile:
    path: str  # with "/", inside the model's folder
    size: int
    sha256: str | None  # of large files


@dataclass(frozen=True)
class Plan:
    """What a download will fetch."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(file.size for file in self.files)

    @property
    def name(self) -> str:
        return self.repo.rpartition("/")[2]


def plan(repo: str = ON_HUB[0], revision: str = "main") -> Plan:
    """Ask the hub what a model in the diffusers layout consists of. Nothing is downloaded. Raises CheckpointError."""
    with network_errors(f"{repo} could not be looked up"):
        info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=10)
    listing = {sibling.rfilename: sibling for sibling in info.siblings or []}
    chosen = [listing[path] for path in choose(list(listing))]
    if INDEX not in listing or not chosen or info.sha is None:
        raise CheckpointError(f"{repo} on the hub is no model in the diffusers layout: it has no {INDEX}.")
    files = [RemoteFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None) for file in chosen]
    return Plan(repo, info.sha, tuple(files))


def choose(paths: list[str]) -> list[str]:
    """Of all that a repository holds, what `load` reads: no second copy of the weights in another form, no samples.
    Half precision is fetched only where there is no other.

    >>> choose(["model_index.json", "vqvae/config.json", "vqvae/model.bin", "vqvae/model.fp16.bin", "vqvae/../x.json"])
    ['model_index.json', 'vqvae/config.json', 'vqvae/model.bin']
    """
    chosen = [INDEX] if INDEX in paths else []
    for part in LIBRARY:
        names = [path.removeprefix(f"{part}/") for path in sorted(paths) if path.startswith(f"{part}/")]
        weights = next((name for name in WEIGHTS if name in names), None)
        small = [name for name in names if is_plain(name) and name.endswith((".json", ".txt")) and name not in WEIGHTS]
        heavy = [weights] if weights else []
        heavy += shards_beside(weights, names) if weights and weights.endswith(".json") else []
        chosen += [f"{part}/{name}" for name in [*small, *heavy]]
    return chosen


def download(files: Plan, folder: Path, on_progress: OnProgress = lambda done, total: None) -> Path:
    """Fetch a model into `folder`/<its name>, which appears when it is whole. Raises CheckpointError; OSError where the
    disk is full. After either, or a kill, the next call goes on from what is there.
    """
    target, partial = folder / files.name, partial_folder(files, folder)
    if target.exists():
        raise CheckpointError(f"{target} exists already; delete or rename it to download the model again.")
    if (rest := files.size - bytes_on_disk(files, folder)) > (free := free_space(folder)):
        raise CheckpointError(f"{files.repo} needs {gigabytes(rest)} more; {folder} has {gigabytes(free)}.")
    partial.mkdir(parents=True, exist_ok=True)
    before = 0
    for file in files.files:
        fetch(files, file, partial / file.path, lambda count, before=before: on_progress(before + count, files.size))
        before += file.size
    partial.rename(target)
    return target


def summary(files: Plan, folder: Path) -> str:
    """What a download into `folder` would take, in words, for somebody who is to decide about it."""
    before = bytes_on_disk(files, folder)
    return (
        f"{files.repo} takes {gigabytes(files.size)} ({len(files.files)} files) in {folder / files.name}"
        + (f", of which {gigabytes(before)} have arrived" if before else "")
        + f"; the disk has {gigabytes(free_space(folder))} left."
    )


def bytes_on_disk(files: Plan, folder: Path) -> int:
    """The bytes that earlier tries have left in `folder`."""
    return sum(path.stat().st_size for path in partial_folder(files, folder).rglob("*") if path.is_file())


def partial_folder(files: Plan, folder: Path) -> Path:
    """Where a download grows: invisible to `find`, and of one version of the model alone."""
    return folder / f".{files.name}.{files.commit[:8]}.partial"


def gigabytes(count: int) -> str:
    """
    >>> gigabytes(5_660_000_000)
    '5.66 GB'
    """
    return f"{count / 1e9:.2f} GB"


def fetch(files: Plan, file: RemoteFile, target: Path, on_count: Callable[[int], None]) -> None:
    """One file, from where an earlier try stopped."""
    if target.exists():
        return on_count(file.size)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    part.touch()
    if part.stat().st_size > file.size:
        os.truncate(part, 0)
    if (start := part.stat().st_size) < file.size:
        with part.open("r+b") as out, network_errors(f"{files.repo}/{file.path} could not be fetched whole"):
            out.seek(0, os.SEEK_END)
            get(files, file, CountingFile(out, on_count), start)
    check(file, part)
    os.replace(part, target)


def get(files: Plan, file: RemoteFile, out: CountingFile, start: int) -> None:
    api = HfApi()
    url = hf_hub_url(files.repo, file.path, revision=files.commit, endpoint=api.endpoint)
    headers = build_hf_headers(token=api.token)
    http_get(url, cast(BinaryIO, out), resume_size=start, headers=headers, expected_size=file.size)


class CountingFile:
    """A file that reports how long it has become."""

    def __init__(self, file: BinaryIO, on_count: Callable[[int], None]):
        self.file = file
        self.on_count = on_count
        self.seek, self.tell, self.truncate = file.seek, file.tell, file.truncate

    def write(self, data: bytes) -> int:
        written = self.file.write(data)
        self.on_count(self.file.tell())
        return written


def check(file: RemoteFile, part: Path) -> None:
    """Raise CheckpointError, and forget the file, if it is not the one that the hub promised."""
    digest = hashlib.sha256()
    with part.open("rb") as content:
        while block := content.read(BLOCK):
            digest.update(block)
    if part.stat().st_size != file.size or file.sha256 not in (None, digest.hexdigest()):
        part.unlink()
        raise CheckpointError(f"{file.path} arrived damaged and was deleted. Start the download again.")


@contextmanager
def network_errors(failure: str) -> Iterator[None]:
    """Turn what the network's libraries raise into one line."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise CheckpointError(f"{failure}: this machine is set to be offline (HF_HUB_OFFLINE). {OTHER_WAYS}") from error
    except Exception as error:
        if type(error) in (ImportError, ValueError) or type(error).__name__ == "InvalidSchema":  # httpx's; requests'
            raise CheckpointError(f"{failure}: {no_proxy(error)} {OTHER_WAYS}") from error
        if type(error).__module__.partition(".")[0] not in NETWORK_LIBRARIES:
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(". ")
        offline = "" if getattr(error, "response", None) is not None else " Is this machine online?"
        kept = "What has arrived is kept: start it again to go on."
        raise CheckpointError(f"{failure} at {HfApi().endpoint}: {reason}.{offline} {kept} {OTHER_WAYS}") from error


def no_proxy(error: Exception) -> str:
    reason = str(error).rstrip(". ")
    return (
        f"the proxy of ALL_PROXY or HTTPS_PROXY cannot be used ({reason}). Install what is missing into this Python, "
        "or give a proxy of http://."
    )
