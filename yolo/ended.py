"""SIGTERM and SIGHUP end a command as Ctrl-C does: by an exception, so that it can tidy up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Ended(KeyboardInterrupt):
    """A signal that ends the program; `status` is the exit status that shells have for it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.status = 128 + number


@contextmanager
def ending_tidily() -> Iterator[None]:
    """Within the block, the first SIGTERM or SIGHUP raises `Ended`; the next one acts as before the block.

    A signal that is ignored, as SIGHUP under `nohup`, stays so. In another thread than Python's main one the block
    changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in before.items() if handler == signal.SIG_DFL}

    def end(number: int, _frame: FrameType | None) -> None:
        put_back()
        raise Ended(number)

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        put_back()
