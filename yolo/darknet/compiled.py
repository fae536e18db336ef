"""The one place where an inference copy becomes a faster function on request (`--compile`)."""

from __future__ import annotations

import logging

from yolo.darknet.inference import InferenceNetwork
from yolo.darknet.replays import compiled_replays

_log = logging.getLogger("yolo")


def compiled(network: InferenceNetwork) -> InferenceNetwork:
    """Return an inference copy that computes the same, compiled for its device where that saves time, else unchanged.

    On a GPU each shape of images is compiled when it comes for the second time. On a CPU nothing is: torch.compile with
    frozen weights takes half a minute and a C++ compiler, and what it gains is what `yolo.darknet.between` gains
    without (docs/results.md). That is logged.
    """
    device = next(network.parameters()).device
    if device.type == "cuda":
        network.replays = compiled_replays()
    else:
        _log.warning("--compile has no effect on %s: compiled code is not faster there (docs/results.md)", device.type)
    return network
