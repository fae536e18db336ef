"""Copy the numbers of a step from the device to the host without waiting for them.

On a GPU they are read two steps later, when the copy is complete; on a CPU immediately.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

LAG = 2
"""Number of steps that the host may be ahead of a GPU before it waits."""


class Reading(NamedTuple):
    """The numbers of a step, and what they are about: for training the batches of the step."""

    step: int
    values: list[float]
    about: Any


class Readings:
    """A queue of readings.

    When a step is read depends only on the number of steps, not on the speed of a device. So processes that train
    together read the same step at the same time and make the same decisions.
    """

    def __init__(self, device: torch.device) -> None:
        self.lag = LAG if device.type == "cuda" else 0
        self._waiting: deque[tuple[int, Tensor, torch.cuda.Event | None, Any]] = deque()

    def put(self, step: int, values: Tensor, about: Any) -> None:
        """Start copying the numbers of a step, `[numbers]`, to the host."""
        host = values.detach().to("cpu", non_blocking=True)
        event = torch.cuda.current_stream().record_event() if values.is_cuda else None
        self._waiting.append((step, host, event, about))

    def take(self, *, everything: bool = False) -> Iterator[Reading]:
        """Yield the readings that are due, or all, in the order of their steps."""
        while len(self._waiting) > (0 if everything else self.lag):
            step, host, event, about = self._waiting.popleft()
            if event is not None:
                event.synchronize()
            yield Reading(step, host.tolist(), about)
