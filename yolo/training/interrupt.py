"""Ctrl-C and SIGTERM end a run after the step that is under way, not within it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether somebody asked for the end; `name` of the signal that did."""

    def __init__(self) -> None:
        self.name = ""

    def __bool__(self) -> bool:
        return bool(self.name)


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Within the block the first SIGINT or SIGTERM only sets the `Interrupt`; a second one acts at once.

    Worker processes that are forked within it do not fall to a Ctrl-C that is meant for all of the terminal's.
    """
    asked = Interrupt()

    def note(number: int, _frame: FrameType | None) -> None:
        asked.name = signal.Signals(number).name
        for known, handler in before.items():
            signal.signal(known, handler)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
