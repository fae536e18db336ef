"""`yolo.evaluate`: the numbers of the command `eval`, digit for digit, as Python values."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import yolo
from tests.commands.test_detect import constant, elsewhere  # noqa: F401  # fixtures
from tests.commands.test_evaluate import TWELVE, unwritten, write_data  # noqa: F401  # fixtures
from tests.support.single_problems import singles
from yolo.__main__ import main
from yolo.training.run_folder import read_metrics


def command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[str, dict[str, Any], list[dict[str, str]]]:
    """Return what `python -m yolo eval` prints, its metrics.json and its per_class.csv."""
    capsys.readouterr()
    assert main(["eval", *map(str, words), "--out", "out"]) == 0
    with Path("out/per_class.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return capsys.readouterr().out, json.loads(Path("out/metrics.json").read_text()), rows


def same(found: yolo.Evaluation, printed: str, content: dict[str, Any], rows: list[dict[str, str]]) -> bool:
    """Return whether an evaluation has the numbers and the tables of a command, which must have written its files."""
    assert printed.startswith(str(found) + "\n\nwritten to out: ")
    assert json.loads(json.dumps(found.summary)) == content
    assert {name: found.numbers[name] for name in TWELVE} == {name: content[name] for name in TWELVE}
    cells = [{key: "" if value is None else str(value) for key, value in row.items()} for row in found.per_class]
    return cells == rows and found.conditions == content["conditions"]


@pytest.mark.usefixtures("unwritten")
def test_the_numbers_of_the_command(constant: Path, capfd: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """Of weights, of a detector and of a results file; nothing is printed, and no file is written."""
    truth = write_data()
    files = {*Path.cwd().rglob("*")}
    model = yolo.load(constant, device="cpu")
    words: dict[str, Any] = {"resamples": 20, "matrix_conf": 0.1, "nms": 0.5}
    capfd.readouterr()
    found = yolo.evaluate(constant, truth, device="cpu", **words)
    loaded = yolo.evaluate(model, str(truth), **words)
    assert capfd.readouterr() == ("", "")
    assert {*Path.cwd().rglob("*")} == files
    line = ["--resamples", "20", "--matrix-conf", "0.1"]
    expected = command(capfd, "--weights", constant, "--data", truth, "--device", "cpu", "--nms", "0.5", *line)
    assert same(found, *expected)
    assert same(loaded, *expected)
    assert 0 < found.numbers["AP"] < found.numbers["AP50"] < 1  # type: ignore[operator]
    assert repr(found).startswith("Evaluation({'AP': 0.")
    # A results file.
    assert main(["detect", "set/images", "--weights", str(constant), "--device", "cpu", "--json", "--out", "d"]) == 0
    results: dict[str, Any] = {"results": "d/detections.json", "annotations": truth}
    found = yolo.evaluate(**results, resamples=0, pycocotools=True)
    expected = command(
        capfd, "--results", "d/detections.json", "--annotations", truth, "--resamples", 0, "--pycocotools"
    )
    assert same(found, *expected)
    assert found.pycocotools is not None
    assert found.pycocotools < 1e-12


@pytest.mark.usefixtures("unwritten")
def test_the_files_and_what_is_printed(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """Only if asked for: those of the command."""
    truth = write_data()
    printed, content, _ = command(capsys, "--weights", constant, "--data", truth, "--resamples", "0")
    yolo.evaluate(constant, truth, out="mine", quiet=False, resamples=0)
    assert capsys.readouterr().out == printed.replace("written to out:", "written to mine:")
    assert sorted(path.name for path in Path("mine").iterdir()) == sorted(path.name for path in Path("out").iterdir())
    assert json.loads(Path("mine/metrics.json").read_text()) == content


def test_a_models_own_metrics(tmp_path: Path) -> None:
    """Are beside COCO's; a run alone is evaluated on its own images, with the numbers of its best epoch."""
    data = singles(tmp_path, train=6, val=4)
    words = ["--model", "simple", "--data", str(data), "--size", "32", "--epochs", "1", "--batch-size", "3"]
    assert main(["train", *words, "--workers", "0", "--device", "cpu", "--out", "run", "--no-check"]) == 0
    (best,) = read_metrics("run")
    found = yolo.evaluate("run", resamples=0, device="cpu")
    assert set(found.own) == set(yolo.load("run/best.safetensors").metrics)
    assert found.summary["own"] == found.own
    assert {name: best[name] for name in found.numbers} == found.numbers


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "yolo.evaluate: give either --results FILE and --annotations FILE, or --weights"),
        ({"model": "a.weights", "data": "d", "splitt": "x"}, "yolo.evaluate: unknown option 'splitt'; did you mean"),
        ({"model": "a.weights", "data": "d", "nms": 2}, "yolo.evaluate: nms=2.0: expected a number from 0 to 1"),
        ({"model": "DETECTOR"}, "yolo.evaluate: a detector was given, and no data"),
        ({"model": "DETECTOR", "data": "d", "size": 64}, "yolo.evaluate: a detector was given, so cfg, names, size"),
        ({"model": "a.weights", "data": "d", "weights": "b.weights"}, "yolo.evaluate: weights is given twice"),
        ({"model": "DETECTOR", "results": "r", "annotations": "a"}, "yolo.evaluate: give either"),
    ],
)
def test_wrong_words(given: dict[str, Any], message: str, constant: Path) -> None:  # noqa: F811
    """The error has the word, and what was expected."""
    if given.get("model") == "DETECTOR":
        given = given | {"model": yolo.load(constant, device="cpu")}
    with pytest.raises(ValueError, match=f"^{message}"):
        yolo.evaluate(**given)
