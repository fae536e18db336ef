"""One image with its objects and everything the network predicts: which detection found which object, and the errors.

Letters: `G` objects, `D` detections, `K` candidates, `P` slots (boxes of the network), `C` classes.

A detection that found no object is of the first kind that fits. The kinds are those of TIDE (Bolya et al. 2020, §2),
with the IoUs of `metrics/errors.py`; `t` is the IoU of a match:

| kind         | meaning |
|--------------|---------|
| crowd        | it is in a crowd: neither right nor false |
| duplicate    | IoU of `t` or more with an object of its class, which a better detection has found |
| wrong class  | IoU of `t` or more with an object of another class |
| badly placed | IoU of 0.1 or more with an object of its class |
| both wrong   | IoU of 0.1 or more with an object of another class |
| background   | none of these |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from yolo.boxes import xyxy_to_xywh
from yolo.explain.responsible import ResponsibleSlots
from yolo.explain.trace import Outcomes, Slots
from yolo.metrics.coco import Rules, evaluate
from yolo.metrics.collect import found_in
from yolo.metrics.errors import NEAR
from yolo.metrics.match import overlap
from yolo.metrics.records import Truths, lexsort, make_records
from yolo.metrics.verdict import verdict


class Role(NamedTuple):
    """What a detection is.

    `name` is found, crowd or a kind of error. `object` is the object that it found or is nearest to, from 0, or -1;
    `iou` is the IoU with it.
    """

    name: str
    text: str
    object: int
    iou: float

    @property
    def is_false(self) -> bool:
        """Whether the detection is an error."""
        return self.name not in ("found", "crowd")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An image with its objects and everything the network predicts, on the CPU. Reasons are decided from it."""

    names: Sequence[str]
    """`[C]`, class names."""
    boxes: Tensor
    """float64 `[G, 4]` left, top, width, height in pixels of the image."""
    labels: Tensor
    """int64 `[G]`."""
    crowd: Tensor
    """bool `[G]`."""
    slots: Slots
    candidates: Outcomes
    responsible: ResponsibleSlots
    rule: str
    """The assignment that the network was trained with: a key of `responsible`, unless that is empty."""
    confidence: float
    nms: float
    match_iou: float

    @cached_property
    def overlaps(self) -> Tensor:
        """IoU of every slot with every object as COCO measures it, float64 `[P, G]`."""
        return overlap(xyxy_to_xywh(self.slots.boxes)[:, None], self.boxes[None], self.crowd[None])

    @cached_property
    def scores(self) -> Tensor:
        """Scores of every slot for every class, `[P, C]`; 0 where the network's is not a number."""
        return self.slots.scores.nan_to_num(0)

    @cached_property
    def kept(self) -> list[int]:
        """The candidate of each detection, `[D]`."""
        return self.candidates.kept.tolist()

    @cached_property
    def truth(self) -> list[int]:
        """The object, crowds included, that COCO's matching assigns to each detection, or -1; `[D]`."""
        found, index = found_in([self.candidates.detections()]), torch.zeros_like(self.labels)
        area = self.boxes[:, 2] * self.boxes[:, 3]
        truths = Truths(index, self.labels, self.boxes, area, self.crowd)
        records = make_records(torch.zeros(1, dtype=torch.int64), truths, found, len(self.names))
        rules = Rules((self.match_iou,), {"all": (0.0, math.inf)}, (max(len(found.label), 1),))
        matched = verdict(evaluate(records, list(self.names), rules), self.match_iou).truth
        # Records are sorted: back to the order of the image. The last entry, at -1, means no object.
        objects = torch.cat((lexsort(self.labels, index), torch.tensor([-1])))
        truth = torch.empty_like(found.label)
        truth[lexsort(found.label, -found.scores, found.image)] = objects[matched]
        return truth.tolist()

    @cached_property
    def finder(self) -> dict[int, int]:
        """From each found object to the detection that found it. Crowds are never found."""
        return {g: d for d, g in enumerate(self.truth) if g >= 0 and not self.crowd[g]}

    @cached_property
    def roles(self) -> list[Role]:
        """What each detection is, `[D]`."""
        return [_role(self, d) for d in range(len(self.kept))]

    def slot_of(self, d: int) -> int:
        """Return the slot of detection `d`."""
        return int(self.candidates.slot[self.kept[d]])

    def detection(self, d: int) -> str:
        """Return number, class and score of a detection as text."""
        k = self.kept[d]
        return f"D{d + 1} {self.names[int(self.candidates.labels[k])]} {float(self.candidates.scores[k]):.3f}"

    def object(self, g: int) -> str:
        """Return number and class of an object as text."""
        return f"object {g + 1} ({self.class_of(g)})"

    def class_of(self, g: int) -> str:
        """Return the class name of an object."""
        return self.names[int(self.labels[g])]

    def corners(self, g: int) -> list[float]:
        """Return left, top, right and bottom of an object in pixels of the image."""
        left, top, w, h = self.boxes[g].tolist()
        return [left, top, left + w, top + h]

    def factors(self, p: int, g: int) -> str:
        """Return the two factors of a slot's score for an object's class as text."""
        return f"objectness {self.slots.objectness[p]:.3f} x class {self.slots.classes[p, self.labels[g]]:.3f}"

    def smaller_factor(self, p: int, g: int) -> str:
        """Return which of the two factors is smaller."""
        return "objectness" if self.slots.objectness[p] <= self.slots.classes[p, self.labels[g]] else "class"

    def best_good(self, g: int, among: Tensor | None = None) -> int:
        """Return the slot with the highest score of those that are good for the object, -1 if there are none.

        `among` bool `[P]`: the slots to consider, by default all.
        """
        good = self.overlaps[:, g] >= self.match_iou
        rows = (good if among is None else good & among).nonzero().squeeze(1)
        return int(rows[self.scores[rows, self.labels[g]].argmax()]) if len(rows) else -1


