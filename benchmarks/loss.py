"""The loss alone, forward and backward, beside the same loss in plain indexing and beside the least possible time.

    python benchmarks/loss.py [--batch 16] [--labels 120] [--repeats 30]

Raw predictions have the shape and memory layout of yolov3 at 416 with 80 classes. Every step starts from new leaves,
which are not copied, and ends with their gradients. Contenders take turns; milliseconds are minimum, median, maximum.

- `floor`: zeroing the gradient of each scale. Every loss has to, since almost all of the gradient stays zero.
- `plain`: the default loss with boolean masks and plain indexing, and PyTorch's gradients of these.
- `darknet`: `darknet_loss` with the keys of training of yolov4.cfg.
- the others: `compute_loss` with the options in their name.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from measure import race, timed
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from yolo.boxes import iou
from yolo.darknet.cfg import read_cfg
from yolo.darknet.heads import Head
from yolo.darknet.plan import make_plan
from yolo.darknet.sections import Yolo
from yolo.detection.assign import assign
from yolo.detection.darknet_loss import darknet_loss
from yolo.detection.grid import make_grids
from yolo.detection.loss import compute_loss

SIZE = 416
YOLOV4: dict[str, Any] = {
    "iou_loss": "ciou",
    "iou_thresh": 0.213,
    "iou_normalizer": 0.07,
    "ignore_thresh": 0.7,
    "max_delta": 5.0,
}


def problem(B: int, N: int, seed: int = 0) -> tuple[list[Head], list[Tensor], Tensor]:
    """Return the heads of yolov3, raw predictions in channels_last memory, and labels `[N, 6]` of COCO-like sizes."""
    g = torch.Generator().manual_seed(seed)
    layers = make_plan(read_cfg("yolov3.cfg"), (SIZE, SIZE)).layers
    heads = [Head(layer.section, layer.stride) for layer in layers if isinstance(layer.section, Yolo)]
    raws = []
    for head in heads:
        side = SIZE // head.stride
        maps = torch.randn(B, len(head.anchors) * (5 + head.classes), side, side, generator=g) / 2
        raws.append(head(maps.to(memory_format=torch.channels_last)))
    image, label = (torch.randint(high, (N, 1), generator=g) for high in (B, heads[0].classes))
    boxes = torch.rand(N, 4, generator=g)
    boxes[:, 2:] = boxes[:, 2:] ** 3 * 0.9 + 0.02
    return heads, raws, torch.cat((image, boxes, label), dim=1)


def plain_loss(raws: list[Tensor], labels: Tensor, heads: list[Head]) -> Tensor:
    """Return the default loss, written without regard to the cost of its gradient."""
    s, n, b, a, i, j = assign(raws, labels, heads, "ratio").compact()
    slots = sum(raw[0, ..., 0].numel() for raw in raws)
    weight = torch.tensor(max(1.0, 0.5 * (slots - len(labels)) / len(labels)))
    total = torch.zeros(())
    for scale, (raw, grid) in enumerate(zip(raws, make_grids(raws, heads, labels.dtype), strict=True)):
        on = s == scale
        cell = b[on], a[on], i[on], j[on]
        values, target = raw[cell], torch.zeros(raw.shape[:4])
        overlap = iou(grid.boxes(values[:, :4], a[on], i[on], j[on]), grid.truths(labels)[n[on]])
        target[cell] = overlap.detach().clamp(0, 1)
        classes = torch.nn.functional.one_hot(labels[n[on], 5].long(), values.shape[1] - 5).to(raw.dtype)
        total = total + (1 - overlap).mean() + bce(values[:, 5:], classes) + bce(raw[..., 4], target, pos_weight=weight)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--labels", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    heads, raws, labels = problem(arguments.batch, arguments.labels)
    model = SimpleNamespace(heads=heads, cfg=read_cfg("yolov3.cfg"))
    layers = tuple(replace(layer, **YOLOV4) if isinstance(layer, Yolo) else layer for layer in model.cfg.layers)
    model.cfg = replace(model.cfg, layers=layers)

    def gradients(loss: Callable[[list[Tensor]], Tensor]) -> list[Tensor]:
        leaves = [raw.detach().requires_grad_() for raw in raws]
        return list(torch.autograd.grad(loss(leaves), leaves))

    def ours(**options: Any) -> Callable[[], object]:
        return lambda: gradients(lambda leaves: compute_loss(leaves, labels, model, **options).total)

    contenders: dict[str, Callable[[], object]] = {
        "floor": lambda: [torch.zeros_like(raw) for raw in raws],
        "plain": lambda: gradients(lambda leaves: plain_loss(leaves, labels, heads)),
        "default": ours(),
        "ciou, target 1": ours(bbox_loss="ciou", obj_label="1"),
        "prediction": ours(assign="prediction"),
        "prior": ours(assign="prior"),
        "prior, ignore 0.5": ours(assign="prior", ignore_thresh=0.5),
        "darknet": lambda: gradients(lambda leaves: darknet_loss(leaves, labels, model).total),
    }
    with torch.no_grad():
        difference = float((plain_loss(raws, labels, heads) - compute_loss(raws, labels, model).total).abs())
    print(
        f"batch {arguments.batch}, {len(labels)} labels, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    print(f"plain and default differ by {difference:.1e} (where labels share a slot, plain keeps the last target)")
    times = race({name: timed(run, unit=1e3) for name, run in contenders.items()}, arguments.repeats, warmup=3)
    for name, figures in times.items():
        print(f"{name:<18} {figures.spread('6.1f')} ms")
    default = times["default"].median
    print(f"plain / default {times['plain'].median / default:.2f}, ", end="")
    print(f"prior with ignore / default {times['prior, ignore 0.5'].median / default:.2f}, ", end="")
    print(f"darknet / prior with ignore {times['darknet'].median / times['prior, ignore 0.5'].median:.2f}")


if __name__ == "__main__":
    main()
