"""Why an object was found or missed: every object has exactly one reason, with its numbers.

Letters: `G` objects, `D` detections, `K` candidates, `P` slots (boxes of the network), `C` classes. A *good* box has an
IoU with the object of at least the IoU of a match. The *score* is objectness times the score of the object's class.

An object has the first reason of this list that fits:

| reason          | meaning |
|-----------------|---------|
| set aside       | a crowd, which counts neither as found nor as missed; or its box has no area |
| found           | COCO's matching assigns a detection to it |
| suppressed      | a good box of its class is above the threshold, and NMS dropped it in favour of a better one |
| wrong class     | a false detection of another class is good, and is no duplicate of another object of that class |
| badly placed    | a false detection of its class, nearest to it of that class, has IoU 0.1 or more but is not good |
| below threshold | a good box has a score of at least half the threshold |
| collision       | every slot that is responsible for it is also responsible for another label |
| taken           | the detection that is good was assigned to another object |
| no anchor       | no slot is responsible for it |
| no box          | no box of the network is good, whatever its score |
| never confident | none of these: there are good boxes, and none has half the threshold as its score |

The order is: first what detection did with the boxes it had, then what training could not have taught, then what it
did not teach. A collision comes before the detection that it leads to: two objects share a box.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from yolo.explain.scene import Scene

CLOSE = 0.5
"""A score of at least this share of the threshold is "below threshold", a lower one "never confident"."""


class Reason(NamedTuple):
    """Why an object was found or missed.

    `slot`: the box in question. `detection`: the one that found the object, is in its place or suppressed it. `other`:
    the other object involved. All count from 0 and are -1 if there is none.
    """

    name: str
    text: str
    slot: int = -1
    detection: int = -1
    other: int = -1


def reasons(scene: Scene) -> list[Reason]:
    """Return the reason of every object, `[G]`."""
    return [
        next(reason for decide in DECISIONS if (reason := decide(scene, g)) is not None)
        for g in range(len(scene.labels))
    ]


def _set_aside(scene: Scene, g: int) -> Reason | None:
    if scene.crowd[g]:
        count = scene.truth.count(g)
        return Reason("set aside", f"a crowd counts neither as found nor as missed; detections in it: {count}")
    if not bool((scene.boxes[g, 2:] > 0).all()):
        return Reason("set aside", "its box has no area: nothing can overlap it, and training leaves it out")
    return None


def _found(scene: Scene, g: int) -> Reason | None:
    if g not in scene.finder:
        return None
    d = scene.finder[g]
    p = scene.slot_of(d)
    return Reason("found", f"by {scene.detection(d)}, IoU {scene.overlaps[p, g]:.3f}", p, d)


def _suppressed(scene: Scene, g: int) -> Reason | None:
    found = scene.candidates
    good = scene.overlaps[found.slot, g] >= scene.match_iou
    dropped = ((found.suppressed_by >= 0) & (found.labels == scene.labels[g]) & good).nonzero().squeeze(1)
    if not len(dropped):
        return None
    k = int(dropped[0])  # the best one: candidates are sorted by descending score
    d = scene.kept.index(int(found.suppressed_by[k]))
    p, owner, iou = int(found.slot[k]), scene.truth[d], scene.overlaps[scene.slot_of(d), g]
    # What the suppressing detection itself has found.
    whose = "which found no object"
    if owner >= 0:
        whose = f"which {'is in the crowd' if scene.crowd[owner] else 'found'} {scene.object(owner)}"
    text = (
        f"a box with IoU {scene.overlaps[p, g]:.3f} and score {float(found.scores[k]):.3f} was suppressed by "
        f"{scene.detection(d)} (overlap {found.overlap[k]:.3f} > {scene.nms:g}), {whose} (IoU with this one {iou:.3f})"
    )
    return Reason("suppressed", text, p, d, owner)


def _wrong_class(scene: Scene, g: int) -> Reason | None:
    for d, role in enumerate(scene.roles):  # by descending score
        p = scene.slot_of(d)
        if role.name == "wrong class" and scene.overlaps[p, g] >= scene.match_iou:
            own = float(scene.scores[p, scene.labels[g]])
            text = (
                f"{scene.detection(d)} overlaps it with IoU {scene.overlaps[p, g]:.3f}; "
                f"the score of {scene.class_of(g)} there is {own:.3f}"
            )
            return Reason("wrong class", text, p, d)
    return None


def _badly_placed(scene: Scene, g: int) -> Reason | None:
    nearest = [d for d, role in enumerate(scene.roles) if role.name == "badly placed" and role.object == g]
    if not nearest:
        return None
    d = max(nearest, key=lambda d: scene.roles[d].iou)
    text = f"{scene.detection(d)} is nearest, but its IoU is {scene.roles[d].iou:.3f} < {scene.match_iou:g}"
    return Reason("badly placed", text, scene.slot_of(d), d)


def _below_threshold(scene: Scene, g: int) -> Reason | None:
    # Only slots that are no candidates for the class of the object: the others are above the threshold.
    found = scene.candidates
    quiet = torch.ones(len(scene.slots.objectness), dtype=torch.bool)
    quiet[found.slot[found.labels == scene.labels[g]]] = False
    p = scene.best_good(g, quiet)
    if p < 0 or scene.scores[p, scene.labels[g]] < CLOSE * scene.confidence:
        return None
    text = (
        f"a box with IoU {scene.overlaps[p, g]:.3f} has the score {scene.scores[p, scene.labels[g]]:.3f}, not above "
        f"{scene.confidence:g}: {scene.factors(p, g)}; {scene.smaller_factor(p, g)} is the smaller factor"
    )
    return Reason("below threshold", text, p)


def _collision(scene: Scene, g: int) -> Reason | None:
    slots = scene.responsible.get(scene.rule)
    if not slots or not slots[g]:
        return None
    sharing = [next((h for h, others in enumerate(slots) if h != g and p in others), -1) for p in slots[g]]
    if -1 in sharing:
        return None
    p, other = slots[g][0], sharing[0]
    s, i, j, a = scene.slots.place[p].tolist()
    fate = f"which D{scene.finder[other] + 1} found" if other in scene.finder else "which is missed, too"
    text = (
        f"shares scale {s}, anchor {a}, row {i}, column {j} with {scene.object(other)}, {fate}: one box for two labels "
        f"({scene.rule})"
    )
    return Reason("collision", text, p, scene.finder.get(other, -1), other)


def _taken(scene: Scene, g: int) -> Reason | None:
    good = {
        d: float(scene.overlaps[scene.slot_of(d), g])
        for d, k in enumerate(scene.kept)
        if scene.candidates.labels[k] == scene.labels[g]
    }
    d = max(good, key=lambda d: good[d], default=-1)
    if d < 0 or good[d] < scene.match_iou:
        return None
    p, owner = scene.slot_of(d), scene.truth[d]
    text = (
        f"{scene.detection(d)} overlaps it with IoU {good[d]:.3f}, but was assigned to {scene.object(owner)} "
        f"(IoU {scene.overlaps[p, owner]:.3f})"
    )
    return Reason("taken", text, p, d, owner)


def _no_anchor(scene: Scene, g: int) -> Reason | None:
    slots = scene.responsible.get(scene.rule)
    if not slots or slots[g]:
        return None
    w, h = scene.boxes[g, 2:].tolist()
    return Reason("no anchor", f"no anchor of any scale is similar to its {w:.0f} x {h:.0f} pixels ({scene.rule})")


def _no_box(scene: Scene, g: int) -> Reason | None:
    if scene.best_good(g) >= 0:
        return None
    p = int(scene.overlaps[:, g].argmax())
    text = (
        f"no box of the network has IoU {scene.match_iou:g} with it; the nearest has {scene.overlaps[p, g]:.3f} "
        f"(score {scene.scores[p, scene.labels[g]]:.3f}: {scene.factors(p, g)})"
    )
    return Reason("no box", text, p)


def _never_confident(scene: Scene, g: int) -> Reason:
    p = scene.best_good(g)
    text = (
        f"its best box, IoU {scene.overlaps[p, g]:.3f}, has the score {scene.scores[p, scene.labels[g]]:.3f}: "
        f"{scene.factors(p, g)}; {scene.smaller_factor(p, g)} is the smaller factor"
    )
    return Reason("never confident", text, p)


DECISIONS: tuple[Callable[[Scene, int], Reason | None], ...] = (
    _set_aside,
    _found,
    _suppressed,
    _wrong_class,
    _badly_placed,
    _below_threshold,
    _collision,
    _taken,
    _no_anchor,
    _no_box,
    _never_confident,
)
"""In the order of the table. The last one always has a reason."""
