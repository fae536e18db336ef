"""Running the checks: order, errors, what depends on what failed, and the quick ones before a training."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.preflight_problems import gathered
from tests.support.train_problems import difference, shapes, tiny_cfg
from yolo.preflight import checks
from yolo.preflight.checks import Check, check_first, run_checks
from yolo.preflight.line import Line, as_json, as_text, counts, worst
from yolo.preflight.subject import Subject
from yolo.training.assemble import Parts
from yolo.training.checkpoint import random_state

GOOD, ODD, BAD = (
    Line("PASS", "a", "all is well"),
    Line("WARN", "b", "odd", "look"),
    Line("FAIL", "c", "bad", "mend\nit"),
)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """Return the parts of a clean run."""
    monkeypatch.chdir(tmp_path)
    return gathered(shapes(tmp_path), tiny_cfg(tmp_path))


def plant(monkeypatch: pytest.MonkeyPatch, **planted: Check) -> None:
    """Replace the table of checks."""
    monkeypatch.setattr(checks, "CHECKS", {name.replace("_", " "): check for name, check in planted.items()})


def broken(_: Subject) -> Iterator[Line]:
    """Raise an error after the first line."""
    yield GOOD
    raise RuntimeError("no memory\nis left")


def test_errors_and_what_depends_on_them(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error is a FAIL with the name of the check; what needs it is skipped; the rest is checked and printed."""
    plant(
        monkeypatch,
        first_one=Check(broken),
        second=Check(lambda _: [ODD], cheap=True, needs=("first one",)),
        third=Check(lambda _: [ODD, BAD], needs=("nothing of the kind",)),
        fourth=Check(lambda _: [GOOD], needs=("third", "first one")),
        fifth=Check(lambda _: [GOOD], needs=("second",)),
    )
    lines = run_checks(Subject(parts), cheap=False)
    assert [(line.verdict, line.check) for line in lines] == [
        ("PASS", "a"), ("FAIL", "first one"), ("SKIP", "second"), ("WARN", "b"), ("FAIL", "c"), ("SKIP", "fourth"),
        ("SKIP", "fifth"),
    ]  # fmt: skip
    assert lines[1].sentence == "RuntimeError: no memory\nis left"
    assert [line.sentence.removeprefix("not checked, because of ") for line in lines[-2:]] == [
        "first one and third",
        "second",
    ]
    assert capsys.readouterr().out == "".join(f"{as_text([line])}\n" for line in lines)
    assert run_checks(Subject(parts), cheap=True, shown=["FAIL"]) == [ODD]
    assert capsys.readouterr().out == ""


def test_random_numbers_and_the_network_stay(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a check that draws, and after one that ends with an error."""

    def draws(subject: Subject) -> Iterator[Line]:
        torch.rand(3), np.random.rand(), random.random()
        subject.detector().network.get_parameter("layers.0.conv.weight").data.zero_()
        yield from broken(subject)

    before, weights = random_state(), {k: v.clone() for k, v in parts.detector.network.state_dict().items()}
    plant(monkeypatch, draws=Check(draws))
    run_checks(Subject(parts), cheap=False)
    assert difference(before, random_state()) == ""
    assert difference(weights, dict(parts.detector.network.state_dict())) == ""
    assert (parts.loader.epoch, parts.loader.position) == (0, 0)


def test_before_a_training(parts: Parts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """PASS is silent, WARN is printed, FAIL is an error with the way out; only the cheap checks run."""
    plant(monkeypatch, one=Check(lambda _: [GOOD, ODD], cheap=True), two=Check(broken))
    check_first(parts)
    assert capsys.readouterr().out == f"{as_text([ODD])}\n"
    plant(monkeypatch, one=Check(lambda _: [ODD, BAD], cheap=True))
    with pytest.raises(ValueError, match="this training cannot succeed; --no-check starts it anyway\nFAIL  c "):
        check_first(parts)


def test_text_and_json() -> None:
    """Columns for the text, the worst verdict for the file."""
    assert as_text([GOOD, BAD]) == (
        "PASS  a                 all is well\nFAIL  c                 bad\n"
        "                        -> mend\n                        it"
    )
    assert counts([GOOD, ODD, GOOD]) == "2 PASS, 1 WARN"
    assert (worst([]), worst([GOOD]), worst([GOOD, ODD]), worst([BAD, ODD])) == ("PASS", "PASS", "WARN", "FAIL")
    assert as_json([ODD]) == {
        "verdict": "WARN", "checks": [{"verdict": "WARN", "check": "b", "sentence": "odd", "remedy": "look"}]
    }  # fmt: skip
