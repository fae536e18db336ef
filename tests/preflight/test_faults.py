"""The whole check on small runs: each row plants one fault, and one check names it, and no other says a word.

Clean runs of every model, and clean data in every format, give neither WARN nor FAIL. How much is tried follows from
numbers of images and steps that are set here, not from the clock.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from torchvision.models.detection import FasterRCNN

from tests.support import planted_faults as plant
from tests.support.exports import LAYOUTS
from tests.support.planted_faults import KINDS, Fault, Setup
from tests.support.preflight_problems import change
from tests.support.single_problems import singles, tiny_backbone
from tests.support.tiny_rcnn import tiny_rcnn
from tests.support.train_problems import tiny_cfg
from yolo.boxes import Detections
from yolo.commands.check import run
from yolo.data.datasets import open_data
from yolo.data.formats import csv_boxes
from yolo.data.shapes.pedestrians import make_pedestrians
from yolo.data.shapes.scenes import make_shapes
from yolo.images.files import read_image, write_image
from yolo.options.check import Check
from yolo.options.presets import parse_train
from yolo.options.training import Training
from yolo.preflight import learning, modes
from yolo.training import assemble
from yolo.training.assemble import Parts

Clean = dict[str, tuple[Path, list[str]]]

MANY = "yolo several", "faster-rcnn several"
"""The models of several objects on images with several; else there is one, which is learned in fewer steps."""


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    """Return the data and the command line of a small clean run of each model."""
    folder = tmp_path_factory.mktemp("clean")
    scenes, one = make_shapes(folder / "scenes", train=8, val=4), singles(folder, train=16, val=6)
    for split in ("train", "val"):
        change(one, four_classes, split)
    trained = ["--size", "64", "--backbone", tiny_backbone(folder / "backbone", gain=10)]
    rcnn = ["--model", "faster-rcnn", "--network", "lite0", "--pretrained", "none", "--anchors", "8", "24"]
    made = {
        "yolo": (one, ["--cfg", str(tiny_cfg(folder))]),
        "simple": (one, ["--preset", "simple", "--size", "64"]),
        "localizer": (one, ["--preset", "localizer", *trained, "--target", "disc"]),
        "largest": (one, ["--preset", "largest", *trained]),
        "faster-rcnn": (one, [*rcnn, "--size", "64"]),
    }
    made |= {name: (scenes, made[name.split()[0]][1]) for name in MANY}
    return {name: (data, [*words, "--batch-size", "4"]) for name, (data, words) in made.items()}


def four_classes(content: dict[str, Any]) -> None:
    """Leave four classes, each with a quarter of the objects."""
    content["categories"] = content["categories"][:4]
    for k, one in enumerate(content["annotations"]):
        one["category_id"] = content["categories"][k % 4]["id"]


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of the test's own, with few steps, and with a tiny network in place of lite0."""
    monkeypatch.chdir(tmp_path)
    for file, name, value in (
        (learning, "IMAGES", 4), (learning, "RATE_STEPS", 5), (learning, "BATCH_STEPS", 40),
        (modes, "IMAGES", 2), (modes, "STEPS", 5),
    ):  # fmt: skip
        monkeypatch.setattr(file, name, value)
    monkeypatch.setattr("yolo.rcnn.builder.lite0_rcnn", _tiny)


def _tiny(classes: int, **_: Any) -> tuple[FasterRCNN, list[Any]]:
    """Return a tiny network in place of lite0's, with torchvision's initial weights in its heads."""
    return tiny_rcnn(spread=0.01, classes=classes - 1), []


@cache
def parsed(*words: str) -> Training:
    """Return the options of a command line; reading it takes as long as some of the checks."""
    return parse_train([*words, "--device", "cpu", "--precision", "fp32", "--workers", "0"])


def found(setup: Setup) -> dict[str, str]:
    """Run the command `check`; return what its lines say that are neither PASS nor SKIP, by verdict and check."""

    def gather(*given: Any, **words: Any) -> Parts:
        parts = assemble.gather(*given, **words)
        for fault in setup.later:
            fault(parts)
        return parts

    setup.patch.setattr("yolo.commands.check.gather", gather)
    if setup.model == "faster-rcnn":  # so tiny a network learns much faster at a higher rate
        for name, value in ("BATCH_STEPS", 60), ("START", 3e-2), ("TOP", 3e-2):
            setup.patch.setattr(learning, name, value)
    train = replace(parsed(*setup.words), data=str(setup.data))
    status = run(Check(train=train, seconds=1e9, json=Path("check.json")))
    content = json.loads(Path("check.json").read_text())
    assert status == int(content["verdict"] == "FAIL")
    lines = [line for line in content["checks"] if line["verdict"] not in ("PASS", "SKIP")]
    return {f"{line['verdict']} {line['check']}": f"{line['sentence']} -> {line['remedy']}" for line in lines}


