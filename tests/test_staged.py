"""Every verb with every kind of wrong input: a message that names it, never a traceback."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.support.train_problems import shapes, tiny_cfg
from yolo.__main__ import main
from yolo.commands.command_line import VERBS
from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.weights import save_weights

MODEL = ("--cfg", "tiny.cfg", "--weights", "tiny.weights", "--device", "cpu")
DATA = ("--data", "set")
TRAIN = ("train", "--cfg", "tiny.cfg", "--device", "cpu", "--workers", "0", "--epochs", "1")

PATHS: list[tuple[str, ...]] = [
    ("detect", "@", *MODEL),
    ("detect", "a.jpg", "--weights", "@"),
    ("detect", "a.jpg", "--names", "@", *MODEL),
    ("detect", "a.jpg", "--cfg", "@", "--weights", "tiny.weights"),
    ("detect", "a.jpg", "--out", "file/@", *MODEL),
    ("summary", "@"),
    ("summary", "tiny.cfg", "--weights", "@"),
    ("convert", "@", "new.safetensors", "--cfg", "tiny.cfg"),
    ("convert", "tiny.weights", "new.safetensors", "--cfg", "@"),
    ("convert", "tiny.weights", "new.safetensors", "--cfg", "tiny.cfg", "--names", "@"),
    ("convert", "tiny.weights", "file/@.safetensors", "--cfg", "tiny.cfg"),
    ("eval", "--results", "@", "--annotations", "set/annotations/instances_val.json"),
    ("eval", "--results", "list.json", "--annotations", "@"),
    ("eval", "--data", "@", *MODEL),
    ("eval", *DATA, "--weights", "@"),
    ("explain", "@", *DATA, *MODEL),
    ("explain", "a.jpg", "--data", "@", *MODEL),
    ("show-data", "@", "--cfg", "tiny.cfg"),
    ("show-data", "set", "--cfg", "@"),
    ("show-data", "set", "--cfg", "tiny.cfg", "--names", "@"),
    ("anchors", "--data", "@", "--cfg", "tiny.cfg"),
    ("anchors", *DATA, "--cfg", "@"),
    ("doctor", "@"),
    ("doctor", "set", "--weights", "@"),
    ("get", "weights", "@"),
    ("get", "singles", "--images", "1", "--out", "file/@"),
    ("plot-lr", "--out", "file/@"),
    (*TRAIN, "--data", "@"),
    (*TRAIN, *DATA, "--weights", "@"),
    (*TRAIN, *DATA, "--cfg", "@"),
    (*TRAIN, *DATA, "--out", "file/@"),
    (*TRAIN, "--options", "@", "--data", "nothing"),
    (*TRAIN, *DATA, "--transform", "@"),
    ("train", "--resume", "@"),
    ("check", "--run", "@"),
    ("ablate", "@", "--dry"),
    ("completion", "@"),
]
"""Command lines; @ is the wrong input. One of a folder `file`, which is a file, is wrong by itself."""

WRONG = [
    *(
        "pipe",
        "loop",
        "nothing",
        "folder",
        "empty",
        "garbage",
        "",
        "-",
        "a\0b",
        "x" * 300,
        "../../nothing",
        "\x1b[2J\n.jpg",
        "\udcff",
    ),
    *(
        "photo.weights",
        "photo.cfg",
        "photo.json",
        "photo.safetensors",
        "photo.yaml",
        "photo.names",
        "photo.csv",
        "pipe",
        "loop",
    ),
    *("saved.cfg", "saved.json", "list.json", "number.json", "cfg.weights", "cfg.safetensors", "cfg.yaml"),
    *("unreadable.cfg", "unreadable.json", "unreadable.jpg"),
]
"""Names of inputs that no option of a case accepts."""

NUMBERS: list[tuple[str, ...]] = [
    *(("detect", "a.jpg", *MODEL, option, "@") for option in ("--confidence", "--batch-size", "--size")),
    *(("eval", *MODEL, *DATA, "--split", "val", option, "@") for option in ("--holdout", "--limit", "--matrix-conf")),
    *(("show-data", "set", option, "@") for option in ("--limit", "--fraction", "--seed")),
    *(("anchors", *DATA, "--cfg", "tiny.cfg", option, "@") for option in ("--clusters", "--seed", "--holdout")),
    ("summary", "tiny.cfg", "--size", "@"),
    ("convert", "tiny.weights", "new.conv.2", "--cfg", "tiny.cfg", "--cutoff", "@"),
    ("explain", "a.jpg", *DATA, *MODEL, "--match-iou", "@"),
    ("doctor", "set", "--batch-size", "@"),
    ("get", "singles", "--images", "@"),
    ("plot-lr", "--total-steps", "@"),
    *((*TRAIN, *DATA, option, "@") for option in ("--lr", "--batch-size")),
    ("ablate", "recipe", "--seeds", "@", "--dry"),
]

OUT_OF_BOUNDS = ("nan", "-inf", "-1", "1e400", "9" * 30, "x", "", "1_0.")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wrong inputs, and a data set, a cfg and weights that are right."""
    folder = tmp_path_factory.mktemp("staged")
    shapes(folder).rename(folder / "set")  # by its own name `train` would draw the rest of it
    save_weights(Darknet(read_cfg(tiny_cfg(folder))), folder / "tiny.weights")
    shutil.copy(next((folder / "set" / "images" / "val").iterdir()), folder / "a.jpg")
    photo, saved = (folder / "a.jpg").read_bytes(), b"\x40\0\0\0\0\0\0\0{}" + bytes(100)
    contents = {"photo": photo, "saved": saved, "list": b"[]", "number": b"9" * 400, "cfg": b"[net]\nwidth=64\n"}
    for name in WRONG:
        stem, _, ending = name.partition(".")
        if stem in contents and ending:
            (folder / name).write_bytes(contents[stem])
        elif stem == "unreadable":
            (folder / name).write_bytes(b"[]")
            (folder / name).chmod(0)
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "file").touch()
    (folder / "garbage").write_bytes(Random(0).randbytes(1000))
    return folder


