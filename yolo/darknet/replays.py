"""Passes of an inference copy on a GPU as CUDA graphs: all kernels of a pass with one launch, the same kernels.

A pass over one image is hundreds of kernels of some microseconds each, and the host launches them more slowly than the
GPU computes them. A CUDA graph is a recorded pass. It belongs to one shape and to the addresses of its buffers: images
are copied into its input, it is replayed, and its outputs are copied out, as the next replay overwrites them.

A shape that comes for the first time is computed as usual, since it may not come again, like the last batch of a data
set. The second time it is recorded; from then on it is replayed. The graph reads the weights of its copy. These do not
change: a changed network gets a new copy (`current_copy.py`), and with it new graphs.

`record` is the only function that needs a GPU. The rest works with any recorder, and is tested with one on the CPU.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from threading import Lock
from typing import Any

import torch
from torch import Tensor

_log = logging.getLogger("yolo")

Pass = Callable[[Tensor], list[Tensor]]
"""Computes the predictions for images."""

SHAPES = 8
"""Number of shapes whose graphs are kept; each holds the memory of a pass."""

FEW = 16 * 416 * 416
"""Pixels of a batch up to which it is recorded. Beyond, arithmetic takes longer than launches, and a graph would only
hold memory."""


class Replays:
    """The recorded passes of one inference copy. Threads may share it; one of them replays at a time.

    Copies and pickles of it are empty.

    Args:
        record: returns a recording of a pass for images like the given ones; RuntimeError if that is impossible.
        few: pixels of a batch up to which it is recorded.
    """

    def __init__(self, record: Callable[[Pass, Tensor], Pass] | None = None, *, few: float = FEW) -> None:
        self._record, self._few, self._lock = record or globals()["record"], few, Lock()
        self._made: OrderedDict[Hashable, Pass | None] = OrderedDict()  # by shape; None: it came once

    def __call__(self, compute: Pass, images: Tensor) -> list[Tensor]:
        """Return `compute(images)`, by a replay if the shape `[B, channels, h, w]` is known."""
        if images[:, :1].numel() > self._few:
            return compute(images)
        key = (images.shape, images.dtype, images.device, *_arithmetic())
        with self._lock:
            again = key in self._made
            found = self._made.pop(key, None)
            if again and found is None:
                found = self._recorded(compute, images)
            self._made[key] = found  # the newest is last
            if len(self._made) > SHAPES:
                self._made.popitem(last=False)
            if found is not None and found is not compute:
                return found(images)
        return compute(images)

    def _recorded(self, compute: Pass, images: Tensor) -> Pass:
        """Return the recording, or `compute` itself where it cannot be recorded, which is logged."""
        try:
            return self._record(compute, images)
        except RuntimeError as problem:  # of CUDA, of cuDNN, of torch.compile
            line = str(problem).partition("\n")[0]
            _log.warning("images %s are detected without a CUDA graph: %s", list(images.shape), line)
            return compute

    def __reduce__(self) -> tuple[Callable[..., Replays], tuple[()]]:
        return partial(Replays, self._record, few=self._few), ()


def _arithmetic() -> tuple[Any, ...]:
    """Return the settings of PyTorch on which the kernels of a pass depend, so that a change of one is not missed."""
    conv = getattr(torch.backends.cudnn, "conv", None)  # since torch 2.9; the older word fails where the two are mixed
    return (
        conv.fp32_precision if conv is not None else torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda"),
    )


def record(compute: Pass, images: Tensor) -> Pass:
    """Return a CUDA graph of `compute` for images of this shape. Raises RuntimeError if it cannot be recorded."""
    device = images.device
    # Buffers that a thread made in inference mode could not be written by one outside of it.
    with torch.cuda.device(device), torch.inference_mode(False), torch.no_grad():
        given = images.clone()
        # Libraries choose and load their kernels at the first passes, which must not be recorded.
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(3):
                compute(given)
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads may allocate memory meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            made = compute(given)
    done = torch.cuda.Event()

    def replay(images: Tensor) -> list[Tensor]:
        stream = torch.cuda.current_stream(device)
        stream.wait_event(done)  # the thread before may have used another stream
        with torch.cuda.device(device):
            given.copy_(images, non_blocking=True)
            graph.replay()
        own = [one.clone() for one in made]
        done.record(stream)
        return own

    return replay


def record_compiled(compute: Pass, images: Tensor) -> Pass:
    """Return the graph of `compute` by torch.compile: kernels of its own, whose numbers differ by rounding.

    Raises RuntimeError if it cannot be compiled, for lack of a C compiler for example, or not be recorded.
    """
    return record(torch.compile(compute, dynamic=False), images)


def compiled_replays() -> Replays:
    """Return replays of compiled passes. They pay for large batches as well."""
    return Replays(record_compiled, few=torch.inf)
