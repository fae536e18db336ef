"""Explains one image: everything about its objects and detections."""

from __future__ import annotations

import numpy as np
import torch

from yolo.data.datasets import ImageDataset
from yolo.explain.reasons import reasons
from yolo.explain.responsible import responsible_slots, squares
from yolo.explain.scene import Scene
from yolo.explain.text import Explained
from yolo.explain.trace import Outcomes, Slots, trace
from yolo.models.yolo import YoloDetector
from yolo.names import matched
from yolo.options.detection import Filter


def explain(
    model: YoloDetector, data: ImageDataset, k: int, options: Filter, *, rule: str, match_iou: float = 0.5
) -> Explained:
    """Return everything about image `k` of a data set.

    Args:
        model: the detector.
        data: the data set.
        k: index of the image.
        options: thresholds of detection.
        rule: the assignment that the model was trained with.
        match_iou: the smallest IoU of a match.

    Raises ValueError for an image that cannot be read or whose size is not that of the annotations, and for objects of
    classes that the model does not know.
    """
    image, placement = model.prepare(data.path(k))
    if placement.image != data.index.size(k):
        raise ValueError(data.fault(k))  # the boxes would be those of another image
    size, heads, index = model.size, list(model.network.heads), data.index
    part = slice(index.offsets[k], index.offsets[k + 1])
    crowd = torch.from_numpy(index.crowd[part])
    predictions = [raw[0] for raw in model.predict(image[None])]
    # On the device of the network, so that every bit is that of detection.
    with torch.inference_mode():
        slots, candidates = trace(predictions, heads, size, placement, options)
        responsible = responsible_slots(predictions, heads, size, placement, torch.from_numpy(index.boxes[part]), crowd)
    slots, candidates = Slots(*(x.cpu() for x in slots)), Outcomes(*(x.cpu() for x in candidates))
    scene = Scene(
        names=model.names,
        boxes=torch.from_numpy(index.read[part]),
        labels=_labels(data, k, part, model),
        crowd=crowd,
        slots=slots,
        candidates=candidates,
        responsible=responsible,
        rule=rule,
        confidence=options.confidence,
        nms=options.nms,
        match_iou=match_iou,
    )
    conditions: dict[str, str | float] = {
        "confidence": options.confidence,
        "NMS": options.nms,
        "match IoU": match_iou,
        "input": f"{size} {'letterbox' if model.letterbox else 'stretch'}",
        "trained with": rule if responsible else "heads that the loss does not support; no slot is responsible",
    }
    name, image_id, places = data.path(k).name, int(index.image_ids[k]), squares(slots.place, heads, placement)
    return Explained(name, image_id, placement.image, conditions, scene, reasons(scene), *places)


def _labels(data: ImageDataset, k: int, part: slice, model: YoloDetector) -> torch.Tensor:
    """Return the model's class index of each object, int64 `[G]`. Classes are matched by name."""
    present, place = np.unique(data.index.labels[part], return_inverse=True)
    _, table = matched([data.names[label] for label in present], model.names, str(data.path(k)))
    return torch.from_numpy(np.array(table, np.int64)[place])
