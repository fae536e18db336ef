"""Result files: their content, their names, and the files that they never replace."""

from __future__ import annotations

import csv
import errno
import json
import os
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from yolo.boxes import Detections
from yolo.commands.growing import GrowingFile
from yolo.commands.result_files import ResultFiles, inputs, targets
from yolo.data.datasets import open_data
from yolo.files.harmless import seen_alike, uncell
from yolo.images.files import read_image, write_image
from yolo.images.sources import Source
from yolo.names import COCO

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 100, 3), dtype=np.uint8)
FOUND = Detections(
    torch.tensor([[10.1, 5.2, 30.7, 45.3], [-5.0, -5.0, 20.0, 20.0]]),
    torch.tensor([0.9, 0.3]),
    torch.tensor([16, 0]),
)


def images(*names: str) -> list[Source]:
    """Sources of these images, or videos for .mp4 and .avi."""
    return [Source(Path(n).name, Path(n), n if n.endswith((".mp4", ".avi")) else None) for n in names]


def test_json_has_no_infinity(tmp_path: Path) -> None:
    """Boxes of a broken network stay valid JSON; their crops are left out or cut at the border."""
    inf, nan = float("inf"), float("nan")
    odd = Detections(torch.tensor([[-inf, -inf, inf, inf], [nan] * 4]), torch.tensor([0.9, 0.8]), torch.tensor([0, 0]))
    with ResultFiles(tmp_path, COCO, as_json=True, as_csv=True, as_txt=True, crops=True) as files:
        files.add("a.png", "a", IMAGE, odd)

    def refuse(word: str) -> None:
        raise AssertionError(word)

    assert len(json.loads((tmp_path / "detections.json").read_text(), parse_constant=refuse)) == 2
    assert [file.name for file in (tmp_path / "crops" / "person").iterdir()] == ["a-0.png"]


