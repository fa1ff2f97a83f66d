"""What is left out, cut or changed without being an error: one line each, said once.

A Python program hears it as a warning of its own kind; the command and the nodes hear the line itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Notice(UserWarning):
    """Work goes on, but not quite as one may expect: the message says how, and what to do."""


def warn(line: str) -> None:
    warnings.warn(line, Notice, stacklevel=3)


listener: ContextVar[Callable[[str], None]] = ContextVar("listener", default=warn)


def notify(line: str) -> None:
    """Tell whoever listens."""
    listener.get()(line)


@contextmanager
def notices_to(say: Callable[[str], None]) -> Iterator[None]:
    """Within the block `say` hears every notice, the same line once.

    >>> with notices_to(print):
    ...     notify("2 words were left out.")
    ...     notify("2 words were left out.")
    2 words were left out.
    """
    said: set[str] = set()

    def once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    token = listener.set(once)
    try:
        yield
    finally:
        listener.reset(token)


@contextmanager
def notices_of(place: str) -> Iterator[None]:
    """Within the block the listener hears each notice once, with the place that it is about."""
    say = listener.get()
    with notices_to(lambda line: say(f"{place}: {line}")):
        yield


@contextmanager
def few_notices(most: int = 5) -> Iterator[None]:
    """Within the block, where much of a kind is worked on, the listener hears the first notices and at the end how many
    more there were.
    """
    say, count = listener.get(), 0

    def tell(line: str) -> None:
        nonlocal count
        count += 1
        if count <= most:
            say(line)

    with notices_to(tell):
        yield
    if count > most:
        say(f"There were {count - most} more such lines.")
