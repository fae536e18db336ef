"""What the doctor finds of what was planted, and what else it says: leaks and label errors in a copy of a data set.

    python benchmarks/doctor.py DATA --weights FILE --cfg FILE [--seeds 5] [--kept 0.6]

DATA is in YOLO's layout with two splits (coco128). Ten leaks are copies of training images in the validation split:
re-encoded, resized, cropped, lighter, mirrored. Ten label errors: two of each of a wrong class, a missing label, a
shifted box; one of a box of the whole image, a box drawn twice, a box three times as large, one a quarter as large.
What the doctor says of the untouched copy is not counted as found; it is printed, to be looked at.

`--kept S`: errors are planted in objects that the model finds with a score of S: it cannot contradict other labels.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import measure  # noqa: F401  # finds yolo in this clone
import numpy as np

from yolo.doctor.against_model import Evidence, gather, label_errors
from yolo.doctor.finding import Finding
from yolo.doctor.labels import label_findings
from yolo.doctor.opened import Part, open_all
from yolo.doctor.twins import copy_findings, overlaps
from yolo.images.files import read_image, write_image
from yolo.models.detector import Detector
from yolo.models.load import load

ERRORS = 2 * ("wrong class", "missing", "shifted") + ("whole image", "twice", "giant", "tiny")

CHANGES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "re-encoded": lambda image, _: np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [1, 40])[1], 1)),
    "resized": lambda image, _: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "cropped": lambda image, random: _cropped(image, random),
    "lighter": lambda image, _: np.clip(image * 1.25 + 15, 0, 255).astype(np.uint8),
    "mirrored": lambda image, _: np.ascontiguousarray(image[:, ::-1]),
}
"""What is done to a leaked image."""


def _cropped(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the image without up to 6 % at each side."""
    h, w = image.shape[:2]
    top, bottom, left, right = random.uniform(0, 0.06, 4)
    return np.ascontiguousarray(image[int(top * h) : h - int(bottom * h), int(left * w) : w - int(right * w)])


def plant_leaks(root: Path, random: np.random.Generator) -> set[str]:
    """Copy ten training images into the validation split, each changed in a way; return the new file names."""
    train, val = sorted((root / "images").iterdir())[:2]
    files = sorted(train.glob("*.jpg"))
    planted = set()
    for k, n in enumerate(random.choice(len(files), 10, replace=False).tolist()):
        image = list(CHANGES.values())[k % len(CHANGES)](read_image(files[n]), random)
        write_image(val / f"leak{k}.jpg", image)
        planted.add(f"leak{k}.jpg")
    return planted


def plant_errors(part: Part, usable: np.ndarray, random: np.random.Generator) -> list[tuple[str, int, np.ndarray]]:
    """Change ten labels of a split, each in an image of its own; return kind, image and the boxes concerned `[., 4]`.

    Args:
        part: the split; its label files are changed.
        usable: objects that may be chosen.
        random: source of the choices.
    """
    index, planted, images = part.data.index, [], set()
    for kind in ERRORS:
        while True:
            n = int(random.choice(usable))
            k = part.image(n)
            box = index.boxes[n] / np.tile(index.sizes[k], 2)
            new = _changed(kind, box, random)
            if k not in images and new is not None:
                break
        images.add(k)
        file, line = part.place(n).rsplit(":", 1)
        lines = Path(file).read_text().splitlines()
        words = lines[int(line) - 1].split()
        others = [str(c) for c in np.unique(index.labels).tolist() if c != index.labels[n]]
        label = str(random.choice(others)) if kind == "wrong class" else words[0]
        cx, cy, w, h = (new[0] + new[2]) / 2, (new[1] + new[3]) / 2, new[2] - new[0], new[3] - new[1]
        changed = f"{label} {cx:.6f} {cy:.6f} {w:.6f} {h:.6f}"
        old = lines[int(line) - 1]
        lines[int(line) - 1 : int(line)] = {"missing": [], "twice": [old, changed]}.get(kind, [changed])
        Path(file).write_text("\n".join(lines) + "\n")
        planted.append((kind, k, np.stack((box, new)) * np.tile(index.sizes[k], 2)))
    return planted