def cases() -> Iterator[tuple[list[str], str]]:
    """Yield every command line with two of the wrong inputs, and what its message has to name."""
    wrong, numbers = itertools.cycle(WRONG), itertools.cycle(OUT_OF_BOUNDS)
    for template in PATHS:
        for bad in itertools.islice(wrong, 2):
            # A name of several lines is shown in one way or another; a file beside it may be at fault.
            start = bad.partition(".")[0][:20].strip("\x1b\n\udcff").partition("\0")[0]
            yield [word.replace("@", bad) for word in template], "file" if "file/@" in "".join(template) else start
    for template, bad in zip(NUMBERS, numbers, strict=False):
        yield [word.replace("@", bad) for word in template], ""


@pytest.mark.skipif(os.name == "nt", reason="NOT TESTED: modes are others there")
@pytest.mark.parametrize("verb", VERBS)
def test_what_is_wrong_is_named(
    verb: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is 1 or 2, and one message names the input; of `detect`, a source that cannot be read has a line."""
    monkeypatch.chdir(place)
    for words, named in (case for case in cases() if case[0][0] == verb):
        try:
            status = main(words)
        except SystemExit as ended:  # of tyro, which prints the value in a frame
            status, named = int(str(ended.code)), ""
        printed = capsys.readouterr()
        error = printed.err
        assert status in (1, 2), (words, status, error)
        assert "Traceback" not in error, (words, error)
        assert "unforeseen" not in error, (words, error)
        assert "\x1b" not in error, words
        if verb == "doctor" and not error:  # what is wrong with a data set is its result
            error = f"error: {printed.out}"
        messages = [line for line in error.splitlines() if line.startswith(("error: ", "not read: "))]
        assert len(messages) == 1 or status == 2, (words, error)
        assert named in error, (words, error)
