"""Damaged annotations: each reader alone, and whole small data sets that are recognised and opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fuzz import damaged, damaged_json, survives
from tests.support.small_sets import WRITERS, write_yolo
from yolo.data.check import Rows
from yolo.data.datasets import open_data
from yolo.data.formats.coco_json import read_annotations
from yolo.data.formats.described import describes, from_file
from yolo.data.formats.voc_xml import parse
from yolo.data.formats.yolo_text import add_labels, read_text
from yolo.evaluation.coco_results import read_results

COCO = {
    "info": {"description": "x"},
    "images": [
        {"id": 7, "file_name": "img_0.jpg", "width": 64, "height": 48},
        {"id": 9, "file_name": "img_1.jpg", "width": 40, "height": 60},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [4, 6, 26.5, 34], "area": 90.5, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 3, "segmentation": [[1, 2, 30, 2, 30, 40]], "iscrowd": 0},
        {"id": 3, "image_id": 9, "category_id": 3, "bbox": [0, 0, 5, 5],
         "segmentation": {"counts": [9], "size": [60, 40]},
         "iscrowd": 1},
    ],
    "categories": [
        {"id": 1, "name": "cat", "supercategory": "animal"},
        {"id": 3, "name": "dog"},
        {"id": 0, "name": "animal", "supercategory": "none"},
    ],
}  # fmt: skip
KEYS = [b'"iscrowd": "0"', b'"segmentation": [[', b'"id":', b'"bbox": [0,0,1e308,1]', b'"categories"', b'"images"']

XML = b"""<?xml version="1.0" encoding="utf-8"?>
<annotation><filename>img_0.jpg</filename><size><width>64</width><height>48</height></size>
<object><name>cat</name><difficult>0</difficult><bndbox><xmin>5</xmin><ymin>7</ymin><xmax>30</xmax><ymax>40</ymax>
</bndbox></object><object><name>dog</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>64</xmax><ymax>48</ymax></bndbox>
</object></annotation>
"""
TAGS = [
    *(
        b"<!DOCTYPE annotation>",
        b'<!DOCTYPE a [<!ENTITY x "y">]>',
        b'<!DOCTYPE a SYSTEM "/etc/hostname">',
        b"&x;",
        b"&lt;",
    ),
    *(
        b'<?xml version="1.0" encoding="%s"?>' % name
        for name in (b"hex", b"rot13", b"idna", b"undefined", b"utf-7", b"x")
    ),
    *(b"<object>", b"</object>", b"<![CDATA[", b"<a>" * 300, b"\xef\xbb\xbf", b"<xmin>1e308</xmin>"),
]

YAML = b"path: .\ntrain: images/train\nval: [images/train]\nnc: 3\nnames:\n  0: cat\n  1: dog\n  2: red ball\n"
YAML_WORDS = [b"&a ", b"*a", b"<<: *a\n", b"!!python/object:os.system ", b"? ", b"- ", b"|\n", b"'\\UFFFFFFFF'",
              b'"\\ud800"', b"---\n", b"[" * 300, b"names: ",
              b"1:1:1", b"\t", b"train: ", b"!!binary x", b"2001-01-01"]  # fmt: skip

CSV = b"file,class,x1,y1,x2,y2,crowd\nimages/train/img_0.jpg,cat,4,6,30,40,0\nimages/train/img_1.jpg,dog,1,2,3,4.5,1\n"


def test_coco_annotations(tmp_path: Path) -> None:
    """Annotations of COCO's format."""
    seeds = [json.dumps(COCO).encode(), json.dumps(COCO, indent=1).encode("utf-16")][:1]
    survives(read_annotations, seeds, tmp_path / "coco.json", words=KEYS, damage=damaged_json, inputs=400)


def test_coco_results(tmp_path: Path) -> None:
    """Results of COCO's format, with and without names."""
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps(COCO))
    annotations = read_annotations(whole)
    rows = [{"image_id": 7, "category_id": 3, "bbox": [1, 2, 3.5, 4], "score": 0.5},
            {"image_id": "img_1", "file_name": "img_1.jpg", "category_name": "cat", "bbox": [1, 2, -3, 4],
             "score": 1}]  # fmt: skip
    survives(
        lambda file: read_results(file, annotations),
        [json.dumps(rows).encode()],
        tmp_path / "r.json",
        damage=damaged_json,
        inputs=500,
    )


def test_voc_xml(tmp_path: Path) -> None:
    """One xml file of VOC's format."""
    survives(parse, [XML, XML.replace(b"utf-8", b"gb2312")], tmp_path / "a.xml", words=TAGS, inputs=600)


