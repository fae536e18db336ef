"""Draws the image of docs/faster-rcnn.md into docs/faster-rcnn/.

    python docs/faster_rcnn_pictures.py [--out docs/faster-rcnn]

Nothing is downloaded. The losses are those of the program.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from yolo.boxes import iou, xyxy_to_cxcywh
from yolo.files.atomic import replacing
from yolo.rcnn.losses import BoxLoss

SIDE, FARTHEST = 100.0, 3.0
"""Width and height of both boxes in pixels; the largest distance in widths."""

CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))
"""That of the proposals."""


def box_losses() -> Figure:
    """Draw every loss of a box, and its gradient, over the distance from an equal box."""
    truth = torch.tensor([[0.0, 0.0, SIDE, SIDE]])
    figure = Figure(figsize=(9, 6), layout="constrained", dpi=90)
    values, gradients = figure.subplots(2, 1, sharex=True)
    for name, (loss, style) in _losses(truth).items():
        distance = torch.linspace(0, FARTHEST, 601, requires_grad=True)
        # The reference of the offsets is the truth, so that an offset is the distance in widths.
        offsets = distance[:, None, None] * torch.tensor([[1.0, 0, 0, 0]])
        each = torch.stack([loss(one) for one in offsets])
        (gradient,) = torch.autograd.grad(each.sum(), distance)
        values.plot(distance.detach(), each.detach(), label=name, **style)
        gradients.plot(distance.detach()[1:], gradient[1:], **style)
    for axes in (values, gradients):
        axes.axvline(1, color="grey", linestyle="dotted")
        axes.grid(alpha=0.3)
    values.text(1.02, 0.92, "no overlap from here on", color="grey", transform=values.get_xaxis_transform())
    values.set(title="loss of a box", xlim=(0, FARTHEST), ylim=(-0.05, FARTHEST))
    gradients.set(title="its gradient", xlabel="distance from the truth, in widths of the box", ylim=(-0.05, 2.1))
    figure.legend(loc="outside right center", frameon=False)
    return figure


def _losses(truth: Tensor) -> dict[str, tuple[Callable[[Tensor], Tensor], dict[str, Any]]]:
    """Return each loss of the offsets `[1, 4]` from the truth, and its style.

    Some lines hide others: a box that is shifted along one side has GIoU = IoU up to a distance of 1, and boxes of the
    same shape have CIoU = DIoU.
    """

    def of(loss: BoxLoss) -> Callable[[Tensor], Tensor]:
        return lambda offsets: loss(offsets, truth, truth, CODER)

    def plain(offsets: Tensor) -> Tensor:
        return 1 - iou(xyxy_to_cxcywh(CODER.decode_single(offsets, truth)), xyxy_to_cxcywh(truth)).sum()

    return {
        "smooth L1, beta 1": (of(BoxLoss(beta=1.0)), {"color": "C0", "linestyle": "dashed"}),
        "smooth L1, beta 1/9": (of(BoxLoss()), {"color": "C0"}),
        "1 - IoU": (plain, {"color": "0.75", "linewidth": 5}),
        "GIoU": (of(BoxLoss("giou")), {"color": "C2"}),
        "DIoU": (of(BoxLoss("diou")), {"color": "C1", "linewidth": 3}),
        "CIoU": (of(BoxLoss("ciou")), {"color": "C3", "linestyle": "dotted", "linewidth": 2}),
    }


def main() -> None:
    """Write the image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("faster-rcnn"))
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "box-losses.png") as temporary:
        box_losses().savefig(temporary, format="png")


if __name__ == "__main__":
    main()