def test_all_kinds_of_files(tmp_path: Path) -> None:
    """JSON, CSV, labels and crops of two images, one without detections. No temporary file is left."""
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    with ResultFiles(tmp_path, COCO, as_json=True, as_csv=True, as_txt=True, crops=True) as files:
        files.add("a.png", "a", IMAGE, FOUND)
        files.add("b.png", "b", IMAGE, nothing)
    assert [row["category_name"] for row in json.loads((tmp_path / "detections.json").read_text())] == ["dog", "person"]
    with (tmp_path / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["class_id"], row["class"]) for row in rows] == [
        ("a.png", "16", "dog"),
        ("a.png", "0", "person"),
    ]
    assert float(rows[0]["x1"]) == float(FOUND.boxes[0, 0])
    lines = (tmp_path / "labels" / "a.txt").read_text().splitlines()
    assert lines[0].split()[0] == "16"
    np.testing.assert_allclose([float(x) for x in lines[0].split()[1:]], [0.204, 0.505, 0.206, 0.802], atol=1e-5)
    np.testing.assert_allclose([float(x) for x in lines[1].split()], [0, 0.1, 0.2, 0.2, 0.4], atol=1e-5)
    assert (tmp_path / "labels" / "b.txt").read_text() == ""
    assert (tmp_path / "train.txt").read_text() == "./images/a.jpg\n./images/b.jpg\n"
    crop = read_image(tmp_path / "crops" / "dog" / "a-0.png")
    assert np.array_equal(crop, IMAGE[5:45, 10:31])
    cut = read_image(tmp_path / "crops" / "person" / "a-1.png")
    assert np.array_equal(cut, IMAGE[:20, :20])
    written = [".detect", "crops", "data.yaml", "detections.csv", "detections.json", "images", "labels", "train.txt"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [*written, "val.txt"]


def test_any_names_of_classes_in_a_data_set(tmp_path: Path) -> None:
    """Words that YAML takes for something else, letters of all alphabets, and emoji are read again as they are."""
    odd = ["no", "1", "a: b", "# c", "\u72ac", "\U0001f600", 'd"e', "null", "f\x7f"]
    with ResultFiles(tmp_path / "out", odd, as_txt=True) as files:
        files.add("a.png", "a", IMAGE, Detections(FOUND.boxes, FOUND.scores, torch.tensor([8, 0])))
    data = open_data(tmp_path / "out", split="train")
    assert data.names == odd
    assert data.target(0)["labels"].tolist() == [8, 0]


def test_a_folder_with_a_damaged_mark_is_refused(tmp_path: Path) -> None:
    """Whatever wrote it, the files are not known to be detect's."""
    (tmp_path / ".detect").write_text("mine\n")
    with pytest.raises(FileExistsError, match=r"\.detect: not a list that detect wrote"), ResultFiles(tmp_path, COCO):
        pass
    assert (tmp_path / ".detect").read_text() == "mine\n"


def test_no_detections_are_an_empty_list(tmp_path: Path) -> None:
    """Valid JSON and a CSV with its header; only the requested files."""
    with ResultFiles(tmp_path, COCO, as_json=True, as_csv=True):
        pass
    assert json.loads((tmp_path / "detections.json").read_text()) == []
    assert (tmp_path / "detections.csv").read_text().startswith("file,class_id,class,score,x1")


def end_with(error: BaseException, folder: Path) -> None:
    """A run that stops after one image."""
    with ResultFiles(folder, COCO, as_json=True, as_csv=True) as files:
        files.add("a.png", "a", IMAGE, FOUND)
        raise error


@pytest.mark.parametrize("kind", [KeyboardInterrupt, BrokenPipeError, OSError, RuntimeError, MemoryError, SystemExit])
def test_whatever_ends_a_run_it_keeps_its_detections(tmp_path: Path, kind: type[BaseException]) -> None:
    """Ctrl-C, `| head`, SIGTERM, a full disk, a fault of this program: whole files with the detections so far."""
    with pytest.raises(kind):
        end_with(kind("disk"), tmp_path)
    assert len(json.loads((tmp_path / "detections.json").read_text())) == 2
    assert len((tmp_path / "detections.csv").read_text().splitlines()) == 3
    assert not list(tmp_path.glob(".*.part"))


def test_a_run_that_fails_before_its_first_image_leaves_the_old_files(tmp_path: Path) -> None:
    """The results of the previous run are kept, and no other file is left."""
    with ResultFiles(tmp_path, COCO, as_json=True) as files:
        files.add("a.png", "a", IMAGE, FOUND)
    before = (tmp_path / "detections.json").read_bytes()
    with pytest.raises(OSError, match="disk"), ResultFiles(tmp_path, COCO, as_json=True, as_csv=True, as_txt=True):
        raise OSError("disk")
    assert sorted(file.name for file in tmp_path.iterdir()) == [".detect", "detections.json"]
    assert (tmp_path / "detections.json").read_bytes() == before


def test_files_are_whole_after_each_image(tmp_path: Path) -> None:
    """What a process that is killed after an image leaves: valid files of all images up to it."""
    out = tmp_path / "out"
    with ResultFiles(out, COCO, as_json=True, as_csv=True, as_txt=True) as files:
        assert sorted(file.name for file in out.iterdir() if ".part" not in file.name) == [".detect"]
        for k in range(3):
            files.add(f"{k}.png", f"{k}", IMAGE, FOUND)
            assert len(json.loads((out / "detections.json").read_text())) == 2 * (k + 1)
            assert len((out / "detections.csv").read_text().splitlines()) == 2 * (k + 1) + 1
            assert len(open_data(out, split="train")) == k + 1
    assert (out / "detections.json").read_text().endswith("}\n]\n")


class Full:
    """A disk that takes a number of bytes more, part by part, as `write` of an unbuffered file does."""

    def __init__(self, file: FileIO, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: memoryview) -> int:
        """Write what there is room for."""
        end = self.file.tell() + len(data)
        there = max(len(data) - max(end - self.room, 0), 0)
        if not there:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data[:there])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def test_a_part_for_which_there_is_no_room(tmp_path: Path) -> None:
    """The list stays whole without it, also where the disk took half of it; the error names the file."""
    for room in range(15, 40):
        file = GrowingFile(tmp_path / "list.json", "[", "\n]\n")
        file.add("\n1234567890")  # 15 bytes, and 12 for each further one
        file._file = cast(FileIO, Full(file._file, room))
        for _ in range(3):
            with suppress(OSError):
                file.add(",\n1234567890")
            assert set(json.loads(Path(str(file._temporary)).read_text())) == {1234567890}
        with pytest.raises(OSError, match=r"No space left on device: '.*list\.json'"):
            file.add(",\n" + "9" * 50)
        file.show()
        file.close(keep=True)
        assert len(json.loads((tmp_path / "list.json").read_text())) == 1 + (room - 15) // 12


