"""`python -m yolo explain`: why each object of a picture was found or missed."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import torch

from yolo.atomic import replacing
from yolo.candidates import Candidates, Slots, look
from yolo.data.datasets import Pictures, open_data, splits
from yolo.explain_picture import draw_explanation
from yolo.explanation import Explained, as_json, as_text
from yolo.models.load import load_trained
from yolo.models.yolo import YoloDetector
from yolo.names import class_index
from yolo.options import Filter
from yolo.pictures import read_picture, write_picture
from yolo.reasons import reasons
from yolo.responsible import responsible, squares
from yolo.runs import OPTIONS
from yolo.scene import Scene
from yolo.settings import read_yaml
from yolo.study_options import Explain
from yolo.train_options import Train


def run(options: Explain) -> None:
    """Explains one picture: prints, writes explain.json and a drawing. ValueError or OSError with what is wrong."""
    data, k = find_picture(options)
    drawing = options.out / f"{data.path(k).stem}.png"
    if any(
        path.name == drawing.name and path.resolve() == drawing.resolve() for path in map(data.path, range(len(data)))
    ):
        raise ValueError(
            f"{drawing} is a picture of the data set and would be replaced; choose another folder with --out"
        )
    model = load_trained(options.weights, options.cfg, options.names, options.device)
    model.set_input(options.size, options.placement)
    model.options = Filter(confidence=options.conf, nms=options.iou)
    explained = explain(model, data, k, rule=options.assign or _rule_of(options.weights), match_iou=options.match_iou)
    print(as_text(explained))
    with replacing(options.out / "explain.json") as temporary:
        temporary.write_text(json.dumps(as_json(explained), indent=1, allow_nan=False), encoding="utf-8")
    write_picture(drawing, draw_explanation(read_picture(data.path(k)), explained))
    print(f"\nwritten: {options.out / 'explain.json'}, {drawing}")


def explain(model: YoloDetector, data: Pictures, k: int, *, rule: str, match_iou: float = 0.5) -> Explained:
    """Everything about picture `k` of a data set.

    `rule` is the assignment of training. ValueError for a picture that cannot be read, or one with objects of classes
    that the model does not know.
    """
    image, placement = model.prepare(data.path(k))
    if list(placement.picture) != data.index.sizes[k].tolist():
        raise ValueError(data.fault(k))  # its boxes would be those of another picture
    size, heads, index = model.size, list(model.network.heads), data.index
    part = slice(index.offsets[k], index.offsets[k + 1])
    crowd = torch.from_numpy(index.crowd[part])
    predictions = [raw[0] for raw in model.predict(image[None])]
    with torch.inference_mode():  # on the device of the network, as detection: every bit the same
        slots, candidates = look(predictions, heads, size, placement, model.options)
        answers = responsible(predictions, heads, size, placement, torch.from_numpy(index.boxes[part]), crowd)
    slots, candidates = Slots(*(x.cpu() for x in slots)), Candidates(*(x.cpu() for x in candidates))
    cells, anchors, anchor_sizes = squares(slots.place, heads, placement)
    scene = Scene(
        names=model.names,
        boxes=torch.from_numpy(index.read[part]),
        labels=_labels(data, part, model),
        crowd=crowd,
        slots=slots,
        candidates=candidates,
        answers=answers,
        rule=rule,
        confidence=model.options.confidence,
        nms=model.options.nms,
        match_iou=match_iou,
    )
    conditions: dict[str, str | float] = {
        "confidence": model.options.confidence,
        "NMS": model.options.nms,
        "match IoU": match_iou,
        "input": f"{size[1]}x{size[0]} {'letterbox' if model.letterbox else 'stretch'}",
        "trained with": rule if answers else "heads that training refuses; nothing is responsible",
    }
    return Explained(
        name=data.path(k).name,
        image_id=int(index.image_ids[k]),
        size=placement.picture,
        conditions=conditions,
        scene=scene,
        reasons=reasons(scene),
        cells=cells,
        anchors=anchors,
        anchor_sizes=anchor_sizes,
    )


def find_picture(options: Explain) -> tuple[Pictures, int]:
    """The split that holds the picture, and its number there. ValueError if none does, or several are meant."""
    hits: list[tuple[Pictures, int]] = []
    known: list[str] = []
    there = splits(options.data, options.split)
    for split in there:
        data = open_data(options.data, split=split)
        paths = [data.path(k) for k in range(len(data))]
        known += [path.name for path in paths]
        if options.image_id is not None:
            chosen = [k for k, number in enumerate(data.index.image_ids.tolist()) if number == options.image_id]
        else:
            assert options.picture is not None
            wanted = Path(options.picture)
            chosen = [k for k, path in enumerate(paths) if path.resolve() == wanted.resolve()]
            if not chosen and wanted.name == options.picture:
                chosen = [k for k, path in enumerate(paths) if wanted.name in (path.name, path.stem)]
        hits += [(data, k) for k in chosen]
    if len(hits) == 1:
        return hits[0]
    what = f"id {options.image_id}" if options.image_id is not None else str(options.picture)
    if hits:
        places = ", ".join(str(data.path(k)) for data, k in hits)
        raise ValueError(f"{what}: {len(hits)} pictures of {options.data} are meant: {places}; give path or --split")
    near = difflib.get_close_matches(Path(what).name, known, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; it has {known[0]} and {len(known) - 1:,} others"
    raise ValueError(f"{what}: no such picture in {options.data} ({', '.join(there)}){hint}")


def _labels(data: Pictures, part: slice, model: YoloDetector) -> torch.Tensor:
    """The objects' classes as the model counts them, int64 `[G]`: matched by name."""
    table = [class_index(name, model.names) for name in data.names]
    labels = data.index.labels[part].tolist()
    absent = sorted({data.names[label] for label in labels if table[label] is None})
    if absent:
        raise ValueError(
            f"the picture has objects that the model does not know: {', '.join(absent)}; its {len(model.names)} "
            f"classes are {', '.join(model.names[:20])}; if only the spelling differs, give --names"
        )
    return torch.tensor([table[label] for label in labels], dtype=torch.int64)


def _rule_of(weights: Path) -> str:
    """The assignment in the options of a run; without any, that of YOLOv3."""
    file = (weights if weights.is_dir() else weights.parent) / OPTIONS
    return read_yaml(file, Train()).loss.assign if file.is_file() else "prior"
