"""The folder of a run: refused folders, killed processes, lines that a resume drops, events in TensorBoard."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from tests.support.paths import ROOT
from tests.support.train_problems import ended, shapes, tiny_cfg, words
from tests.support.warm import Warm
from yolo.__main__ import main
from yolo.data.loader import Batch
from yolo.training.engine import Trainer
from yolo.training.run_folder import Run, _quieten_threads, newest_run, next_folder, read_metrics


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a working directory of its own, and event files whose names sort in the order of their making.

    TensorBoard reads them by name: second, host, process, a counter. Resumed runs are seconds apart; in the second that
    a test takes the counter decides, and 9 sorts after 10.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(10))


def trained(folder: str = "a", epochs: int = 3) -> Path:
    """A run of epochs of ten steps each that can be resumed."""
    with Run.create(folder, "seed: 1\n") as run:
        for epoch in range(epochs):
            for step in range(10 * epoch + 1, 10 * epoch + 11):
                run.scalars(step, {"train/box": step / 7})
            run.log(epoch, 10 * epoch + 10, {"val/AP": epoch / 10, "loss": 1 / 3})
    Path(folder, "last.pt").write_bytes(b"checkpoint")
    return Path(folder)


def events(folder: Path, tag: str) -> list[tuple[int, float]]:
    """Steps and values of a curve as TensorBoard shows it."""
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    reader.Reload()
    return [(event.step, event.value) for event in reader.Scalars(tag)]


def test_what_a_run_writes() -> None:
    """Options as given, a line per epoch with exact numbers, both axes in steps."""
    folder = trained("runs x/a")
    assert (folder / "options.yaml").read_text() == "# options of a run of exact-yolov3\nseed: 1\n"
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert lines[1] == '{"epoch": 1, "step": 20, "val/AP": 0.1, "loss": 0.3333333333333333}'
    assert [json.loads(line) for line in lines] == read_metrics(folder)
    assert [row["loss"] for row in read_metrics(folder)] == [1 / 3] * 3
    assert [step for step, _ in events(folder, "train/box")] == list(range(1, 31))
    assert events(folder, "val/AP") == [(10, 0.0), (20, pytest.approx(0.1)), (30, pytest.approx(0.2))]


def test_numbers_that_json_lacks() -> None:
    """NaN, infinities and None are null, NumPy's numbers are numbers, whole numbers stay whole."""
    values: dict[str, Any] = {"a": math.nan, "b": -math.inf, "c": None, "d": np.float32(0.5), "e": 7, "f": np.int64(3)}
    with Run.create("a", "") as run:
        run.log(0, 5, values)
    text = Path("a/metrics.jsonl").read_text()
    assert text == '{"epoch": 0, "step": 5, "a": null, "b": null, "c": null, "d": 0.5, "e": 7, "f": 3.0}\n'
    assert [math.isnan(value) for _, value in events(Path("a"), "a")] == [True]  # a curve shows where it broke
    with pytest.raises(KeyError):
        events(Path("a"), "c")


def test_nothing_logged() -> None:
    """A run that ended at once: no metrics, no events."""
    with Run.create("a", "x: 1\n"):
        pass
    assert read_metrics("a") == []
    assert sorted(path.name for path in Path("a").iterdir()) == ["metrics.jsonl", "options.yaml"]


def test_images() -> None:
    """Not square, and with one pixel; the bytes that TensorBoard shows are PNG files of this size."""
    with Run.create("a", "") as run:
        run.image(4, "predictions/0", np.zeros((30, 50, 3), np.uint8))
        run.image(5, "predictions/0", np.zeros((1, 1, 3), np.uint8))
    reader = EventAccumulator("a")
    reader.Reload()
    found = [(image.step, image.width, image.height) for image in reader.Images("predictions/0")]
    assert found == [(4, 50, 30), (5, 1, 1)]


