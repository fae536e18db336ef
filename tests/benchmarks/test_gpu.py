"""The benchmark of a GPU, in small and on the CPU: every part reports, and a part that fails does not end it."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests.support.paths import ROOT
from tests.support.small_sets import DrawnImage, write_coco
from tests.support.warm import Warm

ON_A_GPU = {
    "graphs": "needs a GPU",
    "graphed training, toy.cfg, batch 2": "needs a GPU",
    "compiled, toy.cfg, batch 1": "needs a GPU",
    "compiled, toy.cfg, batch 2": "needs a GPU",
    "compiled training, toy.cfg, batch 2": "needs a GPU",
}

CHECKS = ("NMS", "loss", "COCO metrics", "folded copy", "exact resume")

SPEEDS = ("peak", "inference, toy.cfg, batch 1", "inference, toy.cfg, batch 2", "training, toy.cfg, batch 2")

TIMES = ("kernels of training, toy.cfg, batch 2", "detection, toy.cfg, batch 1", "detection, toy.cfg, batch 2")

PRESETS = ("preset blog", "preset small-data")


def table(text: str) -> list[list[str]]:
    """Return the rows of the table of figures in a text."""
    _, found, rest = text.partition("| part | what | figure |\n|---|---|---|\n")
    assert found, text
    rows = takewhile(lambda line: line.startswith("|"), rest.splitlines())
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in rows]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/gpu.py, which is not part of a package. The processes that it starts are warm, with few batches."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    resume = importlib.import_module("resume")

    def started(command: list[str], **_: object) -> Warm:
        return Warm(*command[1:])

    monkeypatch.setattr(resume, "subprocess", SimpleNamespace(Popen=started, DEVNULL=None))
    for module in ("gpu_checks", "gpu_bench"):
        monkeypatch.setattr(importlib.import_module(module), "BATCHES", 4)
    return importlib.import_module("gpu")


class Quick:
    """Runs the benchmark in small. What it prints is checked and returned, with its exit status."""

    def __init__(self, gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.gpu, self.patch, self.capsys = gpu, monkeypatch, capsys

    def __call__(self, *arguments: object) -> tuple[int, str]:
        self.patch.setattr(sys, "argv", ["gpu.py", "--quick", "--device", "cpu", *map(str, arguments)])
        status, text = self.gpu.main(), self.capsys.readouterr().out
        for part, what, figure in table(text):  # each was printed before the table, too, as soon as it was known
            assert f"{part}: {what}: {figure}\n" in text.partition("\n| part")[0]
        return status, text


@pytest.fixture
def run(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Quick:
    """The benchmark."""
    return Quick(gpu, monkeypatch, capsys)


def test_every_part_reports(run: Quick, tmp_path: Path) -> None:
    """Checks say yes, speeds are above 0, the presets' runs are kept; what needs a GPU is skipped by name."""
    data = write_coco(tmp_path / "set", [DrawnImage((64, 48), [(k, 4, 4, 40, 40)]) for k in range(3)])
    status, text = run("--data", data, "--keep", tmp_path / "kept")
    assert status == 0, text
    rows = table(text)
    figures = {part: [(what, figure) for name, what, figure in rows if name == part] for part, _, _ in rows}
    assert set(figures) == {*CHECKS, *SPEEDS, *TIMES, *PRESETS, *ON_A_GPU}
    for part in CHECKS:
        assert figures[part][0][1].startswith(("yes", "up to")), part
    for part in SPEEDS:
        for _, figure in figures[part]:
            rate = re.search(r"([\d,.]+) (?:TFLOP/s|images/s)", figure)
            assert rate is not None, figure
            assert float(rate[1].replace(",", "")) > 0
    assert len(figures["inference, toy.cfg, batch 1"]) == 4
    assert [what for what, _ in figures[TIMES[1]]] == ["fp32", "bf16"]
    (busy, *kinds) = figures[TIMES[0]]
    assert re.fullmatch(r"\d+% of [\d.]+ ms a step", busy[1])
    assert "convolution" in dict(kinds)
    assert abs(sum(float(figure.split(", ")[1].rstrip("%")) for _, figure in kinds) - 100) < 1
    for part in PRESETS:
        assert re.match(r"AP50 0\.\d{3}, AP 0\.\d{3} after 2 epochs; \d+ s", figures[part][0][1]), figures[part]
        assert (tmp_path / "kept" / part.removeprefix("preset ") / "metrics.jsonl").is_file()
    assert {part: figures[part] for part in ON_A_GPU} == {part: [("skipped", why)] for part, why in ON_A_GPU.items()}


def test_a_part_that_fails_and_parts_without_time_or_data(run: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is in the table, the other parts go on, the exit status is 1; skipped parts have their reason.

    The page of results has a row for each part of a whole run, in the same order.
    """

    def broken(_: object) -> Iterator[tuple[str, str]]:
        yield "one row", "before it"
        raise ValueError("lost | found")

    whole, Part = run.gpu.parts, run.gpu.Part
    names = [part.name for part in whole(run.gpu.FULL)]
    kept = [Part("broken", 0, broken), Part("long", 1e6, broken)]
    kept += [part for part in whole(run.gpu.QUICK) if part.name.startswith(("preset", "peak"))]
    monkeypatch.setattr(run.gpu, "parts", lambda _: kept)
    status, text = run()
    assert status == 1
    rows = table(text)
    assert rows[:2] == [["broken", "one row", "before it"], ["broken", "FAILED", "ValueError: lost / found"]]
    assert rows[2][:2] == ["long", "skipped"]
    assert re.fullmatch(r"8\d\d s left, it may need 1000000 s", rows[2][2])
    assert [row[0] for row in rows[3:]] == ["peak", *PRESETS]
    assert [row[1:] for row in rows[4:]] == [["skipped", "no --data"]] * 2
    page = table((ROOT / "docs" / "gpu.md").read_text())
    assert list(dict.fromkeys(row[0] for row in page)) == names


def test_only_some_parts(run: Quick) -> None:
    """The peak is always measured, since the other parts divide by it; an unknown part is an error."""
    status, text = run("--only", "NMS, folded")
    assert status == 0
    assert list(dict.fromkeys(row[0] for row in table(text))) == ["peak", "NMS", "folded copy"]
    with pytest.raises(SystemExit, match="^--only nothing: no such part; there are: peak, NMS, "):
        run("--only", "nothing")
