"""Raw predictions -> decode -> threshold -> NMS -> Detections, for one image at a time, on any device.

Letters: `K` candidates (box and class), `P` boxes of all heads; `A, H, W` anchors, rows and columns of a head,
`i, j` row and column, `C` classes.

Darknet's rules: a box is a candidate if its objectness exceeds the threshold, then for every class whose objectness
times class score exceeds it too (all comparisons strict). NMS processes the candidates of a class by descending score.
There the boxes are fractions of the image, which matters to the DIoU measures. Equal scores keep the order of
candidates: heads as in the cfg, cells row by row, anchors in the order of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from yolo.boxes import Detections, cxcywh_to_xyxy
from yolo.darknet.heads import Head
from yolo.detection.nms import Suppression, nms
from yolo.images.placement import Placement
from yolo.options.detection import Filter

_HOPEFUL = 4  # boxes that are decoded first for every detection that the limit allows


class Candidates(NamedTuple):
    """Boxes with a class whose score exceeds the threshold, in darknet's order.

    `boxes` `[K, 4]` cxcywh as fractions of the input, `scores` `[K]`, `labels` int64 `[K]`, and `slots` int64 `[K]`:
    the number of the box among all boxes of all heads, in the same order.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    slots: Tensor


def postprocess(
    predictions: Sequence[Tensor],
    heads: Sequence[Head],
    size: tuple[int, int],
    placements: Sequence[Placement],
    options: Filter,
) -> list[Detections]:
    """Return the detections of a batch of images.

    Args:
        predictions: raw, for every head `[B, A, H, W, 5 + C]`, as the network returns them.
        heads: the heads of the network; the last one determines the kind of NMS.
        size: height and width of the network input in pixels.
        placements: where each of the B images lies in its input.
        options: thresholds and limits.

    Returns:
        B detections, boxes in pixels of the original images.
    """
    return [
        _detect([raw[b] for raw in predictions], heads, size, placement, options)
        for b, placement in enumerate(placements)
    ]


def _detect(
    predictions: Sequence[Tensor], heads: Sequence[Head], size: tuple[int, int], placement: Placement, options: Filter
) -> Detections:
    """Return the detections of one image: from its best candidates alone if these fill the limit, else from all."""
    undecoded = [_rated(raw, head, options.confidence) for raw, head in zip(predictions, heads, strict=True)]
    for floor in _floors(torch.cat([part.best.flatten() for part in undecoded]), options):
        boxes, scores, labels, _ = _decode(undecoded, size, floor)
        boxes = placement.relative(boxes)
        kept = nms(boxes, scores, labels, Suppression.of(heads[-1], options), options.max_detections)
        if len(kept) == options.max_detections:
            break
    pixels = boxes.new_tensor(placement.image.wh * 2)
    return Detections(cxcywh_to_xyxy(boxes[kept]) * pixels, scores[kept], labels[kept])


def candidates(
    predictions: Sequence[Tensor], heads: Sequence[Head], size: tuple[int, int], confidence: float
) -> Candidates:
    """Return every (box, class) of one image whose objectness and score exceed `confidence`.

    `predictions` are `[A, H, W, 5 + C]` per head, `size` is (h, w). Boxes without a candidate are not decoded.
    """
    undecoded = [_rated(raw, head, confidence) for raw, head in zip(predictions, heads, strict=True)]
    return _decode(undecoded, size, confidence)


class _Undecoded(NamedTuple):
    """The boxes of one head before decoding, in darknet's order: cells row by row, anchors in the order of the mask.

    `raw` `[H, W, A, 5 + C]`. `best` `[H, W, A]`: no score of the box exceeds it; -1 if its objectness is too low.
    """

    raw: Tensor
    best: Tensor
    head: Head


def _rated(raw: Tensor, head: Head, confidence: float) -> _Undecoded:
    objectness = head.objectness(raw[..., 4])
    best = objectness * head.best_class(raw) * (1 + 1e-5)  # a margin, as the decoded values may round differently
    best = torch.where(objectness > confidence, best, -1)
    return _Undecoded(raw.permute(1, 2, 0, 3), best.permute(1, 2, 0), head)


def _floors(best: Tensor, options: Filter) -> list[float]:
    """Return the score to exceed in each attempt to fill the limit. `best` `[P]` are the best scores of all boxes.

    The first attempt takes all candidates above a certain score. NMS processes the best first, so if these fill the
    limit, the others could not have changed anything.
    """
    if options.max_detections is None:
        return [options.confidence]
    hopeful = best.topk(min(_HOPEFUL * options.max_detections, len(best)), sorted=False).values
    return sorted({options.confidence, max(options.confidence, float(hopeful.min()))}, reverse=True)


def _decode(undecoded: Sequence[_Undecoded], size: tuple[int, int], floor: float) -> Candidates:
    """Return the candidates of all heads with a score above `floor`. Only boxes that can have one are decoded."""
    parts, first = [], 0
    for raw, best, head in undecoded:
        H, W, A = best.shape
        # Not `best > floor`: if one class score is NaN, the other classes are still candidates.
        i, j, a = (~(best <= floor)).nonzero().unbind(1)
        decoded = head.decode_at(raw[i, j, a], torch.stack((j, i), dim=-1), head.anchors[a], (H, W), size)
        # All scores in one row, box by box: nonzero of a vector is twice as fast as of a matrix.
        scores = (decoded.objectness.unsqueeze(-1) * decoded.classes).flatten()
        found = (scores > floor).nonzero().squeeze(1)
        box = found // head.classes
        slots = first + (i * W + j) * A + a
        parts.append(Candidates(decoded.boxes[box], scores[found], found - box * head.classes, slots[box]))
        first += best.numel()
    return Candidates(*(torch.cat(values) for values in zip(*parts, strict=True)))
