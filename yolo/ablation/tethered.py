"""`python -m yolo.ablation.tethered PARENT COMMAND`: becomes the command, which gets a SIGTERM when its parent ends.

A run that outlives its parent would compute beside the one that the next command starts. On Linux the kernel sends
SIGTERM, after which a run saves and ends, even if the parent was killed. Elsewhere the run continues to its end, and
the next command waits for it (`yolo/ablation/launch_local.py` has the lock).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""Option of prctl(2): the signal at the death of the parent. It persists through exec."""


def main() -> None:
    """Replace this process by the command. Raises OSError if it cannot be started."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(parent):  # the parent ended before the line above
        sys.exit(f"process {parent}, which started this run, is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