def test_half_a_line_of_the_mark(tmp_path: Path) -> None:
    """A process that was killed while it wrote one leaves a folder that can be used again."""
    with ResultFiles(tmp_path, COCO, as_json=True):
        pass
    mark = tmp_path / ".detect"
    mark.write_text(mark.read_text() + '["x.pn')
    with ResultFiles(tmp_path, COCO, as_json=True, as_csv=True):
        pass
    assert [json.loads(line)[0] for line in mark.read_text().splitlines()] == ["detections.json", "detections.csv"]


@pytest.mark.parametrize("names", [["a/b", "a_b"], ["dog", "DOG"], ["dog", "dog. "], ["é", "e\u0301"], ["", "."]])
def test_no_two_classes_have_one_folder(names: list[str], tmp_path: Path) -> None:
    """Whatever the disk makes of their names."""
    two = Detections(FOUND.boxes, FOUND.scores, torch.tensor([0, 1]))
    with ResultFiles(tmp_path, names, crops=True) as files:
        files.add("x.png", "x", IMAGE, two)
    crops = sorted(file.relative_to(tmp_path / "crops") for file in tmp_path.rglob("*.png"))
    assert len(crops) == 2
    assert len({seen_alike(crop.parts[0]) for crop in crops}) == 2


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    """Names of classes and files are text to a spreadsheet; numbers stay numbers, and quotes hold."""
    name = "=cmd|' /C calc'!A0,\"x\"\n"
    with ResultFiles(tmp_path, [name, "-1"], as_csv=True) as files:
        files.add("@a.png", "a", IMAGE, Detections(FOUND.boxes, FOUND.scores, torch.tensor([0, 1])))
    with (tmp_path / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["class"]) for row in rows] == [("'@a.png", f"'{name}"), ("'@a.png", "'-1")]
    assert [uncell(row["class"]) for row in rows] == [name, "-1"]
    assert float(rows[1]["x1"]) == -5.0


def test_names_as_long_as_the_disk_allows(tmp_path: Path) -> None:
    """They are cut, stay distinct, and everything about them can be written."""
    names = ["a" * 251, "a" * 250 + "b", "é" * 125, "e\u0301" * 70]
    sources = images(*(f"{name}.png" for name in names), *(f"{'v' * 250}{k}.mp4" for k in range(2)))
    found = targets(sources, tmp_path)
    assert len({seen_alike(target.stem) for target in found}) == len(sources)
    with ResultFiles(tmp_path, COCO, as_json=True, as_txt=True, crops=True) as files:
        for source, target in zip(sources, found, strict=True):
            own = f"{target.stem}/1234567" if source.moving else target.stem
            files.add(source.name, own, IMAGE, FOUND)
            write_image(files.claim(target.drawing.with_suffix(".png")), IMAGE)


def test_targets_are_unique(tmp_path: Path) -> None:
    """Equal names, other suffixes, other case, and a name that looks like the second of another."""
    sources = images("1/a.png", "2/a.png", "1/a-2.png", "1/a.jpg", "1/A.PNG", "1/b.tif", "1/b.mp4", "1/b.avi")
    found = targets(sources, tmp_path)
    assert [target.stem for target in found] == ["a", "a-2", "a-2-2", "a-3", "A-4", "b", "b-2", "b-3"]
    assert [target.drawing.name for target in found[:4]] == ["a.png", "a-2.png", "a-2-2.png", "a-3.jpg"]
    assert [target.drawing.name for target in found[5:]] == ["b.png", "b-2.mp4", "b-3.mp4"]
    for names in ([target.stem for target in found], [target.drawing.name for target in found]):
        assert len({name.casefold() for name in names}) == len(sources)


