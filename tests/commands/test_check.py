"""`python -m yolo check`, and the quick checks of `train`, from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.preflight_problems import change, norm_model
from tests.support.single_problems import singles, tiny_backbone
from tests.support.train_problems import numbers, shapes, tiny_cfg, words
from yolo.__main__ import main
from yolo.commands.command_line import parse
from yolo.options.check import Check
from yolo.options.presets import parse_train


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the words of a training, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return words(shapes(tmp_path), tiny_cfg(tmp_path))


def written(file: str = "runs/check.json") -> dict[str, Any]:
    """Return the content of the json file."""
    content: dict[str, Any] = json.loads(Path(file).read_text())
    return content


def failures(file: str = "runs/check.json") -> list[str]:
    """Return the names of the checks that fail."""
    return [line["check"] for line in written(file)["checks"] if line["verdict"] == "FAIL"]


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the content and the time of every file below a folder."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def fractions(content: dict[str, Any]) -> None:
    """Write boxes as fractions."""
    for one in content["annotations"]:
        one["bbox"] = [value / 1000 for value in one["bbox"]]


def test_the_options_of_train() -> None:
    """From the same sources."""
    found = parse(["check", "--preset", "blog", "--epochs", "7", "--seconds", "5", "--json", "a.json"])
    assert isinstance(found, Check)
    assert found.train == parse_train(["--preset", "blog", "--epochs", "7"])
    assert (found.seconds, found.json) == (5, Path("a.json"))
    with pytest.raises(SystemExit):
        parse(["check", "--seconds", "-1"])


def test_a_clean_run(place: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All checks pass; nothing but the file is written, and the next call replaces it."""
    before = state_of(tmp_path)
    assert main(["check", *place, "--out", "run", "--json", "c.json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert {path: content for path, content in state_of(tmp_path).items() if not path.endswith("/c.json")} == before
    assert {path.name for path in tmp_path.iterdir()} == {"c.json", "shapes", "tiny.cfg"}
    content = written("c.json")
    assert (content["verdict"], content["model"], content["data"]) == ("PASS", "yolo", place[1])
    assert [line["check"] for line in content["checks"]][:2] == ["data", "transform"]
    shown = [line for line in out if line.startswith("PASS  ")]
    assert [line[6:].split("  ")[0] for line in shown] == [line["check"] for line in content["checks"]]
    assert out[-1].startswith(f"{len(shown)} PASS in ")
    assert out[-1].endswith("start it with the same options: python -m yolo train")
    Path("c.json").write_text("something else")
    assert main(["check", *place, "--seconds", "0", "--json", "c.json"]) == 0
    assert [line["check"] for line in written("c.json")["checks"]] == [line["check"] for line in content["checks"]]


def test_a_warning_is_no_failure(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 0, and the last line says what to do."""
    change(Path(place[1]), lambda content: content["annotations"].append({**content["annotations"][0], "id": 10**6}))
    assert main(["check", *place, "--seconds", "0"]) == 0
    assert written()["verdict"] == "WARN"
    assert "repeated boxes" in [line["check"] for line in written()["checks"] if line["verdict"] == "WARN"]
    assert "look at the warnings, then start it" in capsys.readouterr().out.splitlines()[-1]


def test_a_failure(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, checks that need the data are skipped. `train` refuses before it writes anything, or is told not to."""
    for split in ("train", "val"):
        change(Path(place[1]), fractions, split)
    assert main(["check", *place]) == 1
    assert failures() == ["box units", "box units"]
    out = capsys.readouterr().out
    for check, cause in (("round trip", "data"), ("resources", "data"), ("learning", "resources and round trip")):
        assert f"SKIP  {check:16}  not checked, because of {cause}" in out
    assert out.splitlines()[-1].endswith("train --no-check with the same options starts anyway")
    assert main(["train", *place, "--out", "run"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: this training cannot succeed; --no-check starts it anyway\nFAIL  box units ")
    assert not Path("run").exists()
    assert main(["train", *place, "--out", "run", "--no-check", "--epochs", "1"]) == 0


@pytest.mark.parametrize(
    ("more", "name", "message"),
    [
        (["--data", "nowhere"], "data", "nowhere"),
        (["--limit", "3", "--val-split", "other"], "data", "no split begins with 'other'"),
        (["--early-metric", "AP42"], "options", "early_metric='AP42'"),
        (["--weights", "nothing.weights"], "options", "nothing.weights"),
        (["--freeze", "99"], "options", "freeze '99' matches nothing"),
    ],
)
def test_what_gather_refuses_is_a_failure(
    more: list[str], name: str, message: str, place: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With its message, in the same form."""
    assert main(["check", *place, *more]) == 1
    (line,) = written()["checks"]
    assert (line["verdict"], line["check"]) == ("FAIL", name)
    assert message in line["sentence"]
    assert capsys.readouterr().out.startswith(f"FAIL  {name} ")


def test_damaged_images(place: list[str]) -> None:
    """A failure of the data."""
    file = next((Path(place[1]) / "images" / "train").iterdir())
    file.write_bytes(file.read_bytes()[:500])
    assert main(["check", *place]) == 1
    assert failures() == ["data"]
    assert "truncated JPEG" in written()["checks"][0]["sentence"]


def test_targets_of_a_localizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the localizer itself finds in its targets has their name; a clean one passes."""
    monkeypatch.chdir(tmp_path)
    given = ["check", "--model", "localizer", "--data", str(singles(tmp_path)), "--backbone", tiny_backbone(tmp_path)]
    given += ["--target", "disc", "--size", "64", "--workers", "0", "--device", "cpu"]
    assert main(given) == 0
    monkeypatch.setattr("yolo.models.localizer.check_targets", lambda labels, boxes: ["boxes are beyond 1"])
    assert main(given) == 1
    assert failures() == ["targets"]
    assert written()["checks"][0]["sentence"] == "boxes are beyond 1"


def test_a_model_of_ones_own_that_forgets_the_mode(place: list[str]) -> None:
    """It is named, with those that come with the package."""
    own = ["--model", "norm", *place[:2], "--batch-size", "8", "--workers", "0", "--warmup-steps", "9"]
    with norm_model("forgets"):
        assert main(["check", *own]) == 1
    assert "evaluation mode" in failures()


def test_a_run_to_resume_is_refused(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It has begun; nothing is written."""
    assert main(["train", *place, "--out", "run", "--epochs", "1"]) == 0
    capsys.readouterr()
    assert main(["check", "--resume", "run"]) == 1
    assert "only a training that has not begun can be checked" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_the_quick_checks_change_nothing(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The same numbers with and without them, and no word if all is well; a resumed run has none."""
    augmented = ["--mosaic", "0.5", "--cache", "ram"]
    assert main(["train", *place, *augmented, "--out", "with"]) == 0
    spoken = capsys.readouterr().out.replace("with", "without")
    assert main(["train", *place, *augmented, "--out", "without", "--no-check"]) == 0
    assert numbers(Path("with")) == numbers(Path("without"))
    assert len(spoken.splitlines()) == len(capsys.readouterr().out.splitlines())
    assert main(["train", "--resume", "with", "--no-check"]) == 0
