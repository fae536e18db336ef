"""`python -m yolo explain`: why each object of an image was found or missed."""

from __future__ import annotations

import json
from pathlib import Path

from yolo.commands.of_run import bad_of, options_of
from yolo.data.datasets import ImageDataset, open_data, splits
from yolo.explain.build import explain
from yolo.explain.draw import draw_explanation
from yolo.explain.text import as_json, as_text
from yolo.files.atomic import replacing
from yolo.images.files import read_image, write_image
from yolo.models.load import load_yolo
from yolo.names import did_you_mean
from yolo.options.commands import Explain
from yolo.options.train import Train


def run(options: Explain) -> None:
    """Explain one image: write explain.json and a drawing, print the explanation. Raises ValueError or OSError."""
    data, k = find_image(options)
    # No result replaces an image of the data set.
    drawing = options.out / f"{data.path(k).stem}.png"
    same_name = (path for path in map(data.path, range(len(data))) if path.name == drawing.name)
    if any(path.resolve() == drawing.resolve() for path in same_name):
        raise ValueError(f"{drawing} is an image of the data set and would be replaced; give another folder with --out")
    # The assignment is not in the weights, so it comes from the options or from the run.
    assert options.model.weights is not None, "`Explain` makes sure of it"
    model = load_yolo(options.model, "explain")
    rule = options.assign or _rule_of(options.model.weights)
    explained = explain(model, data, k, options.filter, rule=rule, match_iou=options.match_iou)
    # The result: numbers, drawing, text.
    with replacing(options.out / "explain.json") as temporary:
        temporary.write_text(json.dumps(as_json(explained), indent=1, allow_nan=False), encoding="utf-8")
    write_image(drawing, draw_explanation(read_image(data.path(k)), explained))
    print(f"{as_text(explained)}\n\nwritten: {options.out / 'explain.json'}, {drawing}")


def find_image(options: Explain) -> tuple[ImageDataset, int]:
    """Return the split that holds the image, and the image's index in it. Raises ValueError if none or several fit."""
    # All splits are searched: an id or a name may be in several of them.
    hits: list[tuple[ImageDataset, int]] = []
    known: list[str] = []
    broken: list[str] = []
    there = splits(options.data, options.split, val=options.val, holdout=options.holdout)
    bad = bad_of(options.bad, options.model.weights)
    for split in there:
        # A split that cannot be read does not hide the image in another one.
        try:
            data = open_data(options.data, split=split, bad=bad, val=options.val, holdout=options.holdout)
        except (OSError, ValueError) as problem:
            broken.append(f"{split}: {problem}")
            continue
        paths = [data.path(k) for k in range(len(data))]
        known += [path.name for path in paths]
        if options.image_id is not None:
            chosen = [k for k, number in enumerate(data.index.image_ids.tolist()) if number == options.image_id]
        else:
            assert options.image is not None
            wanted = Path(options.image)
            # A path means one file; a name without folder may also be that of an image in another folder.
            chosen = [k for k, path in enumerate(paths) if path.resolve() == wanted.resolve()]
            if not chosen and wanted.name == options.image:
                chosen = [k for k, path in enumerate(paths) if wanted.name in (path.name, path.stem)]
        hits += [(data, k) for k in chosen]
    if len(hits) == 1:
        return hits[0]
    if not hits and broken:
        raise ValueError("\n".join(broken))
    # Several: their paths. None: the most similar names, or an example.
    what = f"id {options.image_id}" if options.image_id is not None else str(options.image)
    if hits:
        places = ", ".join(str(data.path(k)) for data, k in hits)
        raise ValueError(f"{what}: {len(hits)} images of {options.data} fit: {places}; give the path or --split")
    hint = did_you_mean(Path(what).name, known, 3) or f"it has {known[0]} and {len(known) - 1:,} others"
    raise ValueError(f"{what}: no such image in {options.data} ({', '.join(there)}); {hint}")


def _rule_of(weights: Path) -> str:
    """Return the assignment in the options of the run that the weights belong to; without a run, that of YOLOv3."""
    options = options_of(weights)
    return options.loss.assign if isinstance(options, Train) else "prior"