class Row(NamedTuple):
    """A fault, the verdict and the check that name it, some words of the line, and the models to plant it in.

    Where these see a fault with the same code, a model of several objects and one of a single object stand for all.
    """

    fault: Fault
    due: str
    words: str
    models: Sequence[str] = tuple(KINDS)


TRANSFORMED = tuple(model for model in KINDS if model != "localizer")

STAND = "yolo", "localizer"
"""Those that stand for all where the fault is seen before the model has a say."""

SINGLE = "simple", "localizer", "largest"

NORMS = tuple(model for model in KINDS if model != "simple")

HIGH = {"yolo": "--peak-lr 1e3", "simple": "--lr 1e3", "localizer": "--peak-lr 1e3"}
LOW = {"yolo": "--lr 0 --peak-lr 1e-10", "simple": "--lr 1e-10", "localizer": "--peak-lr 1e-10"}
LAYERS = {
    "yolo": "layers.1", "simple": "head.features.2", "localizer": "head.box.3", "largest": "head.layers.4",
    "faster-rcnn": "backbone.coarse",
}  # fmt: skip
FROZEN = {
    "yolo": "--freeze 0-1", "simple": "--freeze head.features.*", "localizer": "--freeze head.box.*",
    "largest": "--unfreeze --freeze backbone.*", "faster-rcnn": "--freeze backbone.*",
}  # fmt: skip

BOTH = ("train", "val")
MIDDLE = [[0.42 + 0.06 * k, 0.45, 0.05, 0.1] for k in range(4)]
PAIR = [[0.0, 0.2, 0.5, 0.5], [0.11, 0.2, 0.5, 0.5]]

ROWS = {
    # The labels.
    "x2 before x1": Row(
        plant.edited(plant.boxes(lambda box: [box[0] + box[2], box[1], -box[2], box[3]])),
        "FAIL data", "instances_train.json", STAND,
    ),
    "fractions for pixels": Row(
        plant.edited(plant.boxes(lambda box: [value / 200 for value in box], None), *BOTH),
        "FAIL box units", "multiply", STAND,
    ),
    "pixels for fractions": Row(plant.pixels_in_text, "FAIL data", "must be fractions of the image", STAND),
    "thin boxes": Row(
        plant.edited(plant.boxes(lambda box: [*box[:2], 0.8, box[3]])),
        "WARN thin boxes", "thinner than a pixel", STAND,
    ),
    "an object twice": Row(plant.edited(plant.repeat), "WARN repeated boxes", "there twice", MANY[:1]),
    "a class without objects": Row(
        plant.edited(plant.without(1)), "WARN classes", "train has no object of", ("faster-rcnn", "simple")
    ),
    "no image with the target": Row(plant.edited(plant.without(0)), "FAIL data", "no image has", ("localizer",)),
    "background, learned": Row(
        plant.edited(plant.name_background, *BOTH), "WARN background", "is called 'background'", ("yolo", "largest")
    ),
    "background, refused": Row(
        plant.edited(plant.name_background, *BOTH), "FAIL options", "class 'background'", ("faster-rcnn",)
    ),
    "fewer classes than labels": Row(plant.fewer_names, "FAIL labels", "labels", STAND),
    "an image in both splits": Row(plant.leak, "WARN leaks", "in train too", STAND),
    # What training makes of them.
    # A localizer takes no transform: it learns from features that were computed once.
    "pixels move alone": Row(plant.pixels_only, "FAIL transform", "the transform: in ", TRANSFORMED),
    "placed otherwise": Row(plant.placed_otherwise, "FAIL transform", "the placement of detection"),
    "boxes not normalised": Row(
        plant.answers(lambda labels, boxes: (labels, 64 * boxes)), "FAIL targets", "as in pixels", ("localizer",)
    ),
    "labels from 1": Row(
        plant.answers(lambda labels, boxes: (labels + 1, boxes)), "FAIL targets", "labels are [1, 2]", ("localizer",)
    ),
    "two sigmoids": Row(
        plant.outputs(lambda logits, boxes: (logits, boxes.sigmoid())), "FAIL targets", "two sigmoids", ("localizer",)
    ),
    "probabilities as logits": Row(
        plant.outputs(lambda logits, boxes: (logits.sigmoid(), boxes)), "FAIL targets", "like probab", ("localizer",)
    ),
    "labels not shifted": Row(plant.unshifted, "FAIL round trip", "no known cause", ("faster-rcnn",)),
    "x and y swapped": Row(
        plant.selected(lambda one: Detections(one.boxes[:, [1, 0, 3, 2]], one.scores, one.labels)),
        "FAIL round trip", "no known cause",
    ),
    "classes from 1": Row(
        plant.selected(lambda one: Detections(one.boxes, one.scores, one.labels + 1)),
        "FAIL round trip", "no known cause",
    ),
    "objects in one cell": Row(plant.edited(plant.added(*MIDDLE)), "WARN round trip", "shares its cell", ("yolo",)),
    "objects that overlap": Row(plant.edited(plant.added(*PAIR)), "WARN round trip", "suppressed by NMS", MANY[:1]),
    "small anchors": Row(plant.small_anchors, "FAIL round trip", "no anchor is responsible", ("yolo",)),
    "large anchors": Row(
        plant.options({"faster-rcnn": "--anchors 500 500"}), "WARN round trip", "smaller --anchors", MANY[1:]
    ),
    # Learning.
    "a detached branch": Row(plant.detached(LAYERS), "FAIL gradients", "get no gradient"),
    "frozen layers train": Row(plant.thawed(FROZEN), "FAIL gradients", "are frozen and train"),
    "a loss too large": Row(plant.larger_loss, "WARN start loss", "initial weights promise"),
    "objectness biased": Row(plant.sure_of_objects, "WARN start loss", "loss_objectness", ("faster-rcnn",)),
    "rate too high": Row(plant.options(HIGH), "learning rate", "too high", tuple(HIGH)),
    "rate near 0": Row(plant.options(LOW), "WARN learning rate", "too low", tuple(LOW)),
    "no objects in the loss": Row(plant.targets(plant.empty), "WARN one batch", "are there positives?", ("yolo",)),
    "targets change": Row(plant.targets(plant.other), "one batch", "the loss goes from", (*SINGLE, *MANY)),
    "eval() forgotten": Row(plant.forgets_eval, "FAIL evaluation mode", "detections differ"),
    "statistics never settle": Row(plant.restless, "WARN batch statistics", "have not settled", NORMS[:-1]),
    # The machine.
    "out of memory": Row(plant.out_of_memory, "FAIL memory", "--batch-size", STAND),
    "a full disk": Row(plant.full_disk, "FAIL disk", "1 kB free, needs", ("yolo",)),
    "a full disk for features": Row(plant.full_disk, "FAIL options", "for features; make room", ("localizer",)),
}  # fmt: skip


