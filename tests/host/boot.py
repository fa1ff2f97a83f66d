"""The process of a real ComfyUI: a private folder for its files, its boot, its log and its end."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import requests

from . import fetch

PACK = "vq-diffusion-nodes"
LOCALHOST = "127.0.0.1"

_BOOT_TIMEOUT = 600  # seconds; the last resort on a machine that is busy with something else
_FOLDERS = ("custom_nodes", "input", "models", "output", "temp", "user")
_PROGRAM = ("main.py", "--cpu")
_FLAGS = ("--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:")


class ComfyError(RuntimeError):
    """ComfyUI did not do what it was asked; the message says why, its first line in short."""


class Server:
    """A ComfyUI that answers and has this pack among its custom nodes.

    `argv` are further flags, `root` is the ComfyUI to run, `base` the folder for its models, input and output
    (without one: a temporary folder, gone after `close`). A pack that is installed there already stays; else it is this
    checkout. `environment` is added to ours, and `program` is what Python runs in ComfyUI's folder.
    """

    def __init__(
        self,
        argv: Sequence[str] = (),
        *,
        root: Path | None = None,
        base: Path | None = None,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = _PROGRAM,
    ):
        start = time.perf_counter()
        self._temporary = base is None
        self.base = base or Path(tempfile.mkdtemp(prefix=f"{PACK}-"))
        self.pack = self.base / "custom_nodes" / PACK
        port = port or free_port()
        self.url = f"http://{LOCALHOST}:{port}"
        self._lay_out()
        self._process = self._start(root or fetch.comfyui(), port, [*program, *_FLAGS, *argv], environment or {})
        try:
            self._wait()
        except BaseException:
            self.close()
            raise
        self.boot_seconds = time.perf_counter() - start

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The number of ComfyUI's process."""
        return self._process.pid

    def log(self) -> str:
        """All that ComfyUI has printed."""
        return self._log_file.read_text(errors="replace")

    def close(self) -> None:
        """Ends ComfyUI with all that it started."""
        if self._process.poll() is None:
            _end_group(self._process)
        if self._temporary:
            shutil.rmtree(self.base, ignore_errors=True)

    def wait_for_end(self) -> None:
        """Returns when ComfyUI has ended by itself."""
        self._process.wait()

    @property
    def _log_file(self) -> Path:
        return self.base / "comfyui.log"

    def _lay_out(self) -> None:
        for folder in _FOLDERS:
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        if self.pack.is_symlink() or not self.pack.exists():
            self.pack.unlink(missing_ok=True)
            self.pack.symlink_to(fetch.CHECKOUT, target_is_directory=True)

    def _start(self, root: Path, port: int, argv: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen:
        place = ("--listen", LOCALHOST, "--port", str(port), "--base-directory", str(self.base))
        with self._log_file.open("w") as log:
            return subprocess.Popen(
                [sys.executable, *argv, *place],
                cwd=root,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a process group of its own, which `close` ends as a whole
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + _BOOT_TIMEOUT
        while not self._answers():
            if self._process.poll() is not None:
                raise self._error(f"ComfyUI ended with exit code {self._process.returncode} while it booted")
            if time.monotonic() > deadline:
                raise self._error(f"ComfyUI did not answer within {_BOOT_TIMEOUT} s of its start")
            time.sleep(0.1)
        self._check_import()

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/object_info", timeout=_BOOT_TIMEOUT).ok
        except requests.ConnectionError:
            return False

    def _check_import(self) -> None:
        # ComfyUI boots without a pack that it cannot import, and says so in its log alone.
        before, failed, after = self.log().partition(f"Cannot import {self.pack} module for custom nodes: ")
        if failed:
            reason, traceback = after.split("\n")[0], before.rpartition("Traceback ")[2]
            raise ComfyError(f"ComfyUI could not import the pack: {reason}\nTraceback {traceback.rstrip()}")
        _, failed, after = self.log().partition(f"Error while calling comfy_entrypoint in {self.pack}: ")
        if failed:
            raise ComfyError(f"ComfyUI could not load the pack: {after.splitlines()[0]}")

    def _error(self, message: str) -> ComfyError:
        return ComfyError(f"{message}\nThe end of its log:\n" + "\n".join(self.log().splitlines()[-40:]))


def end_on_signals() -> None:
    """Lets a signal that ends this program close its ComfyUI first, as ctrl-C does: a closed terminal, a time limit."""
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def as_command(main: Callable[[], None]) -> None:
    """Runs `main` for a person at a terminal: what goes wrong is said without a traceback of ours."""
    end_on_signals()
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (ComfyError, TimeoutError) as error:
        sys.exit(f"error: {error}")


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will: old connections do not count
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port that the system says nobody uses."""
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return probe.getsockname()[1]


def _end_group(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