def test_yolo_rows(tmp_path: Path) -> None:
    """Label files of YOLO's format. A bad row is a fault, which names the file and the line."""
    file = tmp_path / "img.txt"

    def read(file: Path) -> None:
        rows = Rows(fractions=True)
        rows.add_image("img.jpg", (64, 48))
        add_labels(rows, file, read_text(file), ["cat", "dog"], (64, 48))
        assert all(fault.text.startswith(f"{file}:") and len(fault.text) < 2000 for fault in rows.faults)
        if rows.faults:
            raise ValueError(rows.faults[0].text)

    survives(
        read,
        [b"0 0.5 0.5 0.25 0.5\n1 0.1 0.2 0.1 0.2 0.9\n", b"dog,0.5,0.5,.1,.1\n0 .1 .1 .2 .2 .3 .1\n"],
        file,
        inputs=400,
    )


@pytest.mark.parametrize("name", ["data.yaml", "obj.data"])
def test_descriptions(tmp_path: Path, name: str) -> None:
    """Files that describe a data set."""
    write_yolo(tmp_path)
    data = b"classes = 3\ntrain = images/train\nvalid= images/train\nnames = classes.txt\n# x\n"

    def read(file: Path) -> None:
        describes(file)
        from_file(file)

    flow = json.dumps({"path": ".", "train": "images/train", "val": ["images/train"], "nc": 2, "names": ["cat", "dog"]})
    seeds = [YAML, flow.encode()] if name == "data.yaml" else [data]
    names = (str(tmp_path),)  # a message may be about the file of names

    def damage(draw, seeds, words):  # type: ignore[no-untyped-def]
        return (
            damaged_json(draw, seeds[1:], words)
            if len(seeds) > 1 and draw.random() < 0.3
            else damaged(draw, seeds, words)
        )

    survives(_named(read, *names), seeds, tmp_path / name, words=YAML_WORDS, damage=damage, named=False, inputs=150)


def _named(read: Callable[[Path], object], *names: str) -> Callable[[Path], object]:
    """Return the reader; its messages have to hold one of these names."""

    def checked(file: Path) -> None:
        try:
            read(file)
        except (ValueError, OSError) as problem:
            if not any(name in str(problem) for name in names):
                raise AssertionError(f"{problem} names no file") from problem
            raise

    return checked


SETS = {
    "coco": ("annotations/instances_train.json", KEYS),
    "voc": ("Annotations/img_0.xml", TAGS),
    "yolo": ("labels/train/img_0.txt", [b"1e308", b"0 0.5 0.5 0.1 0.1\n"]),
}


@pytest.mark.parametrize("format", ["coco", "voc", "yolo"])
def test_whole_sets(tmp_path: Path, format: str) -> None:
    """A small set with one damaged file is recognised and opened."""
    root = WRITERS[format](tmp_path / "set")
    file, words = root / SETS[format][0], SETS[format][1]
    damage = damaged_json if format == "coco" else damaged
    survives(_of(root), [file.read_bytes()], file, words=words, damage=damage, named=False, inputs=60)


@pytest.mark.parametrize("name", ["classes.txt", "data.yaml", "train.txt", "ImageSets/Main/train.txt", "boxes.csv"])
def test_lists_of_a_set(tmp_path: Path, name: str) -> None:
    """The files beside the labels: names, descriptions, lists of images; and csv files of boxes."""
    root = WRITERS["voc" if name.startswith("I") else "yolo"](tmp_path / "set")
    seed = {
        "classes.txt": b"cat\ndog\nred ball\n", "data.yaml": YAML, "train.txt": b"images/train/img_0.jpg\nimg_1.jpg\n",
        "ImageSets/Main/train.txt": b"img_0\nimg_1\n", "boxes.csv": CSV,
    }[name]  # fmt: skip
    given = root / name if name in ("boxes.csv", "data.yaml", "train.txt") else root
    # A list of a hundred thousand images takes a while.
    survives(
        _of(root, given), [seed], root / name, words=YAML_WORDS, named=False, inputs=60,
        damage=lambda draw, seeds, words: damaged(draw, seeds, words)[:200_000],
    )  # fmt: skip


def _of(root: Path, given: Path | None = None) -> Callable[[Path], object]:
    """Return a reader of the whole set, strict and forgiving in turn."""
    turn = iter(range(10**9))

    def read(_file: Path) -> None:
        bad = ("error", "skip")[next(turn) % 2]
        data = open_data(given or root, split=None if given == root / "boxes.csv" else "train", bad=bad, quiet=True)  # type: ignore[arg-type]
        for k in range(len(data)):
            target = data.target(k)
            assert all(target[key].isfinite().all() for key in ("boxes", "area"))
        "".join(data.names).encode()

    return _named(read, str(root), "no such folder and no list of images")  # which may be anywhere
