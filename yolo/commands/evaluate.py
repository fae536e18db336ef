"""`python -m yolo eval` and `yolo.evaluate`: compare detections with annotations."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from yolo.commands.of_run import empty_of, options_of
from yolo.data.datasets import ImageDataset, open_data, splits
from yolo.data.formats.coco_json import CROWD, box_of, read_annotations, read_json
from yolo.data.learnable import check_learnable
from yolo.data.split_names import meant
from yolo.evaluation.coco_results import read_results
from yolo.evaluation.detect_all import detect_all, truths_in
from yolo.evaluation.evaluation import Evaluation
from yolo.evaluation.report import make_report
from yolo.metrics.collect import Collector
from yolo.metrics.records import Found, Truths
from yolo.metrics.referee import referee
from yolo.models.detector import Detector, Score
from yolo.models.load import load_trained
from yolo.names import read_names
from yolo.options.commands import Evaluate
from yolo.options.detection import ModelFiles
from yolo.options.keywords import read_keywords
from yolo.process.distributed import print_once, quietly
from yolo.training.run_folder import OPTIONS
from yolo.training.sets import validation_of, viewed


class Case(NamedTuple):
    """What is evaluated.

    `names` are the data's classes, `image_ids` int64 `[images]`, `truths` and `found` the objects and detections in
    these images. `conditions` is what the numbers depend on, in words by topic. `annotations` returns the objects as
    COCO's annotation file has them, for pycocotools; `category_ids` are the ids of `names` in it. `score` has the
    model's own metrics.
    """

    names: list[str]
    image_ids: Tensor
    truths: Truths
    found: Found
    conditions: dict[str, str]
    annotations: Callable[[], dict[str, Any]]
    category_ids: list[int]
    score: Score


def run(options: Evaluate) -> None:
    """Evaluate, write the files and print the tables.

    Raises ValueError or OSError with the file and what is wrong with it.
    """
    found = _evaluated(options)
    written = found.write(options.out)  # first, since printing may fail
    print(found)
    print(f"\n{written}")


def evaluate(
    model: Detector | str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    quiet: bool = True,
    **options: Any,
) -> Evaluation:
    """Evaluate a model on a data set, or a results file, as `python -m yolo eval` does; digit for digit the same.

        found = yolo.evaluate("runs/train")  # on the images that the run was evaluated on
        found = yolo.evaluate(yolo.load("yolov3"), "coco/", split="val", resamples=0)
        found.numbers["AP50"], found.per_class[0], print(found)

    Args:
        model: a detector; or what `--weights` takes: a file, the folder of a run, the name of a published model.
        data: the data set; not needed for a run. With neither, give `results` and `annotations`.
        out: the folder for metrics.json, per_class.csv and the plots; None writes no files.
        quiet: print nothing and show no progress bar; `print(found)` shows the tables.
        options: all other words of `python -m yolo eval --help`, with underscores: `split="val"`, `resamples=0`.

    Raises:
        ValueError: An unknown word (with the one that was probably meant), a wrong value, data and model that do not
            fit each other.
        OSError: A file does not exist or cannot be written.
    """
    loaded = model if isinstance(model, Detector) else None
    place = f"the {loaded.model} that was given" if loaded else model
    given = {name: value for name, value in (("weights", place), ("data", data)) if value is not None}
    if twice := given.keys() & options.keys():
        raise ValueError(f"yolo.evaluate: {twice.pop()} is given twice; the model is the first argument")
    # An instance without files to evaluate does not exist: those of this one are replaced.
    base, nothing = Evaluate(results=Path(), annotations=Path()), {"results": None, "annotations": None}
    read = read_keywords({**nothing, **given, **options}, base, "yolo.evaluate")
    if loaded and read.data is None:
        raise ValueError("yolo.evaluate: a detector was given, and no data to evaluate it on; give data=PATH")
    if loaded and read.model != ModelFiles(weights=read.model.weights):
        raise ValueError(
            "yolo.evaluate: a detector was given, so cfg, names, size, placement, device and precision are its own; "
            "leave them out, or give its weights in place of it"
        )
    with quietly(quiet):
        found = _evaluated(read, loaded)
        written = None if out is None else found.write(Path(out))
        if not quiet:
            print(found)
        if written is not None:
            print_once(f"\n{written}")
    return found


def _evaluated(options: Evaluate, loaded: Detector | None = None) -> Evaluation:
    """Return the evaluation that the options describe; `loaded` is a detector in place of its weights."""
    case = _of_model(options, loaded) if options.results is None else _of_results(options)
    collected = Collector(case.names, case.found.boxes.device)
    collected.add(case.image_ids, case.truths, case.found)
    report = make_report(
        collected.records(), case.names, case.conditions, confidence=options.matrix_conf, resamples=options.resamples
    )
    gap = referee(case.annotations(), rows_of(case)).difference(report.result) if options.pycocotools else None
    return Evaluation(report, case.score, options.resamples, gap)


def rows_of(case: Case) -> list[dict[str, Any]]:
    """Return the detections as the rows of a results file."""
    ids, found = case.image_ids.tolist(), case.found
    fields = (field.tolist() for field in (found.image, found.label, found.boxes, found.scores))
    return [
        {"image_id": ids[image], "category_id": case.category_ids[label], "bbox": box, "score": score}
        for image, label, box, score in zip(*fields, strict=True)
    ]


def _of_results(options: Evaluate) -> Case:
    """Return the case of a results file and an annotation file."""
    assert options.annotations is not None, "`Evaluate` makes sure of it"
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
        Score(),
    )


def _of_model(options: Evaluate, loaded: Detector | None) -> Case:
    """Return the case of a model and a data set, after detecting in all its images."""
    model = loaded or load_trained(options.model)  # first, since the data may take minutes
    weights = None if loaded else options.model.weights
    data = _of_run(options) if options.data is None else _given(options, options.data, weights)
    if model.options and options.data is not None:
        (data,) = viewed((data,), model.options)
    allow_empty = empty_of(options.allow_empty, weights)
    check_learnable(data.index, f"{options.data or options.model.weights}", allow_empty=allow_empty)
    return Case(
        data.names,
        torch.from_numpy(data.index.image_ids),
        truths_in(data),
        detect_all(model, data, options.batch_size, options.filter),
        model.conditions(options.filter),
        partial(_as_annotations, data),
        list(range(1, len(data.names) + 1)),
        model.score(data, options.batch_size),
    )


def _given(options: Evaluate, path: Path, weights: Path | None) -> ImageDataset:
    """Return the images at a path; for the weights of a run, faults and a division are treated as in the run."""
    run, holdout = options_of(weights) if weights else None, options.holdout
    if run and holdout is None and options.split:
        there = splits(path, data_format=options.data_format, val=options.val)
        holdout = None if meant(there, options.split) else run.holdout
    return open_data(
        path,
        split=options.split,
        data_format=options.data_format,
        limit=options.limit,
        bad=options.bad or (run.bad if run else "error"),
        decode=True,
        val=options.val,
        holdout=holdout,
        allow_empty=empty_of(options.allow_empty, weights),
    )


def _of_run(options: Evaluate) -> ImageDataset:
    """Return the images on which the run of the weights was evaluated. Raises ValueError for weights without a run."""
    weights = options.model.weights
    assert weights is not None, "`Evaluate` makes sure of it"
    run = weights if weights.is_dir() else weights.parent
    if not (run / OPTIONS).is_file():
        raise ValueError(f"{weights}: not the weights of a run ({run / OPTIONS} is missing); give --data PATH as well")
    data = validation_of(run)
    print_once(f"{run}: on the {len(data):,} images that it was evaluated on")
    return data


def _as_annotations(data: ImageDataset) -> dict[str, Any]:
    """Return a data set as COCO's annotation file. Images keep their ids; those of classes and objects count from 1."""
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
    """Return the content of an annotation file with what pycocotools needs and does not check.

    That is `iscrowd`, `area`, and ids of objects from 1: to pycocotools, an object with id 0 was not found.
    """
    content: dict[str, Any] = read_json(path)
    for k, entry in enumerate(content["annotations"]):
        entry["iscrowd"] = CROWD[entry.get("iscrowd")]  # "0" would be a crowd
        entry["bbox"] = list(box_of(entry))
        if entry.get("area") is None:
            entry["area"] = entry["bbox"][2] * entry["bbox"][3]
        entry["id"] = k + 1
    return content
