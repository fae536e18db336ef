"""An explained image as numbers (explain.json) and as text.

Letters: `G` objects, `D` detections, `P` slots, `C` classes. In both, objects and detections count from 1 (`3`, `D3`);
scales, anchors, rows and columns count from 0, as in the assignment.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, NamedTuple

from torch import Tensor

from yolo.explain.reasons import Reason
from yolo.explain.scene import Scene
from yolo.files.shown import one_line
from yolo.size import Size


class Explained(NamedTuple):
    """Everything about one image.

    `name` of its file, `image_id`, `size` in pixels, `conditions` of the explanation by name, the scene and the reason
    of each object. For each slot, `[P, 4]` xyxy in pixels of the image: `cells`, and `anchors` in the middle of their
    cells; `anchor_sizes` `[P, 2]` are w, h in pixels of the input.
    """

    name: str
    image_id: int
    size: Size
    conditions: dict[str, str | float]
    scene: Scene
    reasons: list[Reason]
    cells: Tensor
    anchors: Tensor
    anchor_sizes: Tensor


def as_json(explained: Explained) -> dict[str, Any]:
    """Return all numbers, not rounded, with None if not finite. Boxes are left, top, right, bottom in image pixels."""
    return {
        "image": explained.name,
        "image_id": explained.image_id,
        "width": explained.size.width,
        "height": explained.size.height,
        "conditions": explained.conditions,
        "objects": [_object(explained, g) for g in range(len(explained.reasons))],
        "detections": [_detection(explained, d) for d in range(len(explained.scene.kept))],
    }


def _object(explained: Explained, g: int) -> dict[str, Any]:
    scene, reason = explained.scene, explained.reasons[g]
    return {
        "object": g + 1,
        "class": scene.class_of(g),
        "box": scene.corners(g),
        "crowd": bool(scene.crowd[g]),
        "reason": reason.name,
        "text": reason.text,
        "detection": reason.detection + 1 if reason.detection >= 0 else None,
        "other_object": reason.other + 1 if reason.other >= 0 else None,
        "slot": _slot(explained, reason.slot, g) if reason.slot >= 0 else None,
        "responsible": {rule: [_slot(explained, p, g) for p in rows[g]] for rule, rows in scene.responsible.items()},
    }


def _slot(explained: Explained, p: int, g: int) -> dict[str, Any]:
    """Return a slot with what it predicts for an object."""
    scene, label = explained.scene, explained.scene.labels[g]
    return {
        **_place(explained, p),
        "iou": float(scene.overlaps[p, g]),
        "objectness": _number(scene.slots.objectness[p]),
        "class_score": _number(scene.slots.classes[p, label]),
        "score": _number(scene.slots.scores[p, label]),
    }


def _place(explained: Explained, p: int) -> dict[str, Any]:
    s, i, j, a = explained.scene.slots.place[p].tolist()
    return {
        "scale": s,
        "anchor": a,
        "row": i,
        "column": j,
        "anchor_size": explained.anchor_sizes[p].tolist(),
        "cell": explained.cells[p].tolist(),
        "box": [_number(side) for side in explained.scene.slots.boxes[p]],
    }


def _detection(explained: Explained, d: int) -> dict[str, Any]:
    scene, role = explained.scene, explained.scene.roles[d]
    k, p = scene.kept[d], scene.slot_of(d)
    label = scene.candidates.labels[k]
    return {
        "detection": d + 1,
        "class": scene.names[int(label)],
        "score": float(scene.candidates.scores[k]),
        **_place(explained, p),
        "objectness": _number(scene.slots.objectness[p]),
        "class_score": _number(scene.slots.classes[p, label]),
        "kind": role.name,
        "text": role.text,
        "object": role.object + 1 if role.object >= 0 else None,
        "iou": role.iou,
    }


def _number(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def headline(explained: Explained) -> str:
    """Return one line: the image, and the number of objects and detections of each kind."""
    kinds = Counter(reason.name for reason in explained.reasons)
    roles = Counter(role.name for role in explained.scene.roles)
    return (
        f"{one_line(explained.name)} (id {explained.image_id}), "
        f"{explained.size.width} x {explained.size.height} pixels: "
        f"{len(explained.reasons)} objects{_counted(kinds)}; {len(explained.scene.roles)} detections{_counted(roles)}"
    )


def _counted(kinds: Counter[str]) -> str:
    return f" ({', '.join(f'{count} {name}' for name, count in kinds.most_common())})" if kinds else ""


def as_text(explained: Explained) -> str:
    """Return the text: every object with its reason and its responsible slots, every detection with what it is."""
    found = as_json(explained)
    conditions = ", ".join(f"{key} {value}" for key, value in explained.conditions.items())
    lines = [headline(explained), f"conditions: {conditions}", "", "objects (left, top, right, bottom in pixels)"]
    for thing in found["objects"]:
        lines.append(
            f"{thing['object']:>4} {one_line(thing['class']):<16}{_box(thing['box'])}  {thing['reason'].upper()}"
        )
        lines.append(f"       {one_line(thing['text'])}")
        lines += _responsible(thing)
    lines += [] if found["objects"] else ["     none"]
    lines += ["", "detections"]
    for thing in found["detections"]:
        number, kind = f"D{thing['detection']}", thing["kind"].upper()
        lines.append(f"{number:>4} {one_line(thing['class']):<16}{_box(thing['box'])}  {thing['score']:.3f}  {kind}")
        lines.append(f"       {one_line(thing['text'])}; from {_where(thing)}")
    lines += [] if found["detections"] else ["     none"]
    return "\n".join(lines)


def _responsible(thing: dict[str, Any]) -> list[str]:
    """Return a line for each slot that is responsible for an object, with the rules by which it is."""
    rules: dict[str, list[str]] = {}
    for rule, slots in thing["responsible"].items():
        for slot in slots:
            objectness, own, score = (_shown(slot[key]) for key in ("objectness", "class_score", "score"))
            line = f"{_where(slot)}: IoU {slot['iou']:.3f}, objectness {objectness} x class {own} = {score}"
            rules.setdefault(line, []).append(rule)
        if not slots and thing["reason"] != "set aside":
            rules.setdefault("no anchor fits", []).append(rule)
    return [f"       {line}  [{', '.join(names)}]" for line, names in rules.items()]


def _where(slot: dict[str, Any]) -> str:
    w, h = slot["anchor_size"]
    return f"scale {slot['scale']}, anchor {slot['anchor']} ({w:g}x{h:g}), row {slot['row']}, column {slot['column']}"


def _box(box: list[float | None]) -> str:
    return " ".join(f"{side:7.1f}" if side is not None else "      ?" for side in box)


def _shown(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"
