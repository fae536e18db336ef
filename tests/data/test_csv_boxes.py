"""A csv file of boxes: what is written is read back, and what is wrong with a file has its place."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.small_sets import NAMES, TWO, WRITERS, DrawnImage, write_coco, write_voc, write_yolo
from yolo.__main__ import main
from yolo.data.datasets import Format, open_data
from yolo.data.formats import csv_boxes
from yolo.data.index import Index

ODD = [*TWO, DrawnImage((31, 17), [(2, 1, 2, 30, 11), (1, 0, 0, 7, 17), (2, 5, 5, 6, 6)])]
HEADER = "file,class,x1,y1,x2,y2"


def assert_same(one: Index, other: Index) -> None:
    """Images, sizes, objects and classes are equal to the last bit; ids and what evaluation reads may differ."""
    assert one.names == other.names
    assert [one.path(k).resolve() for k in range(len(one))] == [other.path(k).resolve() for k in range(len(other))]
    for name in ("sizes", "offsets", "labels", "boxes", "crowd"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize("name", ["coco", "voc", "yolo"])
@pytest.mark.parametrize("place", ["boxes.csv", "elsewhere/boxes.csv"])
def test_read_back(name: Format, place: str, tmp_path: Path) -> None:
    """The index is the same, from a file above the images and from one elsewhere, images without objects included."""
    index = open_data(WRITERS[name](tmp_path / "set", ODD), names=NAMES).index
    thirds = np.random.default_rng(0).uniform(0, 1, index.boxes.shape) / 3  # boxes with all their digits
    index = replace(index, boxes=np.minimum(index.boxes + thirds, np.tile(index.sizes[index.image], 2)))
    index.crowd[0] = name == "voc"
    file = tmp_path / ("set" if place == "boxes.csv" else "") / place
    csv_boxes.write(file, index)
    again = open_data(file, names=NAMES)
    assert_same(again.index, index)
    first, *rows = csv.reader(file.read_text().splitlines())
    assert first == [*HEADER.split(","), *(["crowd"] if name == "voc" else [])]
    assert {Path(row[0]).is_absolute() for row in rows} == {"/" in place}
    if place == "boxes.csv":
        moved = shutil.move(tmp_path / "set", tmp_path / "moved")
        assert open_data(Path(moved) / "boxes.csv", names=NAMES)[0][0].equal(open_data(moved, names=NAMES)[0][0])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`show-data --csv` writes a row per object, a file per split if there are several, and shows the file itself."""
    data = write_voc(tmp_path / "set")
    usual = ["--cfg", "yolov3-tiny.cfg", "--size", "96", "--out", str(tmp_path / "out")]
    one, two, third = (tmp_path / "set" / name for name in ("one.csv", "two.csv", "three.csv"))
    assert main(["show-data", str(data), *usual, "--csv", str(one)]) == 0
    assert str(one) in capsys.readouterr().out.splitlines()
    assert one.read_text().splitlines() == [
        HEADER,
        "JPEGImages/img_0.jpg,dog,4.0,6.0,30.0,40.0",
        "JPEGImages/img_0.jpg,cat,0.0,0.0,64.0,48.0",
        "JPEGImages/img_1.jpg,,,,,",
    ]
    assert main(["show-data", str(one), *usual, "--csv", str(third)]) == 0
    assert one.read_bytes() == third.read_bytes()
    listing = data / "ImageSets" / "Main"
    (listing / "train.txt").write_text("img_0\n")
    (listing / "val.txt").write_text("img_1\n")
    assert main(["show-data", str(data), *usual, "--csv", str(two)]) == 0
    written = [(tmp_path / "set" / f"two-{split}.csv").read_text().splitlines() for split in ("train", "val")]
    assert [len(lines) for lines in written] == [3, 2]
    assert not two.exists()
    # As training and validation set; classes are those of both.
    held = open_data(tmp_path / "set" / "two-train.csv", val=tmp_path / "set" / "two-val.csv", split="val")
    assert (held.names, len(held)) == (["cat", "dog"], 1)
    for wrong, problem in ((one, "exists"), (tmp_path / "boxes.txt", "does not end in .csv")):
        assert main(["show-data", str(data), "--split", "val", *usual, "--csv", str(wrong)]) == 1
        assert f"--csv {wrong}: {problem}; name a new file" in capsys.readouterr().err


