"""The round trip: sets that lose nothing, and planted faults and losses, each with its line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support import mean_box
from tests.support.loss_problems import RULES
from tests.support.single_problems import singles
from tests.support.small_sets import DrawnImage, write_coco
from tests.support.train_problems import shapes, tiny_cfg
from yolo.boxes import Detections
from yolo.darknet.heads import Decoded, Head
from yolo.images.placement import Placement
from yolo.models.single import SingleObjectDetector
from yolo.models.yolo import YoloDetector
from yolo.options.registry import MODELS
from yolo.options.schedule import Schedule
from yolo.options.single import Simple
from yolo.options.train import LossOptions, Train
from yolo.options.training import Training
from yolo.preflight.line import Line
from yolo.preflight.roundtrip import round_trip
from yolo.preflight.subject import Subject
from yolo.training.assemble import gather


def subject(options: Training, seconds: float = 60.0) -> Subject:
    """Return a run that trains and evaluates on the same images, in batches of 4."""
    schedule = Schedule(schedule="constant", warmup_steps=0)
    common = replace(options, eval_on="train", batch_size=4, workers=0, schedule=schedule)
    return Subject(gather(common, torch.device("cpu")), seconds)


def trip(options: Training) -> list[Line]:
    """Return the lines of such a run."""
    return round_trip(subject(options))


def yolo(data: Path, folder: Path, *, rule: str = "prior", **more: Any) -> Train:
    """Return the options of the tiny YOLO: heads of strides 16 and 8."""
    return Train(data=str(data), **{"cfg": tiny_cfg(folder), **more}, loss=LossOptions(assign=rule))  # type: ignore[arg-type]


def square(label: int, x: float, y: float, side: int) -> tuple[int, int, int, int, int]:
    """Return a square object by its centre."""
    left, top = int(x - side / 2), int(y - side / 2)
    return label, left, top, left + side, top + side


def planted(folder: Path, *objects: tuple[int, int, int, int, int], size: tuple[int, int] = (64, 64)) -> Path:
    """Write a set of one image with these objects, another with one object, and one without."""
    return write_coco(
        folder / "set", [DrawnImage(size, objects), DrawnImage((64, 64), [square(2, 40, 40, 16)]), DrawnImage(size, [])]
    )


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a drawn set of 12 images of several shapes, with crowds."""
    return shapes(tmp_path_factory.mktemp("drawn"))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("size", "placement"), [("64", "letterbox"), ("96x64", "letterbox"), ("64x128", "stretch"), ("32", "stretch")]
)
def test_nothing_else_is_lost(rule: str, size: str, placement: str, drawn: Path, tmp_path: Path) -> None:
    """All rules, letterboxed and stretched, square and rectangular: every object comes back but those that share a
    prediction, which are few."""
    (line,) = trip(yolo(drawn, tmp_path, rule=rule, size=size, placement=placement))
    assert line.check == "round trip"
    assert (line.verdict, line.remedy) == ("PASS", "")
    assert set(re.findall(r"([a-z ]+): \d", line.sentence)) <= {"shares its cell with another object"}


def test_without_losses(tmp_path: Path) -> None:
    """The sentence counts what was found; the network and the detector stay as they were."""
    run = subject(yolo(planted(tmp_path, square(0, 20, 20, 10), size=(64, 48)), tmp_path, rule="prediction"))
    network = run.parts.detector.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    expected = "2 objects in 3 images are all found; perfect predictions have AP50 1.000"
    assert round_trip(run) == [Line("PASS", "round trip", expected)]
    assert all(before[name].equal(value) for name, value in network.state_dict().items())


def test_collisions(tmp_path: Path) -> None:
    """Four objects of two classes in one cell, with the same anchor: three share the prediction of the fourth."""
    objects = [square(k % 2, 18 + k, 18 + k, 6) for k in range(4)]
    (line,) = trip(yolo(planted(tmp_path, *objects), tmp_path))
    assert line.verdict == "WARN"
    assert line.sentence.startswith(
        "3 of 5 objects in 3 images (60.0%) cannot be found (shares its cell with another object: 3, 60.0%); "
    )
    assert line.remedy == "--size 128x128 would lose 2 instead of 3 (in 3 of the images)"


def test_twins(tmp_path: Path) -> None:
    """Two equal boxes of a class, and two of different classes: one of each pair is lost, whichever is found."""
    objects = [square(0, 20, 20, 10), square(0, 20, 20, 10), square(1, 50, 50, 10), square(0, 50, 50, 10)]
    (line,) = trip(yolo(planted(tmp_path, *objects), tmp_path))
    assert "2 of 5 objects" in line.sentence
    assert "shares its cell with another object: 2, 40.0%" in line.sentence


def test_suppressed(tmp_path: Path) -> None:
    """Two objects of a class with an IoU of 29/35, whose centres lie in different cells; of two classes both live."""
    (line,) = trip(yolo(planted(tmp_path, (0, 0, 10, 29, 42), (0, 3, 10, 35, 42)), tmp_path))
    assert line.verdict == "WARN"
    assert "1 of 3 objects in 3 images (33.3%) cannot be found (suppressed by NMS at 0.6: 1, 33.3%);" in line.sentence
    assert line.remedy == "no training can exceed this AP50"
    (line,) = trip(yolo(planted(tmp_path / "two", (0, 0, 10, 29, 42), (1, 3, 10, 35, 42)), tmp_path))
    assert line.verdict == "PASS"


