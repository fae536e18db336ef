"""`python -m yolo VERB ...`: the edge of the program. Whatever happens, a user sees one line and gets a status.

What a command line means is in `commands/command_line.py`. Imports are within the functions, so that an error or Ctrl-C
during an import ends like any other.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

TRACEBACK = "--traceback"
"""Before or after a verb: print where an error came from."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns 0 if it succeeded, else its status, with one message on stderr: 1 if files or options are
    wrong, 3 for a training that diverged, 130 after Ctrl-C.

    Raises SystemExit after `--help`, and for words that tyro does not accept.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = [word for word in given if word != TRACEBACK]
    from yolo.process.signals import ending_cleanly
    from yolo.process.streams import OUTPUT, standard_streams

    with ending_cleanly(), standard_streams():
        try:
            from yolo.commands.command_line import command

            status = command(words, imported)
            sys.stdout.flush()  # here, because an error at the exit of Python has a traceback
            return status
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        except Exception as problem:
            if isinstance(problem, BrokenPipeError) and problem.filename == OUTPUT:
                return 1  # the reader has ended, as in `python -m yolo eval ... | head`
            if len(words) < len(given):
                import traceback

                traceback.print_exc()
            from yolo.process.failures import sentence

            print(f"error: {sentence(problem, words[:1])}", file=sys.stderr)
            return int(getattr(problem, "status", 1))  # a training that diverged has a status of its own


def program(*verb: str) -> NoReturn:
    """Run the command line of this process, after the words `verb`, and end the process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it is ignored in a job of a shell's background
        signal.signal(signal.SIGINT, _leave)
    from yolo.process.streams import open_closed

    open_closed()
    status = main([*verb, *sys.argv[1:]])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the work is done
    sys.exit(status)


def imported() -> None:
    """Let Ctrl-C raise KeyboardInterrupt, now that a verb and its packages are imported."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """End the process at once. There is nothing to save, and a package may not survive an error during its import."""
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(130)


if __name__ == "__main__":
    program()
