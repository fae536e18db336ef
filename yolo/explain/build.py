"""Everything about one image."""

from __future__ import annotations

import torch

from yolo.data.datasets import ImageDataset
from yolo.explain.reasons import reasons
from yolo.explain.responsible import responsible_slots, squares
from yolo.explain.scene import Scene
from yolo.explain.text import Explained
from yolo.explain.trace import Outcomes, Slots, trace
from yolo.models.yolo import YoloDetector
from yolo.names import class_index
from yolo.options.detection import Filter


def explain(
    model: YoloDetector, data: ImageDataset, k: int, options: Filter, *, rule: str, match_iou: float = 0.5
) -> Explained:
    """Everything about image `k` of a data set.

    `rule` is the assignment of training. ValueError for an image that cannot be read, or one with objects of classes
    that the model does not know.
    """
    image, placement = model.prepare(data.path(k))
    if list(placement.image.wh) != data.index.sizes[k].tolist():
        raise ValueError(data.fault(k))  # its boxes would be those of another image
    size, heads, index = model.size, list(model.network.heads), data.index
    part = slice(index.offsets[k], index.offsets[k + 1])
    crowd = torch.from_numpy(index.crowd[part])
    predictions = [raw[0] for raw in model.predict(image[None])]
    with torch.inference_mode():  # on the device of the network, as detection: every bit the same
        slots, candidates = trace(predictions, heads, size, placement, options)
        responsible = responsible_slots(predictions, heads, size, placement, torch.from_numpy(index.boxes[part]), crowd)
    slots, candidates = Slots(*(x.cpu() for x in slots)), Outcomes(*(x.cpu() for x in candidates))
    cells, anchors, anchor_sizes = squares(slots.place, heads, placement)
    scene = Scene(
        names=model.names,
        boxes=torch.from_numpy(index.read[part]),
        labels=_labels(data, part, model),
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
        "trained with": rule if responsible else "heads that training refuses; nothing is responsible",
    }
    return Explained(
        name=data.path(k).name,
        image_id=int(index.image_ids[k]),
        size=placement.image,
        conditions=conditions,
        scene=scene,
        reasons=reasons(scene),
        cells=cells,
        anchors=anchors,
        anchor_sizes=anchor_sizes,
    )


def _labels(data: ImageDataset, part: slice, model: YoloDetector) -> torch.Tensor:
    """The objects' classes as the model counts them, int64 `[G]`: matched by name."""
    table = [class_index(name, model.names) for name in data.names]
    labels = data.index.labels[part].tolist()
    absent = sorted({data.names[label] for label in labels if table[label] is None})
    if absent:
        raise ValueError(
            f"the image has objects that the model does not know: {', '.join(absent)}; its {len(model.names)} "
            f"classes are {', '.join(model.names[:20])}; if only the spelling differs, give --names"
        )
    return torch.tensor([table[label] for label in labels], dtype=torch.int64)
