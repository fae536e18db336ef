"""`python -m yolo.ablation.tethered PARENT COMMAND`: becomes the command, asked to end when its parent is gone.

A run that outlives the process that started it would compute beside the one that the next command starts. On Linux
the kernel sends SIGTERM, at which a run saves and ends, also behind a SIGKILL of the parent. Elsewhere the run goes on
to its end, and the next command waits for it (`yolo/ablation/launch_local.py` has the lock).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal at the death of the parent. It stays through exec."""


def main() -> None:
    """Does not return; OSError if the command cannot be started."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(parent):  # it died before the line above
        sys.exit(f"process {parent}, which started this run, is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
