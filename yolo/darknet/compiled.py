"""The one place where an inference copy becomes a faster function on request (`--compile`)."""

from __future__ import annotations

import logging

from yolo.darknet.network import Darknet

_log = logging.getLogger("yolo")


def compiled(network: Darknet) -> Darknet:
    """Return an inference copy that computes the same, compiled for its device where that saves time, else unchanged.

    On a CPU it does not: torch.compile with frozen weights takes half a minute and a C++ compiler, and what it gains is
    what `yolo.darknet.between` gains without (docs/results.md). That is logged.
    """
    device = next(network.parameters()).device
    _log.warning("--compile has no effect on %s: compiled code is not faster there (docs/results.md)", device.type)
    return network