def _role(scene: Scene, d: int) -> Role:
    """Return what a detection is: for an error, the first kind that fits."""
    p, truth = scene.slot_of(d), scene.truth[d]
    overlaps = scene.overlaps[p]
    if truth >= 0:
        name, what = ("crowd", "in the crowd") if scene.crowd[truth] else ("found", "found")
        return Role(name, f"{what} {scene.object(truth)}, IoU {overlaps[truth]:.3f}", truth, float(overlaps[truth]))
    same = scene.labels == scene.candidates.labels[scene.kept[d]]
    own, own_iou = _nearest(overlaps, same & ~scene.crowd)
    other, other_iou = _nearest(overlaps, ~same & ~scene.crowd)
    if own_iou >= scene.match_iou:
        return Role("duplicate", f"{scene.object(own)} has a better detection, IoU {own_iou:.3f}", own, own_iou)
    if other_iou >= scene.match_iou:
        return Role("wrong class", f"overlaps {scene.object(other)}, IoU {other_iou:.3f}", other, other_iou)
    if own_iou >= NEAR:
        return Role("badly placed", f"nearest to {scene.object(own)}, IoU {own_iou:.3f}", own, own_iou)
    if other_iou >= NEAR:
        return Role("both wrong", f"nearest to {scene.object(other)}, IoU {other_iou:.3f}", other, other_iou)
    near, near_iou = max((own, own_iou), (other, other_iou), key=lambda pair: pair[1])
    text = f"nearest to {scene.object(near)}, IoU {near_iou:.3f}" if near_iou > 0 else "overlaps no object"
    return Role("background", text, near if near_iou > 0 else -1, near_iou)


def _nearest(overlaps: Tensor, among: Tensor) -> tuple[int, float]:
    """Return the object with the largest IoU `[G]` of those in `among`, bool `[G]`, and its IoU; -1 and 0 for none."""
    chosen = among.nonzero().squeeze(1)
    if not len(chosen):
        return -1, 0.0
    g = int(chosen[overlaps[chosen].argmax()])
    return g, float(overlaps[g])