def test_an_image_that_is_listed_twice(tmp_path: Path) -> None:
    """It is written once, so that its objects do not become two each."""
    write_yolo(tmp_path)
    (tmp_path / "train.txt").write_text("images/train/img_0.jpg\n" * 2)
    index = open_data(tmp_path / "train.txt").index
    assert len(index) == 2
    csv_boxes.write(tmp_path / "boxes.csv", index)
    assert len((tmp_path / "boxes.csv").read_text().splitlines()) == 3


def test_files_of_others(tmp_path: Path) -> None:
    """Columns in any order, further columns, rows of an image apart, quotes, a byte order mark, Windows line ends."""
    write_coco(tmp_path)
    lines = [
        "x1,y1,x2,y2,note,class,file",
        '1,2,3,4,,"b, c",img_0.jpg',
        "0,0,5,5,a,a,img_1.jpg",
        "2,2,4,4,,a,img_0.jpg,more",
    ]
    (tmp_path / "boxes.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    index = open_data(tmp_path / "boxes.csv", quiet=True).index
    assert index.names == ["a", "b, c"]
    assert [index.path(k).name for k in range(2)] == ["img_0.jpg", "img_1.jpg"]
    assert index.labels.tolist() == [1, 0, 0]
    assert index.boxes.tolist() == [[1, 2, 3, 4], [2, 2, 4, 4], [0, 0, 5, 5]]
    assert "2 of 2 paths are not as written" in index.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,class,x1,y1,x2\n", "boxes.csv: no column y2; the first line must be file,class,x1,y1,x2,y2"),
        ("", "boxes.csv: no column file, class, x1, y1, x2, y2"),
        (f"{HEADER}\nIMAGE,cat,1,2,3\n", "boxes.csv:2: cat,1,2,3,: expected a class and four numbers"),
        (f"{HEADER}\nIMAGE,cat,1,2,3,x\n", "boxes.csv:2: cat,1,2,3,x: expected a class and four numbers"),
        (f"{HEADER}\nIMAGE,cat,1,5,2,3,4\n", "boxes.csv:2: cat,1,5,2,3,4: expected a class and four numbers"),
        (f"{HEADER}\nIMAGE,cat,1,2,3,nan\n", "boxes.csv:2: cat,1,2,3,nan: expected a class and four numbers"),
        (f"{HEADER}\nIMAGE,cat,5,2,3,4\n", "boxes.csv:2: cat,5,2,3,4: expected .* x1 <= x2"),
        (f"{HEADER}\nIMAGE,,1,2,3,4\n", "boxes.csv:2: ,1,2,3,4: expected a class"),
        (f"{HEADER}\nIMAGE,cat,1,2,3,4\n,cat,1,2,3,4\n", "boxes.csv:3: the file is empty"),
        (f"{HEADER}\nIMAGE,cow,1,2,3,4\n", "1 classes of the data are not among the 3 class names: 'cow'"),
        (f"{HEADER}\nIMAGE,cat,60,40,90,90\n", r"boxes.csv:2: the box \(60, 40\) to \(90, 90\) lies outside its image"),
        (f"{HEADER}\nIMAGE,cat,1,2,3,4\nimages/no.jpg,,,,,\n", "no such image: .*no.jpg"),
    ],
)
def test_faults(text: str, message: str, tmp_path: Path) -> None:
    """Each has its file and line, and what was expected."""
    write_coco(tmp_path)
    (tmp_path / "boxes.csv").write_text(text.replace("IMAGE", "images/train/img_0.jpg"))
    with pytest.raises(ValueError, match=message):
        open_data(tmp_path / "boxes.csv", names=NAMES)
