"""EXIF orientations: boxes for the image as it is displayed are right, boxes on the stored pixels are refused."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from tests.support.small_sets import DrawnImage, write_coco, write_voc, write_yolo
from yolo.data.datasets import open_data
from yolo.data.turned import NAMED

WIDE = DrawnImage((80, 40), [(0, 50, 5, 78, 35)])
"""As it is stored: its box does not fit the turned image, 40 x 80."""
FITS_BOTH = DrawnImage((80, 40), [(0, 5, 5, 30, 35)])


def turn(root: Path, number: int, orientation: int = 6) -> Path:
    """Give an image this EXIF orientation; its pixels and the annotations stay as they are."""
    (file,) = root.rglob(f"img_{number}.jpg")
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(file).save(file, exif=exif)
    return file


def sizes(root: Path, change: str) -> None:
    """Change the sizes in the annotations: `none` removes them, `swapped` swaps width and height."""
    for file in root.rglob("*.xml"):
        text = file.read_text()
        w, h = re.findall(r"<(?:width|height)>(\d+)", text)
        new = "" if change == "none" else f"<size><width>{h}</width><height>{w}</height></size>"
        file.write_text(re.sub(r"<size>.*</size>", new, text))
    for file in root.rglob("*.json"):
        content = json.loads(file.read_text())
        for entry in content["images"]:
            w, h = entry.pop("width"), entry.pop("height")
            entry |= {} if change == "none" else {"width": h, "height": w}
        file.write_text(json.dumps(content))


@pytest.mark.parametrize("writer", [write_coco, write_voc])
@pytest.mark.parametrize("size", ["stored", "none", "swapped"])
def test_boxes_on_the_stored_pixels(
    writer: object, size: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused with the command that mends it, whatever size the annotations have; skipped, the image is left out."""
    assert callable(writer)
    root: Path = writer(tmp_path, [WIDE, WIDE, FITS_BOTH, WIDE])
    if size != "stored":
        sizes(root, size)
    if size == "swapped":
        for number in (1, 2):  # for the others the swapped size is wrong
            turn(root, number, 8)
        for number in (0, 3):
            turn(root, number)
    files = [turn(root, number, orientation) for number, orientation in ((0, 5), (3, 8))]
    files += [root / files[0].parent / "img_1.jpg"] * (size == "swapped")
    with pytest.raises(ValueError, match="EXIF") as problem:
        open_data(root, split="train", decode=True)
    text = str(problem.value)
    for file in files:
        assert (
            f"{file}: its EXIF orientation turns it to 40 x 80 pixels, but its boxes are for the stored 80 x 40" in text
        )
    command = next(line for line in text.splitlines() if line.startswith("exiftool"))
    assert shlex.split(command) == ["exiftool", "-overwrite_original", "-Orientation=", *map(str, sorted(files))]
    assert f"The boxes of {len(files)} images lie on the pixels as they are stored" in text
    caplog.clear()
    data = open_data(root, split="train", bad="skip")
    assert command in caplog.text
    assert (len(data), data.index.left_out) == (4 - len(files), len(files))
    # What the command does.
    for file in files:
        Image.open(file).save(file)
    assert open_data(root, split="train", decode=True).index.left_out == 0


@pytest.mark.parametrize("writer", [write_coco, write_voc, write_yolo])
@pytest.mark.parametrize("size", ["displayed", "none", "stored"])
def test_boxes_on_the_turned_image(writer: object, size: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The displayed size is right, and none; that of the stored pixels where only the turned image holds the box."""
    assert callable(writer)
    root: Path = writer(tmp_path, [DrawnImage((40, 80), [(0, 5, 50, 35, 78)])])
    (file,) = root.rglob("*.jpg")
    Image.open(file).transpose(Image.Transpose.ROTATE_90).save(file)
    turn(root, 0)
    sizes(root, {"displayed": "none", "none": "none", "stored": "swapped"}[size]) if size != "displayed" else None
    data = open_data(root, decode=True)
    image, target = data.sample(0)
    assert tuple(image.shape[1:]) == (80, 40)
    assert target["boxes"].tolist() == [[5, 50, 35, 78]]
    corrected = "have width and height swapped; only the size of the file holds" in caplog.text
    assert corrected == (size == "stored" and writer is not write_yolo)


def test_a_box_in_fractions_tells_nothing(tmp_path: Path) -> None:
    """A box of YOLO's that sticks out of a turned image is clipped as ever."""
    root = write_yolo(tmp_path, [DrawnImage((40, 80), [(0, 5, 5, 44, 30)])])
    (file,) = root.rglob("*.jpg")
    Image.open(file).transpose(Image.Transpose.ROTATE_90).save(file)
    turn(root, 0)
    assert open_data(root, decode=True)[0][1]["boxes"].tolist() == [[5, 5, 40, 30]]


def test_many_are_in_a_list(tmp_path: Path) -> None:
    """More files than a command line should have are in a file that the command reads."""
    root = write_voc(tmp_path, [WIDE] * (NAMED + 2))
    files = [turn(root, number) for number in range(NAMED + 2)]
    with pytest.raises(ValueError, match="The boxes of 12 images") as problem:
        open_data(root, decode=True)
    command = next(line for line in str(problem.value).splitlines() if line.startswith("exiftool"))
    listing = Path(shlex.split(command)[-1])
    assert sorted(listing.read_text().splitlines()) == sorted(map(str, files))
    assert shlex.split(command)[:-1] == ["exiftool", "-overwrite_original", "-Orientation=", "-@"]
    listing.unlink()


def test_a_turned_image_is_named_when_it_is_decoded(tmp_path: Path) -> None:
    """Without the check before, the message and the command are those of this image."""
    root = write_coco(tmp_path, [WIDE, WIDE])
    file = turn(root, 1)
    data = open_data(root)
    assert data[0][1]["labels"].tolist() == [0]
    with pytest.raises(ValueError, match=f"(?s){re.escape(str(file))}: its EXIF.*exiftool .* {re.escape(str(file))}"):
        data.sample(1)