def _changed(kind: str, box: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
    """Return the planted box for a box xyxy in fractions of the image; None if the object is not fit for this kind."""
    size, centre = box[2:] - box[:2], (box[2:] + box[:2]) / 2
    if kind == "shifted":
        centre = random.uniform(size / 2, 1 - size / 2)
    size = size * {"giant": 3, "tiny": 0.25}.get(kind, 1)
    new = np.concatenate((centre - size / 2, centre + size / 2)).clip(0, 1)
    new = np.array([0.0, 0, 1, 1]) if kind == "whole image" else new
    iou = overlaps(box[None], new[None])[0, 0]
    return None if kind in ("shifted", "giant", "whole image") and iou > 0.3 else new


def key(finding: Finding) -> tuple[object, ...]:
    """Return what makes two findings the same in two runs: the kind, the image and where in it."""
    boxes = tuple(tuple(round(x) for x in box) for shown in finding.shown for box, _ in shown.boxes)
    return finding.kind, tuple((shown.split, shown.image) for shown in finding.shown), boxes or finding.sentence


def names(finding: Finding, part: Part, image: int, boxes: np.ndarray) -> bool:
    """Return whether a finding is about one of these boxes `[., 4]` of an image."""
    for shown in finding.shown:
        if (shown.split, shown.image) == (part.name, image):
            own = [box for box, _ in shown.boxes] + [part.box(n) for n in shown.objects]
            if own and overlaps(np.array(own), boxes).max() >= 0.5:
                return True
    return False


def examine(root: Path, model: Detector) -> tuple[list[Part], list[Evidence], list[Finding]]:
    """Return the splits, what the model finds, and the findings about labels."""
    parts, findings, _ = open_all(root, None, None, None)
    evidence = [gather(model, part, 16) for part in parts]
    return parts, evidence, [*findings, *label_findings(parts), *label_errors(evidence)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Plant, examine and print for each seed; the untouched copy first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--cfg", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--kept", type=float, default=0.6)
    options = parser.parse_args(arguments)
    model = load(options.cfg or options.weights, options.weights if options.cfg else None)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "clean"
        shutil.copytree(options.data, root, copy_function=shutil.copyfile)
        parts, evidence, before = examine(root, model)
        print("untouched:", dict(Counter(f.kind for f in before)), "copies:", len(copy_findings(parts)))
        known = {key(finding) for finding in before}
        total: Counter[str] = Counter()
        for seed in range(options.first, options.first + options.seeds):
            random, copy = np.random.default_rng(seed), Path(folder) / f"seed{seed}"
            shutil.copytree(options.data, copy, copy_function=shutil.copyfile)
            leaks = plant_leaks(copy, random)
            copied, _, _ = open_all(copy, None, None, None)
            found = [f for f in copy_findings(copied) if f.kind in ("leak", "copy")]
            right = leaks & {Path(place).name for f in found for place in f.places}
            print(f"seed {seed}: leaks found {len(right)} of 10, false {len(found) - len(right)}")
            shutil.rmtree(copy)
            shutil.copytree(options.data, copy, copy_function=shutil.copyfile)
            part = open_all(copy, None, None, None)[0][0]
            planted = plant_errors(part, np.flatnonzero(evidence[0].support >= options.kept), random)
            now, _, after = examine(copy, model)
            hits = [kind for kind, k, boxes in planted if any(names(f, now[0], k, boxes) for f in after)]
            about = [f for f in after if any(names(f, now[0], k, boxes) for _, k, boxes in planted)]
            new = [f for f in after if key(f) not in known and f not in about]
            missed = Counter(kind for kind, _, _ in planted) - Counter(hits)
            total.update(hits)
            print(f"  label errors found {len(hits)} of 10 (not {dict(missed)}), new {len(new)} of {len(after)}")
            shutil.rmtree(copy)
        print(f"found of {options.seeds} x ten errors:", dict(total), sum(total.values()))


if __name__ == "__main__":
    main()
