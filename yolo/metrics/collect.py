"""What a data set and a detector give, batch by batch, until a metric wants all of it.

Letters: `B` images of a batch, `G` objects, `D` detections of an image, `C` classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from yolo.boxes import Detections, xyxy_to_xywh
from yolo.distributed import gather, rank
from yolo.metrics.records import Found, Records, Truths, make_records


class Collector:
    """Collects the objects of a data set and the detections in it, batch by batch.

    Args:
        class_names: `[C]`, a label is an index into it.
        device: where everything is kept and computed.

    Under torch.distributed every process collects its own images, and `records`, a collective call, gives each of
    them those of all.
    """

    def __init__(self, class_names: Sequence[str], device: torch.device | str = "cpu") -> None:
        self.names, self.device = list(class_names), torch.device(device)
        self._truths: list[Truths] = []
        self._found: list[Found] = []
        self._ids: list[Tensor] = []
        self._images = 0

    def update(self, detections: Sequence[Detections], targets: Sequence[Mapping[str, Any]]) -> None:
        """Adds a batch.

        Args:
            detections: of B images, boxes xyxy in pixels of the original image.
            targets: B targets: `boxes` `[G, 4]` xyxy in pixels of the original image, `labels` int64 `[G]`,
                `image_id` int, and, where the data have them, `iscrowd` bool `[G]` (else none is) and `area` `[G]` in
                square pixels (else w·h).

        An image that was added before counts once, as it came first. ValueError when the two do not go together.
        """
        if len(detections) != len(targets):
            raise ValueError(f"{len(detections)} detections for {len(targets)} targets; expected one for each image")
        if not targets:
            return
        boxes = xyxy_to_xywh(_joined(targets, "boxes").reshape(-1, 4))
        area, crowd = _joined(targets, "area"), _joined(targets, "iscrowd")
        truths = Truths(
            image=_places([len(target["boxes"]) for target in targets]),
            label=_joined(targets, "labels"),
            boxes=boxes,
            area=area.double() if len(area) else boxes[:, 2] * boxes[:, 3],
            crowd=crowd.bool() if len(crowd) else torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device),
        )
        self.add(torch.tensor([int(target["image_id"]) for target in targets]), truths, found_in(detections))

    def add(self, image_ids: Tensor, truths: Truths, found: Found) -> None:
        """Adds images as flat tensors, boxes in COCO's own format; `image` is the place in `image_ids` `[B]`."""
        for what, fields in (("objects", truths), ("detections", found)):
            sizes = {name: len(field) for name, field in zip(fields._fields, fields, strict=True)}
            if len(set(sizes.values())) > 1:
                raise ValueError(f"{what} of the images {image_ids.tolist()[:10]}: lengths differ: {sizes}")
        truths = truths._replace(image=truths.image + self._images)
        found = found._replace(image=found.image + self._images)
        self._truths.append(Truths(*(field.to(self.device, non_blocking=True) for field in truths)))
        self._found.append(Found(*(field.to(self.device, non_blocking=True) for field in found)))
        self._ids.append(image_ids.to(self.device, non_blocking=True))
        self._images += len(image_ids)

    def state_dict(self) -> dict[str, Tensor]:
        """What this process has added so far."""
        ids, truths, found = self._so_far()
        fields = {f"truths.{name}": field for name, field in truths._asdict().items()}
        return {"image_ids": ids, **fields, **{f"found.{name}": field for name, field in found._asdict().items()}}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on with that, in place of what was added."""
        state = {name: field.to(self.device) for name, field in state.items()}
        self._ids, self._images = [state["image_ids"]], len(state["image_ids"])
        self._truths = [Truths(*(state[f"truths.{name}"] for name in Truths._fields))]
        self._found = [Found(*(state[f"found.{name}"] for name in Found._fields))]

    def records(self) -> Records:
        """What was added so far, by any process, sorted. ValueError for labels or numbers out of range."""
        ids, truths, found = self._so_far()
        counts = gather(ids.new_tensor([len(ids)]))
        before = counts[: rank()].sum()  # images of the processes before this one
        truths = Truths(*(gather(field) for field in truths._replace(image=truths.image + before)))
        found = Found(*(gather(field) for field in found._replace(image=found.image + before)))
        _check(truths, found, len(self.names))
        return make_records(gather(ids), truths, found, len(self.names))

    def _so_far(self) -> tuple[Tensor, Truths, Found]:
        """The ids, objects and detections of this process."""
        ids = torch.cat([torch.zeros(0, dtype=torch.int64, device=self.device), *self._ids])
        no_truths, no_found = _nothing(self.device)
        truths = Truths(*map(torch.cat, zip(no_truths, *self._truths, strict=True)))
        return ids, truths, Found(*map(torch.cat, zip(no_found, *self._found, strict=True)))


def found_in(detections: Sequence[Detections]) -> Found:
    """The detections of some images in COCO's terms; `image` is the place in the sequence, which is not empty."""
    label = torch.cat([d.labels for d in detections])
    return Found(
        image=_places([len(d) for d in detections]).to(label.device),
        label=label,
        boxes=xyxy_to_xywh(torch.cat([d.boxes for d in detections])),
        scores=torch.cat([d.scores for d in detections]).double(),
    )


def _joined(targets: Sequence[Mapping[str, Any]], key: str) -> Tensor:
    """That field of all targets, one behind the other; nothing where none of them has it."""
    having = [target for target in targets if key in target]
    if not having and key in ("area", "iscrowd"):
        return torch.zeros(0)
    if len(having) < len(targets):
        without = [target.get("image_id") for target in targets if key not in target]
        raise ValueError(f"targets of the images {without[:10]} have no {key!r}")
    return torch.cat([torch.as_tensor(target[key]) for target in targets])


def _places(counts: list[int]) -> Tensor:
    """0 as often as the first count says, then 1, ..."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def _nothing(device: torch.device) -> tuple[Truths, Found]:
    """No objects and no detections, of the right types."""
    index = torch.zeros(0, dtype=torch.int64, device=device)
    number = torch.zeros(0, dtype=torch.float64, device=device)
    boxes = number.view(0, 4)
    return Truths(index, index, boxes, number, index.bool()), Found(index, index, boxes, number)


def _check(truths: Truths, found: Found, classes: int) -> None:
    """ValueError for a label that is no class, or a number that is none."""
    for what, fields in (("an object", truths), ("a detection", found)):
        wrong = (fields.label < 0) | (fields.label >= classes)
        if bool(wrong.any()):
            labels = fields.label[wrong].unique().tolist()
            raise ValueError(f"{what} has the label {labels[0]}; expected a class index from 0 to {classes - 1}")
    for what, values in (
        ("box of an object", truths.boxes),
        ("area of an object", truths.area),
        ("score", found.scores),
    ):
        if not bool(values.isfinite().all()):
            raise ValueError(f"the {what} is not a finite number; are the weights or the labels broken?")
