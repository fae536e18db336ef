"""The embedded set: its promises are counted on the files that a user gets."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.random import RandomState
from pycocotools.coco import COCO

from tests.support.warm import Warm
from yolo.__main__ import main
from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.data.formats.coco_json import Annotations, read_annotations
from yolo.data.shapes.drawn import DrawnScene
from yolo.data.shapes.figures import NAMES, background, coverage, paint, random_figure
from yolo.data.shapes.scenes import SIZES, VISIBLE, draw_scene, make_shapes
from yolo.images.files import read_image
from yolo.images.placement import Placement
from yolo.size import Size

SPLITS = {"train": 480, "val": 120}


@pytest.fixture(scope="module")
def scenes() -> list[DrawnScene]:
    """Return the first forty images of train, before they become files."""
    return [draw_scene(RandomState([0, 0, k])) for k in range(1, 41)]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the set that the command line draws."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    assert main(["get", "shapes", "--out", str(folder)]) == 0
    return folder


def listed(shapes: Path, split: str) -> Annotations:
    """Return the annotations of a split; a fault in them is an error."""
    return read_annotations(shapes / "annotations" / f"instances_{split}.json")


@pytest.mark.parametrize("split", SPLITS)
def test_every_head_has_its_share(shapes: Path, split: str) -> None:
    """At least 15 % of the objects have their best anchor, by IoU after the letterbox, in each head of toy.cfg."""
    network = Darknet(read_cfg("toy.cfg"), init=None)
    anchors = torch.stack([head.anchors for head in network.heads])  # [S, A, 2]
    found = listed(shapes, split)
    heads = Counter[int]()
    for image, (_, _, w, h), crowd in zip(
        found.image.tolist(), found.boxes.tolist(), found.crowd.tolist(), strict=True
    ):
        if not crowd:
            image_w, image_h = found.sizes[image].tolist()
            placement = Placement.letterbox(Size(image_h, image_w), Size(160, 160))
            box = placement.to_input(torch.tensor([0.0, 0.0, w, h])) - placement.to_input(torch.zeros(4))
            both = torch.minimum(anchors, box[2:]).prod(-1)
            iou = both / (anchors.prod(-1) + box[2:].prod() - both)
            heads[int(iou.argmax()) // anchors.shape[1]] += 1
    assert heads.total() == (~found.crowd).sum() > 3 * SPLITS[split]
    assert min(heads[s] for s in range(3)) >= 0.15 * heads.total()


@pytest.mark.parametrize("split", SPLITS)
def test_the_files(shapes: Path, split: str) -> None:
    """The layout is COCO's, without other files; pycocotools reads it; sizes and classes are right."""
    found = listed(shapes, split)
    assert tuple(found.names) == NAMES
    assert len(NAMES) == Darknet(read_cfg("toy.cfg"), init=None).heads[0].classes
    assert len(found.file_names) == SPLITS[split]
    assert sorted(file.name for file in (shapes / "images" / split).iterdir()) == found.file_names
    assert sorted(file.name for file in shapes.iterdir()) == ["annotations", "images"]
    assert [file.name for file in shapes.parent.iterdir()] == ["shapes"]
    for name, (w, h) in zip(found.file_names, found.sizes.tolist(), strict=True):
        assert read_image(shapes / "images" / split / name).shape == (h, w, 3)
    assert {tuple(size) for size in found.sizes.tolist()} == set(SIZES)
    coco = COCO(shapes / "annotations" / f"instances_{split}.json")
    assert len(coco.getImgIds()) == SPLITS[split]
    assert len(coco.getAnnIds()) == len(found.boxes)
    assert len(coco.getAnnIds(iscrowd=True)) == found.crowd.sum()


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_in_it(shapes: Path, split: str) -> None:
    """Each class has a tenth of the objects or more; there are crowds and empty images; no box is outside or tiny."""
    found = listed(shapes, split)
    classes = np.bincount(found.label[~found.crowd], minlength=6)
    assert (classes >= 0.1 * classes.sum()).all()
    assert SPLITS[split] / 30 < found.crowd.sum() < SPLITS[split] / 5
    empty = SPLITS[split] - len(np.unique(found.image))
    assert SPLITS[split] / 30 < empty < SPLITS[split] / 8
    corner = found.boxes[:, :2] + found.boxes[:, 2:]
    sizes = found.sizes[found.image]
    assert (found.boxes[:, :2] >= 0).all()
    assert (corner <= sizes).all()
    units = found.boxes[:, 2:] * 160 / sizes.max(axis=1, keepdims=True)
    assert units[~found.crowd].min() >= 4
    assert units[found.crowd].min() >= 20
    touching = ((found.boxes[:, :2] == 0) | (corner == sizes)).any(axis=1)
    assert touching.mean() > 0.05


def test_the_pixels_are_the_same_everywhere(scenes: list[DrawnScene]) -> None:
    """The digest of forty scenes before the JPEG encoder is fixed. If it changes, raise VERSION."""
    digest = hashlib.sha256()
    for scene in scenes:
        digest.update(scene.image.tobytes() + scene.owner.astype("<i2").tobytes() + bytes(scene.labels))
    assert digest.hexdigest() == "721a9c7072a3736cb12a4ed4f266c9f629f2c6c1345085489fbd9fc2beec67b2"


def test_boxes_and_areas_are_those_of_the_visible_pixels(shapes: Path, scenes: list[DrawnScene]) -> None:
    """Boxes and areas of the file are counted pixel by pixel."""
    found = listed(shapes, "train")
    hidden = 0
    for k, scene in enumerate(scenes):
        rows = np.flatnonzero(found.image == k)
        assert len(rows) == len(scene.labels)
        for n, row in enumerate(rows):
            mask = scene.owner == n
            left, top, w, h = found.boxes[row].astype(int).tolist()
            assert mask[top : top + h, left : left + w].sum() == mask.sum() == found.area[row]
            assert mask[top].any()
            assert mask[top + h - 1].any()
            assert mask[:, left].any()
            assert mask[:, left + w - 1].any()
            assert mask.sum() >= VISIBLE * scene.pixels[n]
            hidden += mask.sum() < scene.pixels[n]
    assert hidden > 20


