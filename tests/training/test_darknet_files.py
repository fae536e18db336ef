"""darknet's files of a training with `--recipe cfg`: when they are written, what is in them, what is left alone."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from torch import Tensor

from tests.support.recipe_problems import by_cfg_run, iterations, recipe_text, recipe_words
from tests.support.train_problems import checkpoint, difference, shapes
from yolo.__main__ import main
from yolo.darknet.cfg import parse_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.weights import load_weights, save_weights
from yolo.data.loader import Batch
from yolo.data.shapes.figures import NAMES
from yolo.models.by_cfg import CfgDetector
from yolo.recipe import recipe
from yolo.recipe.recipe import Recipe
from yolo.training import darknet_files
from yolo.training.darknet_files import DarknetFiles
from yolo.training.engine import Trainer
from yolo.training.run_folder import read_metrics
from yolo.training.validation import Validation

TEXT = recipe_text(max_batches=7, ema_alpha=0.75)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 images to train on and 6 to evaluate on."""
    return shapes(tmp_path_factory.mktemp("data"))


def loaded(text: str, file: Path) -> tuple[dict[str, Tensor], int]:
    """Return values and images seen of a weights file, whose bytes are written again from them."""
    network = Darknet(parse_cfg(text), init=None)
    report = load_weights(network, file)
    assert report.complete
    save_weights(network, file.with_suffix(".again"), report.header)
    assert file.with_suffix(".again").read_bytes() == file.read_bytes()
    return {k: v for k, v in network.state_dict().items() if v.is_floating_point()}, report.header.seen


def test_the_files_of_a_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven iterations in epochs of three; `_last` every two, the average of iterations 3 and 4 is applied at 5."""
    monkeypatch.setattr(recipe, "EPOCH", (3, 3))
    monkeypatch.setattr(darknet_files, "LAST", 2)
    monkeypatch.setattr(darknet_files, "APART", 2)
    after: list[dict[str, Tensor]] = []
    step = Trainer._step

    def recorded(trainer: Trainer, batches: list[Batch]) -> None:
        step(trainer, batches)
        after.append({name: value.clone() for name, value in trainer.detector.network.state_dict().items()})

    score = iter([0.1, 0.3, 0.2])
    monkeypatch.setattr(Trainer, "_step", recorded)
    monkeypatch.setattr(Validation, "__call__", lambda _self, _detector: {"AP": 0.1, "AP50": next(score)})
    run = by_cfg_run(data, tmp_path, TEXT)
    files = {file.name for file in run.glob("*.weights")}
    assert files == {f"my_{word}.weights" for word in ("last", "best", "ema", "final")}
    found = {word: loaded(TEXT, run / f"my_{word}.weights") for word in ("last", "best", "ema", "final")}
    # The weights and statistics of an iteration, with the images until then. The best AP50 is that of the second epoch.
    for word, iteration in (("last", 6), ("best", 6), ("final", 7)):
        values, seen = found[word]
        assert seen == 4 * iteration
        assert difference(values, {k: v for k, v in after[iteration - 1].items() if k in values}) == ""
    # The average.
    average, _ = found["ema"]
    state = checkpoint(run)["watchers"]["darknet_files"]
    for name, value in average.items():
        assert state["average"][name].equal(value)
        if "running" not in name:
            expected = 0.75 * after[2][name] + 0.25 * after[3][name]
            assert value == pytest.approx(expected, rel=1e-5, abs=1e-7)
            assert after[4][name].equal(value)  # iteration 5 ends with the average in place of its weights
            assert not after[3][name].equal(value)
        else:  # statistics are not averaged: they are those of the iteration of the file
            assert value.equal(after[5][name])
            assert not value.equal(after[2][name])
    # Converted, the run is a file of its best epoch.
    assert main(["convert", str(run), str(tmp_path / "made.weights")]) == 0
    assert (tmp_path / "made.weights").read_bytes() == (run / "my_best.weights").read_bytes()


@pytest.mark.parametrize(("total", "every"), [(2_500, 1_000), (9_999, 1_000), (10_000, 10_000)])
def test_moments(total: int, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every 100 and every 1,000 iterations; of 10,000 or more every 10,000."""
    cfg = parse_cfg(recipe_text(max_batches=total))
    detector = CfgDetector(Darknet(cfg), ["a"], Recipe(cfg))
    watcher, written = DarknetFiles(detector, tmp_path, "my"), []
    monkeypatch.setattr(watcher, "_write", lambda word, _network: written.append((watcher.done, word)))
    for _ in range(total):
        watcher.step(0, [])
    expected = [(k, "last") for k in range(100, total + 1, 100)]
    expected += [(k, str(k)) for k in range(every, total + 1, every)]
    assert sorted(written) == sorted([*expected, (total, "final")])


