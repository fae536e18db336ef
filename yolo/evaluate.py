"""`python -m yolo eval`: detections against annotations."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from yolo.boxes import Placement
from yolo.coco_json import Annotations, read_annotations, read_json
from yolo.coco_results import read_results
from yolo.metrics.collect import Collector, found_in
from yolo.metrics.records import Found, Truths
from yolo.metrics.referee import referee
from yolo.models.detector import Detector
from yolo.models.load import load
from yolo.models.yolo import YoloDetector
from yolo.names import class_index, read_names
from yolo.options import Evaluate, Filter, parse_size
from yolo.report import class_table, make_report, table, write_report

log = logging.getLogger("yolo")


def run(options: Evaluate) -> None:
    """Evaluates, prints the tables, writes the files. ValueError or OSError with what is wrong in which file."""
    annotations = read_annotations(options.annotations)
    if options.results is not None:
        names = read_names(options.names) if options.names else None
        found = _from_file(options.results, annotations, names)
        lowest = f", lowest score {float(found.scores.min()):.4g}" if len(found.scores) else ""
        conditions = {"those of": f"{options.results}{lowest}"}
    else:
        model = _model(options)
        found = detect_all(model, annotations, Path(options.data or "."), options.batch_size)
        conditions = conditions_of(model)
    collected = Collector(annotations.names, found.boxes.device)
    collected.add(torch.from_numpy(annotations.image_ids), truths_of(annotations), found)
    report = make_report(
        collected.records(), annotations.names, conditions, confidence=options.matrix_conf, resamples=options.resamples
    )
    print(table(report))
    print(f"\n{class_table(report)}")
    write_report(report, options.out)
    if options.pycocotools:
        theirs = referee(_as_pycocotools_reads(options.annotations), rows_of(found, annotations))
        difference = theirs.difference(report.result)
        print(
            f"\npycocotools: the largest difference, over all precisions, recalls and the twelve, is {difference:.1e}"
        )
    print(f"\nwritten to {options.out}: metrics.json, per_class.csv, four plots")


def truths_of(annotations: Annotations) -> Truths:
    """The objects of an annotation file, every digit of it."""
    fields = (annotations.image, annotations.label, annotations.boxes, annotations.area, annotations.crowd)
    return Truths(*map(torch.from_numpy, fields))


def rows_of(found: Found, annotations: Annotations) -> list[dict[str, Any]]:
    """Detections as the rows of a results file, with the ids of the annotation file."""
    ids = annotations.image_ids.tolist()
    fields = (field.tolist() for field in (found.image, found.label, found.boxes, found.scores))
    return [
        {"image_id": ids[image], "category_id": annotations.category_ids[label], "bbox": box, "score": score}
        for image, label, box, score in zip(*fields, strict=True)
    ]


def conditions_of(model: YoloDetector) -> dict[str, str]:
    """What the numbers of a detector depend on, in words."""
    limit = model.options.max_detections
    return {
        "confidence": f"{model.options.confidence:g}",
        "NMS": f"{model.options.nms:g}",
        "": f"at most {limit} detections of a picture" if limit else "all detections of a picture",
        "input": f"{model.size[1]}x{model.size[0]} {'letterbox' if model.letterbox else 'stretch'}",
    }


def detect_all(model: Detector, annotations: Annotations, folder: Path, batch_size: int) -> Found:
    """The detections in all pictures of an annotation file.

    Classes of the model that the annotations do not have are left out, which is said. ValueError if it is the other way
    round, or for a picture that cannot be read: an evaluation that leaves pictures out is none.
    """
    label_of = _match_classes(model.names, annotations)
    paths = [folder / name for name in annotations.file_names]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise ValueError(f"{len(missing)} of {len(paths)} pictures do not exist: {', '.join(missing[:5])}, ...")
    parts = []
    with tqdm(total=len(paths), unit="picture", disable=None) as bar:
        for first, (images, placements) in _prepared(model, paths, batch_size):
            found = found_in(model.detect_batch(images, placements))
            label = label_of.to(found.label.device)[found.label]
            known = (label >= 0).nonzero().squeeze(1)
            parts.append(Found(found.image[known] + first, label[known], found.boxes[known], found.scores[known]))
            bar.update(len(images))
    return Found(*map(torch.cat, zip(*parts, strict=True)))


def _prepared(
    model: Detector, paths: Sequence[Path], batch_size: int
) -> Iterator[tuple[int, tuple[Tensor, Sequence[Placement]]]]:
    """Batches, with the index of their first picture; the next are read while one is looked at."""

    def prepare(first: int) -> tuple[Tensor, Sequence[Placement]]:
        images, placements = zip(*map(model.prepare, paths[first : first + batch_size]), strict=True)
        return torch.stack(images), placements

    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting: deque[tuple[int, Future[tuple[Tensor, Sequence[Placement]]]]] = deque()
        for first in range(0, len(paths), batch_size):
            waiting.append((first, pool.submit(prepare, first)))
            if len(waiting) > 2:
                number, batch = waiting.popleft()
                yield number, batch.result()
        for number, batch in waiting:
            yield number, batch.result()


def _match_classes(names: Sequence[str], annotations: Annotations) -> Tensor:
    """For each class of the model the class index in the annotations, int64, -1 for none: by name."""
    found = [class_index(name, annotations.names) for name in names]
    absent = [own for k, own in enumerate(annotations.names) if k not in found]
    if absent:
        raise ValueError(
            f"{annotations.path} has classes that the model does not: {', '.join(absent[:20])}; the model's "
            f"{len(names)} are {', '.join(list(names)[:20])}; if only its spelling differs, give --names"
        )
    surplus = [name for name, k in zip(names, found, strict=True) if k is None]
    if surplus:
        log.warning("left out, as %s has no such class: %s", annotations.path, ", ".join(surplus))
    return torch.tensor([-1 if k is None else k for k in found])


def _from_file(path: Path, annotations: Annotations, names: Sequence[str] | None) -> Found:
    results = read_results(path, annotations, names)
    return Found(*map(torch.from_numpy, (results.image, results.label, results.boxes, results.scores)))


def _model(options: Evaluate) -> YoloDetector:
    """The detector that the options describe."""
    weights = options.weights
    assert weights is not None
    if weights.is_dir():
        weights = weights / "best.safetensors"
    if weights.suffix == ".safetensors":
        model = load(options.cfg or weights, weights if options.cfg else None, options.names, options.device)
    elif options.cfg is None:
        raise ValueError(f"{weights} does not say what network it belongs to; give --cfg FILE")
    else:
        model = load(options.cfg, weights, options.names, options.device)
    model.size = parse_size(options.size) if options.size else model.size
    model.letterbox, model.precision = options.placement == "letterbox", options.precision
    model.options = Filter(confidence=options.conf, nms=options.iou, max_detections=options.max_det)
    return model


def _as_pycocotools_reads(path: Path) -> dict[str, Any]:
    """The annotation file, with what pycocotools needs and does not check for: `iscrowd`, `area`, ids from 1 on (to it
    an object of id 0 is one that was not found)."""
    content: dict[str, Any] = read_json(path)
    for k, entry in enumerate(content["annotations"]):
        entry.setdefault("iscrowd", 0)
        entry.setdefault("area", entry["bbox"][2] * entry["bbox"][3])
        entry["id"] = k + 1
    return content
