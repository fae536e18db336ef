"""Old names are still read: in command lines, options of a run, keys of a checkpoint."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from yolo.__main__ import main
from yolo.commands.command_line import VERBS, parse
from yolo.options import aliases
from yolo.options.aliases import OPTIONS, PRESETS, WORDS, foreign, renamed
from yolo.options.commands import Detect, Evaluate, Explain, ShowData
from yolo.options.detection import EVALUATION, Filter
from yolo.options.presets import find_preset, parse_train, read_options
from yolo.options.train import Train
from yolo.options.yaml_file import read_yaml

SAVED = ROOT / "tests" / "options" / "version_0_1.yaml"
"""The options of a run, written by version 0.1."""

PLACES = {
    "conf": (["detect", "a.jpg"], "0.3"),
    "iou": (["eval", "--weights", "w.safetensors", "--data", "d"], "0.3"),
    "max_det": (["explain", "a.jpg", "--weights", "w.safetensors", "--data", "d"], "7"),
    "pictures": (["show-data", "d"], "7"),
}
"""For each old name a command that has the option, and a value that is not its default."""


@pytest.mark.parametrize("old", OPTIONS)
def test_old_words_of_the_command_line(old: str) -> None:
    """Old flags give the same options as new ones, and not the defaults."""
    command, value = PLACES[old]
    before, now = (f"--{name.replace('_', '-')}" for name in (old, OPTIONS[old]))
    found = parse([*command, before, value])
    assert found == parse([*command, now, value])
    assert found != parse(command)


def test_where_the_words_lead() -> None:
    """Used together, thresholds are in the filter and files in the model."""
    found = parse(
        [
            "detect",
            "a.jpg",
            "--conf",
            "0.3",
            "--iou",
            "0.5",
            "--max-det",
            "7",
            "--agnostic",
            "--weights",
            "w.safetensors",
        ]
    )
    assert isinstance(found, Detect)
    assert found.filter == Filter(confidence=0.3, nms=0.5, max_detections=7, agnostic=True)
    assert found.model.weights == Path("w.safetensors")
    shown = parse(["show-data", "d", "--pictures", "3"])
    assert isinstance(shown, ShowData)
    assert shown.images == 3
    found = parse(["eval", "--weights", "w.safetensors", "--data", "d", "--conf", "0.3"])
    assert isinstance(found, Evaluate)
    assert found.filter == Filter(confidence=0.3, nms=EVALUATION.nms, max_detections=EVALUATION.max_detections)
    found = parse(["explain", "a.jpg", "--data", "d", "--weights", "w.safetensors", "--max-det", "None"])
    assert isinstance(found, Explain)
    assert found.filter == Filter()


@pytest.mark.parametrize(("old", "value"), [("conf", 0.3), ("iou", 0.3), ("max_det", 7)])
def test_old_keys_of_a_yaml_file(old: str, value: Any, tmp_path: Path) -> None:
    """Old keys are read as the new ones; both in one file are an option that is given twice."""
    file = tmp_path / "a.yaml"
    file.write_text(f"{old}: {value}\n")
    assert read_yaml(file, Filter()) == replace(Filter(), **{OPTIONS[old]: value})
    file.write_text(f"{OPTIONS[old]}: {value}\n{old}: {value}\n")
    with pytest.raises(ValueError, match=f"a.yaml:2: {OPTIONS[old]} is given twice"):
        read_yaml(file, Filter())


def test_old_names_of_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A renamed preset is found by either name."""
    monkeypatch.setitem(PRESETS, "post", "blog")
    assert find_preset("post") == find_preset("blog")
    assert parse_train(["--preset", "post"]) == parse_train(["--preset", "blog"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {}),
        ({"step": 3, "best": 0.5}, {"step": 3, "best": 0.5}),
        ({"epoch": 1, "pictures": 12}, {"epoch": 1, "images": 12}),
        ({"watcher": {"AP50": 1}}, {"watchers": {"glance": {"AP50": 1}}}),
        ({"memory": {"answers": 2}}, {"watchers": {"probe": {"answers": 2}}}),
        ({"memory": {}, "step": 3, "watcher": None}, {"watchers": {"probe": {}, "glance": None}, "step": 3}),
        ({"network": {"pictures": 5}}, {"network": {"pictures": 5}}),
    ],
)
def test_keys_of_a_checkpoint(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Only old keys at the outermost level are renamed, and the given dictionary is not changed."""
    before = dict(old)
    assert renamed(old) == new
    assert renamed(new) == new
    assert old == before


def test_options_of_version_0_1() -> None:
    """The file has another order, no `model` and no settings of the schedule `step`, and gives today's options."""
    text = SAVED.read_text()
    assert "model:" not in text
    assert "step_epochs" not in text
    words = "--preset darknet --cfg toy.cfg --data coco --seed 3 --early-stop 5 --probe --mosaic 0.5"
    found = read_options(SAVED)
    assert type(found) is Train
    assert found == parse_train(words.split())
    assert (found.model, found.schedule.step_epochs, found.schedule.gamma) == ("yolo", 10, 0.1)
    assert parse_train(["--options", str(SAVED)]) == found
    assert found.schedule.warmup_share is None  # although the default preset has one


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        ("detect a.jpg -thresh 0.3", ["-thresh: write --confidence N"]),
        ("detect a.jpg -ext_output -dont_show", ["-ext_output: write nothing: ", "-dont_show: write nothing: "]),
        ("detect a.jpg -save_labels", ["-save_labels: write --txt"]),
        ("detect a.jpg -out result.json", ["-out: write --json-format darknet --out FOLDER"]),
        (
            "detect a.jpg --imgsz 640 --threshold=0.3",
            ["--imgsz: write --size", "--threshold=0.3: write --confidence N"],
        ),
        ("detect --source a.jpg --conf_thres 0.3", ["--source: write the image", "--conf_thres: write --confidence N"]),
        ("predict --save-txt", ["predict: write detect IMAGE", "--save-txt: write --txt"]),
        ("predict source=a.jpg imgsz=640", ["source=a.jpg: write the image", "imgsz=640: write --size"]),
        ("detector test a.data a.cfg a.weights a.jpg", ["detector test: write detect IMAGE --cfg FILE.cfg"]),
        ("train --batch 4", ["--batch: write --batch-size N"]),
    ],
)
def test_words_of_other_programs_are_answered(
    words: str, answers: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One line has our words for all of theirs and points to the help of the verb; nothing is run."""
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for answer in answers:
        assert answer in error
    verb = f" {words.split()[0]}" if words.split()[0] in VERBS else ""
    assert f"(python -m yolo{verb} --help lists all words)" in error


def test_our_own_words_are_not_foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No verb and no option of ours is in the tables, what they answer exists, and a file may be called anything."""
    monkeypatch.chdir(tmp_path)
    ours = set()
    for verb in VERBS:
        with pytest.raises(SystemExit), contextlib.redirect_stdout(io.StringIO()) as text:
            parse([verb, "--help"])
        ours |= set(re.findall(r"--[a-z][a-z-]*", text.getvalue()))
    assert len(ours) > 80
    assert not ours & WORDS.keys()
    assert not VERBS.keys() & aliases.VERBS.keys()
    assert {answer.split()[0].rstrip(",") for answer in aliases.VERBS.values()} <= VERBS.keys()
    assert {word for answer in WORDS.values() for word in re.findall(r"--[a-z-]+", answer)} <= ours
    (tmp_path / "source=a.jpg").write_bytes(b"")
    assert not foreign(["detect", "source=a.jpg"])
    assert not foreign(["detect", "val", "predict", "0"])
    assert not foreign([])


def test_unknown_words_point_to_the_help_of_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """As tyro prints it, with the status 2."""
    with pytest.raises(SystemExit) as end:
        main(["detect", "a.jpg", "--nonsense"])
    assert end.value.code == 2
    assert "python -m yolo detect --help" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "python -m yolo VERB --help lists the options of a verb" in capsys.readouterr().out
