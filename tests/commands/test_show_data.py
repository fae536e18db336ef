"""show-data: the numbers are those of the files, and the sheet shows what the network will see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.paths import ROOT
from tests.support.small_sets import TWO, DrawnImage, write_coco, write_voc, write_yolo
from yolo.__main__ import main
from yolo.boxes import iou
from yolo.darknet.cfg import read_cfg
from yolo.darknet.plan import anchors, make_plan
from yolo.data.anchors import fitted_anchors, overlaps, verdict
from yolo.data.datasets import open_data
from yolo.data.sheet import CAPTION, GAP, TITLE, contact_sheet, spread, tile
from yolo.data.statistics import anchor_table, class_table, nearest, network_sizes, totals
from yolo.images.draw import colour
from yolo.images.files import read_image
from yolo.images.resize import GREY
from yolo.size import Size

SHARED = ROOT / ".." / "shared" / "data"


def test_totals_and_classes(tmp_path: Path) -> None:
    """Counts of images, empty images, boxes, crowds, COCO's three sizes by area, and boxes per class."""
    sizes = [(0, 31, 33), (0, 32, 32), (1, 95, 97), (2, 96, 96), (2, 200, 90)]
    images = [DrawnImage((300, 200), [(label, 0, 0, w, h)]) for label, w, h in sizes] + [DrawnImage((9, 9), [])]
    index = open_data(write_coco(tmp_path, images)).index
    assert totals({"train": index})[1].split() == ["train", "6", "1", "5", "0", "1", "2", "2"]
    assert [line.split() for line in class_table({"train": index, "again": index})[1:]] == [
        ["0", "cat", "2", "2"],
        ["1", "dog", "1", "1"],
        ["2", "red", "ball", "2", "2"],
    ]


def test_the_nearest_anchor_is_that_of_the_best_overlap() -> None:
    """Compared with the IoU of boxes that share a centre; of equal anchors the first one wins."""
    generator = np.random.default_rng(0)
    sizes = generator.uniform(1, 400, (500, 2))
    heads = anchors(make_plan(read_cfg("yolov3.cfg")))
    assert [head.shape for head in heads] == [(3, 2)] * 3
    assert heads[0][0].tolist() == [116, 90]
    shapes = np.concatenate(heads)
    middle = torch.zeros(500, 2, dtype=torch.float64), torch.zeros(9, 2, dtype=torch.float64)
    boxes = [torch.cat((at, torch.from_numpy(shape)), dim=1) for at, shape in zip(middle, (sizes, shapes), strict=True)]
    table = iou(boxes[0][:, None], boxes[1])
    best, overlap = nearest(sizes, heads)
    assert best.tolist() == table.argmax(dim=1).tolist()
    assert np.allclose(overlap, table.amax(dim=1).numpy(), rtol=1e-12)
    assert nearest(np.ones((1, 2)), [np.ones((2, 2))])[0].tolist() == [0]


def drawn_sizes(kinds: list[tuple[int, int]], each: int) -> np.ndarray:
    """Return `each` sizes around every one of `kinds`, up to 2 % larger or smaller, in a random order."""
    generator = np.random.default_rng(1)
    sizes = np.repeat(np.array(kinds, dtype=np.float64), each, axis=0) * generator.uniform(
        0.98, 1.02, (each * len(kinds), 2)
    )
    return sizes[generator.permutation(len(sizes))]


def test_anchors_made_for_boxes_are_their_kinds() -> None:
    """Kinds of boxes far apart are found, by area, the same in each run; a cluster without boxes keeps its anchor."""
    kinds = [(10, 12), (30, 20), (25, 90), (200, 150)]
    sizes = drawn_sizes(kinds, 50)
    found = fitted_anchors(sizes, 4)
    np.testing.assert_allclose(found, kinds, rtol=0.02)
    assert np.array_equal(found, fitted_anchors(sizes, 4))
    assert overlaps(sizes, found).max(axis=1).mean() > 0.97
    assert np.array_equal(fitted_anchors(np.full((5, 2), 7.0), 3), np.full((3, 2), 7.0))


def test_what_anchors_would_gain() -> None:
    """Anchors of other data fit badly, those of the data well, with means and shares; few boxes say nothing."""
    sizes, shapes = drawn_sizes([(10, 10), (100, 20), (20, 100)], 40), np.array([[20, 20], [60, 60], [100, 100]])
    said = verdict(sizes, shapes)
    now = overlaps(sizes, shapes).max(axis=1)
    assert said.startswith(f"the anchors fit badly: boxes have a mean IoU of {now.mean():.2f} with their best anchor, ")
    assert f"{(now < 0.5).mean():.1%} are below 0.5; 3 anchors made for these boxes would reach 0.9" in said
    assert verdict(sizes, fitted_anchors(sizes, 3)).startswith("the anchors fit well: ")
    assert "these 29 boxes are too few to tell" in verdict(sizes[:29], shapes)
    assert verdict(sizes[:0], shapes) == "no boxes to compare with the anchors"


