"""The sample sets of `../shared/cases/data` come out as its EXPECTED.md says. Skipped where that folder is absent.

The kinds of fault are tested elsewhere, on data that the tests draw; these are the samples themselves, through
`open_data` and through the commands. Nothing is written into the sets.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.support.opening import opened, unchanged
from tests.support.paths import ROOT
from tests.support.train_problems import tiny_cfg
from yolo.__main__ import main

CASES = ROOT / ".." / "shared" / "cases" / "data"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is absent: the sample sets are not shipped")

TRAIN, VAL, WHOLE = (5, 8), (3, 6), (8, 14)
"""Images and objects of the splits, and of a set that is not divided."""

DIVIDED: dict[str, tuple[str, ...]] = {
    "01-nested-subfolders": ("", "data.yaml"),
    "02-labels-beside-in-images": ("", "data.yaml"),
    "04-polygons-among-boxes": ("data.yaml",),
    "06-backslashes": ("",),
    "07-voc-spaces-in-names": ("",),
    "12-string-image-ids": ("",),
    "15-xml-gb2312": ("",),
    "19-voc-txt-among-pictures": ("",),
    "31-yaml-test-folder-missing": ("data.yaml",),
    "A1-resume-labels-change": ("data.yaml",),
    "A10-names-latin1": ("",),
    "L01-roboflow-coco": ("",),
    "L02-roboflow-yolov8": ("", "data.yaml"),
    "L06-cvat-yolo11": ("", "obj.data"),  # its obj.data names a valid.txt, which is there
    "L18-ultralytics-parts8": ("parts8.yaml", "parts8"),
    "L22-train-val-json": ("",),
}
"""Sets that are read: train with 5 images and 8 objects, val with 3 and 6; the paths to give."""

UNDIVIDED = ["L09-labelstudio-coco", "L11-labelimg-yolo", "L11b-labelimg-yolo-two-folders", "L17-kaggle-voc"]
"""Sets of 8 images and 14 objects without a validation split."""

REFUSED: dict[str, tuple[str, str]] = {
    "03-label-folder-other-name": ("data.yaml", "label.*annotations_yolo"),
    "10-all-iscrowd": ("", "crowd"),
    "11c-exif-voc-stored": ("", r"part_\d{3}\.jpg.*EXIF|EXIF.*part_\d{3}\.jpg"),
    "17-one-truncated-jpeg": ("data.yaml", r"part_\d{3}\.jpg"),
    "17b-one-bad-line": ("data.yaml", r"part_\d{3}\.txt:\d+"),
    "22b-val-without-objects": ("data.yaml", "--allow-empty"),
}
"""Sets that `train` refuses: the path, and what its message must have."""

COUNTS = {"A1-resume-labels-change": ((5, 10), VAL)}
"""Where a set has other numbers than `TRAIN` and `VAL`: the files of this one have ten lines of labels."""

GIVEN = [(name, given) for name, paths in DIVIDED.items() for given in paths]


def found(name: str, given: str, split: str, **options: object) -> tuple[int, int]:
    """Return the number of images and of objects of a split."""
    index = opened(CASES / name, split, given, **options).index
    return len(index), len(index.labels)


def train(out: Path, name: str, given: str, *words: str) -> int:
    """Run `train` for one epoch on the tiny network; return its exit status."""
    usual = ["--epochs", "1", "--batch-size", "4", "--workers", "0", "--device", "cpu", "--precision", "fp32"]
    usual += ["--cfg", str(tiny_cfg(out.parent))]
    with unchanged(CASES / name):
        return main(["train", "--data", str(CASES / name / given), *usual, "--out", str(out), *words])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that was trained on two classes, bolt and nut."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert train(out, "A1-resume-labels-change", "data.yaml") == 0
    return out


def test_every_sample_is_expected_here() -> None:
    """No set of the folder is forgotten, and none of these is missing."""
    known = [*DIVIDED, *UNDIVIDED, *REFUSED]
    assert sorted(known) == sorted(folder.name for folder in CASES.iterdir() if folder.is_dir())


@pytest.mark.parametrize(("name", "given"), GIVEN)
def test_divided(name: str, given: str) -> None:
    """Both splits are read, and a holdout changes nothing."""
    for options in ({}, {"holdout": 0.2}):
        counts = found(name, given, "train", **options), found(name, given, "val", **options)
        assert counts == COUNTS.get(name, (TRAIN, VAL))


@pytest.mark.parametrize("name", UNDIVIDED)
def test_undivided(name: str) -> None:
    """`train` is the whole set; with a holdout, two parts with objects that share no image, the same each time."""
    assert found(name, "", "train") == WHOLE
    parts = [opened(CASES / name, split, "", holdout=0.2).index for split in ("train", "val", "val")]
    paths = [{part.path(k) for k in range(len(part))} for part in parts]
    assert (len(paths[0] | paths[1]), len(paths[0] & paths[1]), paths[1]) == (8, 0, paths[2])
    assert sum(len(part.labels) for part in parts[:2]) == 14
    assert all(len(part.labels) for part in parts)


@pytest.mark.parametrize("name", ["L01-roboflow-coco", "L02-roboflow-yolov8"])
def test_a_test_split_is_apart(name: str) -> None:
    """One image with one object, which is in no other split."""
    assert found(name, "", "test") == (1, 1)


def test_names() -> None:
    """The group of Roboflow is no class; names in latin-1 are read right."""
    assert opened(CASES / "L01-roboflow-coco").names == ["bolt", "nut"]
    assert opened(CASES / "A10-names-latin1").names == ["Schlüssel", "Mutter"]


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_training(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1, a sentence with cause and place, no folder of a run."""
    given, expected = REFUSED[name]
    assert train(tmp_path / "run", name, given) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert re.search(expected, error, re.DOTALL), error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "split", "kept"), [("17-one-truncated-jpeg", "train", 4), ("17b-one-bad-line", "val", 2)]
)
def test_bad_skip_leaves_the_image_out(
    name: str, split: str, kept: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The image of the fault is left out, which is said; `eval` of the run is under the same conditions."""
    given, _ = REFUSED[name]
    images, _ = found(name, given, split, bad="skip")
    assert images == kept
    assert train(tmp_path / "run", name, given, "--bad", "skip") == 0
    assert "1 images left out" in caplog.text
    caplog.clear()
    with unchanged(CASES / name):
        assert main(["eval", "--weights", str(tmp_path / "run"), "--out", str(tmp_path / "eval")]) == 0
    evaluated = json.loads((tmp_path / "eval" / "metrics.json").read_text())["images"]
    assert (evaluated, "1 images left out" in caplog.text) == (2 if split == "val" else 3, split == "val")


def test_allow_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A validation split without objects trains on request, and no AP is claimed."""
    assert train(tmp_path / "run", "22b-val-without-objects", "data.yaml", "--allow-empty") == 0
    out = capsys.readouterr()
    assert "n/a" in out.out + out.err
    assert "-1.0" not in out.out + out.err


@pytest.mark.parametrize("name", ["L09-labelstudio-coco", "L06-cvat-yolo11", "31-yaml-test-folder-missing"])
def test_train_says_how_the_set_is_divided(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An undivided set is divided aloud; a divided one is trained as it is."""
    assert train(tmp_path / "run", name, DIVIDED.get(name, ("",))[-1]) == 0
    said = capsys.readouterr()
    assert ("holdout" in said.out + said.err) == (name in UNDIVIDED)


@pytest.mark.parametrize("name", ["01-nested-subfolders", "06-backslashes", "07-voc-spaces-in-names",
                                  "12-string-image-ids", "15-xml-gb2312", "31-yaml-test-folder-missing",
                                  "L06-cvat-yolo11", "L18-ultralytics-parts8", *UNDIVIDED])  # fmt: skip
def test_eval(name: str, weights: Path, tmp_path: Path) -> None:
    """`eval` reads the validation images, of an undivided set those held out. One set for each way to write them."""
    given = DIVIDED.get(name, ("",))[-1]
    more = ["--split", "val", *(["--holdout", "0.2"] if name in UNDIVIDED else [])]
    arguments = ["eval", "--weights", str(weights), "--data", str(CASES / name / given), *more, "--resamples", "0"]
    with unchanged(CASES / name):
        assert main([*arguments, "--out", str(tmp_path / "eval")]) == 0
    assert json.loads((tmp_path / "eval" / "metrics.json").read_text())


@pytest.mark.parametrize("name", ["01-nested-subfolders", "07-voc-spaces-in-names", "12-string-image-ids",
                                  "L01-roboflow-coco", "L06-cvat-yolo11", *UNDIVIDED])  # fmt: skip
def test_explain(name: str, weights: Path, tmp_path: Path) -> None:
    """`explain` finds an image of the set by its file name, in whatever split it is."""
    data = opened(CASES / name, "train", DIVIDED.get(name, ("",))[-1])
    arguments = ["explain", data.path(0).name, "--data", str(CASES / name), "--weights", str(weights)]
    with unchanged(CASES / name):
        assert main([*arguments, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "explain.json").is_file()


def shown(
    name: str, given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[list[tuple[int, ...]], str]:
    """Run show-data; return images and boxes of each line of its first table, and all that it printed."""
    capsys.readouterr()
    cfg = str(tiny_cfg(tmp_path))
    with unchanged(CASES / name):
        status = main(["show-data", str(CASES / name / given), "--cfg", cfg, "--images", "2", "--out", str(tmp_path)])
    text = "".join(capsys.readouterr())
    rows = re.findall(r"^(\S+) +(\d+) +(\d+) +(\d+) +(\d+) +\d+ +\d+ +\d+$", text, re.MULTILINE)
    assert rows or status == 1, text
    return [(int(images), int(boxes)) for _, images, _, boxes, _ in rows], text


@pytest.mark.parametrize(("name", "given"), GIVEN)
def test_show_data(name: str, given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each split with its images and boxes; a split that lacks its folder does not hide the others."""
    rows, text = shown(name, given, tmp_path, capsys)
    assert set(COUNTS.get(name, (TRAIN, VAL))) <= set(rows)
    if name == "31-yaml-test-folder-missing":
        assert "test/images" in text


@pytest.mark.parametrize("name", UNDIVIDED)
def test_show_data_of_an_undivided_set(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All images and boxes, in one line or in the two of its division."""
    rows, _ = shown(name, "", tmp_path, capsys)
    assert tuple(map(sum, zip(*rows, strict=True))) == WHOLE


@pytest.mark.parametrize("name", REFUSED)
def test_show_data_says_what_is_wrong(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `train` refuses is in the text of show-data as well, beside the splits that are right."""
    given, expected = REFUSED[name]
    _, text = shown(name, given, tmp_path, capsys)
    expected = "object" if name == "22b-val-without-objects" else expected
    assert re.search(expected, text, re.DOTALL), text


def test_a_change_between_stop_and_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A resume of changed labels is refused with the file; --accept-changes goes on."""
    copy, run = tmp_path / "set", tmp_path / "run"
    shutil.copytree(CASES / "A1-resume-labels-change", copy)
    usual = ["--cfg", str(tiny_cfg(tmp_path)), "--epochs", "1", "--batch-size", "4", "--workers", "0"]
    assert main(["train", "--data", str(copy / "data.yaml"), *usual, "--device", "cpu", "--out", str(run)]) == 0
    labels = next((copy / "labels" / "train").glob("part_000.txt"))
    labels.write_text(labels.read_text().splitlines()[0] + "\n")
    assert main(["train", "--resume", str(run), "--epochs", "2"]) == 1
    assert "part_000" in capsys.readouterr().err
    assert main(["train", "--resume", str(run), "--epochs", "2", "--accept-changes"]) == 0