def test_the_printed_line(data: Path, tmp_path: Path) -> None:
    """The running mean begins with the first loss and takes a tenth of each later one."""
    run = by_cfg_run(data, tmp_path, recipe_text(max_batches=4, burn_in=2))
    rows, mean = iterations(run), None
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    assert [row["images"] for row in rows] == [4, 8, 12, 16]
    assert [row["rate"] for row in rows] == pytest.approx([0.001 / 16, 0.001, 0.0005, 0.0005])
    for row in rows:
        mean = row["loss"] if mean is None else 0.9 * mean + 0.1 * row["loss"]
        assert row["avg"] == pytest.approx(mean, rel=1e-6)
    (line,) = read_metrics(run)
    assert line["train/loss"] == pytest.approx(sum(row["loss"] for row in rows) / 4, rel=1e-5)
    assert line["lr"] == pytest.approx(0.0005)
    assert line["train/avg_loss"] == pytest.approx(mean, rel=1e-6)
    assert {"train/avg_iou", "train/avg_obj", "train/obj", "train/labels", "train/positives", "AP50"} <= line.keys()
    # The names are beside the weights, so that whoever detects with these has them.
    assert (run / "my.names").read_text().splitlines() == list(NAMES)


def test_later_lines_are_dropped(tmp_path: Path) -> None:
    """Those of iterations after the checkpoint, and half a line; nothing else changes."""
    cfg = parse_cfg(recipe_text())
    watcher = DarknetFiles(CfgDetector(Darknet(cfg), ["a"], Recipe(cfg)), tmp_path, "my")
    for step in (1, 2, 3, 10):
        watcher.read(step, 2.0**step)
    whole = (tmp_path / "iterations.csv").read_bytes()
    (tmp_path / "iterations.csv").write_bytes(whole + b"2,1")
    watcher.load_state_dict({"done": 2, "loss": 5.0, "average": None, "carried": {}})
    assert (tmp_path / "iterations.csv").read_bytes() == b"".join(whole.splitlines(keepends=True)[:3])
    assert watcher.read(3, 7.0) == {"step/avg_loss": pytest.approx(5.2)}
    with (tmp_path / "iterations.csv").open() as file:
        assert [row[:3] for row in csv.reader(file)][2:] == [["2", "4", "2.2"], ["3", "7", "5.2"]]


@pytest.mark.parametrize("name", ["my_last.weights", "my_77.weights", "my.names", "iterations.csv"])
def test_files_that_no_run_wrote(name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They stay, and nothing is written beside them; a file of another name does not matter."""
    out = tmp_path / "backup"
    out.mkdir()
    (out / name).write_bytes(b"mine")
    (tmp_path / "my.net.cfg").write_text(recipe_text())
    assert main(recipe_words(data, tmp_path / "my.net.cfg", "--out", out)) != 0
    assert f"{out / name}: not written by a run; give another folder with --out" in capsys.readouterr().err
    assert [(file.name, file.read_bytes()) for file in out.iterdir()] == [(name, b"mine")]


@pytest.mark.parametrize(("total", "begins"), [(1_998, None), (2_400, 1_200)])
def test_when_the_average_begins(
    total: int, begins: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At max_batches/2; never where that is less than 1000 iterations before the end. Its file comes with `_last`."""
    cfg = parse_cfg(recipe_text(max_batches=total, ema_alpha=0.9))
    watcher, written = DarknetFiles(CfgDetector(Darknet(cfg), ["a"], Recipe(cfg)), tmp_path, "my"), []
    monkeypatch.setattr(watcher, "_write", lambda word, network: written.append((watcher.done, word, network)))
    begun = []
    for done in range(1, total + 1):
        watcher.step(0, [])
        begun += [done] if watcher.average is not None else []
    assert begun == list(range(begins, total + 1) if begins else [])
    averages = [(done, network) for done, word, network in written if word == "ema"]
    assert averages == [(done, watcher.average) for done in begun if done % 100 == 0]


def test_the_cpu_build_is_one_process(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What stays from one mini-batch to the next would be kept for the first process only."""
    monkeypatch.setattr(darknet_files, "world_size", lambda: 2)
    (tmp_path / "my.net.cfg").write_text(recipe_text())
    words = recipe_words(data, tmp_path / "my.net.cfg", "--out", tmp_path / "run", "--darknet-build", "cpu")
    assert main(words) != 0
    assert "darknet_build=cpu: darknet's CPU build is one process" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