def test_a_run_that_can_be_resumed_is_not_overwritten() -> None:
    """The error has the command; folder names with blanks are quoted."""
    folder = trained("my runs/a")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(
        FileExistsError, match="can be resumed: python -m yolo train --resume 'my runs/a'; for a new run"
    ):
        Run.create(folder, "seed: 2\n")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_what_ended_before_its_first_checkpoint_is_replaced() -> None:
    """Lines and events of the earlier attempt are gone."""
    folder = trained()
    (folder / "last.pt").unlink()
    with Run.create(folder, "seed: 2\n") as run:
        run.log(0, 4, {"val/AP": 0.5})
    assert "seed: 2" in (folder / "options.yaml").read_text()
    assert read_metrics(folder) == [{"epoch": 0, "step": 4, "val/AP": 0.5}]
    assert events(folder, "val/AP") == [(4, 0.5)]


@pytest.mark.parametrize("name", ["options.yaml", "metrics.jsonl", "best.safetensors"])
def test_files_of_others_are_left_alone(name: str) -> None:
    """A folder with a file of such a name that no run wrote, or with weights: nothing in it changes."""
    Path("a").mkdir()
    Path("a", name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"a/{name}: .*give another folder with --out"):
        Run.create("a", "")
    assert [(path.name, path.read_text()) for path in Path("a").iterdir()] == [(name, "mine")]


def test_further_files() -> None:
    """They are written with a new run, and later only where they differ; one that no run wrote is left alone."""
    with Run.create("a", "seed: 1\n", {"data.json": "1"}) as run:
        before = Path("a/data.json").stat()
        run.replace({"data.json": "1", "network.cfg": "[net]", "options.yaml": "seed: 2\n"})
    after = Path("a/data.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert Path("a/options.yaml").read_text() == "# options of a run of exact-yolov3\nseed: 2\n"
    assert Path("a/network.cfg").read_text() == "[net]"
    Path("b").mkdir()
    Path("b/data.json").write_text("mine")
    with pytest.raises(FileExistsError, match=r"b/data\.json: not written by a run"):
        Run.create("b", "", {"data.json": "1"})
    assert [(path.name, path.read_text()) for path in Path("b").iterdir()] == [("data.json", "mine")]


def test_resume_drops_what_will_be_done_again() -> None:
    """Stopped in the middle of epoch 1, after step 14: lines before stay to the byte, curves have one value a step."""
    folder = trained()
    first = (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)[0]
    with Run.open(folder, epoch=1, step=14) as run:
        assert (folder / "metrics.jsonl").read_bytes() == first
        for step in range(15, 21):
            run.scalars(step, {"train/box": 100.0})
        run.log(1, 20, {"val/AP": 0.75})
    assert [(row["epoch"], row["val/AP"]) for row in read_metrics(folder)] == [(0, 0.0), (1, 0.75)]
    assert [step for step, _ in events(folder, "train/box")] == list(range(1, 21))
    assert [value for _, value in events(folder, "train/box")][14:] == [100.0] * 6
    assert events(folder, "val/AP") == [(10, 0.0), (20, 0.75)]


def test_resume_at_the_end_drops_nothing() -> None:
    """The file is not even written again; a closed run that logs more loses nothing."""
    folder = trained()
    before = (folder / "metrics.jsonl").stat()
    run = Run.open(folder, epoch=3, step=30)
    after = (folder / "metrics.jsonl").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    run.log(3, 40, {"val/AP": 0.5})
    run.close()
    run.log(4, 50, {"val/AP": 0.6})
    run.close()
    assert [step for step, _ in events(folder, "val/AP")] == [10, 20, 30, 40, 50]


def test_nothing_to_resume() -> None:
    """A folder without last.pt, and none at all."""
    Path("a").mkdir()
    for folder in ("a", "b"):
        with pytest.raises(FileNotFoundError, match=f"{folder}: no last.pt in it"):
            Run.open(folder, epoch=0, step=0)
    (trained("c") / "metrics.jsonl").unlink()  # somebody's choice
    with Run.open("c", epoch=3, step=30) as run:
        run.log(3, 40, {})
    assert read_metrics("c") == [{"epoch": 3, "step": 40}]


def test_a_last_line_cut_anywhere() -> None:
    """Wherever a killed process stopped writing, complete lines are read, and a resumed run continues after them."""
    folder = trained(epochs=2)
    path = folder / "metrics.jsonl"
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    for cut in range(first, len(data)):
        path.write_bytes(data[:cut])
        assert [row["epoch"] for row in read_metrics(folder)] == [0]
        Run.open(folder, epoch=1, step=10)
        assert path.read_bytes() == data[:first]
    assert len(data) - first > 40


@pytest.mark.parametrize("line", [b'{"epoch": 1, "st', b"[1]", b'{"step": 3}', b"\xff\xfe", b""])
def test_a_damaged_line_in_the_middle(line: bytes) -> None:
    """A killed process does not leave that: the error has file and line, and nothing is dropped."""
    folder = trained()
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], line, *lines[1:]]))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="metrics.jsonl:2: "):
        read_metrics(folder)
    with pytest.raises(ValueError, match="delete it to resume"):
        Run.open(folder, epoch=3, step=30)
    assert path.read_bytes() == before


