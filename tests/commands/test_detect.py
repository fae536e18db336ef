"""`python detect.py` as a user types it: what it prints and writes, and how it fails."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import yolo
from tests.darknet.test_golden import SHARED, Row, compare, needs_shared
from tests.images.test_sources import write_video
from tests.support.paths import ROOT
from yolo.__main__ import main
from yolo.boxes import xyxy_to_xywh
from yolo.darknet.cfg import parse_cfg, read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import save_safetensors
from yolo.darknet.weights import save_weights
from yolo.data.datasets import open_data
from yolo.images.draw import draw
from yolo.images.files import read_image
from yolo.images.sources import MARK, Shot, Source

DARKNET = SHARED.parent / "data" / "darknet"
NAMES = ["..", "motorbike", "c/d", "犬", "e", "f"]


@pytest.fixture(scope="session")
def constant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a network with toy.cfg's heads, few layers and equal detections in every image.

    It has 25 large cells. In each it detects class 0 with score 0.907 and class 1 with score 0.696.
    """
    net, *sections = read_cfg("toy.cfg").to_text().split("\n\n")
    conv = "[convolutional]\nfilters={}\nsize=1\nstride={}\nactivation=linear"
    text = [net, conv.format(8, 8)]
    for head, stride in zip((one for one in sections if one.startswith("[yolo]")), (4, 2, 1), strict=True):
        # The finest head joins two maps, which are equally large if 32 divides the input.
        joined = ["[route]\nlayers=2", "[upsample]\nstride=4", "[route]\nlayers=-1,0"]
        text += joined if stride == 1 else ["[route]\nlayers=0"]
        text += [conv.format(33, stride), head]
    network = Darknet(parse_cfg("\n\n".join(text), "constant.cfg"))
    last = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.out_channels == 33]
    assert len(last) == 3
    with torch.no_grad():
        for layer in last:
            assert layer.bias is not None
            layer.weight.zero_()
            layer.bias.fill_(-10)
        bias = last[0].bias
        assert bias is not None
        bias[:7] = torch.tensor([0.0, 0, 0, 0, 3, 3, 1])
    path = tmp_path_factory.mktemp("constant") / "constant.safetensors"
    save_safetensors(network, path, NAMES)
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test a working directory of its own."""
    monkeypatch.chdir(tmp_path)


def image(path: Path, width: int = 160, height: int = 160, channels: int = 3) -> Path:
    """Write an image of smooth noise and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(len(path.name)).integers(0, 256, (4, 4, channels), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(small, (width, height)))
    return path


def rows(folder: Path | str = "out") -> list[dict[str, Any]]:
    """Return the rows of `detections.json`."""
    found = json.loads((Path(folder) / "detections.json").read_text(encoding="utf-8"))
    assert isinstance(found, list)
    return found


def detect(weights: Path, *words: str | Path, out: str | Path = "out") -> int:
    """Return the exit status of `detect.py WORDS --weights WEIGHTS --out OUT --device cpu`."""
    given = [str(word) for word in words]
    return main(["detect", *given, "--weights", str(weights), "--out", str(out), "--device", "cpu"])


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, with their bytes, without the mark of detect."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != MARK)
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def parts() -> list[Path]:
    """Return the temporary files that were not removed."""
    return [*Path.cwd().rglob("*.part"), *Path.cwd().rglob(".*.part")]


