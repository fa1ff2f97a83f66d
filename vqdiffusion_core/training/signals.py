"""Signals that ask a run to end, which it does after its step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """The number of the first signal to end that came since, or 0: Ctrl-C, a kill, a terminal that was closed. A second
    one acts as it does elsewhere.
    """
    received: list[int] = []
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in numbers}
    if threading.current_thread() is not threading.main_thread():  # no signals come here, and none may be caught
        before.clear()

    def receive(number: int, frame: object) -> None:
        received.append(number)
        signal.signal(number, before[number])

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, receive)
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
