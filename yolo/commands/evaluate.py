"""`python -m yolo eval`: compare detections with annotations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from yolo.data.datasets import ImageDataset, open_data
from yolo.data.formats.coco_json import read_annotations, read_json
from yolo.evaluation.coco_results import read_results
from yolo.evaluation.detect_all import detect_all, truths_in
from yolo.evaluation.report import class_table, make_report, table, write_report
from yolo.metrics.collect import Collector
from yolo.metrics.records import Found, Truths
from yolo.metrics.referee import referee
from yolo.models.load import load_trained
from yolo.names import read_names
from yolo.options.commands import Evaluate


class Case(NamedTuple):
    """What is evaluated: the data's class `names`, `image_ids` int64 `[I]`, the objects and detections in them, and the
    `conditions` of these in words. `annotations` gives the objects as COCO's annotation file has them, with the ids
    `category_ids`, for pycocotools."""

    names: list[str]
    image_ids: Tensor
    truths: Truths
    found: Found
    conditions: dict[str, str]
    annotations: Callable[[], dict[str, Any]]
    category_ids: list[int]


def run(options: Evaluate) -> None:
    """Evaluate, print the tables, write the files. Raises ValueError or OSError that name the file and the fault."""
    case = _of_model(options) if options.results is None else _of_results(options)
    collected = Collector(case.names, case.found.boxes.device)
    collected.add(case.image_ids, case.truths, case.found)
    report = make_report(
        collected.records(), case.names, case.conditions, confidence=options.matrix_conf, resamples=options.resamples
    )
    print(table(report))
    print(f"\n{class_table(report)}")
    write_report(report, options.out)
    if options.pycocotools:
        difference = referee(case.annotations(), rows_of(case)).difference(report.result)
        print(
            f"\npycocotools: the largest difference, over all precisions, recalls and the twelve, is {difference:.1e}"
        )
    print(f"\nwritten to {options.out}: metrics.json, per_class.csv, four plots")


def rows_of(case: Case) -> list[dict[str, Any]]:
    """Return the detections as the rows of a results file."""
    ids, found = case.image_ids.tolist(), case.found
    fields = (field.tolist() for field in (found.image, found.label, found.boxes, found.scores))
    return [
        {"image_id": ids[image], "category_id": case.category_ids[label], "bbox": box, "score": score}
        for image, label, box, score in zip(*fields, strict=True)
    ]


def _of_results(options: Evaluate) -> Case:
    """A results file against an annotation file."""
    assert options.annotations is not None
    assert options.results is not None
    given = read_annotations(options.annotations)
    results = read_results(options.results, given, read_names(options.model.names) if options.model.names else None)
    lowest = f", lowest score {results.scores.min():.4g}" if len(results.scores) else ""
    return Case(
        given.names,
        torch.from_numpy(given.image_ids),
        Truths(*map(torch.from_numpy, (given.image, given.label, given.boxes, given.area, given.crowd))),
        Found(*map(torch.from_numpy, (results.image, results.label, results.boxes, results.scores))),
        {"those of": f"{options.results}{lowest}"},
        partial(_as_pycocotools_reads, options.annotations),
        given.category_ids,
    )


def _of_model(options: Evaluate) -> Case:
    """A model on a data set."""
    assert options.data is not None
    data = open_data(options.data, split=options.split, data_format=options.data_format, limit=options.limit)
    model = load_trained(options.model)
    found = detect_all(model, data, options.batch_size, options.filter)
    scores = {name: f"{value:.4f}" for name, value in model.score(data, options.batch_size).items()}
    return Case(
        data.names,
        torch.from_numpy(data.index.image_ids),
        truths_in(data),
        found,
        model.conditions(options.filter) | scores,
        partial(_as_annotations, data),
        list(range(1, len(data.names) + 1)),
    )


def _as_annotations(data: ImageDataset) -> dict[str, Any]:
    """A data set as COCO's annotation file; ids count from 1, those of images are their own."""
    ids = data.index.image_ids.tolist()
    fields = (field.tolist() for field in truths_in(data))
    return {
        "images": [{"id": number} for number in ids],
        "categories": [{"id": k, "name": name} for k, name in enumerate(data.names, 1)],
        "annotations": [
            {"id": n, "image_id": ids[k], "category_id": c + 1, "bbox": box, "area": area, "iscrowd": int(crowd)}
            for n, (k, c, box, area, crowd) in enumerate(zip(*fields, strict=True), 1)
        ],
    }


def _as_pycocotools_reads(path: Path) -> dict[str, Any]:
    """The annotation file, with what pycocotools needs and does not check for: `iscrowd`, `area`, ids from 1 on (to it
    an object of id 0 is one that was not found)."""
    content: dict[str, Any] = read_json(path)
    for k, entry in enumerate(content["annotations"]):
        entry.setdefault("iscrowd", 0)
        entry.setdefault("area", entry["bbox"][2] * entry["bbox"][3])
        entry["id"] = k + 1
    return content