def test_a_full_disk() -> None:
    """The error is raised, complete lines stay, and the incomplete one is dropped by a resume."""
    folder = trained()
    path = folder / "metrics.jsonl"
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    run = Run.open(folder, epoch=3, step=30)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
        with pytest.raises(OSError, match=r"File too large: '.*metrics\.jsonl'"):
            run.log(3, 40, {"val/AP": 0.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == before + b'{"epoch": '
    assert len(read_metrics(folder)) == 3
    Run.open(folder, epoch=3, step=30)
    assert path.read_bytes() == before


def log_events(run: Run) -> None:
    """Log a few events, each at once."""
    for step in range(31, 34):
        run.scalars(step, {"a": 1.0})
        run._tensorboard().flush()


def test_a_full_disk_under_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread prints no traceback; the error comes with the next event, and names the folder."""
    told: list[object] = []
    monkeypatch.setattr("threading.excepthook", told.append)
    _quieten_threads.cache_clear()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    run = Run.open(trained(), epoch=3, step=30)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
        with pytest.raises(OSError, match=f"File too large: '{run.folder}'"):
            log_events(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert told == []


LOGGING = """
import sys
from pathlib import Path
from yolo.training.run_folder import Run
start = int(sys.argv[2])
run = Run.open(sys.argv[1], start, start) if start else Run.create(sys.argv[1], "")
for epoch in range(start, 100_000):
    run.log(epoch, epoch + 1, {f"metric/{k}": epoch + k / 7 for k in range(400)})
    Path(sys.argv[1], "last.pt").write_text(str(epoch))
"""


def test_kill_minus_nine(tmp_path: Path) -> None:
    """Killed in the middle of logging and resumed, three times: every epoch has one complete line, in order."""
    folder, start = tmp_path / "a", 0
    for _ in range(3):
        worker = Warm("-c", LOGGING, folder, start)
        deadline = time.monotonic() + 60
        while not (folder / "metrics.jsonl").exists() or len(read_metrics(folder)) < start + 3:
            assert worker.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.0123)
        os.kill(worker.pid, signal.SIGKILL)
        ended(worker)
        assert worker.returncode == -signal.SIGKILL
        rows = read_metrics(folder)
        assert [row["epoch"] for row in rows] == list(range(len(rows)))
        assert all(len(row) == 402 and row["metric/7"] == row["epoch"] + 1 for row in rows)
        start = len(rows) - 1  # the last one is done again
    steps = [step for step, _ in events(folder, "metric/0")]
    assert steps == sorted(set(steps))


def test_next_folder() -> None:
    """runs/train, runs/train-2, ...; one that is taken, also by a file, is passed over."""
    assert next_folder() == Path("runs/train")
    Path("runs/train-2").write_text("")
    assert next_folder() == Path("runs/train-3")
    assert next_folder(name="fish") == Path("runs/fish")
    with Run.create(next_folder("deeper/down"), "") as run:
        assert run.folder == Path("deeper/down/train")


def test_next_folder_without_races() -> None:
    """Of many simultaneous calls each gets another folder."""
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: next_folder(), range(60)))
    assert len(set(folders)) == 60
    assert all(folder.is_dir() for folder in folders)


def test_newest_run(capsys: pytest.CaptureFixture[str]) -> None:
    """By the time at which its best weights were written; None where nothing is trained."""
    assert newest_run() is None
    for k, name in enumerate(("b", "c", "a")):
        Path("runs", name).mkdir(parents=True)
        best = Path("runs", name, "best.safetensors")
        best.write_bytes(b"")
        os.utime(best, (1e9 + k % 2, 1e9 + k % 2))
    Path("runs/d").mkdir()
    assert newest_run() == Path("runs/c/best.safetensors")
    assert capsys.readouterr().err == "weights: runs/c/best.safetensors, the newest trained run\n"


def test_only_the_first_process_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other processes may call everything, and get the same errors."""
    monkeypatch.setattr("yolo.training.run_folder.rank", lambda: 1)
    with Run.create("a", "") as run:
        run.log(0, 1, {"a": 1.0})
        run.scalars(1, {"a": 1.0})
        run.image(1, "a", np.zeros((2, 2, 3), np.uint8))
    assert not Path("a").exists()
    Path("a").mkdir()
    Path("a/last.pt").write_bytes(b"")
    Path("a/metrics.jsonl").write_text("half")
    Run.open("a", epoch=0, step=0).log(0, 1, {})
    assert Path("a/metrics.jsonl").read_text() == "half"
    with pytest.raises(FileExistsError, match="--resume a"):
        Run.create("a", "")


WORKER = """
import sys, torch.distributed as dist
from yolo.training.run_folder import Run
from yolo.training.run_folder import next_folder
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=int(sys.argv[2]), world_size=2)
with Run.create(next_folder(), "") as run:
    run.log(0, 1, {"loss": 0.5})
    print(run.folder)
dist.barrier()
dist.destroy_process_group()
"""


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    """One folder, one line, one file of events, whoever comes first."""
    workers = [Warm("-c", WORKER, tmp_path / "meeting", k) for k in range(2)]
    for worker in workers:
        out, errors = ended(worker)
        assert worker.returncode == 0, errors
        assert out.splitlines()[-1] == "runs/train"  # some of gloo talks here, too
    assert read_metrics("runs/train") == [{"epoch": 0, "step": 1, "loss": 0.5}]
    assert [path.name for path in Path("runs").iterdir()] == ["train"]
    assert len(list(Path("runs/train").glob("events.*"))) == 1


def test_tensorboard_is_imported_when_it_is_used() -> None:
    """Not by detection, which uses this module for the newest run."""
    code = "import sys, yolo.commands.detect; sys.exit(any('tensorboard' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
@pytest.mark.parametrize("write", ["scalars", "log"])
def test_a_folder_that_is_gone(how: str, write: str, capfd: pytest.CaptureFixture[str]) -> None:
    """One sentence, no traceback of the thread that writes events, and no folder with half a run in its place."""
    with Run.create("a", "seed: 1\n") as run:
        run.scalars(1, {"train/box": 1.0})
        run.log(0, 1, {"loss": 1.0})
        run.close()
        Path("a").rename("b")
        if how == "deleted":
            shutil.rmtree("b")
        if how == "replaced":
            Path("a").mkdir()
        with pytest.raises(FileNotFoundError, match="a: this folder was deleted or moved while the run was writing"):
            run.scalars(2, {"train/box": 1.0}) if write == "scalars" else run.log(1, 2, {"loss": 1.0})
    assert (list(Path("a").iterdir()) if how == "replaced" else []) == []
    assert Path("a").exists() == (how == "replaced")
    assert capfd.readouterr().err == ""


def test_events_that_cannot_be_written(capfd: pytest.CaptureFixture[str]) -> None:
    """The thread that writes them prints no traceback; the next call raises its error."""
    run = Run.create("a", "seed: 1\n")
    run.scalars(1, {"train/box": 1.0})
    events = run._tensorboard()
    events.flush()
    Path("a").rename("b")

    def many() -> None:
        for _ in range(1000):
            events.add_scalar("train/box", 1.0, 2)
            events.flush()

    with pytest.raises(OSError, match="events"):
        many()
    assert "Traceback" not in capfd.readouterr().err


def test_training_ends_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """At the next step, and nothing is written where it was."""
    step = Trainer._step

    def moving(trainer: Trainer, batches: list[Batch]) -> None:
        step(trainer, batches)
        if trainer.step == 2:
            trainer.run.folder.rename("elsewhere")

    monkeypatch.setattr(Trainer, "_step", moving)
    assert main(["train", *words(shapes(tmp_path), tiny_cfg(tmp_path), "--out", "run")]) == 1
    error = capfd.readouterr().err
    assert error.startswith("error: run: this folder was deleted or moved while the run was writing there")
    assert error.count("\n") == 1
    assert not Path("run").exists()