def test_lines_and_files(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An image gets a line with its three times and a line for each object; the median follows. All files are there."""
    image(Path("in/a.png"))
    image(Path("in/12.jpg"), 200, 100)
    assert detect(constant, "in", "--json", "--txt", "--csv", "--crops", "--max-det", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    for k, name in ((0, "12.jpg"), (3, "a.png")):
        start, times = lines[k].split(": ")
        assert start == str(Path("in", name))
        assert times.startswith("2 objects, load ")
        assert times.count(" + ") == 2
    assert lines[4].split()[:2] == ["..", "0.907"]
    assert len(lines[4].split()) == 6
    assert lines[6].startswith("2 images, median load ")
    assert [row["image_id"] for row in rows()] == [12, 12, "a.png", "a.png"]
    assert sorted(contents(Path("out"))) == sorted(
        str(Path(*path.split("/")))
        for path in (
            "12.jpg", "a.png", "crops/_/12-0.png", "crops/_/12-1.png", "crops/_/a-0.png", "crops/_/a-1.png",
            "data.yaml", "detections.csv", "detections.json", "images/12.jpg", "images/a.png", "labels/12.txt",
            "labels/a.txt", "train.txt", "val.txt",
        )
    )  # fmt: skip
    assert read_image("out/12.jpg").shape == (100, 200, 3)
    assert not np.array_equal(read_image("out/a.png"), read_image("in/a.png"))


@pytest.mark.parametrize(
    ("sources", "start", "end"),
    [
        (["a.png"], "1 image, median load ", f"; drawn: {Path('out', 'a.png')}"),
        (["in"], "1 image, median load ", f"; drawn: {Path('out', 'b.png')}"),
        (["a.png", "in"], "2 images, median load ", "; drawn in out"),
        (["a.png", "missing.png"], "1 image, median load ", "; drawn in out"),
        (["clip.mp4"], "5 images, median load ", f"; drawn: {Path('out', 'clip.mp4')}"),
    ],
)
def test_the_last_line(
    sources: list[str], start: str, end: str, constant: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line has the number of images and, of a single source, the file with the drawing; the file exists."""
    image(Path("a.png"))
    image(Path("in/b.bmp"))
    write_video(Path("clip.mp4"))
    assert detect(constant, *sources, "--max-det", "1") == ("missing.png" in sources)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(start)
    assert last.endswith(end)
    assert Path(end.rpartition("drawn: ")[2] if ": " in end else "out").exists()


@needs_shared
@pytest.mark.parametrize(
    ("model", "placement", "confidence"),
    [
        ("yolo-fastest-1.1", None, "0.25"),
        ("yolo-fastest-1.1-xl", None, "0.25"),
        ("yolo-fastest-1.1", None, "0.005"),
        ("yolo-fastest-1.1", "letterbox", "0.25"),
        ("yolo-fastest-1.1", "letterbox", "0.005"),
    ],
)
def test_exact_gives_darknets_numbers(model: str, placement: str | None, confidence: str) -> None:
    """The JSON file has the detections that darknet itself finds in seven images, with `--exact` and no other option.

    darknet stretches these models' images; it letterboxes them on request, as `--placement` does.
    """
    cfg, names, golden = DARKNET / f"{model}.cfg", DARKNET / "coco.names", SHARED / "yolo-fastest"
    words: list[str | Path] = ["--cfg", cfg, "--names", names, "--exact", "--json"]
    words += ["--conf", confidence] if confidence != "0.25" else []
    words += ["--placement", placement] if placement else []
    assert detect(DARKNET / f"{model}.weights", golden / "*.png", *words) == 0
    found = rows()
    ids = {name: k for k, name in enumerate(names.read_text().splitlines())}
    entries = json.loads((golden / f"{model}.json").read_text())["pictures"]
    assert {row["image_id"] for row in found} <= {entry["picture"] for entry in entries}
    for entry in entries:
        w, h = entry["width"], entry["height"]
        ours = []
        for row in found:
            if row["image_id"] == entry["picture"]:
                left, top, width, height = row["bbox"]
                box = (left + width / 2) / w, (top + height / 2) / h, width / w, height / h
                ours.append(Row(ids[row["category_name"]], row["score"], *box))
        theirs = [
            Row(d["class"], d["score"], *d["box"]) if isinstance(d, dict) else Row(d[0], d[1], *d[3:])
            for d in entry[f"{placement or 'stretch'}_{confidence}"]
        ]
        sure = float(confidence) + 1e-4
        compare([row for row in ours if row.score > sure], [row for row in theirs if row.score > sure])
        drawn = read_image(Path("out") / entry["picture"])
        assert drawn.shape == (h, w, 3)


@needs_shared
def test_old_spellings_have_cocos_ids_and_can_be_chosen() -> None:
    """darknet's coco.names has `motorbike`; a user may choose it by this name or as COCO's `motorcycle`."""
    model = "yolo-fastest-1.1"
    words: list[str | Path] = [
        "--cfg",
        DARKNET / f"{model}.cfg",
        "--names",
        DARKNET / "coco.names",
        "--json",
        "--conf",
        "1e-4",
    ]
    dog = SHARED / "yolo-fastest" / "dog.png"
    for wanted in ("motorcycle,dog", "motorbike, dog"):
        assert detect(DARKNET / f"{model}.weights", dog, *words, "--classes", wanted) == 0
        assert {(row["category_id"], row["category_name"]) for row in rows()} == {(4, "motorbike"), (18, "dog")}


def save_images(folder: Path) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Write images of all kinds. Returns the upright size (width, height) of good ones, and the names of bad ones."""
    folder.mkdir()
    good: dict[str, tuple[int, int]] = {}
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(folder / f"exif-{orientation}.jpg", exif=exif)
        good[f"exif-{orientation}.jpg"] = (60, 40) if orientation <= 4 else (40, 60)
    for name, mode in (("grey.png", "L"), ("alpha.png", "RGBA"), ("cmyk.jpg", "CMYK"), ("palette.png", "P")):
        image.convert(mode).save(folder / name)
        good[name] = (60, 40)
    cv2.imwrite(str(folder / "deep.png"), np.full((40, 60, 3), 40000, np.uint16))
    cv2.imwrite(str(folder / "one.png"), np.zeros((1, 1, 3), np.uint8))
    cv2.imwrite(str(folder / "tall.bmp"), np.zeros((300, 1, 3), np.uint8))
    cv2.imwrite(str(folder / "huge.jpg"), np.full((9000, 11000, 3), 90, np.uint8))
    good |= {"deep.png": (60, 40), "one.png": (1, 1), "tall.bmp": (1, 300), "huge.jpg": (11000, 9000)}
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no image")
    (folder / "cut.jpg").write_bytes((folder / "exif-1.jpg").read_bytes()[:500])
    return good, ["empty.jpg", "text.jpg", "cut.jpg"]


def test_images_of_all_kinds_in_one_run(
    constant: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good images are drawn upright, bad ones are named, and the exit status is 1. Sources are not modified."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    good, bad = save_images(Path("in"))
    before = {name: Path("in", name).stat().st_mtime_ns for name in (*good, *bad)}
    assert detect(constant, "in", "none.png", "--json", "--txt", "--csv", "--max-det", "3") == 1
    captured = capsys.readouterr()
    assert {row["image_id"] for row in rows()} == set(good)
    assert captured.out.splitlines()[-1].startswith(f"{len(good)} images")
    *errors, last = captured.err.splitlines()
    assert last == "results of 4 of 20 images are missing in out: 4 not read"
    assert len(errors) == 4
    for name in (*bad, "none.png"):
        assert sum(name in line and line.startswith("not read: ") for line in errors) == 1
    for name, (width, height) in good.items():
        drawn = Path("out", name if name.endswith(".jpg") else Path(name).with_suffix(".png"))
        with Image.open(drawn) as image:
            assert image.size == (width, height)
    assert len(contents(Path("out", "labels"))) == len(good)
    assert {name: Path("in", name).stat().st_mtime_ns for name in before} == before


def test_all_orientations_show_the_same(constant: Path) -> None:
    """An image stored in each of the eight EXIF orientations is drawn upright."""
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30] = 255
    turned = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1), 7: np.rot90(upright, 2).transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }  # fmt: skip
    Path("in").mkdir()
    for orientation, pixels in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.ascontiguousarray(pixels)).save(f"in/{orientation}.jpg", exif=exif, quality=100)
    assert detect(constant, "in", "--conf", "0.99") == 0
    for orientation in turned:
        assert np.abs(read_image(f"out/{orientation}.jpg").astype(int) - upright).mean() < 2


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="NOT TESTED: memory is read from Linux's /proc")
def test_memory_is_flat_over_many_images(constant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image is not kept in memory after its results are written: each has 92 kB, all of those between 9 MB."""
    Path("in").mkdir()
    for k in range(150):
        cv2.imwrite(f"in/{k:04}.png", np.full((160, 192, 3), k, np.uint8))
    used: list[int] = []

    def counting(*arguments: Any) -> np.ndarray:
        used.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        return draw(*arguments)

    monkeypatch.setattr("yolo.commands.detect.draw", counting)
    assert detect(constant, "in", "--json", "--csv", "--size", "64", "--max-det", "3") == 0
    assert len(used) == 150
    assert np.median(used[125:]) - np.median(used[25:50]) < 4 << 20
    assert len(rows()) == 450


def test_a_folder_of_other_files_is_refused(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--out` must be empty or detect's own: the folder of the images, or one with any other file, stays as it is."""
    image(Path("in/a.png"))
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    for folder in ("in", "mine"):
        before = contents(Path(folder))
        assert detect(constant, "in", "--json", "--crops", out=folder) == 1
        assert (
            f"error: {folder}: results cannot be written: it has files that detect did not" in capsys.readouterr().err
        )
        assert contents(Path(folder)) == before
    Path("empty").mkdir()
    assert detect(constant, "in", out="empty") == 0


def test_each_call_has_a_fresh_folder(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without `--out`: runs/detect, runs/detect-2, ...; the last line names it."""
    image(Path("a.png"))
    image(Path("b.png"))
    for name, folder in (("a.png", "detect"), ("b.png", "detect-2"), ("a.png", "detect-3")):
        assert main(["detect", name, "--weights", str(constant), "--device", "cpu"]) == 0
        assert list(contents(Path("runs", folder))) == [name]
        assert capsys.readouterr().out.endswith(f"drawn: {Path('runs', folder, name)}\n")


def test_a_second_call_replaces_its_own_results_only(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own files get their names again, those of other images go; what the user added or changed stays."""
    words = ["--json", "--txt", "--csv", "--crops", "--max-det", "3"]
    path, other = image(Path("in/a.png")), image(Path("in/b.png"))
    assert detect(constant, path, *words) == 0
    first = contents(Path("out"))
    assert detect(constant, "in", *words) == 0
    assert len(contents(Path("out"))) > len(first)
    assert detect(constant, path, *words) == 0
    assert contents(Path("out")) == first
    Path("out/mine.txt").write_text("mine")
    Path("out/b.png").write_text("mine")
    assert detect(constant, path, *words) == 0
    assert contents(Path("out")) == {**first, "mine.txt": b"mine", "b.png": b"mine"}
    assert detect(constant, other, *words) == 1
    assert "not as detect left it" in capsys.readouterr().err
    assert contents(Path("out"))["b.png"] == b"mine"
    label = Path("out/labels/a.txt")
    label.write_text("0 0.5 0.5 0.1 0.1\n")
    assert detect(constant, path, *words) == 1
    assert label.read_text() == "0 0.5 0.5 0.1 0.1\n"
    assert not parts()


def test_an_image_is_detected_once(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever words match it: its name, its absolute path, its folder, a glob, a link to its folder."""
    path = image(Path("in/a.png"))
    words: list[str | Path] = [path, path.resolve(), "in", "in/*.png", "in/../in/a.png", path]
    if os.name != "nt":
        Path("link").symlink_to("in")
        words.append("link")
    assert detect(constant, *words, "--json", "--max-det", "1") == 0
    assert len(rows()) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 image, ")


def test_equal_names_of_two_folders_keep_their_path(constant: Path) -> None:
    """In json, csv, drawings, labels and crops; so do the ids, for `1.jpg` is another image than `000001.jpg`."""
    for name in ("cam1/000001.jpg", "cam2/000001.jpg", "cam2/1.jpg"):
        image(Path("in", name))
    words = ["in/cam1", "in/cam2", "--json", "--csv", "--txt", "--crops", "--max-det", "1"]
    assert detect(constant, *words) == 0
    names = ["cam1/000001.jpg", "cam2/000001.jpg", "cam2/1.jpg"]
    assert [(row["image_id"], row["file_name"]) for row in rows()] == [(name, name) for name in names]
    assert [line.split(",")[0] for line in Path("out/detections.csv").read_text().splitlines()[1:]] == names
    for name in names:
        stem = name.removesuffix(".jpg")
        for file in (name, f"images/{name}", f"labels/{stem}.txt", f"crops/_/{stem}-0.png"):
            assert Path("out", file).is_file(), file
    assert detect(constant, "in/cam2", "--json", "--max-det", "1") == 0
    assert [row["image_id"] for row in rows()] == ["000001.jpg", "1.jpg"]
    assert detect(constant, "in", "--recursive", "--json", "--max-det", "1") == 0
    assert [row["file_name"] for row in rows()] == names


def test_what_a_folder_leaves_out_is_said(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Images without a known ending are taken by their content; other files and subfolders are counted."""
    image(Path("in/a.jpg"))
    for name in ("b.jfif", "c.MPO", "noext", "d.dat"):
        Path("in", name).write_bytes(Path("in/a.jpg").read_bytes())
    for name in ("e.heic", "f.heic", "notes.txt", ".DS_Store"):
        Path("in", name).write_bytes(b"BM and other text")
    image(Path("in/sub/deep/g.jpg"))
    assert detect(constant, "in", "--json", "--txt", "--max-det", "1") == 0
    assert [row["file_name"] for row in rows()] == ["a.jpg", "b.jfif", "c.MPO", "d.dat", "noext"]
    assert sorted(contents(Path("out/images"))) == ["a.jpg", "b.jfif", "c.mpo", "d.dat.jpg", "noext.jpg"]
    assert len(open_data(Path("out").resolve(), split="train")) == 5
    error = capsys.readouterr().err
    assert "in: left out 1 file in subfolders (--recursive takes them); " in error
    assert "by its first bytes: 2 .heic, 1 .txt\n" in error
    assert detect(constant, "in", "--recursive", "--json", "--max-det", "1") == 0
    assert rows()[-1]["file_name"] == "g.jpg"
    assert "subfolders" not in capsys.readouterr().err
    assert detect(constant, "in/sub") == 1
    assert "left out 1 file in subfolders (--recursive takes them)" in capsys.readouterr().err


def test_results_are_no_sources(constant: Path) -> None:
    """A folder of results below the images is left out of `--recursive`; given by itself it is a source."""
    image(Path("in/sub/a.png"))
    for _ in range(2):
        assert detect(constant, "in", "--recursive", "--json", "--txt", "--max-det", "1", out="in/found") == 0
        assert [row["file_name"] for row in rows("in/found")] == ["a.png"]
    assert detect(constant, "in/found", "--json", "--max-det", "1") == 0
    assert [row["file_name"] for row in rows()] == ["a.png"]


def test_boxes_are_clipped_unless_exact(constant: Path) -> None:
    """A box that sticks out ends at the border; darknet's own numbers do not."""
    image(Path("a.png"), 160, 80)
    found = {}
    for exact in ("", "--exact"):
        assert detect(constant, "a.png", "--json", "--txt", *([exact] if exact else [])) == 0
        left, top, w, h = np.array([row["bbox"] for row in rows()]).T
        found[exact] = min(left.min(), top.min()), (left + w).max(), (top + h).max()
        for line in Path("out/labels/a.txt").read_text().splitlines():
            _, cx, cy, width, height = map(float, line.split())
            assert cx - width / 2 >= -1e-6
            assert cx + width / 2 <= 1 + 1e-6
            assert cy - height / 2 >= -1e-6
            assert cy + height / 2 <= 1 + 1e-6
            assert min(width, height) > 0
    assert found[""] == pytest.approx((0, 160, 80), abs=1e-4)
    assert found["--exact"][0] < 0
    assert found["--exact"][2] > 80


def test_labels_can_be_trained_on(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`train --data` takes what `--txt` wrote, of two folders and of a video; `--txt-score` adds a column."""
    for k in range(6):
        image(Path(f"in/{'ab'[k % 2]}/images/{k // 2}.png"))
    write_video(Path("in/clip.mp4"))
    assert detect(constant, "in", "--recursive", "--txt", "--max-det", "4") == 0
    out = Path("out").resolve()
    for split, number in (("train", 10), ("val", 1)):
        data = open_data(out, split=split)
        assert (len(data), data.names) == (number, NAMES)
        assert [len(target["labels"]) for _, target in map(data.sample, range(number))] == [4] * number
    words = ["--cfg", "toy.cfg", "--size", "64", "--epochs", "1", "--warmup-steps", "1", "--batch-size", "2"]
    words += ["--workers", "0", "--device", "cpu"]
    assert main(["train", "--data", "out", *words, "--out", "run"]) == 0
    assert Path("run/best.safetensors").is_file()
    assert detect(constant, "in/a/images", "--txt-score", "--max-det", "1", out="scored") == 0
    assert [len(line.split()) for line in Path("scored/labels/0.txt").read_text().splitlines()] == [6]


def test_labels_of_a_turned_image(constant: Path) -> None:
    """The copy keeps its EXIF orientation, and the labels are those of the upright image."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((40, 80, 3), np.uint8)).save("a.jpg", exif=exif)
    assert detect(constant, "a.jpg", "--json", "--txt", "--max-det", "3") == 0
    data = open_data(Path("out").resolve(), split="train")
    pixels, target = data.sample(0)
    assert pixels.shape[1:] == (80, 40)
    left, top, w, h = np.array([row["bbox"] for row in rows()]).T
    np.testing.assert_allclose(target["boxes"], np.stack([left, top, left + w, top + h], axis=1), atol=1e-3)


def test_json_as_darknet_writes_it(constant: Path) -> None:
    """`--json-format darknet`: an entry per image, also without objects, with relative boxes of six decimals."""
    image(Path("a.png"))
    assert detect(constant, "a.png", "--json-format", "darknet", "--max-det", "1") == 0
    (entry,) = rows()
    assert (entry["frame_id"], entry["filename"]) == (1, "a.png")
    (found,) = entry["objects"]
    assert (found["class_id"], found["name"], round(found["confidence"], 3)) == (0, "..", 0.907)
    assert list(found["relative_coordinates"]) == ["center_x", "center_y", "width", "height"]
    assert all(value == round(value, 6) for value in found["relative_coordinates"].values())
    assert detect(constant, "a.png", "--json-format", "darknet", "--conf", "0.99") == 0
    assert rows() == [{"frame_id": 1, "filename": "a.png", "objects": []}]


@pytest.mark.skipif(os.name == "nt", reason="modes are others there")
def test_files_have_the_mode_of_the_umask(constant: Path) -> None:
    """All results, and the weights that convert writes."""
    path = image(Path("a.png"))
    write_video(Path("b.mp4"))
    before = os.umask(0o027)
    try:
        assert detect(constant, path, "b.mp4", "--json", "--csv", "--txt", "--crops", "--max-det", "1") == 0
        assert main(["convert", str(constant), "c.weights"]) == 0
        assert main(["convert", "c.weights", "c.safetensors", "--cfg", "c.cfg", "--names", "c.names"]) == 0
    finally:
        os.umask(before)
    files = [*(file for file in Path("out").rglob("*") if file.is_file()), *Path().glob("c.*")]
    assert len(files) > 10
    assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o640"}


def test_a_missing_source_of_an_earlier_run(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, although a drawing of it exists."""
    path = image(Path("a.png"))
    image(Path("b.png"))
    assert detect(constant, path) == 0
    path.unlink()
    assert detect(constant, path, "b.png") == 1
    assert "not read: a.png: no such image file" in capsys.readouterr().err
    assert Path("out/b.png").is_file()


@pytest.mark.parametrize("ending", [".mp4", ".avi"])
def test_a_video_is_written_as_a_video(constant: Path, ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The video has the same number of frames, size and rate; each frame has a name and an image_id."""
    write_video(Path(f"2024{ending}"), frames=7, rate=12.5, size=(96, 64))
    assert detect(constant, f"2024{ending}", "--json", "--txt", "--max-det", "1") == 0
    video = cv2.VideoCapture("out/2024.mp4")
    assert video.get(cv2.CAP_PROP_FPS) == 12.5
    frames = []
    while (answer := video.read())[0]:
        frames.append(answer[1])
    video.release()
    assert [frame.shape for frame in frames] == [(64, 96, 3)] * 7
    assert [row["image_id"] for row in rows()] == [f"2024{ending}#{k}" for k in range(7)]
    assert sorted(contents(Path("out/labels"))) == [f"2024/{k}.txt" for k in range(7)]
    assert sorted(contents(Path("out/images"))) == [f"2024/{k}.jpg" for k in range(7)]
    *lines, summary, last = capsys.readouterr().out.splitlines()
    assert all(line.startswith(f"2024{ending}: frame ") for line in lines)  # one for each second that it took
    assert summary.startswith(f"2024{ending}: 7 frames in ")
    assert summary.endswith(" frames/s; 7 objects: 7 ..")
    assert last.startswith("7 images, median load ")


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_camera_is_detected_at_the_newest_frame(
    interrupted: bool, constant: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames have their numbers in the stream in all files, and the written video is as long as the stream.

    A camera is ended by Ctrl-C. The lines at the end are printed then too.
    """
    frame = np.zeros((48, 64, 3), np.uint8)

    def live(source: Source, channels: int, *, newest: bool) -> Iterator[Shot]:
        assert newest
        for number, skipped in ((0, 0), (4, 3), (6, 1)):
            yield Shot(f"{source.name}#{number}", None, frame, rate=25.0, skipped=skipped)
        if interrupted:
            raise KeyboardInterrupt
        yield Shot(source.name, None, None, "camera 0: breaks off")

    monkeypatch.setattr("yolo.models.results.shots", live)
    assert detect(constant, "0", "--json", "--txt", "--max-det", "1") == (130 if interrupted else 1)
    out, error = capsys.readouterr()
    *_, video, last = out.splitlines()
    assert video.startswith("camera 0: 3 frames (4 skipped to keep up with the stream) in ")
    assert last.startswith("3 images, median load ")
    assert last.endswith(f"drawn: {Path('out', 'camera-0.mp4')}")
    assert ("interrupted" if interrupted else "not read to its end: camera 0: breaks off") in error
    assert [row["image_id"] for row in rows()] == [f"camera 0#{number}" for number in (0, 4, 6)]
    assert sorted(contents(Path("out/labels"))) == [f"camera-0/{number}.txt" for number in (0, 4, 6)]
    written = cv2.VideoCapture("out/camera-0.mp4")
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) == 7
    written.release()


def test_quiet_prints_nothing_but_errors(
    constant: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """No remark about the model, what is left out or the video, no line of an image. The files are written."""
    image(Path("in/a.png"))
    write_video(Path("in/clip.mp4"))
    Path("in/notes.txt").write_text("notes")
    save_weights(Darknet(read_cfg("toy.cfg")), "toy.weights")
    words = ["in", "--cfg", "toy.cfg", "--conf", "1"]
    assert detect(Path("toy.weights"), *words) == 0
    assert "left out" in capsys.readouterr().err
    assert "images are stretched" in caplog.text
    caplog.clear()
    assert detect(Path("toy.weights"), *words, "--quiet", out="quiet") == 0
    assert (*capsys.readouterr(), caplog.text) == ("", "", "")
    assert sorted(contents(Path("quiet"))) == ["a.png", "clip.mp4"]
    assert detect(constant, "none.png", "in/a.png", "--quiet") == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("not read: none.png: no such image file")
    assert error.endswith("\nresults of 1 of 2 images are missing in out: 1 not read\n")
    assert error.count("\n") == 2
    assert detect(constant, "in", "--quiet", "--max-det", "0") == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_the_clock_starts_warm(constant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network has run once, on a blank input of its size, before the first image; its detections are the same."""
    image(Path("a.png"))
    model = yolo.load(constant, device="cpu")
    seen: list[torch.Tensor] = []
    predict = type(model).predict

    def counting(self: Any, images: torch.Tensor) -> Any:
        seen.append(images)
        return predict(self, images)

    with monkeypatch.context() as patched:
        patched.setattr(type(model), "predict", counting)
        assert detect(constant, "a.png", "--json", "--size", "64x96") == 0
    blank, first = seen
    assert blank.shape == first.shape == (1, 3, 96, 64)
    assert blank.float().std() == 0
    assert first.float().std() > 0
    found = yolo.load(constant, device="cpu", size=(96, 64)).detect("a.png")
    assert [row["score"] for row in rows()] == found.scores.tolist()
    assert [row["bbox"] for row in rows()] == xyxy_to_xywh(found.boxes).tolist()


def test_times_of_a_network_with_postprocessing(
    constant: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A detector whose class is `fused` has one time for both, in each line."""
    image(Path("a.png"))
    monkeypatch.setattr(type(yolo.load(constant, device="cpu")), "fused", True, raising=False)
    assert detect(constant, "a.png", "--max-det", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    for line in (lines[0], lines[-1]):
        assert "load " in line
        assert " + network with postprocessing " in line
        assert line.count(" + ") == 1


def test_a_broken_video_is_named(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the file, and no video is written for it."""
    Path("clip.mp4").write_text("no film")
    image(Path("a.png"))
    assert detect(constant, "clip.mp4", "a.png") == 1
    assert "not read: clip.mp4: no frame could be read" in capsys.readouterr().err
    assert sorted(contents(Path("out"))) == ["a.png"]


def test_half_a_video_is_an_error(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The frames before the break have results; the message has the number of the last one, the exit status is 1."""
    data = write_video(Path("clip.avi"), frames=40).read_bytes()
    assert detect(constant, "clip.avi", "--max-det", "1", out="whole") == 0
    Path("clip.avi").write_bytes(data[: len(data) // 2])
    assert detect(constant, "clip.avi", "--json", "--max-det", "1") == 1
    error = capsys.readouterr().err
    last = len(rows()) - 1
    assert 5 < last < 30
    assert f"not read to its end: clip.avi: breaks off after frame {last}, " in error
    assert f"{last + 1} of 40 frames" in error


def test_a_one_channel_network_reads_images_and_videos() -> None:
    """The network gets grey images, and drawings are in colour."""
    Path("grey.cfg").write_text((ROOT / "config" / "toy.cfg").read_text().replace("channels=3", "channels=1"))
    save_weights(Darknet(read_cfg("grey.cfg")), "grey.weights")
    image(Path("a.png"), 60, 40)
    write_video(Path("clip.mp4"))
    assert detect(Path("grey.weights"), "a.png", "clip.mp4", "--cfg", "grey.cfg", "--conf", "0.99") == 0
    assert read_image("out/a.png").shape == (40, 60, 3)
    assert Path("out/clip.mp4").is_file()


def test_choices_limits_and_classes_together(constant: Path) -> None:
    """Of two classes in each of 25 cells, NMS across classes keeps one. A limit counts only the chosen classes."""
    image(Path("a.png"))

    def found(*words: str) -> list[str]:
        assert detect(constant, "a.png", "--json", *words) == 0
        return [row["category_name"] for row in rows()]

    assert found() == [".."] * 25 + ["motorbike"] * 25
    assert found("--agnostic") == [".."] * 25
    assert found("--max-det", "30") == [".."] * 25 + ["motorbike"] * 5
    assert found("--classes", "motorcycle") == ["motorbike"] * 25
    assert found("--classes", "motorbike,e", "--max-det", "3") == ["motorbike"] * 3
    assert found("--classes", "..,motorbike", "--max-det", "30") == [".."] * 25 + ["motorbike"] * 5
    assert found("--conf", "0.8") == [".."] * 25
    assert found("--iou", "0.1") != found()
    assert len(found("--size", "320x160")) == 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--classes", "motorbik"], "did you mean motorbike"),
        (["--classes", "zebra"], "no class is called 'zebra'; they are .., motorbike, c/d"),
        (["--max-det", "0"], "max_detections=0: expected at least 1"),
        (["--max-det", "-2", "--classes", "e"], "max_detections=-2: expected at least 1"),
        (["--conf", "1.5"], "confidence=1.5: expected a number from 0 to 1"),
        (["--iou", "nan"], "nms=nan"),
        (["--size", "0"], "expected pixels as N or WIDTHxHEIGHT"),
        (["--names", "none.names"], "none.names"),
        (["nowhere/*.png"], "no file matches"),
        (["."], "no image and no video in this folder"),
    ],
)
def test_wrong_options_are_one_line(
    words: list[str], message: str, constant: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line has what is wrong, and nothing is detected or written before it."""
    image(Path("in/a.png"))
    assert detect(constant, "in/a.png", *words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not Path("out").exists()


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta"])
def test_a_device_that_is_not_there(device: str, constant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error is one line without a traceback."""
    image(Path("a.png"))
    assert main(["detect", "a.png", "--weights", str(constant), "--device", device]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: device '{device}': ")
    assert error.count("\n") == 1


def test_nothing_given(capsys: pytest.CaptureFixture[str]) -> None:
    """The message lists what can be given."""
    assert main(["detect"]) == 1
    assert "give images, videos, folders" in capsys.readouterr().err


def test_out_is_a_file(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error comes before the first image."""
    image(Path("a.png"))
    Path("out").write_text("mine")
    assert detect(constant, "a.png", "--json") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: out: results cannot be written: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert Path("out").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere")
def test_out_is_read_only(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error comes before the first image."""
    image(Path("a.png"))
    Path("out").mkdir(mode=0o555)
    assert detect(constant, "a.png", "--json") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: out: results cannot be written: ")
    assert captured.out == ""


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Make writing of files above 20,000 bytes fail."""
    resource = pytest.importorskip("resource", reason="NOT TESTED: no limits on this system")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("words", [["a.png"], ["b.png", "--json"], ["b.png", "--csv"]])
def test_a_full_disk(
    words: list[str], constant: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    """In a drawing, in the JSON or in the csv: it is named, status 1, files are whole, no partial file is left."""
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    cv2.imwrite("a.png", noise)
    image(Path("b.png"), 8, 8)
    image(Path("c.png"), 8, 8)
    assert detect(constant, "c.png", "--json", "--conf", "1") == 0
    request.getfixturevalue("small_disk")
    assert detect(constant, *words, "--size", "64", "--conf", "0") == 1
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"not written: results of {words[0]}: [Errno 27] {os.strerror(errno.EFBIG)}: 'out")
    assert last == "results of 1 of 1 images are missing in out: 1 not written"
    assert not parts()
    assert rows() == []


def test_a_full_disk_under_a_video(
    constant: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    """OpenCV does not report it, so the frames of the file are counted."""
    write_video(Path("clip.mp4"), frames=60, size=(320, 240))
    request.getfixturevalue("small_disk")
    assert detect(constant, "clip.mp4", "--size", "64", "--max-det", "3") == 1
    error = capsys.readouterr().err
    assert f"{Path('out', 'clip.mp4')}: " in error
    assert "is the disk full?" in error


@pytest.fixture
def five(constant: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], int]:
    """Return what detects in five images and calls a function in place of drawing the third one."""
    for k in range(5):
        image(Path(f"in/{k}.png"))

    def run(event: Callable[[], object]) -> int:
        calls = iter(range(1, 6))
        monkeypatch.setattr("yolo.commands.detect.draw", lambda *given: (next(calls) == 3 and event()) or draw(*given))
        return detect(constant, "in", "--json", "--csv", "--txt", "--max-det", "1")

    return run


def fail(problem: BaseException) -> Callable[[], object]:
    """Return a function that raises an error."""

    def failing() -> None:
        raise problem

    return failing


SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if os.name != "nt"]


@pytest.mark.parametrize("number", SIGNALS, ids=str)
def test_a_signal_keeps_what_was_found(
    number: int, five: Callable[[Callable[[], object]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """While the third image is drawn: valid JSON, two complete drawings, a data set, the status of the signal."""
    before = [signal.getsignal(one) for one in SIGNALS]
    assert five(lambda: os.kill(os.getpid(), number)) == 128 + number
    assert [signal.getsignal(one) for one in SIGNALS] == before
    last = capsys.readouterr().err.splitlines()[-1]
    what = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    assert last == f"{what}; results of 3 of 5 images are missing in out: 3 not reached"
    assert [row["image_id"] for row in rows()] == [0, 1, 2]
    assert len(Path("out/detections.csv").read_text().splitlines()) == 4
    assert [name for name in sorted(contents(Path("out"))) if name.endswith(".png") and "images" not in name] == [
        "0.png",
        "1.png",
    ]
    assert len(open_data(Path("out"), split="train")) == 3
    assert not parts()


def test_an_image_that_cannot_be_written(
    five: Callable[[Callable[[], object]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, all others are done, and the last line counts it."""
    assert five(fail(OSError(errno.ENAMETOOLONG, "File name too long", "out/2.png"))) == 1
    captured = capsys.readouterr()
    first, last = captured.err.splitlines()
    assert first == "not written: results of in/2.png: [Errno 36] File name too long: 'out/2.png'"
    assert last == "results of 1 of 5 images are missing in out: 1 not written"
    assert [row["image_id"] for row in rows()] == [0, 1, 2, 3, 4]
    assert {"0.png", "1.png", "3.png", "4.png"} <= contents(Path("out")).keys()
    assert "in/2.png: 1 object" not in captured.out


def test_a_disk_that_is_full(five: Callable[[Callable[[], object]], int], capsys: pytest.CaptureFixture[str]) -> None:
    """No other image could be written either: one line, and whole files up to there."""
    assert five(fail(OSError(errno.ENOSPC, "No space left on device", "out/2.png"))) == 1
    assert capsys.readouterr().err == (
        "error: out: results cannot be written: [Errno 28] No space left on device: 'out/2.png'; "
        "results of 3 of 5 images are missing in out: 3 not reached\n"
    )
    assert [row["image_id"] for row in rows()] == [0, 1, 2]


def test_a_fault_of_the_program(
    five: Callable[[Callable[[], object]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """What was found before it is in whole files, and what is missing is counted."""
    with suppress(RuntimeError):
        assert five(fail(RuntimeError("unforeseen"))) == 1
    assert "results of 3 of 5 images are missing in out: 3 not reached\n" in capsys.readouterr().err
    assert [row["image_id"] for row in rows()] == [0, 1, 2]
    assert not parts()


def test_the_longest_names(constant: Path) -> None:
    """Names of 251 and 255 bytes, of which two begin alike: all kinds of results, and no two are one file."""
    names = ["a" * 251, "a" * 250 + "b", "é" * 125]
    for name in names:
        cv2.imwrite("x.png", np.zeros((8, 8, 3), np.uint8))
        Path("in").mkdir(exist_ok=True)
        Path("x.png").rename(f"in/{name}.png")
    assert detect(constant, "in", "--json", "--txt", "--crops", "--max-det", "1") == 0
    assert {row["file_name"] for row in rows()} == {f"{name}.png" for name in names}
    assert len(list(Path("out").glob("*.png"))) == len(list(Path("out/labels").iterdir())) == 3
    assert len(list(Path("out/crops").rglob("*.png"))) == 3


def start(*words: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Start `python detect.py` as a process of its own, without a screen."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {"OMP_NUM_THREADS": "1"} | options.pop("env", {})
    command = [sys.executable, str(ROOT / "detect.py"), *(str(word) for word in words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


@pytest.mark.skipif(os.name == "nt", reason="pipes end differently there")
def test_pipes_interrupts_and_plain_terminals(constant: Path) -> None:
    """Three processes at once: a pipe whose reader ends, a real Ctrl-C, a terminal with ASCII only."""
    for k in range(200):
        image(Path(f"in/{k:03}.png"))
    image(Path("собака.png"))
    # So many lines fill a pipe: a process that nobody reads from waits, and cannot end before it is stopped.
    words: list[str | Path] = ["--weights", constant, "--device", "cpu", "--json", "--max-det", "20"]
    piped = start("in", *words, "--out", "piped")
    stopped = start("in", *words, "--out", "stopped")
    plain = start("собака.png", *words, "--out", "plain", env={"PYTHONIOENCODING": "ascii"})
    assert piped.stdout is not None
    assert stopped.stdout is not None
    assert piped.stdout.readline().startswith("in/000.png: 20 objects")
    piped.stdout.close()
    assert "20 objects" in stopped.stdout.readline()
    stopped.send_signal(signal.SIGINT)
    assert piped.stderr is not None
    assert piped.stderr.read() == ""
    piped.stderr.close()
    assert piped.wait(60) == 1
    error = stopped.communicate(timeout=60)[1]
    assert re.fullmatch(
        r"interrupted; results of 1?\d\d of 200 images are missing in stopped: 1?\d\d not reached\n", error
    )
    assert stopped.returncode == 130
    output, error = plain.communicate(timeout=60)
    assert (plain.returncode, error) == (0, "")
    assert "\\u0441" in output.splitlines()[0]
    for out in ("piped", "stopped"):
        assert 20 <= len(rows(out)) < 4000
    assert not parts()


def test_help_does_without_torch() -> None:
    """`detect.py --help` and `-m yolo --help` end with status 0 and import neither torch nor OpenCV."""
    code = (
        "import sys\nfrom yolo.__main__ import main\n"
        "try:\n    main({words})\nexcept SystemExit as end:\n"
        "    print(end.code, *(name for name in ('torch', 'cv2', 'numpy') if name in sys.modules))"
    )
    for words in (["--help"], ["detect", "--help"]):
        command = [sys.executable, "-c", code.format(words=words)]
        lines = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout.splitlines()
        assert lines[-1] == "0"
    process = start("--help")
    output, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    for option in ("--cfg", "--weights", "--classes", "--exact", "--crops", "--quiet"):
        assert option in output


def test_a_bar_only_on_a_terminal(
    constant: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several sources on a terminal have a progress bar on stderr; one source or a pipe has none."""
    for k in range(3):
        image(Path(f"in/{k}.png"))
    for terminal, sources, bar in ((False, "in", False), (True, "in/0.png", False), (True, "in", True)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        assert detect(constant, sources, "--max-det", "1") == 0
        captured = capsys.readouterr()
        assert ("3/3" in captured.err) == bar
        assert "3/3" not in captured.out
        assert f"{Path('in', '0.png')}: 1 object" in captured.out


def test_the_newest_run_is_the_default(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without weights those of the newest run in runs/ are used, with its cfg and names; a message says so."""
    image(Path("a.png"))
    for k, name in enumerate(("new", "old")):
        Path("runs", name).mkdir(parents=True)
        best = Path("runs", name, "best.safetensors")
        best.write_bytes(constant.read_bytes() if name == "new" else b"")
        os.utime(best, (1e9 - k, 1e9 - k))
    assert main(["detect", "a.png", "--json", "--device", "cpu"]) == 0
    assert f"weights: {Path('runs', 'new', 'best.safetensors')}, the newest trained run" in capsys.readouterr().err
    assert {row["category_name"] for row in rows("runs/detect")} == {"..", "motorbike"}


def test_official_weights_are_the_last_resort(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are those of the cfg, by default yolov3's. A cfg without official weights is an error."""
    image(Path("a.png"))
    asked = []

    def official(name: str) -> Path:
        asked.append(name)
        path = Path(f"{name}.weights")
        save_weights(Darknet(read_cfg(f"{name}.cfg")), path)
        return path

    monkeypatch.setattr("yolo.commands.detect.official_weights", official)
    words = ["detect", "a.png", "--device", "cpu", "--size", "64"]
    assert main([*words, "--cfg", "yolov3-tiny.cfg", "--conf", "1"]) == 0
    assert main([*words, "--cfg", "toy.cfg"]) == 1
    assert "toy.cfg: there are no official weights of that name; give --weights FILE" in capsys.readouterr().err
    assert main([*words, "--cfg", "missing.cfg"]) == 1
    assert "missing.cfg: no such file" in capsys.readouterr().err
    assert asked == ["yolov3-tiny"]
    monkeypatch.setattr("yolo.commands.detect.official_weights", lambda name: Path(f"{name}-from-afar.weights"))
    assert main(words) == 1
    assert "yolov3-from-afar.weights" in capsys.readouterr().err


def test_safetensors_alone_as_cfg(constant: Path) -> None:
    """It holds the weights too, as for `yolo.load`."""
    image(Path("a.png"))
    assert main(["detect", "a.png", "--cfg", str(constant), "--device", "cpu"]) == 0
    assert Path("runs/detect/a.png").is_file()


def test_weights_of_another_network(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error is one line with both files."""
    image(Path("a.png"))
    assert detect(constant, "a.png", "--cfg", "yolov3-tiny.cfg") == 1
    error = capsys.readouterr().err
    assert "was saved with another cfg than yolov3-tiny.cfg" in error
    assert error.count("\n") == 1
