"""Common faults of targets and networks of a presence localizer, each named together with its remedy.

Letters: `B` images.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

ROUNDING = 1e-4
"""How far a box that touches the edge of the image may be outside, as a fraction of the image."""

ONE_KIND = "of one kind"
"""In the line on labels that are all 0 or all 1, which may be meant."""


def check_targets(labels: Tensor, boxes: Tensor) -> list[str]:
    """Return a line for each fault of the targets of a data set or a batch; empty if there is none.

    Args:
        labels: `[B]` presence, expected to be 0 and 1.
        boxes: `[B, 4]`, expected to be (xmin, ymin, xmax, ymax) as fractions of the image. Only those of the largest
            label are read, and never those of label 0.
    """
    found = labels.unique().tolist()
    lines = []
    if not set(found) <= {0, 1}:
        lines.append(f"labels are {found[:5]}, expected 0 (no object) and 1 (object): map them to 0 and 1")
    if len(found) < 2:
        lines.append(f"labels are {found}, {ONE_KIND}: presence cannot be learned; add images of the other kind")
    boxes = boxes[labels == max([1, *found])]
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    faults = {
        "are not finite: remove these images or correct their annotation": ~boxes.isfinite().all(1),
        "are beyond 1, as in pixels: divide x by the image's width and y by its height": (boxes > 1 + ROUNDING).any(1),
        "are below 0: clip the box to the image": (boxes < -ROUNDING).any(1),
        "have xmin > xmax or ymin > ymax: order the corners (xmin, ymin, xmax, ymax)": (width < 0) | (height < 0),
        "have no area: remove these images or correct their annotation": (width == 0) | (height == 0),
    }
    counts = {fault: int(rows.sum()) for fault, rows in faults.items()}
    return lines + [f"{count} of {len(boxes)} boxes {fault}" for fault, count in counts.items() if count]


def check_network(network: nn.Module, inputs: Tensor) -> list[str]:
    """Return a line for each fault of the outputs of a network; empty if there is none.

    A copy of the network, in evaluation mode, gets the inputs times -100, 0 and 100. One sigmoid reaches 0 and 1 then,
    two sigmoids only .5 and .73. The network stays as it is.

    Args:
        network: gives `(logits, boxes)`, the boxes through a sigmoid.
        inputs: `[B, ...]` that the network takes, such as a batch of training.
    """
    with torch.no_grad():
        outputs = copy.deepcopy(network).eval()(torch.cat([inputs * scale for scale in (-100, 0, 100)]))
    if not all(values.isfinite().all() for values in outputs):
        return ["outputs are not finite for inputs times 100: look for NaN in the weights, or lower the learning rate"]
    (low, high), (lowest, highest) = ((values.min().item(), values.max().item()) for values in outputs)
    lines = []
    # Outputs that hardly depend on the inputs, such as those of weights of 0, say nothing about their function.
    if low >= 0 and high <= 1 and high - low > 0.05:
        lines.append(
            f"logits are within {low:.2f} to {high:.2f}, like probabilities: remove the sigmoid or softmax "
            "of the class branch, which the loss applies"
        )
    if lowest < 0 or highest > 1:
        lines.append(
            f"boxes reach from {lowest:.2f} to {highest:.2f}, beyond 0 to 1: end the box branch with a sigmoid"
        )
    elif lowest >= 0.5 and highest < 0.7311 and highest - lowest > 0.05:
        lines.append(
            f"boxes are within {lowest:.2f} to {highest:.2f} whatever the input, as after two sigmoids: remove one"
        )
    return lines