@pytest.mark.parametrize(
    ("data", "cfg", "said"),
    [
        (
            "coco-mini",
            "yolov3.cfg",
            "the anchors fit well: boxes have a mean IoU of 0.61 with their best anchor, 19.5%",
        ),
        ("coco-mini", "yolov3-tiny.cfg", "the anchors fit well: boxes have a mean IoU of 0.57 with their best anchor"),
        ("bccd", "yolov3.cfg", "the anchors fit badly: boxes have a mean IoU of 0.65 with their best anchor, 0.2% are"),
        ("bccd", "yolov3-tiny.cfg", "the anchors fit badly: boxes have a mean IoU of 0.70 with their best anchor"),
    ],
)
def test_anchors_of_coco_on_coco_and_on_blood_cells(data: str, cfg: str, said: str) -> None:
    """Anchors fit the data that they were made for, and not cells of nearly one size."""
    if not (SHARED / data).is_dir():
        pytest.skip(f"{SHARED / data} is absent")
    index = open_data(SHARED / data, split="val", quiet=True).index
    assert anchor_table(index, make_plan(read_cfg(cfg)))[-1].startswith(said)


def test_boxes_are_measured_in_network_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A letterboxed image of twice the input's width has its boxes halved, whatever its height; a stretched one not."""
    data = write_voc(
        tmp_path, [DrawnImage((832, 400), [(0, 0, 0, 232, 180)]), DrawnImage((208, 416), [(1, 8, 8, 124, 98)])]
    )
    index = open_data(data).index
    assert network_sizes(index, Size(416, 416)).tolist() == [[116, 90], [116, 90]]
    np.testing.assert_allclose(network_sizes(index, Size(416, 416), letterbox=False), [[116.0, 187.2], [232.0, 90.0]])
    words = ["--split", "train", "--size", "416", "--images", "1", "--out", str(tmp_path / "sheets")]
    assert main(["show-data", str(data), *words, "--placement", "stretch"]) == 0
    out = capsys.readouterr().out
    assert "in the network input, 416 x 416, stretch" in out
    assert "187.2" in out
    lines = anchor_table(index, make_plan(read_cfg("yolov3.cfg")))
    assert lines[1].split() == ["0", "32", "116", "x", "90", "2", "100.0%", "1.00"]
    assert lines[4].split() == ["0", "32", "all", "100.0%"]
    assert [line.split()[-1] for line in lines[8:13:4]] == ["0.0%", "0.0%"]
    assert lines[13].startswith(
        "boxes have a mean IoU of 1.00 with their best anchor, 0.0% are below 0.5; these 2 boxes"
    )


def test_a_tile_is_what_the_network_sees(tmp_path: Path) -> None:
    """The image is letterboxed on grey, the box has the colour of its class, the rest is unchanged."""
    data = open_data(write_voc(tmp_path, [DrawnImage((208, 104), [(1, 20, 40, 80, 90)])]))
    label = int(data[0][1]["labels"][0])
    shown = tile(data.sample(0), data.names, Size(416, 416))
    assert shown.shape == (416, 416, 3)
    assert (shown[:104] == GREY).all()
    assert (shown[312:] == GREY).all()
    for y, x in ((104 + 120, 40), (104 + 180, 100), (104 + 120, 160)):  # left, bottom and right edge, doubled
        assert tuple(shown[y, x]) == colour(label)
    small = tile(data.sample(0), data.names, Size(104, 208))
    assert np.array_equal(small[95:], read_image(data.path(0))[95:])


