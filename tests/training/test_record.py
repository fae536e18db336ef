"""What a run keeps of its data: names, digests, the text of data.json, and what changed in words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo.data.index import Index
from yolo.training.record import (
    ImageLine,
    Part,
    Record,
    cfg_changes,
    changes,
    digests,
    part_of,
    read_record,
    same_images,
    text_of,
)


def index(paths: Sequence[str], counts: Sequence[int], seed: int = 0) -> Index:
    """An index of these images, with as many drawn objects each, of two classes."""
    rng, total = np.random.default_rng(seed), sum(counts)
    boxes = rng.uniform(0, 50, (total, 4))
    return Index(
        names=["bolt", "nut"],
        paths=np.array([os.fsencode(path) for path in paths]),
        image_ids=np.arange(len(paths)),
        sizes=np.full((len(paths), 2), 100),
        offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        labels=rng.integers(0, 2, total),
        boxes=boxes,
        read=boxes,
        area=boxes[:, 2] * boxes[:, 3],
        crowd=np.zeros(total, dtype=bool),
    )


def part(images: Sequence[str] = ("a.jpg", "b.jpg", "c.jpg"), **more: Any) -> Part:
    """A part with images of these names."""
    lines = [ImageLine(name, "objects", 6, 7) for name in images]
    return Part({"path": "set"}, ["bolt", "nut"], ["bolt", "nut"], lines)._replace(**more)


def with_line(whole: Part, k: int, **more: Any) -> Part:
    """The part with another line `k`."""
    images = list(whole.images)
    images[k] = images[k]._replace(**more)
    return whole._replace(images=images)


def test_nothing_changed() -> None:
    """Other conditions are no change, such as the path of a set that moved."""
    assert changes(part(), part(conditions={"path": "elsewhere"})) == []


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (part(["a.jpg", "c.jpg"]), ["b.jpg was removed"]),
        (part(["c.jpg"]), ["a.jpg, b.jpg were removed"]),
        (part(["a.jpg", "b.jpg", "c.jpg", "d.jpg"]), ["d.jpg was added"]),
        (part([*"abc", *"defg"]), ["4 images were added, such as d, e, f"]),
        (with_line(part(), 1, objects="others"), ["labels of b.jpg changed"]),
        (with_line(part(), 2, size=8), ["the image file of c.jpg changed"]),
        (with_line(part(), 2, crc=8), ["the image file of c.jpg changed"]),
        (with_line(part(), 0, crc=8, objects="x"),
         ["labels of a.jpg changed", "the image file of a.jpg changed"]),
        (part(["a.jpg", "c.jpg", "b.jpg"]), ["the order of the images changed"]),
        (part(["b.jpg", "a.jpg", "d.jpg"]),
         ["c.jpg was removed", "d.jpg was added", "the order of the images changed"]),
        (part(names=["bolt", "screw"]), ["class 1 was nut, is screw"]),
        (part(names=["bolt"]), ["class 1, nut, is gone"]),
        (part(names=["bolt", "nut", "cog"]), ["class 2, cog, is new"]),
        (part(listed=["nut", "bolt"]), ["the data lists the classes as nut, bolt; it was bolt, nut"]),
    ],
)  # fmt: skip
def test_what_changed(now: Part, found: list[str]) -> None:
    """Every kind of change has a sentence of its own, with the first names and the number of images."""
    before = part([*"abc"]) if "such as" in found[0] else part()
    assert changes(before, now) == found


def test_many_changes_are_counted() -> None:
    """A thousand images of which all have other labels give one sentence, eighty other classes four lines."""
    names = [f"train2017/{k:012}.jpg" for k in range(1000)]
    before, now = part(names), part(names)._replace(images=[ImageLine(name, "x", 6, 7) for name in names])
    expected = "labels of 1,000 images changed, such as " + ", ".join(names[:3])
    assert changes(before, now) == [expected]
    classes = [f"class {k}" for k in range(80)]
    found = changes(part(names=classes), part(names=classes[::-1]))
    assert found[-1] == "... and 77 more of this kind"


def test_a_set_that_moved_to_another_depth() -> None:
    """The folder above all images does not matter; below it, names do."""
    before = part(["images/train/a.jpg", "images/train/b.jpg"])
    assert changes(before, part(["train/a.jpg", "train/b.jpg"])) == []
    assert same_images(before, part(["a.jpg", "b.jpg"]))
    assert not same_images(before, part(["b.jpg", "a.jpg"]))
    assert not same_images(before, part(["a.jpg"]))


def test_an_image_that_is_listed_twice() -> None:
    """Both lines are compared, and a line more is an image more."""
    twice = part(["a.jpg", "b.jpg", "a.jpg"])
    assert changes(twice, twice) == []
    assert changes(part(["a.jpg", "b.jpg"]), twice) == ["a.jpg (2) was added"]
    assert changes(twice, with_line(twice, 2, objects="x")) == ["labels of a.jpg (2) changed"]


def test_digests_see_every_field() -> None:
    """Size of the image, class, box, area and crowd each change the digest of their image, and no other."""
    before = index(["a", "b", "c"], [2, 0, 3])
    whole = digests(before)
    assert len(set(whole)) == 3
    for name in ("labels", "read", "area", "crowd"):
        now = index(["a", "b", "c"], [2, 0, 3])
        getattr(now, name)[-1] += True
        assert [one == other for one, other in zip(digests(now), whole, strict=True)] == [True, True, False], name
    now = index(["a", "b", "c"], [2, 0, 3])
    now.sizes[1, 0] += 1
    assert [one == other for one, other in zip(digests(now), whole, strict=True)] == [True, False, True]
    assert digests(index([], [])) == []
    assert len(set(digests(index(["a", "b"], [0, 0])))) == 1


def test_names_are_relative_to_the_data(tmp_path: Path) -> None:
    """To the folder of the data, or, for images elsewhere, to the folder that holds them all."""

    def names(path: Path, *images: Path) -> list[str]:
        one = index(list(map(str, images)), [0] * len(images))
        return [line.name for line in part_of(one, path, one.names, [(1, 2)] * len(images), {}).images]

    a, b = tmp_path / "set" / "images" / "a.jpg", tmp_path / "set" / "more" / "b.jpg"
    for name in ("set", "se"):
        (tmp_path / name).mkdir()
    assert names(tmp_path / "set", a, b) == ["images/a.jpg", "more/b.jpg"]
    assert names(tmp_path / "set" / "data.yaml", a) == ["images/a.jpg"]
    assert names(tmp_path / "lists" / "train.txt", a, b) == ["images/a.jpg", "more/b.jpg"]
    assert names(tmp_path / "lists" / "train.txt", a) == ["a.jpg"]
    assert names(tmp_path / "se", a) == ["a.jpg"], "not a folder above, only the same letters"


def test_the_file(tmp_path: Path) -> None:
    """What is written is read again, with names of any letters; an image has a line; a missing file is None."""
    file = tmp_path / "data.json"
    assert read_record(file) is None
    one = index(["/x/ä 1.jpg", "/x/b\udcff.jpg"], [1, 2])
    both = part_of(one, Path("/x"), ["nut", "bolt"], [(5, 6), (7, 8)], {"path": "x", "limit": None})
    assert both.conditions == {"path": "x", "limit": None, "images": 2, "objects": 3, "left_out": 0}
    for record in (Record(both, part(), [{"epoch": 1, "step": 2, "changes": ["a"]}]), Record(both, None, [])):
        file.write_text(text_of(record), encoding="utf-8")
        assert read_record(file) == record
        assert sum(line.startswith("[") for line in file.read_text().splitlines()) == 2 + 3 * (record.val is not None)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "train": null, "val": null}'])
def test_a_damaged_file(text: str, tmp_path: Path) -> None:
    """Or one of another format: the error names it, and what deleting it means."""
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(ValueError, match=r"data\.json: not what a run keeps of its data .*; without the file nothing"):
        read_record(tmp_path / "data.json")


def test_a_large_set(tmp_path: Path) -> None:
    """The record has less than 100 bytes for an image of COCO, however many objects it has."""
    images = 5_000
    one = index([f"/coco/train2017/{k:012}.jpg" for k in range(images)], [k % 15 for k in range(images)])
    record = Record(part_of(one, Path("/coco"), one.names, [(200_000, 2**32 - 1)] * images, {}), None, [])
    file = tmp_path / "data.json"
    file.write_text(text_of(record))
    again = read_record(file)
    assert again is not None
    assert changes(record.train, again.train) == []
    assert file.stat().st_size < 100 * images


CFG = "[net]\nwidth=64\n\n[convolutional]\nfilters=8\nsize=3\n\n[yolo]\nmask=0,1\n"


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("x", "x", []),
        ("width=64", "width=96", ["the cfg changed: [net]: width=64 became width=96"]),
        ("filters=8", "filters=16", ["the cfg changed: [convolutional] (layer 0): filters=8 became filters=16"]),
        ("size=3\n", "", ["the cfg changed: [convolutional] (layer 0): size=3 became nothing"]),
        ("[yolo]", "[shortcut]\nfrom=-2\n[yolo]",
         ["the cfg changed: [shortcut] (layer 1): nothing became [shortcut]; from=-2"]),
    ],
)  # fmt: skip
def test_a_cfg_that_changed(old: str, new: str, found: list[str]) -> None:
    """The line and its section are named."""
    assert cfg_changes(CFG, CFG.replace(old, new)) == found
