"""Memory, time and disk: what a tiny run needs, and what is said where there is too little of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from tests.support.single_problems import singles, tiny_backbone
from tests.support.train_problems import shapes, tiny_cfg
from yolo.models.yolo import YoloDetector
from yolo.options.presets import parse_train
from yolo.preflight import resources as module
from yolo.preflight.line import Line
from yolo.preflight.resources import available_mb, resources
from yolo.preflight.subject import Subject
from yolo.training.assemble import gather
from yolo.training.progress import memory_mb

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command line of a small run."""
    folder = tmp_path_factory.mktemp("resources")
    given = ["--data", shapes(folder), "--cfg", tiny_cfg(folder), "--batch-size", "4", "--epochs", "3"]
    return [*map(str, given), "--eval-every", "0", "--device", "cpu", "--precision", "fp32", "--workers", "0"]


def subject(given: Sequence[str], seconds: float = 1e9) -> Subject:
    """Return the run of a command line."""
    return Subject(gather(parse_train(given), CPU), seconds)


def lines_of(run: Subject) -> dict[str, Line]:
    """Return the lines by check."""
    return {line.check: line for line in resources(run)}


def test_a_small_run_fits(words: list[str]) -> None:
    """Each line passes and has its numbers; the run itself is not changed."""
    run = subject(words)
    lines = lines_of(run)
    assert {name: line.verdict for name, line in lines.items()} == dict.fromkeys(("memory", "speed", "disk"), "PASS")
    assert lines["memory"].sentence.startswith("a step of 4 images of 64x64 needs ")
    assert "for a batch of 4" in lines["speed"].sentence
    assert all(p.grad is None for p in run.parts.detector.network.parameters())
    assert re.search(r" free in .*, a checkpoint has about \d+ kB$", lines["disk"].sentence)


def test_features_and_batches_of_other_sizes(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest input of `multi_scale` is tried; a localizer's samples are features."""
    run = subject([*words, "--multi-scale", "1.5"])
    assert "images of 96x96 " in lines_of(run)["memory"].sentence
    monkeypatch.chdir(tmp_path)
    made = ["--data", singles(tmp_path), "--preset", "localizer", "--size", "64", "--target", "disc", "--workers", "0"]
    more = ["--backbone", tiny_backbone(tmp_path / "backbone"), "--negative-ratio", "None", "--device", "cpu"]
    assert {line.verdict for line in resources(subject([*map(str, made), *more]))} == {"PASS"}


@pytest.mark.parametrize(
    "problem",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["GPU", "Python", "CPU"],
)
def test_out_of_memory(problem: Exception, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It becomes advice with the numbers of the run, and no speed is reported."""

    def fails(*given: Any) -> None:
        raise problem

    monkeypatch.setattr(YoloDetector, "losses", fails)
    lines = lines_of(subject([*words, "--accumulate", "3"]))
    assert {name: line.verdict for name, line in lines.items()} == {"memory": "FAIL", "disk": "PASS"}
    for advice in ("--batch-size 2 with --accumulate 6", "a smaller --size", "--precision bf16"):
        assert advice in lines["memory"].remedy


def test_other_errors_are_not_swallowed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only memory that ran out is a finding."""

    def fails(*given: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(YoloDetector, "losses", fails)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        list(resources(subject(words)))


def test_memory_is_short(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 90 % of what there is gets a warning."""
    run = subject(words)
    for there, verdict in ((2.0, "PASS"), (1.05, "WARN"), (0.5, "WARN")):
        monkeypatch.setattr(module, "available_mb", lambda device, there=there: there * memory_mb())
        lines = lines_of(run)
        assert lines["memory"].verdict == verdict
        assert lines["memory"].sentence.startswith("a step of 4 images ")
        assert ("--batch-size 2" in lines["memory"].remedy) == (verdict == "WARN")
    assert available_mb(CPU) > 100


def test_the_disk_is_full(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `train` refuses to begin the check fails; a folder that is not there yet counts where it will be."""

    class Usage(NamedTuple):
        free: int

    asked = []

    def usage(place: Path) -> Usage:
        asked.append(place)
        return Usage(1000)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    line = lines_of(subject([*words, "--out", str(tmp_path / "a" / "b")]))["disk"]
    assert (line.verdict, asked) == ("FAIL", [tmp_path])
    assert "--out" in line.remedy
    assert "last.pt" in line.sentence


@pytest.mark.parametrize(
    ("workers", "making", "taking", "words_due"),
    [
        (0, 2.0, 2.0, "4 s for a batch of 4, 12 s for an epoch"),
        (0, 2.0, 2.0, "data loading is the limit, 50% of the time is spent waiting for it; --workers 2"),
        (2, 2.0, 2.0, "2 s for a batch of 4, 6 s for an epoch"),
        (2, 2.0, 2.0, "the network is the limit (0% of the time"),
        (2, 8.0, 2.0, "data loading is the limit, 50% of the time is spent waiting for it; --cache ram"),
    ],
)
def test_what_limits(workers: int, making: float, taking: float, words_due: str, words: list[str]) -> None:
    """Without workers the times of making and taking a batch add up, with them the longer one counts."""
    run = subject([*words, "--workers", str(workers)])
    assert words_due in module._speed(run.parts, making, taking).sentence