def test_objects_are_where_the_ground_has_changed(scenes: list[DrawnScene]) -> None:
    """Pixels that differ from the ground of the same seed are in the objects or on their soft edges."""
    for k, scene in enumerate(scenes, 1):
        random = RandomState([0, 0, k])
        w, h = SIZES[random.randint(len(SIZES))]
        changed = (background(random, h, w) != scene.image).any(axis=2)
        inside = scene.owner >= 0
        near = cv2.dilate(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert not (changed & ~near).any()
        assert not inside.any() or changed[inside].mean() > 0.97


def test_two_classes_differ_in_texture_only() -> None:
    """The two squares have the same outline and different pixels inside; the other classes have other outlines."""
    figures = [random_figure(RandomState(7), label, 50, 40, 30) for label in range(6)]
    covers = [coverage(figure, 80, 100).amount for figure in figures]
    assert np.array_equal(covers[4], covers[5])
    assert len({cover.tobytes() for cover in covers}) == 5
    images = []
    for figure in figures[4:]:
        canvas = np.full((80, 100, 3), 128, np.uint8)
        paint(canvas, figure, coverage(figure, 80, 100), RandomState(3))
        images.append(canvas)
    striped, checked = (image[30:50, 40:60] for image in images)
    assert np.array_equal(np.unique(striped.reshape(-1, 3), axis=0), np.unique(checked.reshape(-1, 3), axis=0))
    assert not np.array_equal(striped, checked)


def test_a_figure_covers_its_own_area() -> None:
    """The area of a flattened disc and square is within one per cent of πr² and of (1.4 r)²."""
    for label, area in ((0, np.pi), (4, 1.4**2)):
        figure = random_figure(RandomState(1), label, 100, 100, 60)
        assert coverage(figure, 200, 200).amount.sum() == pytest.approx(area * 60**2 * figure.flat, rel=0.01)
        assert coverage(figure, 200, 200).mask.sum() == pytest.approx(area * 60**2 * figure.flat, rel=0.01)


def test_a_larger_set_begins_with_the_smaller_one(shapes: Path, tmp_path: Path) -> None:
    """An image depends only on the seed, the split and its number."""
    few = make_shapes(tmp_path / "few", train=3, val=2)
    for split, count in (("train", 3), ("val", 2)):
        for name in listed(few, split).file_names:
            assert (few / "images" / split / name).read_bytes() == (shapes / "images" / split / name).read_bytes()
        assert np.array_equal(
            listed(few, split).boxes,
            listed(shapes, split).boxes[: listed(few, split).image.searchsorted(count)],
        )
    other = make_shapes(tmp_path / "other", seed=1, train=3, val=2)
    first = Path("images/train/000001.jpg")
    assert (few / first).read_bytes() != (other / first).read_bytes() != (other / "images/val/000001.jpg").read_bytes()


def test_it_is_drawn_once(tmp_path: Path) -> None:
    """A second call writes nothing; four threads at once draw one set."""
    threads = [threading.Thread(target=make_shapes, args=(tmp_path / "a", 0, 4, 2)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    assert len(times) == 1 + 2 + 2 + 2 + 4 + 2
    assert make_shapes(tmp_path / "a", 0, 4, 2) == tmp_path / "a"
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == times


def test_nothing_is_replaced(tmp_path: Path) -> None:
    """A folder of the user, an empty one, a file, another drawn set: an error, and every file is as before."""
    (tmp_path / "mine" / "annotations").mkdir(parents=True)
    (tmp_path / "mine" / "annotations" / "instances_train.json").write_text('{"images": [], "info": {}}')
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    make_shapes(tmp_path / "ours", seed=3, train=2, val=1)
    before = {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in tmp_path.rglob("*")}
    for name in ("mine", "empty", "file"):
        with pytest.raises(ValueError, match=rf"{name}: exists and is not a drawn set; .* name another folder"):
            make_shapes(tmp_path / name, seed=3, train=2, val=1)
    for seed, train in ((4, 2), (3, 5)):
        with pytest.raises(ValueError, match=r"seed 3, 2 images; expected .*; remove the folder .*ours or"):
            make_shapes(tmp_path / "ours", seed=seed, train=train, val=1)
    for seed, train, val in ((-1, 1, 1), (0, 0, 1), (0, 1, 0), (2**32, 1, 1)):
        with pytest.raises(ValueError, match=f"seed={seed}, train={train}, val={val}: expected"):
            make_shapes(tmp_path / "new", seed=seed, train=train, val=val)
    assert {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in tmp_path.rglob("*")} == before


def test_a_killed_process_leaves_no_set(tmp_path: Path) -> None:
    """An incomplete set has another name, and the next call removes it."""
    code = "import sys; from yolo.data.shapes.scenes import make_shapes; make_shapes(sys.argv[1], train=10000)"
    process = Warm("-c", code, tmp_path / "set")
    try:
        while len(list(tmp_path.rglob("*.jpg"))) < 5:
            assert process.poll() is None  # it must not end by itself
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert not (tmp_path / "set").exists()
    make_shapes(tmp_path / "set", train=3, val=1)
    assert [file.name for file in tmp_path.iterdir()] == ["set"]
    assert len(json.loads((tmp_path / "set" / "annotations" / "instances_train.json").read_text())["images"]) == 3