@pytest.mark.parametrize(("name", "model"), [(name, model) for name, row in ROWS.items() for model in row.models])
def test_a_fault_is_named(name: str, model: str, clean: Clean, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one check, and by no other."""
    data, words = clean[model]
    row = ROWS[name]
    setup = Setup(model.split()[0], shutil.copytree(data, tmp_path / "data"), list(words), monkeypatch)
    row.fault(setup)
    ((said, text),) = found(setup).items()
    assert said.endswith(row.due)
    assert row.words in text


def test_a_rate_of_0_is_refused(clean: Clean, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is checked."""
    with pytest.raises(SystemExit):
        parsed(*clean["simple"][1], "--lr", "0")
    assert "lr=0.0 with schedule=constant: expected a rate" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("model", [*KINDS, *MANY])
def test_a_clean_run(model: str, clean: Clean, monkeypatch: pytest.MonkeyPatch) -> None:
    """All checks pass."""
    data, words = clean[model]
    assert found(Setup(model.split()[0], data, words, monkeypatch)) == {}


def painted(name: str, folder: Path, which: int = 0) -> Path:
    """Write the layout of an exporter, its objects painted; return one of the paths that a user may give."""
    LAYOUTS[name].write(folder)
    for split in LAYOUTS[name].splits:
        index = open_data(folder, split=split).index
        for k in range(len(index)):
            pixels = read_image(index.path(k))
            for n in range(index.offsets[k], index.offsets[k + 1]):
                left, top, right, bottom = index.boxes[n].astype(int)
                pixels[top:bottom, left:right] = COLOURS[index.labels[n]]
            write_image(index.path(k), pixels)
    return folder / LAYOUTS[name].given[which]


def table(folder: Path) -> Path:
    """Write a csv file of boxes."""
    csv_boxes.write(folder / "boxes.csv", open_data(painted("voc-without-lists", folder)).index)
    return folder / "boxes.csv"


COLOURS = (255, 255, 255), (0, 0, 255)
FORMATS: dict[str, Callable[[Path], Path]] = {
    "COCO folder": partial(painted, "coco-2017"),
    "COCO file": partial(painted, "annotations-json", which=1),
    "VOC": partial(painted, "voc"),
    "data.yaml": partial(painted, "ultralytics", which=1),
    ".data": partial(painted, "darknet", which=1),
    "labelImg": partial(painted, "labelimg-yolo"),
    "csv": table,
    "masks": partial(make_pedestrians, images=10),
}


@pytest.mark.parametrize("name", FORMATS)
def test_clean_data(name: str, clean: Clean, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every format."""
    data = FORMATS[name](tmp_path / "set")
    assert found(Setup("yolo", data, clean["yolo"][1], monkeypatch)) == {}
