"""What `detect` returns: a sequence of objects, drawn, saved and exported."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from yolo.boxes import Detections
from yolo.commands.result_files import ResultFiles
from yolo.images.draw import draw
from yolo.images.files import read_image, write_image
from yolo.models.found import Detection, Found
from yolo.size import Size

NAMES = ["cat", "dog", "sheep"]
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def found(path: Path | None = None, name: str = "") -> Found:
    """Three objects in an image of 60x40 pixels, which is in memory if there is no path."""
    boxes = torch.tensor([[1.0, 2, 30, 38], [5, 5, 20.25, 20], [-3, 0, 70, 9]])
    scores, labels = torch.tensor([0.75, 0.5, 0.25]), torch.tensor([1, 0, 1])
    return Found(boxes, scores, labels, NAMES, Size(40, 60), name, path, None if path else PIXELS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The image as a file."""
    write_image(tmp_path / "000042.png", PIXELS)
    return tmp_path / "000042.png"


def shown(one: Found) -> tuple[int, ...]:
    """Return height and width of what a notebook shows."""
    data = one._repr_jpeg_()
    assert data
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image.shape[:2]


def test_a_sequence_of_objects() -> None:
    """Iteration, an index and an unpacked row give name, label, score and box as numbers of Python."""
    one = found()
    assert len(one) == 3
    assert one[1] == Detection("cat", 0, 0.5, (5.0, 5.0, 20.25, 20.0)) == list(one)[1]
    assert one[-1].name == "dog"
    assert [name for name, _, _, _ in one] == ["dog", "cat", "dog"]
    assert all(type(value) is float for value in (one[0].score, *one[0].box))
    for row in (3, -4):
        with pytest.raises(IndexError, match=f"detection {row} of 3"):
            one[row]
    # Tensors have no one answer to whether they are equal, so a `Found` is equal to itself only.
    assert one in [found(), one]
    assert len({one, found(), one}) == 2


@pytest.mark.parametrize(
    "rows", [slice(1, None), [1, 2], np.array([False, True, True]), torch.tensor([0, 1, 1], dtype=torch.bool)]
)
def test_some_of_the_objects(rows: slice | list[int] | np.ndarray | torch.Tensor) -> None:
    """A slice, numbers and masks give a Found of the same image."""
    one = found()
    some = one[rows]
    assert list(some) == list(one)[1:]
    assert (type(some), some.names, some.size, some.pixels is PIXELS) == (Found, NAMES, (40, 60), True)


def test_moved_and_clipped_it_keeps_its_names() -> None:
    """`to` and `clipped` of Detections give a Found."""
    for other in (found().to("cpu"), found().clipped((40, 60)), pickle.loads(pickle.dumps(found()))):
        assert type(other) is Found
        assert [row.name for row in other] == ["dog", "cat", "dog"]
    assert found().clipped((40, 60))[2].box == (0.0, 0.0, 60.0, 9.0)
    assert type(Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long()).to("cpu")) is Detections


def test_text() -> None:
    """The number of objects, the image, and a row for each; of many objects the first 20."""
    assert repr(found(name="a.jpg")).splitlines() == [
        "Found: 3 objects in a.jpg (60x40)",
        "  dog              0.750      1.0     2.0    30.0    38.0",
        "  cat              0.500      5.0     5.0    20.2    20.0",
        "  dog              0.250     -3.0     0.0    70.0     9.0",
    ]
    assert repr(found()[:0]) == "Found: 0 objects in an image (60x40)"
    plain = Detections(torch.zeros(22, 4), torch.zeros(22), torch.arange(22))
    assert repr(plain).splitlines()[0] == "Detections: 22 objects"
    assert repr(plain).splitlines()[1].startswith("  class 0 ")
    assert repr(plain).splitlines()[20:] == [
        "  class 19         0.000      0.0     0.0     0.0     0.0",
        "  ... and 2 more",
    ]


def test_drawn(file: Path, tmp_path: Path) -> None:
    """The drawing is that of the commands, from memory or from the file, on which it is never written."""
    expected = draw(PIXELS, found(), NAMES)
    assert not np.array_equal(expected, PIXELS)
    np.testing.assert_array_equal(found().draw(), expected)
    np.testing.assert_array_equal(found(file).draw(scores=False), draw(PIXELS, found(), NAMES, scores=False))
    before = file.read_bytes()
    (tmp_path / "link.png").hardlink_to(file)
    for target in (file, str(file), tmp_path / "link.png", tmp_path / "." / file.name):
        with pytest.raises(ValueError, match="is the image itself, which the drawing would replace"):
            found(file).save(target)
    assert file.read_bytes() == before
    for _ in range(2):  # an older drawing is replaced
        found(file).save(tmp_path / "new" / "drawn.png")
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "drawn.png"), expected)
    with pytest.raises(ValueError, match=r"cannot write a file without a suffix; use .png"):
        found(file).save(tmp_path / "drawn")


def test_the_image_of_today(file: Path) -> None:
    """An image of another size, no image and no file are errors; a notebook then shows the text."""
    assert shown(found(file)) == (40, 60)
    write_image(file, PIXELS[:20])
    with pytest.raises(ValueError, match=r"000042.png: has changed: it is 60x20 now and was 60x40; detect again"):
        found(file).draw()
    assert found(file)._repr_jpeg_() is None
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"000042.png: no such image file"):
        found(file).save("x.png")
    assert found(file)._repr_jpeg_() is None
    assert len(found(file)) == 3


def test_a_large_image_is_small_in_a_notebook() -> None:
    """Its longer side has 640 pixels, however thin it is."""
    for size, expected in ((Size(1300, 2600), (320, 640)), (Size(1, 5000), (1, 640))):
        assert shown(replace(found(), size=size, pixels=np.zeros((*size, 3), np.uint8))) == expected


def test_five_channels_are_not_drawn() -> None:
    """Nobody can see them; one channel is drawn on as grey."""
    with pytest.raises(ValueError, match="neither the pixels nor the file"):
        replace(found(), pixels=None).draw()
    with pytest.raises(ValueError, match="an image of 5 channels cannot be drawn on; expected 1 or 3"):
        replace(found(), pixels=np.zeros((40, 60, 5), np.uint8)).draw()
    assert replace(found(), pixels=PIXELS[..., :1]).draw().shape == (40, 60, 3)


def test_coco_rows_are_those_of_the_command(tmp_path: Path) -> None:
    """What `detect --json` writes for the image; its id is the number that its name is, else the name."""
    one = found(name="000042.png")
    with ResultFiles(tmp_path, NAMES, as_json=True) as files:
        files.add("000042.png", "000042", PIXELS, one)
    assert one.to_coco() == json.loads((tmp_path / "detections.json").read_text())
    assert {row["image_id"] for row in one.to_coco()} == {42}
    assert {row["image_id"] for row in one.to_coco(image_id=0)} == {0}
    with pytest.raises(ValueError, match=r"give to_coco\(image_id=...\)"):
        found().to_coco()
    assert found().to_coco(7)[0]["file_name"] == ""


def test_supervision_has_the_class_names() -> None:
    """They are the model's, without being given again."""
    pytest.importorskip("supervision", reason="NOT TESTED: supervision, an extra, is not installed")
    assert found().to_supervision().data["class_name"].tolist() == ["dog", "cat", "dog"]
    assert found().to_supervision(["a", "b"]).data["class_name"].tolist() == ["b", "a", "b"]