def test_the_limit_on_detections(tmp_path: Path) -> None:
    """121 objects, one in each cell of a part of the fine grid: 21 are beyond the limit."""
    objects = [square(0, 8 * i + 4, 8 * j + 4, 6) for i in range(11) for j in range(11)]
    (line,) = trip(yolo(planted(tmp_path, *objects, size=(128, 128)), tmp_path, size="128"))
    assert line.verdict == "WARN"
    assert "21 of 122 objects in 3 images (17.2%)" in line.sentence
    assert "(beyond the limit of 100 detections: 21, 17.2%)" in line.sentence


def test_anchors_that_do_not_fit(tmp_path: Path) -> None:
    """Anchors of 1 to 3 pixels for objects of 10 and 16: no anchor is responsible, so no object is found."""
    cfg = tmp_path / "small.cfg"
    cfg.write_text(
        tiny_cfg(tmp_path).read_text().replace("6,6, 10,10, 16,16, 22,22, 32,32, 50,50", "1,1, 2,2, 3,3, 1,1, 2,2, 3,3")
    )
    options = yolo(planted(tmp_path, square(0, 20, 20, 10)), tmp_path, rule="ratio", cfg=cfg)
    (line,) = trip(options)
    assert line.verdict == "FAIL"
    assert "2 of 2 objects" in line.sentence
    assert "(no anchor is responsible for it: 2, 100.0%)" in line.sentence
    assert line.remedy == "--assign prior would lose 0 instead of 2 (in 3 of the images)"


def swapped(head: Head, *arguments: Any) -> Decoded:
    """Decode with x and y exchanged."""
    boxes, objectness, classes = DECODE(head, *arguments)
    return Decoded(boxes[..., [1, 0, 3, 2]], objectness, classes)


def shrunk(head: Head, *arguments: Any) -> Decoded:
    """Decode with boxes that are a tenth too small."""
    boxes, objectness, classes = DECODE(head, *arguments)
    return Decoded(boxes * torch.tensor([1, 1, 0.9, 0.9]), objectness, classes)


def next_class(
    detector: YoloDetector, predictions: Sequence[Tensor], placements: Sequence[Placement], options: Any
) -> list[Detections]:
    """Count classes from 1."""
    found = SELECT(detector, predictions, placements, options)
    return [Detections(one.boxes, one.scores, one.labels + 1) for one in found]


def stretched(detector: YoloDetector, data: Any, k: int) -> tuple[None, Placement]:
    """Place the images of detection in another way than those of training."""
    return None, Placement.stretch(data.index.size(k), detector.size)


DECODE, SELECT = Head.decode_at, YoloDetector.select


@pytest.mark.parametrize(
    ("place", "name", "fault"),
    [
        (Head, "decode_at", swapped),
        (YoloDetector, "select", next_class),
        (YoloDetector, "prepared", stretched),
    ],
)
def test_training_and_detection_disagree(
    place: type, name: str, fault: Any, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the program has no other cause: one line says so."""
    monkeypatch.setattr(place, name, fault)
    (line,) = trip(yolo(drawn, tmp_path, size="64"))
    assert line.verdict == "FAIL"
    assert "for no known cause" in line.sentence
    assert "shares" not in line.sentence
    assert line.remedy.startswith("training and detection disagree")


def test_boxes_that_are_shifted(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All objects are found, but their boxes are not those of the labels: IoU 0.81."""
    monkeypatch.setattr(Head, "decode_at", shrunk)
    (line,) = trip(yolo(drawn, tmp_path, size="64"))
    assert line.verdict == "WARN"
    assert line.sentence.startswith("boxes come back shifted, mean IoU 0.810; ")


@pytest.mark.parametrize("placement", ["letterbox", "stretch"])
def test_one_object(placement: Any, tmp_path: Path, drawn: Path) -> None:
    """The models of one object find the one that their view keeps."""
    for data in (singles(tmp_path), drawn):
        (line,) = trip(Simple(model="simple", data=str(data), size="64x96", placement=placement))
        assert line.verdict == "PASS"
        assert line.sentence.endswith("are all found; perfect predictions have AP50 1.000")


def test_one_object_with_its_corners_in_another_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes as (ymin, xmin, ymax, xmax): found by the check."""
    select = SingleObjectDetector.select

    def wrong(detector: SingleObjectDetector, predictions: Any, *rest: Any) -> list[Detections]:
        scores, labels, boxes = predictions
        return select(detector, (scores, labels, boxes[:, [1, 0, 3, 2]]), *rest)

    monkeypatch.setattr(SingleObjectDetector, "select", wrong)
    (line,) = trip(Simple(model="simple", data=str(singles(tmp_path)), size="64"))
    assert line.verdict == "FAIL"
    assert "for no known cause" in line.sentence


def test_models_that_cannot_tell(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `perfect` there is no line, and neither is one without objects."""
    monkeypatch.setattr("yolo.options.registry.MODELS", dict(MODELS))
    mean_box.register()
    assert trip(mean_box.MeanBoxOptions(model="mean-box", data=str(drawn))) == []


def test_without_objects(tmp_path: Path) -> None:
    """There is nothing to say."""
    empty = write_coco(tmp_path / "set", [DrawnImage((64, 64), [])] * 4)
    assert trip(yolo(empty, tmp_path, allow_empty=True)) == []


def test_the_time_is_used_up(drawn: Path, tmp_path: Path) -> None:
    """One batch is looked at in any case."""
    (line,) = round_trip(subject(yolo(drawn, tmp_path, size="64"), seconds=0))
    assert "objects in 4 images" in line.sentence
