"""doctor: each kind of finding is planted in drawn data and found; a clean set gets no word; no file is touched."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo.__main__ import main
from yolo.data.shapes.scenes import make_shapes
from yolo.doctor.finding import KINDS

Row = tuple[int, float, float, float, float]


def scene(seed: int, size: tuple[int, int] = (160, 120)) -> tuple[np.ndarray, list[Row]]:
    """Return a drawing of two figures on ground of its own, BGR, and its labels `class cx cy w h`."""
    w, h = size
    random = np.random.default_rng(seed)
    image = cv2.resize(random.integers(40, 200, (4, 5, 3), dtype=np.uint8), size, interpolation=cv2.INTER_CUBIC)
    rows: list[Row] = []
    for label, left in ((0, 0.05), (1, 0.55)):
        fw, fh = random.uniform(0.2, 0.35), random.uniform(0.3, 0.5)
        x, y = left + random.uniform(0, 0.1), random.uniform(0.05, 0.4)
        corners = (int(x * w), int(y * h)), (int((x + fw) * w), int((y + fh) * h))
        cv2.rectangle(image, *corners, random.integers(0, 255, 3).tolist(), -1)
        cv2.rectangle(image, *corners, (255, 255, 255) if label else (0, 0, 0), 3)
        rows.append((label, x + fw / 2, y + fh / 2, fw, fh))
    return image, rows


class Drawn:
    """A set of drawings in YOLO's layout, with functions that plant something in it."""

    def __init__(self, root: Path, train: int = 12, val: int = 6) -> None:
        self.root = root
        (root / "images").mkdir(parents=True)
        (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [bolt, nut]\n")
        for k in range(train + val):
            self.add("train" if k < train else "val", f"part_{k:03}", *scene(k))

    def add(self, split: str, stem: str, image: np.ndarray, rows: list[Row]) -> None:
        """Write an image and its labels."""
        for kind in ("images", "labels"):
            (self.root / kind / split).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(self.root / "images" / split / f"{stem}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        self.label(split, stem, rows)

    def label(self, split: str, stem: str, rows: list[Row]) -> None:
        """Write the labels of an image."""
        text = "".join(f"{label} {' '.join(f'{v:.5f}' for v in box)}\n" for label, *box in rows)
        (self.root / "labels" / split / f"{stem}.txt").write_text(text)

    def doctor(self, *options: str) -> tuple[int, list[dict]]:
        """Run the command; return its exit status and the findings in doctor.json."""
        out = self.root.parent / "out"
        status = main(["doctor", str(self.root), "--out", str(out), *options])
        return status, json.loads((out / "doctor.json").read_text())["findings"]


@pytest.fixture
def drawn(tmp_path: Path) -> Drawn:
    """A clean drawn set: 12 training images, 6 validation images, two classes."""
    return Drawn(tmp_path / "set")


def kinds(findings: list[dict]) -> dict[str, int]:
    """Return how many findings there are of each kind."""
    return dict(Counter(finding["kind"] for finding in findings))


def test_a_clean_set_gets_no_word(drawn: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither drawn parts nor the embedded figures, some of whose images are empty, are suspicious."""
    assert drawn.doctor() == (0, [])
    shapes = make_shapes(tmp_path / "shapes", train=60, val=20)
    assert main(["doctor", str(shapes), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.count("\nnothing was found\n") == 2


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the same": lambda image: image,
    "another jpeg": lambda image: np.asarray(
        cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)
    ),
    "smaller": lambda image: cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA),
    "cropped": lambda image: image[4:, 6:-3],
    "lighter": lambda image: np.clip(image * 1.15 + 10, 0, 255).astype(np.uint8),
    "mirrored": lambda image: image[:, ::-1],
    "turned": lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_leak(drawn: Drawn, change: str) -> None:
    """A training image is in the validation split again, changed."""
    image = np.ascontiguousarray(CHANGES[change](scene(3)[0]))
    drawn.add("val", "other", image, [])
    status, findings = drawn.doctor()
    leaks = [finding for finding in findings if finding["kind"] == "leak"]
    assert status == 1
    assert [sorted(Path(place).name for place in leak["places"]) for leak in leaks] == [["other.jpg", "part_003.jpg"]]


def test_the_same_place_with_other_objects_is_no_leak(drawn: Drawn) -> None:
    """One camera: the ground is the same, the labelled object moved."""
    ground = scene(50, (320, 240))[0]
    for k, (x, y) in enumerate(((20, 20), (250, 180))):
        image = ground.copy()
        cv2.circle(image, (x, y), 14, (255, 255, 255), -1)
        cv2.circle(image, (x, y), 8, (0, 0, 0), 3)
        drawn.add(("train", "val")[k], f"camera_{k}", image, [(0, x / 320, y / 240, 28 / 320, 28 / 240)])
    assert "leak" not in kinds(drawn.doctor()[1])


def test_a_copy_with_other_labels(drawn: Drawn) -> None:
    """Within a split the copy is a suspicion; other labels must be mended. Those of a mirrored copy are mirrored."""
    image, rows = scene(3)
    drawn.add("train", "copy", image, rows)
    assert (drawn.doctor()[0], kinds(drawn.doctor()[1])) == (0, {"copy": 1})
    drawn.add("train", "copy", image[:, ::-1], [(label, 1 - cx, cy, w, h) for label, cx, cy, w, h in rows])
    assert kinds(drawn.doctor()[1]) == {"copy": 1}
    drawn.label("train", "copy", rows[:1])
    status, findings = drawn.doctor()
    assert (status, kinds(findings)["contradiction"]) == (1, 1)
    assert any(re.search(r"part_003\.txt:\d$", place) for place in findings[0]["places"])


def test_copies_of_an_exporter_are_on_purpose(drawn: Drawn) -> None:
    """Roboflow's augmented copies of an image in one split get no word; in two splits they are a leak."""
    image, rows = scene(40)
    for split, digest in (("train", "0a1b"), ("train", "2c3d")):
        drawn.add(split, f"img.rf.{digest}", image, rows)
    assert drawn.doctor() == (0, [])
    drawn.add("val", "img.rf.ffff", image, rows)
    assert kinds(drawn.doctor()[1]) == {"leak": 1}


LABELS: dict[str, tuple[list[Row], int]] = {
    "repeated box": ([(0, 0.2, 0.3, 0.25, 0.4), (0, 0.2, 0.3, 0.25, 0.4)], 1),
    "nearly repeated": ([(0, 0.2, 0.3, 0.25, 0.4), (0, 0.205, 0.3, 0.25, 0.4)], 0),
    "two classes": ([(0, 0.2, 0.3, 0.25, 0.4), (1, 0.2, 0.3, 0.25, 0.4)], 0),
    "whole image": ([(0, 0.5, 0.5, 1, 1)], 0),
    "thin box": ([(0, 0.2, 0.3, 0.004, 0.4)], 0),
}


@pytest.mark.parametrize("kind", LABELS)
def test_an_odd_label(drawn: Drawn, kind: str) -> None:
    """It is found with its file and line, and nothing else is."""
    rows, status = LABELS[kind]
    drawn.label("train", "part_002", [*rows, (1, 0.75, 0.8, 0.2, 0.3)])
    found = drawn.doctor()
    assert (found[0], kinds(found[1])) == (status, {kind: 1})
    file = drawn.root / "labels" / "train" / "part_002.txt"
    assert found[1][0]["places"] == [f"{file}:{n + 1}" for n in range(len(rows))]


def test_odd_sizes_and_shapes(tmp_path: Path) -> None:
    """Among 30 objects of a class one is far too small and one is far too wide for its height."""
    drawn = Drawn(tmp_path / "set", train=30)
    for stem, box in (("part_004", (0.3, 0.3, 0.02, 0.03)), ("part_007", (0.3, 0.3, 0.5, 0.02))):
        drawn.label("train", stem, [(0, *box), (1, 0.75, 0.7, 0.2, 0.3)])
    status, findings = drawn.doctor()
    assert (status, {finding["kind"] for finding in findings}) == (0, {"odd size", "odd shape"})
    where = {kind: [f["places"][0][-14:] for f in findings if f["kind"] == kind] for kind in ("odd size", "odd shape")}
    assert "part_004.txt:1" in where["odd size"]
    assert where["odd shape"] == ["part_007.txt:1"]


def test_images_without_labels(drawn: Drawn) -> None:
    """A text file that is missing is suspicious, one that is empty says that there is no object."""
    drawn.label("train", "part_001", [])
    assert drawn.doctor() == (0, [])
    (drawn.root / "labels" / "train" / "part_001.txt").unlink()
    status, findings = drawn.doctor()
    assert (status, kinds(findings)) == (0, {"unlabelled": 1})
    assert findings[0]["sentence"] == "train: 1 of 12 images have no label file: part_001.jpg"


def test_classes(drawn: Drawn) -> None:
    """Names that differ in case or blanks only; a class that validation lacks."""
    (drawn.root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [bolt, nut, Bo_lt, a, A]\n")
    drawn.label("train", "part_001", [(2, 0.3, 0.3, 0.2, 0.3)])
    status, findings = drawn.doctor()
    assert (status, kinds(findings)) == (0, {"similar names": 1, "class lacks objects": 1})
    assert "'bolt' and 'Bo_lt': 11 objects 'bolt' in train, 1 objects 'Bo_lt' in train" in findings[0]["sentence"]
    assert findings[1]["sentence"] == "val has no object of Bo_lt"


def test_label_order_that_changed(drawn: Drawn, tmp_path: Path) -> None:
    """COCO files with categories in another order, and labelImg's list beside the labels of a split."""
    (drawn.root / "labels" / "val" / "classes.txt").write_text("nut\nbolt\n")
    status, findings = drawn.doctor()
    assert (status, kinds(findings)) == (1, {"class order": 1})
    assert "class 0 is 'bolt' in val, 'nut' in " in findings[0]["sentence"]
    root = make_shapes(tmp_path / "shapes", train=12, val=6)
    file = root / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    first, second = content["categories"][:2]
    first["name"], second["name"] = second["name"], first["name"]
    file.write_text(json.dumps(content))
    assert main(["doctor", str(root), "--out", str(tmp_path / "o")]) == 1
    assert "class order" in kinds(json.loads((tmp_path / "o" / "doctor.json").read_text())["findings"])


def test_faults_and_a_broken_split_hide_nothing(drawn: Drawn) -> None:
    """A bad line is named by file and line, a split that is not there by name, and the rest is examined."""
    file = drawn.root / "labels" / "train" / "part_000.txt"
    file.write_text("7 0.5 0.5 0.1 0.1\n")
    (drawn.root / "data.yaml").write_text(
        "train: images/train\nval: images/val\ntest: images/nowhere\nnames: [bolt, nut]\n"
    )
    drawn.label("val", "part_013", LABELS["whole image"][0])
    status, findings = drawn.doctor()
    assert (status, kinds(findings)) == (1, {"split": 1, "fault": 1, "whole image": 1})
    assert [finding["places"] for finding in findings[:2]] == [[str(drawn.root)], [f"{file}:1"]]


def test_a_split_with_nothing_to_learn(drawn: Drawn) -> None:
    """All text files of the validation split are empty."""
    for k in range(12, 18):
        drawn.label("val", f"part_{k:03}", [])
    status, findings = drawn.doctor()
    assert (status, kinds(findings)) == (1, {"split": 1, "class lacks objects": 1})
    assert findings[0]["sentence"].startswith("val: nothing to learn or to evaluate on: none of the 6 images")


def test_the_union_of_splits_is_no_leak(tmp_path: Path) -> None:
    """trainval repeats train and val; a validation split that is the training split is a leak."""
    drawn = Drawn(tmp_path / "set", 4, 3)
    for split, places in (("val", ["images/val"]), ("train", ["images/train", "images/val"])):
        listing = [str(path) for place in places for path in sorted((drawn.root / place).glob("*.jpg"))]
        (drawn.root / f"{split}.txt").write_text("\n".join(listing))
    (drawn.root / "data.yaml").write_text("train: images/train\nval: images/val\ntest: train.txt\nnames: [bolt, nut]\n")
    assert drawn.doctor() == (0, [])
    (drawn.root / "data.yaml").write_text("train: images/train\nval: images/train\nnames: [bolt, nut]\n")
    assert kinds(drawn.doctor()[1]) == {"leak": 4}


def test_the_page_the_json_and_the_files(drawn: Drawn, capsys: pytest.CaptureFixture[str]) -> None:
    """The page holds its images, doctor.json every finding with kind and remedy; bytes and times stay as they were."""
    image, rows = scene(3)
    drawn.add("val", "copy <b>", image, rows[:1])
    drawn.label("train", "part_002", LABELS["repeated box"][0])
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in drawn.root.rglob("*.*")}
    status, findings = drawn.doctor()
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in drawn.root.rglob("*.*")} == before
    text, out = capsys.readouterr().out, drawn.root.parent / "out"
    assert status == 1
    for finding in findings:
        assert finding.keys() == {"kind", "mend", "sentence", "remedy", "score", "places", "images"}
        assert finding["sentence"] in text
        assert KINDS[finding["kind"]].remedy in text
    rank = list(KINDS)
    assert [rank.index(f["kind"]) for f in findings] == sorted(rank.index(f["kind"]) for f in findings)
    page = (out / "doctor.html").read_text()
    assert page.count("data:image/png;base64,") == len(list(out.glob("doctor-*.png"))) == 3
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "copy &lt;b&gt;" in page
    assert "<b>" not in page
    assert text.splitlines()[-3] == "3 to be mended, 0 suspicions"


def test_no_result_among_the_images(drawn: Drawn, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of images is refused for results."""
    folder = drawn.root / "images" / "val"
    before = sorted(folder.iterdir())
    assert main(["doctor", str(drawn.root), "--out", str(folder)]) == 1
    assert "give another folder with --out" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before
