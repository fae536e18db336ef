"""Whole trainings of darknet, repeated: the same weights, statistics, losses and rates.

`tests/golden/training-runs` has what darknet itself made of initial weights and one image: weights after 1, 2, 5 and 12
iterations, and what it printed. Every iteration sees the image `batch` times, unchanged.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from torch import Tensor

from tests.support.paths import GOLDEN
from yolo.__main__ import main
from yolo.darknet.cfg import parse_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.weights import Header, load_weights

RUNS = sorted((GOLDEN / "training-runs").iterdir())  # a missing folder is an error, not a skipped test

CLOSE = {1: 2e-6, 2: 1e-5, 5: 1e-4, 12: 2e-4}
"""Largest distance of a value, by iterations, as a share of the largest one of its tensor. Sums have another order."""


def obj_data(folder: Path, run: Path) -> Path:
    """Write darknet's description of a data set with the image of a golden run, to train and to evaluate on."""
    for name in ("image.png", "image.txt"):
        (folder / name).write_bytes((run / name).read_bytes())
    (folder / "list.txt").write_text(f"{folder / 'image.png'}\n")
    (folder / "obj.names").write_text("a\nb\nc\n")
    lines = "classes = 3", f"train = {folder / 'list.txt'}", f"valid = {folder / 'list.txt'}", "names = obj.names"
    (folder / "obj.data").write_text("\n".join((*lines, "backup = backup/", "")))
    return folder / "obj.data"


def trained(folder: Path, run: Path, iterations: int, *more: str, out: str = "run") -> Path:
    """Train as the cfg of a golden run says, for a number of iterations. Returns the folder of the run."""
    text = (run / "net.cfg").read_text()
    (folder / "my.net.cfg").write_text(re.sub(r"max_batches=\d+", f"max_batches={iterations}", text))
    words = ["--recipe", "cfg", "--darknet-build", "cpu", "--cfg", str(folder / "my.net.cfg"), "--no-check"]
    words += ["--data", str(obj_data(folder, run))]
    assert main(["train", *words, "--out", str(folder / out), *(more or ("--weights", str(run / "init.weights")))]) == 0
    return folder / out


def values_of(run: Path, file: Path) -> tuple[dict[str, Tensor], Header]:
    """Return all values and the header of a weights file of a golden run's network."""
    network = Darknet(parse_cfg((run / "net.cfg").read_text()), init=None)
    report = load_weights(network, file)
    assert report.complete
    return network.state_dict(), report.header


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
@pytest.mark.parametrize("iterations", CLOSE)
def test_weights_and_statistics_after_some_iterations_are_darknets(tmp_path: Path, run: Path, iterations: int) -> None:
    folder = trained(tmp_path, run, iterations)
    ours, header = values_of(run, folder / "my_final.weights")
    theirs, their_header = values_of(run, run / f"after-{iterations:02}.weights")
    assert header == their_header  # the number of images, too
    for name, value in theirs.items():
        if value.is_floating_point():
            distance = (ours[name] - value).abs().max() / value.abs().max()
            assert distance <= CLOSE[iterations], name


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_losses_and_rates_are_those_that_darknet_prints(tmp_path: Path, run: Path) -> None:
    folder = trained(tmp_path, run, 12)
    with (folder / "iterations.csv").open() as file:
        ours = list(csv.DictReader(file))
    theirs = json.loads((run / "losses.json").read_text())
    assert [int(row["iteration"]) for row in ours] == [row["iteration"] for row in theirs]
    for mine, row in zip(ours, theirs, strict=True):
        assert float(mine["loss"]) == pytest.approx(row["loss"], rel=1e-4)
        assert float(mine["avg"]) == pytest.approx(row["avg"], rel=1e-4)
        assert float(mine["rate"]) == pytest.approx(row["rate"], abs=6e-7)  # printed with 6 decimals
