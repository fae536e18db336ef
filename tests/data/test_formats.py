"""Reading data sets: three formats with one meaning; splits, subsets, names; the counts of real sets."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors

from tests.support.paths import ROOT
from tests.support.small_sets import NAMES, TWO, WRITERS, DrawnImage, write_coco, write_images, write_voc, write_yolo
from yolo.data.datasets import Format, ImageDataset, open_data, splits

SHARED = ROOT / ".." / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is absent: real data sets not checked")

FORMATS: tuple[Format, ...] = ("coco", "voc", "yolo")


@st.composite
def images(draw: st.DrawFn) -> DrawnImage:
    """Draw an image of any small size with up to four objects on whole pixels."""
    w, h = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    things = []
    for _ in range(draw(st.integers(0, 4))):
        x1, y1 = draw(st.integers(0, w - 1)), draw(st.integers(0, h - 1))
        things.append((draw(st.integers(0, 2)), x1, y1, draw(st.integers(x1 + 1, w)), draw(st.integers(y1 + 1, h))))
    return DrawnImage((w, h), things)


@settings(max_examples=25, deadline=None)
@given(st.lists(images(), min_size=1, max_size=4))
def test_three_formats_one_meaning(drawn: list[DrawnImage]) -> None:
    """In every format labels are equal, boxes within 0.01 pixels of what was written, areas w·h."""
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMATS:
            data = open_data(WRITERS[name](Path(folder) / name, drawn), names=NAMES)
            assert (data.names, len(data)) == (list(NAMES), len(drawn))
            for k, image in enumerate(drawn):
                _, target = data[k]
                # COCO's file is written backwards, and objects are in the order of the file
                things = list(image.objects)[::-1] if name == "coco" else list(image.objects)
                assert target["labels"].tolist() == [label for label, *_ in things]
                boxes = torch.tensor([box for _, *box in things], dtype=torch.float32).reshape(-1, 4)
                torch.testing.assert_close(target["boxes"].as_subclass(torch.Tensor), boxes, atol=0.01, rtol=0)
                sides = boxes[:, 2:] - boxes[:, :2]
                torch.testing.assert_close(target["area"], sides.prod(1), atol=2, rtol=1e-3)


@pytest.mark.parametrize("name", FORMATS)
def test_the_sample_contract(name: Format, tmp_path: Path) -> None:
    """Types, shapes and units, also of an image without objects and of an image with one channel."""
    data: ImageDataset = open_data(WRITERS[name](tmp_path), names=NAMES)
    image, target = data[0]
    assert isinstance(image, tv_tensors.Image)
    assert (image.dtype, image.shape) == (torch.uint8, (3, 48, 64))
    boxes = target["boxes"]
    assert isinstance(boxes, tv_tensors.BoundingBoxes)
    assert (boxes.dtype, boxes.canvas_size, boxes.format.value) == (torch.float32, (48, 64), "XYXY")
    assert (target["labels"].dtype, target["iscrowd"].dtype, target["area"].dtype) == (
        torch.int64, torch.bool, torch.float32,
    )  # fmt: skip
    image, target = data[-1]
    assert image.shape == (3, 60, 40)
    assert [tuple(target[key].shape) for key in ("boxes", "labels", "iscrowd", "area")] == [(0, 4), (0,), (0,), (0,)]
    assert data.path(1).name == "img_1.jpg"
    with pytest.raises(IndexError, match="image 2 of 2"):
        data[2]


def test_crowds_and_difficult_objects(tmp_path: Path) -> None:
    """COCO's iscrowd and VOC's difficult both become iscrowd; COCO's area is that of the file."""
    file = write_coco(tmp_path / "c") / "annotations" / "instances_train.json"
    file.write_text(file.read_text().replace('"iscrowd": 0', '"iscrowd": 1', 1).replace('"area": 884', '"area": 7.5'))
    _, target = open_data(file)[0]
    assert (target["iscrowd"].tolist(), target["area"].tolist()) == ([True, False], [3072, 7.5])
    xml = write_voc(tmp_path / "v") / "Annotations" / "img_0.xml"
    xml.write_text(xml.read_text().replace("<difficult>0", "<difficult>1", 1))
    assert open_data(tmp_path / "v")[0][1]["iscrowd"].tolist() == [True, False]


def test_the_order_of_formats(tmp_path: Path) -> None:
    """COCO wins over VOC, VOC over YOLO, unless a format is given; VOC's lists of one class are not splits."""
    write_yolo(tmp_path)
    assert splits(tmp_path) == ["train"]
    (tmp_path / "labels" / "train" / "img_0.txt").write_text("2 0.5 0.5 0.5 0.5\n")
    write_voc(tmp_path)
    assert open_data(tmp_path)[0][1]["labels"].tolist() == [1, 0]
    write_coco(tmp_path)
    assert open_data(tmp_path)[0][1]["labels"].tolist() == [0, 1]
    assert open_data(tmp_path, data_format="yolo")[0][1]["labels"].tolist() == [2]


