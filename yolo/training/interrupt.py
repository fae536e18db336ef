"""Ctrl-C, SIGTERM and SIGHUP stop a run after the current step, not within it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from yolo.process.signals import ENDING, ending_cleanly, handled

ECHO = 2.0
"""Seconds in which several processes take a second signal for the first one: torchrun passes on what its group, or a
job scheduler, has sent to all of them."""


class Interrupt:
    """A stop request: true after a signal, whose name is `name`."""

    def __init__(self) -> None:
        self.name = ""

    def __bool__(self) -> bool:
        return bool(self.name)


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Within the block, let the first SIGINT, SIGTERM or SIGHUP only set the `Interrupt`; a second one ends the block.

    The second one raises KeyboardInterrupt or SystemExit(128 + number), so temporary files and workers go. A SIGHUP
    that is ignored, as under nohup, stays ignored.

    A terminal sends Ctrl-C to all its processes. Worker processes that are forked within the block survive the first.
    Only the main thread of Python can take signals; in another one the block changes nothing.
    """
    interrupt, since = Interrupt(), 0.0

    def note(number: int, _frame: FrameType | None) -> None:
        nonlocal since
        interrupt.name, since = signal.Signals(number).name, time.monotonic()
        # From here on the handlers from before the block are in place again.
        for known, handler in before.items():
            signal.signal(known, again if "TORCHELASTIC_RUN_ID" in os.environ else handler)

    def again(number: int, _frame: FrameType | None) -> None:
        if time.monotonic() - since > ECHO:
            signal.signal(number, before[number])
            signal.raise_signal(number)

    with ending_cleanly():
        asked = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}
        before = {number: old for number, old in asked.items() if number == signal.SIGINT or old != signal.SIG_IGN}
        with handled(note, tuple(before)):
            yield interrupt