def test_a_sheet_of_any_number(tmp_path: Path) -> None:
    """One tile, several, more than there are images; a missing image only leaves its tile empty."""
    data = open_data(write_yolo(tmp_path, [DrawnImage((30 + k, 40), [(0, 0, 0, 20, 20)]) for k in range(7)]))
    assert spread(7, 3) == [0, 2, 4]
    assert spread(2, 12) == [0, 1]
    assert contact_sheet(data, [3], Size(64, 96)).shape == (TITLE + 64 + CAPTION + GAP, 96 + 2 * GAP, 3)
    before = contact_sheet(data, range(7), Size(96, 96), "title")
    data.path(0).unlink()
    after = contact_sheet(data, range(7), Size(96, 96), "title")
    assert (after[TITLE : TITLE + 96, GAP : GAP + 96] == 220).all()
    assert np.array_equal(before[:, GAP + 96 + GAP :], after[:, GAP + 96 + GAP :])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts, anchors, faults with their place, a sheet per split; the data set is not changed."""
    root = write_yolo(tmp_path / "set", [TWO[0]] * 2)
    (root / "labels" / "train" / "img_0.txt").write_text("0 0.5 0.5 0.5 0.5\n5 0.5 0.5 0.1 0.1\n")
    before = {file: file.read_bytes() for file in root.rglob("*.*")}
    arguments = ["show-data", str(root), "--cfg", "yolov3-tiny.cfg", "--size", "96x64", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    out, error = capsys.readouterr()
    assert error == ""  # faults are printed once
    assert "train: pixels of boxes in the network input, 96 x 64" in out
    assert "train: boxes by the anchor of yolov3-tiny.cfg that is most like them" in out
    assert "too few to tell whether other anchors would fit better" in out
    assert (
        f"train: 1 images left out because of 1 faults\n{root}/labels/train/img_0.txt:2: class 5: there are 3 classes"
        in out
    )
    assert read_image(tmp_path / "out" / "set-train.png").shape == (TITLE + 64 + CAPTION + GAP, 96 + 2 * GAP, 3)
    assert {file: file.read_bytes() for file in root.rglob("*.*")} == before


def test_a_broken_split_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named with the reason, exit status 0; with `--bad error` 1; alone, it is an error."""
    root = write_yolo(tmp_path / "set")
    description = root / "data.yaml"
    description.write_text("train: images/train\nval: images/nowhere\nnames: [cat, dog, red ball]\n")
    usual = ["--cfg", "yolov3-tiny.cfg", "--size", "96", "--out", str(tmp_path / "out")]
    for more, status in (([], 0), (["--bad", "error"], 1)):
        assert main(["show-data", str(description), *usual, *more]) == status
        out, error = capsys.readouterr()
        assert [line.split()[:2] for line in out.splitlines() if line.startswith("train  ")] == [["train", "2"]]
        assert "val: cannot be shown\n" in out
        assert "images/nowhere: no such folder" in out
        assert error == ""
    assert main(["show-data", str(description), "--split", "val", *usual]) == 1
    assert "images/nowhere: no such folder" in capsys.readouterr().err


def test_faults_are_listed_or_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged image is left out and counted like that of a bad line; with `--bad error` the split is not shown."""
    root = write_yolo(tmp_path / "set", [DrawnImage((30, 30), [(0, 0, 0, 9, 9)])] * 4)
    (root / "images" / "train" / "img_1.jpg").write_bytes(b"no image")
    (root / "labels" / "train" / "img_2.txt").write_text("7 0.5 0.5 0.1 0.1\n")
    arguments = ["show-data", str(root), "--cfg", "yolov3-tiny.cfg", "--size", "96", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "train: 2 images left out because of 2 faults\n" in out
    assert main([*arguments, "--bad", "error"]) == 1
    assert "img_2.txt:1: class 7" in capsys.readouterr().err


def test_what_cannot_be_learned_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That a training would refuse the set, or that most images have no labels, is among the notes."""
    usual = ["--cfg", "yolov3-tiny.cfg", "--size", "96", "--out", str(tmp_path / "out")]
    for name, objects, expected in (
        ("none", (0, 0, 0), "nothing to learn or to evaluate on: none of the 3 images has an object"),
        ("few", (0, 1, 0), "2 of 3 images have no labels and are background"),
    ):
        drawn = [DrawnImage((30, 30), [(0, 0, 0, 9, 9)] * count) for count in objects]
        assert main(["show-data", str(write_coco(tmp_path / name, drawn)), *usual]) == 0
        assert f"train: notes\n{expected}" in capsys.readouterr().out


def test_the_command_with_a_subset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One class of one image: a set without boxes has no quantiles and no shares."""
    root = write_coco(
        tmp_path / "set", [DrawnImage((30, 30), [(0, 0, 0, 9, 9)]), DrawnImage((30, 30), [(1, 0, 0, 9, 9)])]
    )
    arguments = ["show-data", str(root), "--split", "tr", "--limit", "1", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--classes", "dog"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1] == f"{root}: COCO"
    assert out.splitlines()[3].split() == ["train", "1", "1", "0", "0", "0", "0", "0"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["set-train-augmented.png", "set-train.png"]
    with pytest.raises(SystemExit):
        main([*arguments, "--images", "0"])
    assert "images=0: expected at least 1 on the sheet" in capsys.readouterr().err
