"""Queues workflows on a real ComfyUI, follows them, and fetches what they made.

with Comfy() as comfy:
    result = comfy.run(json.loads(Path("workflow.api.json").read_text()))
    comfy.images(result)[0].show()
"""

import io
import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import requests
import websocket
from PIL import Image

from .boot import ComfyError, Server

_ANSWER_TIMEOUT = 300  # seconds; the last resort on a machine that is busy with something else
_PREVIEW = 1  # the number that a binary message with an image begins with


class Rejected(ComfyError):
    """ComfyUI refused to queue the workflow. `errors` is its answer by node id, empty if no node is to blame."""

    def __init__(self, answer: dict):
        self.errors: dict[str, dict] = answer["node_errors"] or {}
        super().__init__("ComfyUI refused the workflow: " + "; ".join(_complaints(answer)))


class NodeError(ComfyError):
    """A node raised while the workflow ran."""

    def __init__(self, data: dict):
        self.node: str = data["node_id"]
        self.node_type: str = data["node_type"]
        self.exception: str = data["exception_type"]
        self.message: str = data["exception_message"].strip()
        self.traceback: str = "".join(data["traceback"])
        super().__init__(f"node {self.node} ({self.node_type}) raised {self.exception}: {self.message}")


class Interrupted(ComfyError):
    """The run was interrupted while `node` was at work."""

    def __init__(self, data: dict):
        self.node: str = data["node_id"]
        super().__init__(f"interrupted in node {self.node} ({data['node_type']})")


@dataclass(frozen=True)
class Event:
    """What ComfyUI said while a workflow ran: one of its own messages, or `preview` with {"image": PIL image}."""

    kind: str
    data: dict[str, Any]
    at: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Result:
    """A finished run: what each output node showed, by node id, and all that ComfyUI said meanwhile."""

    outputs: dict[str, dict]
    events: list[Event]

    def of_kind(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]

    def seconds(self) -> dict[str, float]:
        """How long each node took, by node id, in the order in which they ran. Cached nodes are left out."""
        turns = self.of_kind("executing")
        return {turn.data["node"]: after.at - turn.at for turn, after in itertools.pairwise(turns)}


class Comfy(Server):
    """A running ComfyUI to work with: run workflows, see images, ask what nodes there are."""

    def run(
        self, prompt: dict[str, dict], timeout: float = 600, watch: Callable[[Event], None] = lambda event: None
    ) -> Result:
        """Queues an API-format workflow and follows it to its end; `watch` sees every event as it comes.

        Raises Rejected, NodeError, Interrupted, or TimeoutError after `timeout` seconds (and interrupts the run).
        """
        client = uuid.uuid4().hex
        address = f"{self.url.replace('http', 'ws')}/ws?clientId={client}"
        connection = websocket.create_connection(address, timeout=_ANSWER_TIMEOUT)
        try:
            prompt_id = self._queue(prompt, client)
            events = []
            for event in self._follow(connection, prompt_id, timeout):
                events.append(event)
                watch(event)
        finally:
            connection.close()
        return self._result(prompt_id, events)

    def images(self, result: Result) -> list[Image.Image]:
        """Every image that the workflow's output nodes show, saved or previewed."""
        shown = [image for output in result.outputs.values() for image in output.get("images", ())]
        return [Image.open(io.BytesIO(self._get("/view", **image).content)) for image in shown]

    def upload(self, image: Image.Image, name: str = "uploaded.png") -> str:
        """Puts an image into the input folder and returns the name that LoadImage and LoadImageMask take."""
        data = io.BytesIO()
        image.save(data, "PNG")
        return self._post("/upload/image", files={"image": (name, data.getvalue(), "image/png")}).json()["name"]

    def object_info(self) -> dict[str, dict]:
        """Every node that this ComfyUI has, with its inputs and outputs, by node id."""
        return self._get("/object_info").json()

    def interrupt(self) -> None:
        """Stops the running workflow where it next looks."""
        self._post("/interrupt", json={})

    def free(self) -> None:
        """Asks ComfyUI to unload all models and to forget cached results; it does so once it is idle."""
        self._post("/free", json={"unload_models": True, "free_memory": True})

    def clear_history(self) -> None:
        """Lets ComfyUI forget the prompts that it has run, of which it keeps up to 10,000 in full."""
        self._post("/history", json={"clear": True})

    def _queue(self, prompt: dict[str, dict], client: str) -> str:
        answer = self._post("/prompt", json={"prompt": prompt, "client_id": client}).json()
        # With one good output node and one bad, ComfyUI queues the good one and names the other beside it.
        if answer.get("error") or answer["node_errors"]:
            raise Rejected(answer)
        return answer["prompt_id"]

    def _follow(self, connection: websocket.WebSocket, prompt_id: str, timeout: float) -> Iterator[Event]:
        deadline = time.monotonic() + timeout
        while True:
            event = self._receive(connection, deadline)
            if event.kind != "preview" and event.data.get("prompt_id") != prompt_id:
                continue
            yield event
            # Sent after success and failure alike, and only once the history holds the run.
            if event.kind == "executing" and event.data["node"] is None:
                return

    def _receive(self, connection: websocket.WebSocket, deadline: float) -> Event:
        try:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            return _event(connection.recv())
        except websocket.WebSocketTimeoutException as error:
            self.interrupt()
            raise TimeoutError("the workflow was not done in the time given; it is interrupted now") from error
        except (websocket.WebSocketException, OSError) as error:
            raise self._error(f"ComfyUI hung up while the workflow ran: {error}") from error

    def _result(self, prompt_id: str, events: list[Event]) -> Result:
        entry = self._get(f"/history/{prompt_id}").json()[prompt_id]
        for kind, data in entry["status"]["messages"]:
            if kind == "execution_error":
                raise NodeError(data)
            if kind == "execution_interrupted":
                raise Interrupted(data)
        return Result(entry["outputs"], events)

    def _get(self, path: str, **query: str) -> requests.Response:
        answer = requests.get(self.url + path, params=query, timeout=_ANSWER_TIMEOUT)
        answer.raise_for_status()
        return answer

    def _post(self, path: str, **content: Any) -> requests.Response:
        answer = requests.post(self.url + path, timeout=_ANSWER_TIMEOUT, **content)
        if answer.status_code != 400:  # which is a refusal, with the reasons as JSON
            answer.raise_for_status()
        return answer


def _event(message: str | bytes) -> Event:
    if isinstance(message, str):
        content = json.loads(message)
        return Event(content["type"], content["data"])
    if int.from_bytes(message[:4], "big") == _PREVIEW:
        return Event("preview", {"image": Image.open(io.BytesIO(message[8:]))})  # bytes 4 to 7: JPEG or PNG
    return Event("binary", {})


def _complaints(answer: dict) -> Iterator[str]:
    if not answer["node_errors"]:
        yield f"{answer['error']['message']} {answer['error']['details']}".strip()
    for node, problem in (answer["node_errors"] or {}).items():
        for error in problem["errors"]:
            yield f"node {node} ({problem['class_type']}): {error['message']}: {error['details']}"
