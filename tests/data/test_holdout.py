"""A set without a validation split, divided by itself: deterministic, stable as it grows, objects on both sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.small_sets import NAMES, DrawnImage, write_coco, write_images, write_yolo
from yolo.data.datasets import open_data, splits
from yolo.data.holdout import held_out
from yolo.data.index import Index
from yolo.data.split_names import kind, meant


def index_of(*paths: str, empty: tuple[int, ...] = (), crowds: tuple[int, ...] = ()) -> Index:
    """Return an index of these images with an object each, apart from those at the positions `empty`."""
    counts = np.array([k not in empty for k in range(len(paths))], dtype=np.int64)
    boxes = np.tile([0.0, 0, 4, 4], (int(counts.sum()), 1))
    owners = np.flatnonzero(counts)
    return Index(
        names=["a"], paths=np.array([path.encode() for path in paths], dtype=bytes),
        image_ids=np.arange(len(paths)), sizes=np.full((len(paths), 2), 8),
        offsets=np.concatenate(([0], np.cumsum(counts))), labels=np.zeros(len(boxes), dtype=np.int64), boxes=boxes,
        read=boxes, area=np.full(len(boxes), 16.0), crowd=np.isin(owners, crowds),
    )  # fmt: skip


def held(*paths: str, share: float = 0.2, empty: tuple[int, ...] = (), crowds: tuple[int, ...] = ()) -> set[str]:
    """Return the paths of these images that are held out."""
    chosen = held_out(index_of(*paths, empty=empty, crowds=crowds), share)
    return {path for path, out in zip(paths, chosen, strict=True) if out}


MANY = [f"img_{k}.jpg" for k in range(1000)]


def test_a_growing_set_keeps_its_division() -> None:
    """An image is on the same side whatever the other images, their order, their folder and their ending."""
    some, more = held(*MANY[:500]), held(*MANY[::-1])
    assert some == more & set(MANY[:500])
    assert {Path(path).stem for path in held(*(f"/x/{name[:-3]}png" for name in MANY))} == {name[:-4] for name in more}
    assert 150 < len(more) < 250
    assert more < held(*MANY, share=0.5)


def test_the_division_is_that_of_every_machine() -> None:
    """The hash is no part of Python: these images are held out today and in a year."""
    assert sorted(held(*MANY[:20])) == ["img_14.jpg", "img_18.jpg", "img_7.jpg"]


def test_copies_of_one_image_stay_together() -> None:
    """Roboflow's augmented copies of an image are all on one side."""
    copies = [f"{k}_jpg.rf.{'0a1b'[c % 4]}{c:031x}.jpg" for k in range(60) for c in range(3)]
    out = held(*copies)
    assert {name.split(".rf.")[0] for name in out}.isdisjoint(name.split(".rf.")[0] for name in set(copies) - out)
    assert 0 < len(out) < len(copies)


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_both_sides_have_objects(share: float) -> None:
    """The image with objects and the lowest hash is held out, that with the highest is not."""
    names, empty = MANY[:10], (0, 1, 2, 3, 4)
    out = held(*names, share=share, empty=empty)
    full = set(names[5:])
    assert out & full
    assert full - out


def test_a_set_that_cannot_be_divided() -> None:
    """One image with objects, or crowds alone, are not enough; the message has a remedy."""
    with pytest.raises(ValueError, match="1 images with objects cannot be divided .*--val PATH"):
        held("a.jpg", "b.jpg", "c.jpg", empty=(0, 1))
    with pytest.raises(ValueError, match="1 images with objects cannot be divided .*--val PATH"):
        held("a.jpg", "b.jpg", "c.jpg", crowds=(0, 1))


def test_the_two_parts_of_a_set(tmp_path: Path) -> None:
    """With a holdout, train and val are parts; without one, a split is all of it and val is an error."""
    data = write_yolo(tmp_path, [DrawnImage((8, 8), [(0, 0, 0, 4, 4)])] * 12)
    learn, out = (open_data(data, split=split, holdout=0.3) for split in ("train", "val"))
    paths = [{part.path(k) for k in range(len(part))} for part in (learn, out)]
    assert len(paths[0] | paths[1]) == 12 == len(paths[0]) + len(paths[1])
    assert (learn.whole, out.whole, learn.names) == (12, 12, list(NAMES))
    assert splits(data, holdout=0.3) == ["train", "val"]
    assert len(open_data(data)) == len(open_data(data, split="train", holdout=0)) == 12
    with pytest.raises(
        ValueError, match=r"no split begins with 'val'; there is only train; .*--val PATH.*--holdout 0\.2"
    ):
        open_data(data, split="val")
    write_images(data / "images" / "val", [DrawnImage((8, 8), [])], ["v"])
    assert len(open_data(data, split="train", holdout=0.3)) == 12, "a set with a validation split is not divided"


def test_a_second_path_is_the_validation_split(tmp_path: Path) -> None:
    """--val gives a folder or a file; the images of the first are then all for training."""
    data, other = write_yolo(tmp_path / "a"), write_coco(tmp_path / "b", [DrawnImage((9, 9), [(1, 0, 0, 4, 4)])])
    for val in (other, other / "annotations" / "instances_train.json"):
        assert splits(data, val=val) == ["train", "val"]
        assert len(open_data(data, split="train", val=val, holdout=0.2)) == 2
        assert open_data(data, split="val", val=val, holdout=0.2).index.sizes.tolist() == [[9, 9]]


def test_a_file_is_the_whole_set_whatever_its_name(tmp_path: Path) -> None:
    """A json file of one split is what `train` means, also if it is called val."""
    file = write_coco(tmp_path, [DrawnImage((8, 8), [(0, 0, 0, 4, 4)])] * 9) / "annotations" / "instances_train.json"
    file = file.rename(file.with_name("instances_val.json"))
    (tmp_path / "images" / "train").rename(tmp_path / "images" / "val")
    assert len(open_data(file, split="train")) == len(open_data(file)) == 9
    parts = [len(open_data(file, split=split, holdout=0.3)) for split in ("train", "val")]
    assert sum(parts) == 9 > max(parts)


@pytest.mark.parametrize(
    ("names", "wanted", "expected"),
    [
        (["train2017", "val2017"], "train", ["train2017"]),
        (["Train", "Validation"], "val", ["Validation"]),
        (["train", "valid"], "val", ["valid"]),
        (["train", "dev"], "val", ["dev"]),
        (["train", "val"], "validation", ["val"]),
        (["train", "dev_2"], "val", ["dev_2"]),
        (["val", "valid"], "val", ["val"]),
        (["train", "trainval", "val"], "train", ["train"]),
        (["trainval", "test"], "train", ["trainval"]),
        (["device", "train"], "val", []),
        (["val1", "val2"], "val", ["val1", "val2"]),
        (["TEST"], "test", ["TEST"]),
    ],
)
def test_which_split_a_word_means(names: list[str], wanted: str, expected: list[str]) -> None:
    """The same word, in any case, another word for it, or the beginning of a name."""
    assert meant(names, wanted) == expected


def test_kinds_of_splits() -> None:
    """A kind is a word that ends where the letters end."""
    assert [kind(name) for name in ("Train", "val2017", "dev-1", "testing", "trainval", "values", "all", "")] == [
        "train", "val", "val", "test", "trainval", "", "", "",
    ]  # fmt: skip
