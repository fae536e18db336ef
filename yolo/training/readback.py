"""Numbers of a step on their way from the device to the host, which does not wait for them.

On a GPU they are read some steps later, when they have long arrived; on a CPU at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

LAG = 2
"""Steps that a GPU may be behind the host before the host waits for it."""


class Reading(NamedTuple):
    """The numbers of a step, and what it was about."""

    step: int
    values: list[float]
    about: Any


class Readings:
    """A queue of readings.

    Which step is read when depends on the number of steps alone, not on the speed of a device: processes that train
    together read the same step at the same moment, and so decide alike.
    """

    def __init__(self, device: torch.device) -> None:
        self.lag = LAG if device.type == "cuda" else 0
        self._waiting: deque[tuple[int, Tensor, torch.cuda.Event | None, Any]] = deque()

    def put(self, step: int, values: Tensor, about: Any) -> None:
        """Sends numbers `[n]` of a step on their way."""
        event = None
        host = values.detach().to("cpu", non_blocking=True)
        if values.is_cuda:
            event = torch.cuda.Event()
            event.record()
        self._waiting.append((step, host, event, about))

    def take(self, *, everything: bool = False) -> Iterator[Reading]:
        """Those that are due, or all."""
        while len(self._waiting) > (0 if everything else self.lag):
            step, host, event, about = self._waiting.popleft()
            if event is not None:
                event.synchronize()
            yield Reading(step, host.tolist(), about)
