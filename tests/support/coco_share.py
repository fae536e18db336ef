"""One of two processes that collect a data set together. `python -m tests.support.coco_share MEETING` is process 1."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from tests.support.coco_problems import Box, Detection, Object, Problem
from yolo.metrics.coco import CocoMetrics
from yolo.process.distributed import gather, rank, world_size


def check_share(meeting: Path, number: int) -> None:
    """Evaluate a share of the images as process `number`, 0 or 1, and compare with one process that has all of them.

    The processes find each other through the file `meeting`.
    """
    wait = timedelta(seconds=120)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=number, world_size=2, timeout=wait)
    try:
        assert (rank(), world_size()) == (number, 2)
        # Tensors of different lengths, one of them empty.
        assert gather(torch.full((rank() * 2, 3), True)).tolist() == [[True] * 3] * 2
        assert gather(torch.tensor([rank()], dtype=torch.int64)).tolist() == [0, 1]
        problem = drawn_problem()
        detections, targets = problem.samples()
        share = [k % 5 for k in range(number, 6, 2)]  # 0 2 4 and 1 3 0: image 0 pads the last batch
        metrics = CocoMetrics(problem.names)
        metrics.update([detections[k] for k in share], [targets[k] for k in share])
        result = metrics.compute()
    finally:
        dist.destroy_process_group()
    whole = CocoMetrics(problem.names)
    whole.update(detections, targets)
    expected = whole.compute()
    assert result.precision.equal(expected.precision)
    assert result.recall.equal(expected.recall)
    assert result.records.images == 5
    assert 0 < expected.ap() < 1


def drawn_problem() -> Problem:
    """Return 25 objects and 60 detections in 5 images, with equal scores and crowds."""
    g = torch.Generator().manual_seed(1)

    def box() -> Box:
        x, y, w, h = torch.randint(1, 9, (4,), generator=g).tolist()
        return x, y, w, h

    objects = [Object(k % 5, k % 2, box(), k % 7 == 0) for k in range(25)]
    detections = [Detection(k % 5, k % 2, box(), (k % 6 + 1) / 8) for k in range(60)]
    return Problem(objects, detections, images=5, classes=2)


if __name__ == "__main__":
    check_share(Path(sys.argv[1]), 1)
