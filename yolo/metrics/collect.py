"""The detections and objects of a data set, collected batch by batch until a metric needs all of them.

Letters: `B` images of a batch, `G` objects, `D` detections of an image, `C` classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from yolo.boxes import Detections, xyxy_to_xywh
from yolo.metrics.records import Found, Records, Truths, make_records
from yolo.process.distributed import gather, rank


class Collector:
    """Collects the objects of a data set and the detections in it, batch by batch.

    Args:
        class_names: `[C]`, a label is an index into it.
        device: where everything is kept and computed.

    Under torch.distributed every process collects its own images. `records`, a collective call, gives each of them the
    images of all.
    """

    def __init__(self, class_names: Sequence[str], device: torch.device | str = "cpu") -> None:
        self.names, self.device = list(class_names), torch.device(device)
        # The first part is empty. It gives the fields their types if no other comes.
        index = torch.zeros(0, dtype=torch.int64, device=self.device)
        number = torch.zeros(0, dtype=torch.float64, device=self.device)
        self._ids = [index]
        self._truths = [Truths(index, index, number.view(0, 4), number, index.bool())]
        self._found = [Found(index, index, number.view(0, 4), number)]
        self._images = 0

    def update(self, detections: Sequence[Detections], targets: Sequence[Mapping[str, Any]]) -> None:
        """Add a batch. An image that was added before counts once, as it came first.

        Args:
            detections: of B images, boxes xyxy in pixels of the original image.
            targets: B targets: `boxes` `[G, 4]` xyxy in pixels of the original image, `labels` int64 `[G]`,
                `image_id` int. Where the data have them, `iscrowd` bool `[G]` (default: no crowds) and `area` `[G]` in
                square pixels (default: w·h).

        Raises:
            ValueError: The numbers of detections and targets differ, or only some targets have a field.
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
        """Add images as flat tensors, boxes in COCO's format. `image` is a place in `image_ids` int64 `[B]`.

        Raises:
            ValueError: The fields of the objects or of the detections differ in length.
        """
        for what, fields in (("objects", truths), ("detections", found)):
            sizes = {name: len(field) for name, field in zip(fields._fields, fields, strict=True)}
            if len(set(sizes.values())) > 1:
                raise ValueError(f"{what} of the images {image_ids.tolist()[:10]}: lengths differ: {sizes}")
        truths = truths._replace(image=truths.image + self._images)
        found = found._replace(image=found.image + self._images)
        self._truths.append(Truths._make(field.to(self.device, non_blocking=True) for field in truths))
        self._found.append(Found._make(field.to(self.device, non_blocking=True) for field in found))
        self._ids.append(image_ids.to(self.device, non_blocking=True))
        self._images += len(image_ids)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what this process has added so far."""
        ids, truths, found = self._so_far()
        fields = {f"truths.{name}": field for name, field in truths._asdict().items()}
        return {"image_ids": ids, **fields, **{f"found.{name}": field for name, field in found._asdict().items()}}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace what was added by `state`."""
        state = {name: field.to(self.device) for name, field in state.items()}
        self._ids, self._images = [state["image_ids"]], len(state["image_ids"])
        self._truths = [Truths(*(state[f"truths.{name}"] for name in Truths._fields))]
        self._found = [Found(*(state[f"found.{name}"] for name in Found._fields))]

    def records(self) -> Records:
        """Return what all processes have added so far, sorted: a collective call.

        Raises:
            ValueError: A label is out of range, or a box, area or score is not finite.
        """
        ids, truths, found = self._so_far()
        # Image places of this process come after those of the processes before it.
        before = gather(ids.new_tensor([len(ids)]))[: rank()].sum()
        truths = Truths._make(map(gather, truths._replace(image=truths.image + before)))
        found = Found._make(map(gather, found._replace(image=found.image + before)))
        _check(truths, found, len(self.names))
        return make_records(gather(ids), truths, found, len(self.names))

    def _so_far(self) -> tuple[Tensor, Truths, Found]:
        """Return the ids, objects and detections of this process."""
        truths = Truths(*map(torch.cat, zip(*self._truths, strict=True)))
        return torch.cat(self._ids), truths, Found(*map(torch.cat, zip(*self._found, strict=True)))


def found_in(detections: Sequence[Detections]) -> Found:
    """Return the detections of at least one image as one table, boxes in COCO's format.

    `image` is the place in the sequence.
    """
    label = torch.cat([d.labels for d in detections])
    return Found(
        image=_places([len(d) for d in detections]).to(label.device),
        label=label,
        boxes=xyxy_to_xywh(torch.cat([d.boxes for d in detections])),
        scores=torch.cat([d.scores for d in detections]).double(),
    )


def _joined(targets: Sequence[Mapping[str, Any]], key: str) -> Tensor:
    """Return the field of all targets in one tensor; empty if it is optional and no target has it."""
    without = [target.get("image_id") for target in targets if key not in target]
    if key in ("area", "iscrowd") and len(without) == len(targets):
        return torch.zeros(0)
    if without:
        raise ValueError(f"targets of the images {without[:10]} have no {key!r}")
    return torch.cat([torch.as_tensor(target[key]) for target in targets])


def _places(counts: list[int]) -> Tensor:
    """Return `counts[0]` zeros, then `counts[1]` ones, and so on."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def _check(truths: Truths, found: Found, classes: int) -> None:
    """Raise ValueError for labels out of range and for values that are not finite."""
    for what, label in (("an object", truths.label), ("a detection", found.label)):
        wrong = label[(label < 0) | (label >= classes)].unique().tolist()
        if wrong:
            raise ValueError(f"{what} has the label {wrong[0]}; expected a class index from 0 to {classes - 1}")
    numbers = {"box of an object": truths.boxes, "area of an object": truths.area, "score": found.scores}
    for what, values in numbers.items():
        if not bool(values.isfinite().all()):
            raise ValueError(f"the {what} is not a finite number; are the weights or the labels broken?")
