"""Labels against detections: each kind of contradiction, and what is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.doctor.test_doctor import Drawn, kinds
from yolo.commands import doctor as command
from yolo.doctor.against_model import Evidence, label_errors
from yolo.doctor.finding import Finding
from yolo.doctor.opened import Part, open_all

Seen = tuple[int, int, tuple[float, float, float, float], float]
"""A detection: image, class, box xyxy in pixels, score."""


def evidence_of(part: Part, seen: Sequence[Seen]) -> Evidence:
    """Return the evidence of these detections."""
    rows = sorted(seen, key=lambda row: (row[0], -row[3]))
    image = [row[0] for row in rows]
    return Evidence(
        part,
        np.array([row[2] for row in rows], dtype=float).reshape(-1, 4),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[3] for row in rows], dtype=float),
        np.searchsorted(image, np.arange(len(part.data) + 1)),
    )


def truths(part: Part, score: float = 0.9) -> list[Seen]:
    """Return a detection for every label."""
    index = part.data.index
    objects = range(len(index.labels))
    return [(part.image(n), int(index.labels[n]), part.box(n), score) for n in objects]


@pytest.fixture
def part(tmp_path: Path) -> Part:
    """The training split of 30 drawings with two objects each, 160 x 120 pixels."""
    return open_all(Drawn(tmp_path / "set", 30, 2).root, "train", None, None)[0][0]


def found(part: Part, seen: Sequence[Seen]) -> list[Finding]:
    """Return the label errors that these detections show."""
    return label_errors([evidence_of(part, seen)])


def test_agreement_is_no_error(part: Part) -> None:
    """All labels are found; weak detections of nothing, of another class and in a crowd change nothing."""
    seen = truths(part)
    assert found(part, seen) == []
    assert found(part, [*seen, (3, 0, (1, 100, 20, 118), 0.5), (4, 0, part.box(9), 0.8)]) == []
    part.data.index.crowd[6] = True
    assert found(part, [*seen, (3, 1, part.box(6), 0.99)]) == []


def test_a_wrong_class(part: Part) -> None:
    """The model sees the other class where the label is, and not the label's."""
    seen = truths(part)
    seen[8] = (4, 1, part.box(8), 0.8)
    (finding,) = found(part, seen)
    assert (finding.kind, finding.sentence) == ("wrong class", "labelled bolt, but the model sees nut 0.80, IoU 1.00")
    assert [place.rsplit("/", 1)[1] for place in finding.places] == ["part_004.txt:1"]
    assert finding.shown[0].objects == (8,)
    assert finding.shown[0].boxes == ((part.box(8), "nut 0.80"),)


def test_a_missing_label(part: Part) -> None:
    """A confident detection without label, and a second one of the same thing is no second finding."""
    seen = [*truths(part), (5, 0, (0, 90, 30, 119), 0.85), (5, 1, (0, 91, 30, 119), 0.8)]
    (finding,) = found(part, seen)
    assert (finding.kind, finding.sentence) == ("missing label", "bolt 0.85 has no label")
    assert finding.places == (str(part.data.path(5)),)
    assert found(part, [*truths(part), (5, 0, (0, 90, 30, 119), 0.7)]) == []


def test_a_misplaced_box(part: Part) -> None:
    """The label has no detection, and a detection of its class has no label: one finding, not two."""
    seen = truths(part)
    seen[12] = (6, 0, (0, 90, 30, 119), 0.85)
    (finding,) = found(part, seen)
    assert (finding.kind, finding.shown[0].objects) == ("misplaced box", (12,))
    assert finding.sentence == "bolt: nothing is found there, but bolt 0.85 beside it"


def test_a_label_that_is_never_found(part: Part) -> None:
    """It counts if nearly all labels like it are found, and not where the model misses many."""
    seen = truths(part)
    assert kinds([vars(f) for f in found(part, seen[:20] + seen[21:])]) == {"never found": 1}
    assert found(part, seen[::2]) == []


def test_the_likeliest_errors_come_first_and_a_model_clears_odd_boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A box of the whole image that the model finds is no suspicion; exit status 0 with suspicions only."""
    drawn = Drawn(tmp_path / "set", 30, 6)
    drawn.label("train", "part_002", [(0, 0.5, 0.5, 1, 1)])
    drawn.label("train", "part_003", [(0, 0.5, 0.5, 1, 1)])
    monkeypatch.setattr(command, "load_trained", lambda files: None)

    def gather(model: object, part: Part, batch_size: int) -> Evidence:
        seen = truths(part)
        if part.name == "train":
            seen = [row for row in seen if row[0] != 3]
            seen += [(k, 0, (0.0, 95.0, 30.0, 119.0), score) for k, score in ((7, 0.8), (8, 0.95), (9, 0.85))]
        return evidence_of(part, seen)

    monkeypatch.setattr(command, "gather", gather)
    status, findings = drawn.doctor("--weights", "any.safetensors")
    assert (status, kinds(findings)) == (0, {"missing label": 3, "whole image": 1})
    assert [f["score"] for f in findings[:3]] == [0.95, 0.85, 0.8]
    assert findings[-1]["places"][0].endswith("part_003.txt:1")
