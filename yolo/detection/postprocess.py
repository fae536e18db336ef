"""Raw predictions -> decode -> threshold -> NMS -> Detections, for one image at a time, on any device.

Letters: `K` candidates (box and class), `P` boxes of all heads, `A` anchors of a head, `H, W` its grid, `i, j` row and
column, `C` classes.

Darknet's rules: a box is a candidate if its objectness exceeds the threshold, then for every class whose
objectness times class score exceeds it too (all comparisons strict). NMS goes through the candidates of a class by
descending score; the boxes are fractions of the image there, which matters to the DIoU measures. Equal scores
keep the order of candidates: heads as in the cfg, cells row by row, anchors in the order of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from yolo.boxes import Detections, cxcywh_to_xyxy
from yolo.darknet.heads import Head
from yolo.detection.nms import nms
from yolo.images.placement import Placement
from yolo.options.detection import Filter

_HOPEFUL = 4  # boxes decoded at first for every detection that the limit allows


class Candidates(NamedTuple):
    """`boxes` `[K, 4]` cxcywh as fractions of the input, `scores` `[K]`, `labels` `[K]` int64, in darknet's order."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def postprocess(
    predictions: Sequence[Tensor],
    heads: Sequence[Head],
    size: tuple[int, int],
    placements: Sequence[Placement],
    options: Filter,
) -> list[Detections]:
    """Raw predictions of a batch to the detections of its images.

    Args:
        predictions: for every head `[B, A, H, W, 5 + C]`, as the network returns them.
        heads: the heads of the network; the last one says which NMS.
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
    """One image: the best candidates alone, then all of them if those leave room under the limit."""
    undecoded = [_rated(raw, head, options.confidence) for raw, head in zip(predictions, heads, strict=True)]
    for floor in _floors(torch.cat([part.best.flatten() for part in undecoded]), options):
        boxes, scores, labels = _decode(undecoded, size, floor)
        boxes = placement.relative(boxes)
        kept = nms(
            boxes,
            scores,
            labels,
            threshold=options.nms,
            kind=heads[-1].nms_kind,
            beta=heads[-1].nms_beta,
            agnostic=options.agnostic or heads[-1].classes == 1,
            limit=options.max_detections,
        )
        if len(kept) == options.max_detections:
            break
    pixels = boxes.new_tensor(placement.image.wh * 2)
    return Detections(cxcywh_to_xyxy(boxes[kept]) * pixels, scores[kept], labels[kept])


def candidates(
    predictions: Sequence[Tensor], heads: Sequence[Head], size: tuple[int, int], confidence: float
) -> Candidates:
    """Every (box, class) of one image whose objectness and score exceed `confidence`.

    `predictions` are `[A, H, W, 5 + C]` per head, `size` is (h, w). Boxes without a candidate are not decoded.
    """
    undecoded = [_rated(raw, head, confidence) for raw, head in zip(predictions, heads, strict=True)]
    return _decode(undecoded, size, confidence)


def located_candidates(
    predictions: Sequence[Tensor], heads: Sequence[Head], size: tuple[int, int], confidence: float
) -> tuple[Candidates, Tensor]:
    """`candidates`, and where each comes from: scale, row, column and anchor, (s, i, j, a) int64 `[K, 4]`."""
    parts, places = [], []
    for s, (raw, head) in enumerate(zip(predictions, heads, strict=True)):
        part, where, rows = _decode_head(_rated(raw, head, confidence), size, confidence)
        parts.append(part)
        places.append(torch.cat((torch.full_like(rows, s).unsqueeze(1), where[rows]), dim=1))
    return Candidates(*(torch.cat(values) for values in zip(*parts, strict=True))), torch.cat(places)


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
    """The scores to exceed in each attempt to fill the limit. `best` `[P]` are the best scores of all boxes.

    The first attempt takes the candidates above some score, and misses none of them: NMS goes from the best to the
    worst, so if they fill the limit, the others could not have changed anything.
    """
    if options.max_detections is None:
        return [options.confidence]
    hopeful = best.topk(min(_HOPEFUL * options.max_detections, len(best)), sorted=False).values
    return sorted({options.confidence, max(options.confidence, float(hopeful.min()))}, reverse=True)


def _decode(undecoded: Sequence[_Undecoded], size: tuple[int, int], floor: float) -> Candidates:
    """The candidates of all heads with a score above `floor`. Only boxes that can have one are decoded."""
    parts = [_decode_head(head, size, floor)[0] for head in undecoded]
    return Candidates(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _decode_head(undecoded: _Undecoded, size: tuple[int, int], floor: float) -> tuple[Candidates, Tensor, Tensor]:
    """The candidates of one head; the cells and anchors (i, j, a) of its decoded boxes `[P, 3]`, and for each candidate
    its row there, `[K]`."""
    raw, best, head = undecoded
    places = (~(best <= floor)).nonzero()  # a NaN among the classes leaves the others their chance
    i, j, a = places.unbind(1)
    grid = (raw.shape[0], raw.shape[1])
    decoded = head.decode_at(raw[i, j, a], torch.stack((j, i), dim=-1), head.anchors[a], grid, size)
    scores = (decoded.objectness.unsqueeze(-1) * decoded.classes).flatten()
    found = (scores > floor).nonzero().squeeze(1)  # twice as fast as nonzero of a matrix
    rows = found // head.classes
    return Candidates(decoded.boxes[rows], scores[found], found - rows * head.classes), places, rows
