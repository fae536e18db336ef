"""Several processes that work on one thing (torchrun): which one this is, and what all of them have. No-ops in one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor


@contextmanager
def together(device: torch.device | str | None) -> Iterator[str | None]:
    """Joins the processes that torchrun started, for as long as the block lasts; the device of this one.

    Outside of torchrun, or with one process, nothing happens and the device is the one that was given. ValueError for a
    GPU of a number, which several processes cannot share.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield None if device is None else str(device)
        return
    kind = str(device) if device is not None else ("cuda" if torch.cuda.is_available() else "cpu")
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device {kind} with several processes; give cpu or cuda, each process takes its own GPU")
    own = f"cuda:{os.environ['LOCAL_RANK']}" if kind == "cuda" else kind
    if kind == "cuda":
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield own
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def wait_for_all() -> None:
    """Goes on when every process has come here."""
    if world_size() > 1:
        dist.barrier()


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of the tensors of all processes, without gradient. A collective call: every process makes it."""
    if world_size() == 1:
        return values
    summed = values.clone()
    dist.all_reduce(summed)
    return summed


def first_says(text: str) -> str:
    """The text of process 0, in all of them. A collective call: every process makes it."""
    if world_size() == 1:
        return text
    said = [text]
    dist.broadcast_object_list(said, src=0)
    return said[0]


def first_fills(tensors: Iterable[Tensor]) -> None:
    """Writes the values of process 0 into the tensors of all. A collective call: every process makes it."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def gather(values: Tensor) -> Tensor:
    """The tensors `[n, ...]` of all processes, one behind the other in the order of ranks, on the device of this one.

    `n` may differ, also be 0. A collective call: every process makes it.
    """
    if world_size() == 1:
        return values
    device = torch.device("cuda", torch.cuda.current_device()) if "nccl" in dist.get_backend() else torch.device("cpu")
    sizes = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([len(values)], device=device))
    counts = torch.cat(sizes).tolist()
    sent = values.to(torch.uint8) if values.dtype == torch.bool else values  # gloo knows no bool
    padded = sent.new_zeros((max(counts), *values.shape[1:]), device=device)
    padded[: len(values)] = sent
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]).to(values.device, values.dtype)


def say(line: str) -> None:
    if rank() == 0:
        print(line, flush=True)
