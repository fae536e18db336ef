"""Several processes that share one task (torchrun). With a single process nothing here communicates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from itertools import count
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor

from yolo.process.signals import output_may_be_lost

_blocks = count()


@contextmanager
def together(device: torch.device | str | None) -> Iterator[str | None]:
    """Join the processes that torchrun started, for the duration of the block. Yields the device of this process.

    Without torchrun, or with one process, nothing is joined and the device is the given one. Raises ValueError for a
    numbered GPU, which several processes cannot share.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield None if device is None else str(device)
        return
    kind = own = str(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device {kind} with several processes; give cpu or cuda, each process takes its own GPU")
    # Each process of a machine has a GPU of its own. Choose it before NCCL starts, which uses the current one.
    if kind == "cuda":
        own = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(own)
    # Names of its own in the store: those of an earlier block in these processes are still there.
    store, own_rank, size = next(iter(dist.rendezvous("env://")))  # type: ignore[attr-defined]
    names = dist.PrefixStore(f"block {next(_blocks)}", store)  # type: ignore[attr-defined]
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", store=names, rank=own_rank, world_size=size)
    try:
        yield own
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


@contextmanager
def rank_0_first() -> Iterator[None]:
    """Run the block in process 0, then in the others, which find what it left on the disk. Every process has to enter.

    Also a decorator. If the block fails in process 0, the others run it nevertheless, and fail for the same reason.
    """
    if world_size() == 1:
        yield
        return
    # A group of its own: they may wait for longer than a step may take before it counts as hung.
    group = cast(dist.ProcessGroup, dist.new_group(timeout=timedelta(days=1), backend="gloo"))
    if rank() > 0:
        dist.barrier(group)
    try:
        yield
    finally:
        if rank() == 0:
            dist.barrier(group)


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of the tensors of all processes, without gradient. Every process has to call it."""
    if world_size() == 1:
        return values
    summed = values.clone()
    dist.all_reduce(summed)
    return summed


def from_rank_0(text: str) -> str:
    """Return the text of process 0 in every process. Every process has to call it."""
    if world_size() == 1:
        return text
    texts = [text]
    dist.broadcast_object_list(texts, src=0)
    return texts[0]


def copy_from_rank_0(tensors: Iterable[Tensor]) -> None:
    """Overwrite the tensors of every process with those of process 0. Every process has to call it."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def gather(values: Tensor) -> Tensor:
    """Return the tensors `[n, ...]` of all processes, concatenated in the order of ranks, on the device of `values`.

    `n` may differ between processes and may be 0. Every process has to call it.
    """
    if world_size() == 1:
        return values
    # As objects, since the collective calls for tensors want equal shapes; a clone has no more memory than its values.
    parts = [values] * world_size()
    dist.all_gather_object(parts, values.cpu().clone())
    return torch.cat(parts).to(values.device)


_quiet = ContextVar("quiet", default=False)


@contextmanager
def quietly(quiet: bool) -> Iterator[None]:
    """Within the block, in this thread, print nothing and show no progress bar, if `quiet`."""
    token = _quiet.set(quiet)
    try:
        yield
    finally:
        _quiet.reset(token)


def silent() -> bool:
    """Return whether this process prints nothing: it is not process 0, or in a block that is quiet."""
    return _quiet.get() or rank() > 0


def print_once(line: str) -> None:
    """Print the line in process 0 only."""
    if not silent():
        with output_may_be_lost():
            print(line, flush=True)
