"""`python -m yolo show-data`: what a data set holds, and what the network will see of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from yolo.darknet.cfg import read_cfg
from yolo.darknet.plan import make_plan
from yolo.data.datasets import ImageDataset, open_data, splits
from yolo.data.formats import csv_boxes
from yolo.data.holdout import SHARE, halves
from yolo.data.index import summary
from yolo.data.learnable import few_labelled, nothing_counts
from yolo.data.order import Draw
from yolo.data.sheet import contact_sheet, spread
from yolo.data.split_names import kind
from yolo.data.statistics import anchor_table, class_table, network_sizes, quantiles, totals
from yolo.data.transforms import Augmented, Preview
from yolo.data.turned import advice
from yolo.files.harmless import Distinct, cut, folder_name, folders_of
from yolo.images.files import write_image
from yolo.options.augment import Augment
from yolo.options.commands import ShowData
from yolo.size import Size


def run(options: ShowData) -> int:
    """Write two contact sheets for each split and print counts. Faults are listed and their images left out.

    A split that cannot be opened is named with the reason, and the others are shown. Returns 1 if that is so with
    `bad="error"`, else 0. Raises ValueError if no split can be opened.
    """
    plan = make_plan(read_cfg(options.cfg), Size.parse(options.size) if options.size else None)
    there = partial(splits, options.path, data_format=options.data_format, val=options.val)
    data, broken = _open_all(options, there(split=options.split, holdout=options.holdout))
    indices = {split: images.index for split, images in data.items()}
    tables = {} if options.csv is None else _new_files(options.csv, list(data))
    # A set without validation split, as `train` would divide it by default.
    divided = options.holdout is None and len(there(holdout=SHARE)) > len(there())
    parts = {f"{split}, {part}": index for split in data if divided and kind(split) != "test"
             for part, index in halves(indices[split], SHARE).items()}  # fmt: skip
    # The files come first, since printing may fail: tables, and for each split a sheet of the images as they are, and
    # one of the same images as training sees them first.
    size, letterbox = f"{plan.size.width} x {plan.size.height}", options.placement == "letterbox"
    for split, file in tables.items():
        csv_boxes.write(file, indices[split])
    written, name, files = list(tables.values()), options.path.resolve().stem, Distinct()
    for split, images in data.items():
        chosen = spread(len(images), options.images)
        title = f"{name} {split}: {len(images):,} images, at {size}"
        draws = [Draw(0, k, plan.size) for k in range(len(images))]
        augmented = Preview(Augmented(images, Augment(), seed=options.seed, letterbox=letterbox), draws)
        later = f"{title}, as the first epoch of training sees them"
        for ending, shown, what in (("", images, title), ("-augmented", augmented, later)):
            taken = files.take(cut(f"{name}-{folder_name(split)}") + ending)
            written.append(options.out / f"{taken}.png")
            write_image(written[-1], contact_sheet(shown, chosen, plan.size, what))
    # Images, boxes and classes; splits with other class names get a table of their own.
    layouts = dict.fromkeys(images.part.layout for images in data.values() if images.part)
    _print(f"{options.path}: {', '.join(layouts)}", totals({**indices, **parts}))
    for names in dict.fromkeys(tuple(index.names) for index in indices.values()):
        _print("", class_table({split: index for split, index in indices.items() if tuple(index.names) == names}))
    # What the network will see of the boxes, and what is wrong with the data.
    for split, index in indices.items():
        sizes = network_sizes(index, plan.size, letterbox=letterbox)
        _print(f"{split}: pixels of boxes in the network input, {size}, {options.placement}", quantiles(sizes))
        table = anchor_table(index, plan, letterbox=letterbox)
        _print(f"{split}: boxes by the anchor of {options.cfg.name} that is most like them", table)
        if notes := [*index.notes, *filter(None, [nothing_counts(index) or few_labelled(index)])]:
            _print(f"{split}: notes", notes)
        if index.faults:
            _print(f"{split}: {index.omission}", [summary(index.faults, "fault", 50), *advice(index.turned)])
    for split, problem in broken.items():
        _print(f"{split}: cannot be shown", problem.splitlines())
    _print("", list(map(str, written)))
    return int(bool(broken) and options.bad == "error")


def _open_all(options: ShowData, found: list[str]) -> tuple[dict[str, ImageDataset], dict[str, str]]:
    """Return the splits that can be opened, and what is wrong with each of the others."""
    data: dict[str, ImageDataset] = {}
    broken: dict[str, str] = {}
    for split in found:
        try:
            data[split] = _open(options, split)
        except (OSError, ValueError) as problem:
            broken[split] = str(problem)
    if not data:
        raise ValueError("\n".join(broken.values()))
    return data, broken


def _open(options: ShowData, split: str) -> ImageDataset:
    return open_data(
        options.path,
        split=split,
        data_format=options.data_format,
        limit=options.limit,
        classes=options.classes,
        fraction=options.fraction,
        seed=options.seed,
        bad=options.bad,
        decode=True,
        names=options.names,
        quiet=True,
        val=options.val,
        holdout=options.holdout,
    )


def _new_files(file: Path, names: list[str]) -> dict[str, Path]:
    """Return a csv file for each split. Raises ValueError for another ending or a file that exists."""
    single = len(names) == 1
    files = {
        name: file if single else file.with_name(f"{file.stem}-{own}{file.suffix}")
        for name, own in zip(names, folders_of(names), strict=True)
    }
    for path in files.values():
        if path.suffix.lower() != ".csv" or path.exists():
            problem = "exists" if path.exists() else "does not end in .csv"
            raise ValueError(f"--csv {path}: {problem}; name a new file")
    return files


def _print(title: str, lines: list[str]) -> None:
    print("\n".join(["", *([title] if title else []), *lines]))
