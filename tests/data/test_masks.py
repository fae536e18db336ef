"""Instance masks: boxes are those of a loop over pixels, a folder in Penn-Fudan's layout is a data set, faults."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from yolo.__main__ import main
from yolo.data.datasets import open_data, splits
from yolo.data.formats.masks import instances


@given(mask=arrays(st.sampled_from([np.uint8, np.uint16, np.int32]), array_shapes(min_dims=2, max_dims=2, min_side=0,
       max_side=9), elements=st.sampled_from([0, 0, 0, 1, 2, 7, 200])))  # fmt: skip
def test_instances_are_those_of_every_pixel(mask: np.ndarray) -> None:
    """Number, box and area of each object are those that a loop over its pixels finds; edges are exclusive."""
    values, boxes, areas = instances(mask)
    assert values.tolist() == sorted({int(value) for value in mask.ravel()} - {0})
    for value, box, area in zip(values.tolist(), boxes.tolist(), areas.tolist(), strict=True):
        pixels = [(x, y) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x] == value]
        xs, ys = zip(*pixels, strict=True)
        assert box == [min(xs), min(ys), max(xs) + 1, max(ys) + 1]
        assert area == len(pixels)
    assert boxes.shape == (len(values), 4)


def write_set(root: Path, images: int = 12) -> list[np.ndarray]:
    """Write images in Penn-Fudan's layout with the other files of its archive, and return their masks."""
    masks = []
    for folder in ("PNGImages", "PedMasks", "Annotation"):
        (root / folder).mkdir(parents=True)
    (root / "readme.txt").write_text("170 images\n")
    for k in range(images):
        mask = np.zeros((40, 30 + k), np.uint8)
        mask[2:9, 3:5] = 1
        mask[4:30, 10 : 12 + k] = 2
        mask[0, :] = 5 * (k % 2)
        mask *= k != 3  # nobody is in image 3
        (root / "Annotation" / f"Ped{k:05}.txt").write_text("# Compatible with PASCAL Annotation Version 1.00\n")
        cv2.imwrite(str(root / "PNGImages" / f"Ped{k:05}.png"), np.full((*mask.shape, 3), k, np.uint8))
        save_mask(root, k, mask)
        masks.append(mask)
    return masks


def save_mask(root: Path, k: int, mask: np.ndarray) -> Path:
    """Write the mask of image `k`, an array or a Pillow image."""
    file = root / "PedMasks" / f"Ped{k:05}_mask.png"
    Image.fromarray(mask).save(file)
    return file


def test_the_archive_is_a_data_set(tmp_path: Path) -> None:
    """The unpacked archive, or a folder that holds it, is one split of persons, with the areas of the masks."""
    root = tmp_path / "PennFudanPed"
    masks = write_set(root)
    for path in (root, tmp_path):
        assert splits(path) == ["all"]
        data = open_data(path, quiet=True)
        assert data.names == ["person"]
        assert [data.path(k).name for k in range(12)] == [f"Ped{k:05}.png" for k in range(12)]
    for k, mask in enumerate(masks):
        image, target = data[k]
        _, boxes, areas = instances(mask)
        assert image.shape[1:] == mask.shape
        assert target["boxes"].tolist() == boxes.tolist()
        assert target["area"].tolist() == areas.tolist()
        assert target["labels"].tolist() == [0] * len(boxes)
    # Without splits it is divided by a hash of the names; other names may be given.
    parts = [open_data(root, split=split, holdout=0.5) for split in ("train", "val")]
    assert sum(map(len, parts)) == 12
    assert min(map(len, parts)) > 0
    assert open_data(root, names=["car", "person"])[0][1]["labels"].tolist() == [1, 1]


def test_palettes_and_sixteen_bits_are_numbers(tmp_path: Path) -> None:
    """A mask with a palette gives its numbers, not the colours; 16 bits hold more than 255 objects."""
    masks = write_set(tmp_path, images=2)
    coloured = Image.fromarray(masks[0])
    coloured.putpalette([0, 0, 0, 255, 0, 0, 255, 0, 0])
    coloured.save(tmp_path / "PedMasks" / "Ped00000_mask.png")
    save_mask(tmp_path, 1, masks[1].astype(np.uint16) * 300)
    for k, mask in enumerate(masks):
        assert open_data(tmp_path)[k][1]["boxes"].tolist() == instances(mask)[1].tolist()


def test_faults_name_file_and_remedy(tmp_path: Path) -> None:
    """A missing mask, one of another size, a colour mask, a damaged one, and a mask without image are faults."""
    write_set(tmp_path)
    masks, images = tmp_path / "PedMasks", tmp_path / "PNGImages"
    (masks / "Ped00000_mask.png").unlink()
    save_mask(tmp_path, 1, np.ones((31, 40), np.uint8))
    save_mask(tmp_path, 2, np.ones((40, 32, 3), np.uint8))
    (masks / "Ped00003_mask.png").write_bytes((masks / "Ped00003_mask.png").read_bytes()[:50])
    (images / "Ped00004.png").unlink()
    with pytest.raises(ValueError, match="has no mask") as problem:
        open_data(tmp_path)
    assert str(problem.value).splitlines()[:5] == [
        f"{images}/Ped00000.png: has no mask; expected {masks}/Ped00000_mask.png, which is 0 everywhere if the image "
        f"has no object",
        f"{masks}/Ped00001_mask.png: 40 x 31 pixels, but its image {images}/Ped00001.png has 31 x 40; expected the "
        f"same size",
        f"{masks}/Ped00002_mask.png: a colour image (RGB); expected one number per pixel, 0 for the background and 1, "
        f"2, ... for the objects: save it as grey or palette PNG",
        f"{masks}/Ped00003_mask.png: cannot be read as an image (OSError: image file is truncated); it is damaged, or "
        f"another kind of file",
        f"{masks}: no such image: {images}/Ped00004.png",
    ]
    assert "--bad skip" in str(problem.value)
    data = open_data(tmp_path, bad="skip", quiet=True)
    assert [data.path(k).stem for k in range(len(data))] == [f"Ped{k:05}" for k in range(5, 12)]


def test_the_commands_read_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`show-data` and `doctor` take the folder; objects that doctor names are those of a mask."""
    write_set(tmp_path)
    assert main(["show-data", str(tmp_path), "--out", str(tmp_path / "sheet")]) == 0
    assert main(["doctor", str(tmp_path), "--out", str(tmp_path / "report")]) == 0
    assert "Penn-Fudan" in capsys.readouterr().out
