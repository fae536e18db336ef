"""Faster R-CNN in every command, in one process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import yolo
from tests.support.small_sets import TWO, DrawnImage, write_coco
from tests.support.tiny_rcnn import tiny_rcnn
from tests.support.train_problems import best_weights, checkpoint, difference, interrupted, numbers, shapes
from yolo.__main__ import main
from yolo.data.sample import make_target
from yolo.models.faster_rcnn import FasterRcnnDetector, build_faster_rcnn
from yolo.options.detection import Filter
from yolo.options.faster_rcnn import FasterRcnn
from yolo.size import Size

TERMS = ("loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg")
NAMES = ["cat", "dog", "red ball"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data set, which tests only read."""
    return shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture
def place(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own; return the data set."""
    monkeypatch.chdir(tmp_path)
    return data


@pytest.fixture(scope="module")
def frozen(data: Path) -> Path:
    """Train lite0's network for an epoch with its backbone frozen; return the run, which tests only read."""
    run = data.parent / "frozen"
    assert main(words(data, str(run), "--freeze", "backbone.body.*", "--epochs", "1")) == 0
    return run


def words(data: Path, out: str, *more: str) -> list[str]:
    """Return the command line of a short training from random weights."""
    usual = ["train", "--model", "faster-rcnn", "--network", "lite0", "--pretrained", "none", "--data", str(data)]
    usual += ["--size", "64", "--epochs", "2", "--batch-size", "4", "--workers", "0", "--device", "cpu"]
    return [*usual, "--precision", "fp32", "--eval-every", "1", "--out", out, *more]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a tiny network in the place of lite0's."""
    monkeypatch.setattr("yolo.rcnn.builder.lite0_rcnn", lambda classes, **_: (tiny_rcnn(classes=classes - 1), []))


@pytest.mark.usefixtures("tiny")
def test_the_whole_trip(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The model is trained, interrupted, resumed bit by bit, evaluated, loaded alone, and detects."""
    assert main(words(place, "whole", "--probe")) == 0
    rows = numbers(Path("whole"))
    assert {f"{part}/{term}" for part in ("train", "val") for term in TERMS} <= rows[-1].keys()
    assert {"train/labels", "train/without_area", "probe/positive_anchors", "probe/sampled_objects"} <= rows[-1].keys()
    assert rows[-1]["train/loss"] < rows[0]["train/loss"]

    # Interrupted in the second epoch and resumed: the same numbers and the same weights, bit by bit.
    interrupted(words(place, "parts", "--probe"), rows[0]["step"] + 1, monkeypatch)
    assert main(["train", "--resume", "parts"]) == 0
    assert difference(rows, numbers(Path("parts"))) == ""
    assert difference(checkpoint(Path("whole")), checkpoint(Path("parts"))) == ""
    assert difference(best_weights("whole"), best_weights("parts")) == ""

    # Evaluated as between the epochs, to the digit, and by pycocotools.
    best = max(rows, key=lambda row: row["AP"])
    capsys.readouterr()
    assert (
        main(["eval", "--weights", "whole", "--device", "cpu", "--out", "e", "--pycocotools", "--resamples", "20"]) == 0
    )
    assert json.loads(Path("e/metrics.json").read_text())["AP"] == best["AP"]
    said = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("pycocotools: "))
    assert float(said.split()[-1]) < 1e-12

    # Used for detection in another folder, from the file alone.
    image = str(next((place / "images" / "val").iterdir()))
    Path("other").mkdir()
    shutil.move("whole/best.safetensors", "other/file.safetensors")
    monkeypatch.chdir("other")
    assert main(["detect", image, "--weights", "file.safetensors", "--confidence", "0.01", "--device", "cpu"]) == 0
    loaded = yolo.load("file.safetensors", device="cpu")
    assert isinstance(loaded, FasterRcnnDetector)
    found = loaded.detect(image, Filter(confidence=0.01, max_detections=7))
    assert 0 < len(found) <= 7
    assert set(found.labels.tolist()) <= set(range(6))
    assert list(loaded.detect(image, confidence=0.01, max_detections=7)) == list(found)
    first = loaded.detect(image, confidence=0.01, classes=[found[-1].label], max_detections=1)
    assert list(first) == [next(row for row in found if row.label == found[-1].label)]


@pytest.mark.usefixtures("tiny")
def test_evaluations_change_nothing(place: Path) -> None:
    """A run has the same weights however often it is evaluated: the loss in between leaves random numbers alone."""
    assert main(words(place, "often", "--probe")) == 0
    assert main(words(place, "once", "--eval-every", "0")) == 0
    assert difference(checkpoint(Path("often"))["network"], checkpoint(Path("once"))["network"]) == ""


@pytest.mark.usefixtures("place")
def test_other_weights(frozen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run starts from another run's weights; other classes get a new last layer, another network is refused."""
    shutil.copytree(frozen, "first")
    kept = best_weights("first")
    other = write_coco(Path("three"), [DrawnImage((64, 48), [(1, 4, 6, 30, 40), (0, 20, 10, 60, 44)])] * 4)
    options = FasterRcnn(network="lite0", pretrained="none", size="64", weights=Path("first/best.safetensors"))
    same = build_faster_rcnn(options, list("abcdef")).network.state_dict()
    assert difference(dict(same), dict(kept)) == ""
    fewer = build_faster_rcnn(options, NAMES).network.state_dict()
    changed = [name for name in kept if difference(kept[name], fewer[name])]
    assert {name.rpartition(".")[0].rpartition(".")[0] for name in changed} == {"roi_heads.box_predictor"}
    assert "another number of classes; the last layer" in capsys.readouterr().out
    words_of = words(other, "second", "--weights", "first", "--anchors", *map(str, range(16, 28)))
    assert main([*words_of, "--split", "train", "--eval-on", "train"]) == 1
    assert "first/best.safetensors: the weights of another network" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["background", "__background__", "Background"])
def test_a_class_called_background(name: str) -> None:
    """A class called background is refused with what to do: torchvision's background is not labelled."""
    options = FasterRcnn(network="lite0", pretrained="none")
    with pytest.raises(ValueError, match=f"class '{name}': .* remove the class and its boxes"):
        build_faster_rcnn(options, ["cell", name])


def test_a_size_that_does_not_fit() -> None:
    """The input is a multiple of 32."""
    with pytest.raises(ValueError, match="expected multiples of 32"):
        build_faster_rcnn(FasterRcnn(network="lite0", pretrained="none", size="100"), NAMES)


def test_options_without_effect() -> None:
    """Options that the chosen ones do not read are errors."""
    with pytest.raises(ValueError, match="pretrained=coco with network=lite0"):
        FasterRcnn(network="lite0", pretrained="coco")
    with pytest.raises(ValueError, match="beta=1.0 without effect"):
        FasterRcnn(beta=1.0, rcnn_box_loss="giou")
    with pytest.raises(ValueError, match="anchors="):
        FasterRcnn(anchors=(0.0, 3.0))


@pytest.mark.usefixtures("tiny")
def test_an_image_without_objects(place: Path) -> None:
    """A set in which some images show nothing is trained: the losses are finite."""
    data = write_coco(Path("half"), [TWO[1], TWO[0]] * 4)
    assert main(words(data, "run", "--batch-size", "1", "--epochs", "1", "--eval-on", "train")) == 0
    assert numbers(Path("run"))[0]["train/loss"] > 0


def test_frozen_layers(frozen: Path) -> None:
    """`--freeze` takes the names of the network; the frozen backbone keeps its weights and its statistics."""
    torch.manual_seed(0)
    options = FasterRcnn(network="lite0", pretrained="none", size="64")
    before, after = build_faster_rcnn(options, list("abcdef")).network.state_dict(), best_weights(str(frozen))
    moved = {name for name in before if difference(before[name], after[name])}
    assert moved
    assert not [name for name in moved if name.startswith("backbone.body")]


def test_perfect_predictions_leave_the_network_alone() -> None:
    """In training mode too: the statistics of batch norm stay, also where a map has a single cell."""
    detector = build_faster_rcnn(FasterRcnn(network="lite0", pretrained="none", size="32"), NAMES)
    detector.network.train()
    before = {name: values.clone() for name, values in detector.network.state_dict().items()}
    boxes = torch.tensor([[4.0, 4, 20, 24]])
    one = make_target(boxes, torch.tensor([1]), 1, torch.zeros(1, dtype=torch.bool), boxes[:, 0], Size(32, 32))
    answer = detector.perfect(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), [one])
    assert answer.lost == [[""]]
    assert difference(dict(detector.network.state_dict()), before) == ""
    assert detector.network.training