def test_splits_by_the_beginning_of_their_names(tmp_path: Path) -> None:
    """An exact name wins, then the only one that begins so; otherwise the error lists the splits."""
    for name in ("train2017", "val2017", "val", "extra"):
        write_images(tmp_path / "images" / name, TWO[:1], ["a"])
    (tmp_path / "classes.txt").write_text("cat\n")
    assert open_data(tmp_path, split="train").path(0).parent.name == "train2017"
    assert open_data(tmp_path, split="val").path(0).parent.name == "val"
    with pytest.raises(ValueError, match=r"no split begins with 'test'; there are extra, train2017, val, val2017"):
        open_data(tmp_path, split="test")
    with pytest.raises(ValueError, match=r"which split\? there are extra"):
        open_data(tmp_path)
    with pytest.raises(ValueError, match="several splits begin with 'va'"):
        open_data(tmp_path, split="va")


def test_yaml_and_darknet_data(tmp_path: Path) -> None:
    """A data.yaml with a path and a mapping of names, and a .data file with a list of images, give the same set."""
    write_yolo(tmp_path / "set")
    (tmp_path / "d.yaml").write_text("path: set\ntrain: images/train\nnames: {0: cat, 1: dog, 2: red ball}\nnc: 3\n")
    (tmp_path / "list.txt").write_text("set/images/train/img_1.jpg\nset/images/train/img_0.jpg\n")
    (tmp_path / "d.data").write_text("classes= 3\ntrain = list.txt # all\nnames = set/classes.txt\nbackup = x\n")
    described, listed = open_data(tmp_path / "d.yaml"), open_data(tmp_path / "d.data", split="train")
    assert described.names == listed.names == list(NAMES)
    assert [listed.path(k).name for k in range(2)] == ["img_1.jpg", "img_0.jpg"]
    assert described[0][1]["labels"].tolist() == listed[1][1]["labels"].tolist() == [1, 0]


def test_a_yaml_with_the_number_of_classes_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Names in a file beside it count; without one, classes are numbered, and any names may be given for them."""
    root = write_yolo(tmp_path)
    (root / "data.yaml").write_bytes("# für alle\ntrain: images/train\nnc: '3'\n".encode("latin-1"))
    assert open_data(root).names == list(NAMES)
    assert not caplog.text
    (root / "classes.txt").unlink()
    assert open_data(root).names == ["class 0", "class 1", "class 2"]
    assert caplog.text.count(f"{root / 'data.yaml'}:3: nc is 3, but there are no names") == 1
    assert open_data(root, names=NAMES).names == list(NAMES)
    with pytest.raises(ValueError, match="class 2: class 2 in the data, none given"):
        open_data(root, names=NAMES[:2])


def test_subsets_are_deterministic(tmp_path: Path) -> None:
    """`limit` takes the first images; a fraction is part of a larger one, and another with another seed."""
    data = write_yolo(tmp_path, [DrawnImage((8, 8), [(k % 3, 0, 0, 4, 4)]) for k in range(40)])

    def stems(**options: float) -> list[str]:
        found = open_data(data, **options)  # type: ignore[arg-type]
        return [found.path(k).stem for k in range(len(found))]

    everything = stems()
    assert stems(limit=3) == everything[:3]
    assert len(stems(limit=100)) == 40
    tenth, half = stems(fraction=0.1), stems(fraction=0.5)
    assert (len(tenth), len(half)) == (4, 20)
    assert set(tenth) < set(half)
    assert half == sorted(half, key=everything.index) == stems(fraction=0.5)
    assert half != stems(fraction=0.5, seed=1)
    for wrong in ({"limit": 0}, {"fraction": 0.0}, {"fraction": 1.5}):
        with pytest.raises(ValueError, match="expected"):
            stems(**wrong)


def test_classes_by_name(tmp_path: Path) -> None:
    """Chosen classes are in the order of the choice; every image is kept."""
    data = open_data(write_voc(tmp_path), classes="dog, cat")
    assert data.names == ["dog", "cat"]
    assert data[0][1]["labels"].tolist() == [0, 1]
    data = open_data(tmp_path, classes="cat")
    assert (len(data), data[0][1]["labels"].tolist(), data[0][1]["boxes"].tolist()) == (2, [0], [[0, 0, 64, 48]])
    with pytest.raises(ValueError, match="no class is called 'dgo'; did you mean dog"):
        open_data(tmp_path, classes="dgo")


def test_names_are_matched_by_name(tmp_path: Path) -> None:
    """Given names may have another order, more names and darknet's spelling where the data has names too."""
    data = open_data(write_coco(tmp_path), names=["tvmonitor", "red ball", "dog", "cat"])
    assert (data.names[0], data[0][1]["labels"].tolist()) == ("tvmonitor", [3, 2])


