"""The kill bar, with one run: it ends trainings where it should, and its comparison can fail."""

from __future__ import annotations

import importlib
import random
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.train_problems import shapes, tiny_cfg, words


def test_a_run_that_is_ended_three_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed, by a lost terminal, at once: complete after the last resume, bit for bit, and nothing is left.

    A change of one number, a temporary file and a lock are found.
    """
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    kill = importlib.import_module("kill")
    monkeypatch.setattr(kill, "BATCHES", 6)
    monkeypatch.setattr(kill, "shared", set[str])  # other tests make such files at the same time
    command = words(shapes(tmp_path), tiny_cfg(tmp_path), "--epochs", "4", "--batch-size", "2", "--accumulate", "2")
    command += ["--mosaic", "0.5", "--no-check"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    undisturbed = kill.start(tmp_path / "note", *command, "--out", whole)
    ends = kill.disturbed(run, command, random.Random(3), ["SIGKILL", "SIGHUP", "twice"])
    assert undisturbed.wait() == 0
    assert [end.way for end in ends][:2] == ["SIGKILL", "SIGHUP"]
    assert [end.problem for end in ends if end.problem] == []
    assert kill.problems(run, whole, set()) == []
    # What it would find.
    for name in (".last.pt.7.part", ".owner"):
        (run / name).touch()
    text = (run / "metrics.jsonl").read_text().replace('"train/loss": ', '"train/loss": 1', 1)
    (run / "metrics.jsonl").write_text(text)
    found = kill.problems(run, whole, set())
    assert sorted(found)[:2] == ["left: .last.pt.7.part", "left: .owner"]
    assert found[2].startswith("metrics/0/train/loss: ")
