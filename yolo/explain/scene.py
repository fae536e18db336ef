"""One image with its objects and all that the network says of it: who found whom, and what false detections are.

Letters: `G` objects, `D` detections, `K` candidates, `P` slots (boxes of the network), `C` classes.

A detection that found no object is of the first kind that holds. They are those of TIDE (Bolya et al. 2020, §2), with
the IoUs of `metrics/errors.py`; `t` is the IoU of a match:

| kind         | what is so |
|--------------|------------|
| crowd        | it lies in a crowd: neither right nor false |
| duplicate    | IoU of `t` or more with an object of its class, which a better detection has found |
| wrong class  | IoU of `t` or more with an object of another class |
| badly placed | IoU of 0.1 or more with an object of its class |
| both wrong   | IoU of 0.1 or more with an object of another class |
| background   | what is left |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from yolo.boxes import xyxy_to_xywh
from yolo.explain.responsible import ResponsibleSlots
from yolo.explain.trace import Outcomes, Slots
from yolo.metrics.errors import NEAR
from yolo.metrics.match import class_pairs, match, overlap
from yolo.metrics.records import Found, Truths, lexsort, make_records


class Role(NamedTuple):
    """What a detection is: `name` is found, crowd or a kind of error; `object` (from 0, -1 for none) is the one that it
    found or is nearest to, `iou` that with it."""

    name: str
    text: str
    object: int
    iou: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An image with its objects and all that the network says: what reasons are decided from. All on the CPU."""

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
    """The one that the network was trained with: of `responsible`, if these are not empty."""
    confidence: float
    nms: float
    match_iou: float

    @cached_property
    def overlaps(self) -> Tensor:
        """IoU of every slot with every object as COCO measures it, float64 `[P, G]`."""
        return overlap(xyxy_to_xywh(self.slots.boxes)[:, None], self.boxes[None], self.crowd[None])

    @cached_property
    def scores(self) -> Tensor:
        """Of every slot for every class, `[P, C]`; 0 where the network says no number."""
        return self.slots.scores.nan_to_num(0)

    @cached_property
    def kept(self) -> list[int]:
        """Detections, as candidates."""
        return self.candidates.kept.tolist()

    @cached_property
    def truth(self) -> list[int]:
        """The object that COCO's matching gives each detection to, -1 for none; crowds among them. `[D]`."""
        found = self.candidates.detections()
        image, index = torch.zeros_like(found.labels), torch.zeros_like(self.labels)
        area = self.boxes[:, 2] * self.boxes[:, 3]
        scores = found.scores.double()
        records = make_records(
            torch.zeros(1, dtype=torch.int64),
            Truths(index, self.labels, self.boxes, area, self.crowd),
            Found(image, found.labels, xyxy_to_xywh(found.boxes), scores),
            len(self.names),
        )
        threshold = min(self.match_iou, 1 - 1e-10)  # as pycocotools
        result = match(
            records,
            class_pairs(records, threshold),
            torch.tensor([threshold], dtype=torch.float64),
            records.truths.crowd[None],
        )
        truths, detections = lexsort(self.labels, index), lexsort(found.labels, -scores, image)  # as the records stand
        truth = torch.full_like(found.labels, -1)
        given = result.truth[0, 0]
        truth[detections[result.found]] = torch.where(given < 0, -1, truths[given] if len(truths) else -1)
        return truth.tolist()

    @cached_property
    def finder(self) -> dict[int, int]:
        """Object to the detection that found it; crowds are found by none."""
        return {g: d for d, g in enumerate(self.truth) if g >= 0 and not self.crowd[g]}

    @cached_property
    def roles(self) -> list[Role]:
        """What each detection is, `[D]`."""
        return [_role(self, d) for d in range(len(self.kept))]

    def slot_of(self, d: int) -> int:
        """The slot that says detection `d`."""
        return int(self.candidates.slot[self.kept[d]])

    def said(self, d: int) -> str:
        """A detection in words: its number, class and score."""
        k = self.kept[d]
        return f"D{d + 1} {self.names[int(self.candidates.labels[k])]} {float(self.candidates.scores[k]):.3f}"

    def thing(self, g: int) -> str:
        """An object in words: its number and class."""
        return f"object {g + 1} ({self.names[int(self.labels[g])]})"

    def factors(self, p: int, g: int) -> str:
        """The score of a slot for an object's class as what it is made of."""
        return f"objectness {self.slots.objectness[p]:.3f} x class {self.slots.classes[p, self.labels[g]]:.3f}"

    def weak(self, p: int, g: int) -> str:
        """Which of the two is the smaller one."""
        return "objectness" if self.slots.objectness[p] <= self.slots.classes[p, self.labels[g]] else "class"

    def best_good(self, g: int, among: Tensor | None = None) -> int:
        """The slot of the highest score among those that are good for the object (and in `among`, bool `[P]`); -1."""
        good = self.overlaps[:, g] >= self.match_iou
        rows = (good if among is None else good & among).nonzero().squeeze(1)
        return int(rows[self.scores[rows, self.labels[g]].argmax()]) if len(rows) else -1


def _role(scene: Scene, d: int) -> Role:
    """What a detection is. False ones: the first kind that holds."""
    p, truth = scene.slot_of(d), scene.truth[d]
    overlaps = scene.overlaps[p]
    if truth >= 0:
        name = "crowd" if scene.crowd[truth] else "found"
        what = "lies in the crowd" if scene.crowd[truth] else "found"
        return Role(name, f"{what} {scene.thing(truth)}, IoU {overlaps[truth]:.3f}", truth, float(overlaps[truth]))
    same = scene.labels == scene.candidates.labels[scene.kept[d]]
    own, own_iou = _nearest(overlaps, same & ~scene.crowd)
    other, other_iou = _nearest(overlaps, ~same & ~scene.crowd)
    if own_iou >= scene.match_iou:
        return Role("duplicate", f"{scene.thing(own)} has a better detection, IoU {own_iou:.3f}", own, own_iou)
    if other_iou >= scene.match_iou:
        return Role("wrong class", f"lies on {scene.thing(other)}, IoU {other_iou:.3f}", other, other_iou)
    if own_iou >= NEAR:
        return Role("badly placed", f"nearest to {scene.thing(own)}, IoU {own_iou:.3f}", own, own_iou)
    if other_iou >= NEAR:
        return Role("both wrong", f"nearest to {scene.thing(other)}, IoU {other_iou:.3f}", other, other_iou)
    near, near_iou = max((own, own_iou), (other, other_iou), key=lambda pair: pair[1])
    text = f"nearest to {scene.thing(near)}, IoU {near_iou:.3f}" if near_iou > 0 else "overlaps no object"
    return Role("background", text, near if near_iou > 0 else -1, near_iou)


def _nearest(overlaps: Tensor, among: Tensor) -> tuple[int, float]:
    """The object of the largest IoU `[G]` among some, bool `[G]`, and that IoU; -1 and 0 without any."""
    chosen = among.nonzero().squeeze(1)
    if not len(chosen):
        return -1, 0.0
    g = int(chosen[overlaps[chosen].argmax()])
    return g, float(overlaps[g])