def test_odd_boxes_are_noted_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A box that sticks out is clipped in the sample, one without area is kept; both are logged with their place."""
    labels = write_yolo(tmp_path) / "labels" / "train" / "img_0.txt"
    labels.write_text("0 0.5 0.5 1.05 0.5\n1 0.5 0.5 0 0.5\n2 0.5 0.5 0.0078125 0.5\n")
    boxes = open_data(tmp_path)[0][1]["boxes"]
    assert boxes[0].tolist() == [0, 12, 64, 36]
    assert boxes[1].tolist() == [32, 12, 32, 36]
    assert f"1 boxes stick out of their image, by 1.60 pixels at most, {labels}:1; clipped" in caplog.text
    assert f"1 boxes without area; the loss ignores them, such as {labels}:2" in caplog.text
    assert f"1 boxes a pixel thin, such as {labels}:3" in caplog.text


def test_annotations_are_arrays(tmp_path: Path) -> None:
    """Only arrays grow with the images: no Python object per image or box, and reading images leaves none."""
    data = open_data(write_yolo(tmp_path, [DrawnImage((8, 8), [(0, 0, 0, 4, 4)] * 3)] * 30))
    for value in vars(data.index).values():
        assert isinstance(value, (np.ndarray, int, type(None))) or len(value) <= len(NAMES)
    before = pickle.dumps(data)
    for k in range(len(data)):
        data[k]
    assert pickle.dumps(data) == before


COUNTS = [
    # format, set, split, images, empty, boxes, crowds, classes, small, medium, large
    ("coco", "coco-mini", "train2017", 168, 2, 1580, 15, 80, 663, 603, 314),
    ("coco", "coco-mini", "val2017", 141, 2, 1178, 13, 79, 526, 378, 274),
    ("yolo", "coco128", "train2017", 128, 2, 929, 0, 71, 337, 281, 311),
    ("yolo", "coco128", "val2017", 125, 0, 877, 0, 72, 265, 303, 309),
    *((name, "bccd", *row) for name in ("coco", "voc") for row in (
        ("train", 205, 0, 2805, 0, 3, 21, 775, 2009),
        ("val", 87, 0, 1138, 0, 3, 8, 334, 796),
        ("test", 72, 0, 945, 0, 3, 5, 277, 663),
    )),
]  # fmt: skip


@needs_shared
@pytest.mark.parametrize("row", COUNTS, ids=lambda row: " ".join(map(str, row[:3])))
def test_counts_of_real_sets(row: tuple[Format, str, str, int]) -> None:
    """The counts are exactly the published ones."""
    name, folder, split, *counts = row
    index = open_data(SHARED / folder, split=split, data_format=None if name != "voc" else "voc").index
    sizes = np.bincount(np.digitize(index.area, (32**2, 96**2)), minlength=3)
    empty = int((np.diff(index.offsets) == 0).sum())
    kinds = len(set(index.labels.tolist()))
    assert [len(index), empty, len(index.labels), int(index.crowd.sum()), kinds, *sizes.tolist()] == counts


@needs_shared
def test_real_sets_agree_with_each_other() -> None:
    """BCCD's xml and json have the same boxes and classes; images of COCO in two sets have the same boxes."""
    for split in ("train", "val", "test"):
        coco = open_data(SHARED / "bccd", split=split, data_format="coco")
        voc = open_data(SHARED / "bccd", split=split, data_format="voc", names=coco.names)
        assert coco.names == ["RBC", "WBC", "Platelets"]
        assert _by_stem(coco) == _by_stem(voc)
    mini = _by_stem(open_data(SHARED / "coco-mini", split="val"), crowds=False)
    text = _by_stem(open_data(SHARED / "coco128", split="val"))
    both = mini.keys() & text.keys()
    assert len(both) == 3
    for stem in both:
        assert [label for label, *_ in mini[stem]] == [label for label, *_ in text[stem]]
        assert np.allclose(mini[stem], text[stem], atol=0.01)


def _by_stem(data: ImageDataset, crowds: bool = True) -> dict[str, list[list[float]]]:
    """Return sorted rows of class index and box for each stem, without decoding an image."""
    index, found = data.index, {}
    for k in range(len(data)):
        part = slice(index.offsets[k], index.offsets[k + 1])
        rows = np.concatenate((index.labels[part, None], index.boxes[part]), axis=1)
        found[data.path(k).stem] = sorted(rows[~index.crowd[part] | crowds].tolist())
    return found
