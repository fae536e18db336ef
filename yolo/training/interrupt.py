"""Ctrl-C and SIGTERM stop a run after the current step, not within it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """A stop request: true after a signal, whose name is `name`."""

    def __init__(self) -> None:
        self.name = ""

    def __bool__(self) -> bool:
        return bool(self.name)


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Within the block, let the first SIGINT or SIGTERM only set the `Interrupt`; a second one acts immediately.

    A terminal sends Ctrl-C to all its processes. Worker processes that are forked within the block survive the first.
    Only the main thread of Python can take signals; in another one the block changes nothing.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def note(number: int, _frame: FrameType | None) -> None:
        interrupt.name = signal.Signals(number).name
        # From here on the handlers from before the block are in place again.
        for known, handler in before.items():
            signal.signal(known, handler)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