def test_numbers_in_place_of_an_ending(tmp_path: Path) -> None:
    """`frame.0001` has no ending, so the number stays in the names of its results."""
    found = targets(images("1/frame.0001", "1/frame.0002", "1/a.b.jpg"), tmp_path)
    assert [target.stem for target in found] == ["frame.0001", "frame.0002", "a.b"]
    assert [target.drawing.name for target in found] == ["frame.0001.png", "frame.0002.png", "a.b.jpg"]


def test_no_drawing_replaces_a_source(tmp_path: Path) -> None:
    """Neither its own source nor another one, under any of their names."""
    other = tmp_path / "other"
    other.mkdir()
    files = [tmp_path / "a.png", tmp_path / "a-2.png", other / "a.png", tmp_path / "a-detected.png", tmp_path / "c.mp4"]
    for file in [*files, other / "c.avi"]:
        file.write_bytes(b"mine")
    given = [str(file) for file in (files[0], files[2], files[1], files[3], other / "c.avi", files[4])]
    drawings = [target.drawing for target in targets(images(*given), tmp_path)]
    assert not any(drawing.exists() for drawing in drawings)
    assert len(set(drawings)) == 6
    assert drawings[0].name == "a-detected-2.png"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_followed(tmp_path: Path) -> None:
    """A source that is read through a link is not replaced either, nor is one under crops."""
    (tmp_path / "real").mkdir()
    (tmp_path / "crops" / "dog").mkdir(parents=True)
    for path in (tmp_path / "real" / "a.png", tmp_path / "crops" / "dog" / "a-0.png"):
        write_image(path, IMAGE)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    sources = images(str(tmp_path / "link" / "a.png"), str(tmp_path / "crops" / "dog" / "a-0.png"))
    assert targets(sources, tmp_path / "real")[0].drawing.name == "a-detected.png"
    for path in (tmp_path / "real" / "a.png", tmp_path / "crops" / "dog" / "a-0.png"):
        assert np.array_equal(read_image(path), IMAGE)
    own = tmp_path / "own"
    with ResultFiles(own, COCO, crops=True) as files:
        files.add("a.png", "a", IMAGE, FOUND)
    crop = own / "crops" / "dog" / "a-0.png"
    before = crop.read_bytes()
    with ResultFiles(own, COCO, crops=True, spare=inputs(images(str(crop)))) as files:
        files.add("a-0.png", "a", IMAGE, FOUND)
    assert crop.with_name("a-0-detected.png").is_file()
    assert crop.read_bytes() == before


def test_a_thousand_equal_names(tmp_path: Path) -> None:
    """As in a data set with a folder per day."""
    stems = {target.stem for target in targets(images(*(f"{k}/image.jpg" for k in range(3000))), tmp_path)}
    assert len(stems) == 3000


def test_streams_have_plain_names(tmp_path: Path) -> None:
    """Names have no slash of the address, and are not too long for a disk."""
    stream = Source("rtsp://me:secret@10.0.0.1/" + "x" * 300, capture="rtsp://")
    camera, far = targets([Source("camera 0", capture=0), stream], tmp_path)
    assert camera.drawing == tmp_path / "camera-0.mp4"
    assert far.drawing.parent == tmp_path
    assert len(far.drawing.name) < 120


def test_names_that_are_not_text(tmp_path: Path) -> None:
    """Bytes of a file name that are not UTF-8 are escaped, and the JSON is UTF-8."""
    name = os.fsdecode(b"\xff.png") if os.name != "nt" else "\udcff.png"
    with ResultFiles(tmp_path, COCO, as_json=True, as_csv=True) as files:
        files.add(name, "x", IMAGE, FOUND)
        files.add("собака.png", "y", IMAGE, FOUND)
    written = (tmp_path / "detections.json").read_text(encoding="utf-8")
    assert json.loads(written)[0]["image_id"] == "\udcff.png"
    assert "собака.png" in written
    assert "\\udcff.png" in (tmp_path / "detections.csv").read_text(encoding="utf-8")
