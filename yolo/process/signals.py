"""Signals that end a program: how each verb ends cleanly. No torch."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end a program without a word of Python: a job's end, and a closed terminal or a lost connection."""


@contextmanager
def handled(handler: Callable[[int, FrameType | None], Any] | int, signals: tuple[int, ...]) -> Iterator[None]:
    """Handle the signals during the block, in the main thread; in another one, which has none, change nothing."""
    before: Mapping[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit(128 + number) during the block, so that every `finally` runs.

    By itself Python dies of them and leaves temporary files. A signal that is ignored, as SIGHUP under nohup, or has a
    handler already, stays as it is. Also a decorator.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    try:
        with handled(end, tuple(number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL)):
            yield
    except SystemExit:
        with output_may_be_lost():  # or the flush at Python's exit would fail, and replace the exit status by 120
            sys.stdout.flush()
        raise


@contextmanager
def output_may_be_lost() -> Iterator[None]:
    """Survive an output that is gone, such as a closed terminal or pipe: what is printed from then on is lost."""
    try:
        yield
    except OSError:
        for stream in filter(None, (sys.__stdout__, sys.__stderr__)):
            try:
                stream.flush()
            except OSError:
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
