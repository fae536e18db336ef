"""The runs of a study: paired, several at once, killed and resumed, failed and reported."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

import yolo.ablation.driver
import yolo.commands.ablate  # now, before a test replaces what it imports
from tests.support import warm
from tests.support.paths import ROOT, environment
from tests.support.study_problems import start_warm
from tests.support.train_problems import difference, numbers, shapes, tiny_cfg, words
from yolo.__main__ import main
from yolo.ablation import launch_local
from yolo.ablation.console import Console
from yolo.ablation.grid import find_grid, read_grid
from yolo.ablation.launch_local import LOCK, Machine, find_machine
from yolo.ablation.study import StudyRun, finished, read_status, read_study
from yolo.ablation.variants import variant_options
from yolo.data.loader import Batch
from yolo.data.shapes.scenes import make_shapes
from yolo.files.atomic import open_alone
from yolo.options.train import Train
from yolo.options.training import Training
from yolo.options.yaml_file import read_yaml
from yolo.training.assemble import assemble, gather
from yolo.training.diagnose import NotFiniteError
from yolo.training.owner import owned_alone

GRID = "variants:\n  mse: {loss: {bbox_loss: mse}}\n  iou: {loss: {bbox_loss: iou}}\n"
TOY = """
import os, shutil, sys, time
from pathlib import Path
options, folder, seed = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
text = options.read_text()
print("seed", seed, "threads", os.environ["OMP_NUM_THREADS"], "gpu", os.environ.get("CUDA_VISIBLE_DEVICES"))
if "TOGETHER" in os.environ:  # run only beside others with the same seed
    (folder.parents[1] / f"begun-{seed}-{folder.parent.name}").touch()
    deadline = time.monotonic() + 60
    while len(list(folder.parents[1].glob(f"begun-{seed}-*"))) < int(os.environ["TOGETHER"]):
        if time.monotonic() > deadline:
            sys.exit("alone")
        time.sleep(0.01)
if 'peak_lr: 0.9' in text:
    sys.exit(DIVERGED)
if "BAD" in os.environ and os.environ["BAD"] in str(folder):
    print("one\\ntwo\\nthree\\nfour\\nfive")
    sys.exit("error: no room on the disk, which is not a finite number")
rate = text.partition("peak_lr: ")[2].split()[0]
shutil.copy(options, folder / "options.yaml")
(folder / "best.safetensors").write_bytes(b"x")
epochs = int(text.partition("epochs: ")[2].split()[0])
with (folder / "metrics.jsonl").open("w") as file:
    for epoch in range(epochs):
        file.write('{"epoch": %d, "step": %d, "AP": 0.25, "AP50": %s}\\n' % (epoch, epoch, rate))
with open(folder.parents[1] / "log", "a") as file:
    file.write(f"{folder.parent.name}/{folder.name}\\n")
"""
"""Replaces a training: writes the files of a run at once, without PyTorch. AP50 is the learning rate of the options."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write studies into the folder of the test."""
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(GRID)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every run the toy above."""
    text = TOY.replace("DIVERGED", str(NotFiniteError.status))

    def command(run: StudyRun) -> list[str]:
        return [sys.executable, "-I", "-S", "-u", "-c", text, str(run.options), str(run.folder), str(run.seed)]

    monkeypatch.setattr(launch_local, "command", command)


NO_IMAGES = ("--data", "nowhere")
"""Toy runs have no weights to detect with, so a report would make the embedded data set for nothing."""


def ablate(*more: str, seeds: int = 2) -> int:
    """Run the command on the CPU; words after `--` are options of `train`."""
    own, train = (more[: more.index("--")], more[more.index("--") + 1 :]) if "--" in more else (more, ())
    given = ["--out", "study", "--seeds", str(seeds), "--threads", "1", *own]
    return main(["ablate", "grid.yaml", *given, "--", "--device", "cpu", *NO_IMAGES, *train])


def done() -> list[str]:
    """Return the toy runs in the order in which they ended."""
    return Path("study/log").read_text().splitlines()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the options of the tiny training, with augmentation."""
    folder = tmp_path_factory.mktemp("ablate")
    return words(shapes(folder), tiny_cfg(folder), "--batch-size", "5")


# ----------------------------------------------------------------------------------------------------------- paired


def beginning(train: Training, name: str) -> tuple[dict[str, torch.Tensor], list[Batch]]:
    """Return the weights before the first step, and the batches of two epochs."""
    trainer = assemble(gather(replace(train, out=Path(name)), torch.device("cpu")))
    weights = {name: value.clone() for name, value in trainer.detector.network.state_dict().items()}
    batches = list(chain(trainer.loader, trainer.loader))
    trainer.run.close()
    return weights, batches


def test_variants_are_paired(place: list[str], tmp_path: Path) -> None:
    """Within one seed first weights and all batches are equal bit for bit. With another seed both differ."""
    cut = place.index("--ignore-thresh")  # it is what some variants are about
    study = read_grid(find_grid("full"), tmp_path, 1, (*place[:cut], *place[cut + 2 :], "--mosaic", "0.5"))
    options = variant_options(replace(study, preset="default", pilot=None))
    assert len(options) == 11
    first, *others = [beginning(train, name) for name, train in options.items()]
    assert len(first[1]) == 6
    for weights, batches in others:
        assert difference(weights, first[0]) == ""
        assert difference([list(batch) for batch in batches], [list(batch) for batch in first[1]]) == ""
    other, batches = beginning(replace(options["iou"], seed=1), "seed-1")
    assert "tensors differ" in difference(other, first[0])
    assert "tensors differ" in difference([list(batch) for batch in batches], [list(batch) for batch in first[1]])


def test_a_variant_of_the_start_changes_only_that(place: list[str]) -> None:
    """`obj_bias` changes the biases of the heads, and nothing else: the runs remain paired."""
    train = variant_options(read_grid(Path("grid.yaml"), Path("x"), 1, tuple(place)))["iou"]
    assert isinstance(train, Train)
    (plain, batches), (biased, same) = beginning(train, "plain"), beginning(replace(train, obj_bias=-4.5), "biased")
    changed = [name for name in plain if difference(plain[name], biased[name])]
    assert len(changed) == 2
    assert all(name.endswith("bias") for name in changed)
    assert difference([list(batch) for batch in batches], [list(batch) for batch in same]) == ""


# -------------------------------------------------------------------------------------------------- killed and resumed


SIGNALS = """
import os, signal, sys, time
from yolo.__main__ import main
from yolo.training.run_folder import Run

def log(run, epoch, *more, log=Run.log):
    log(run, epoch, *more)
    if epoch == EPOCH:
        handler = signal.getsignal(signal.SIGTERM)
        os.kill(os.getppid(), signal.SIGNAL)
        while signal.getsignal(signal.SIGTERM) == handler:  # until this process is asked to end, too
            time.sleep(0.01)

Run.log = log
sys.exit(main(sys.argv[1:]))
"""
"""A training that sends a signal to its parent after an epoch, and continues after it has received a SIGTERM itself."""

KILLED = """
import sys
from yolo.__main__ import main
from yolo.ablation import launch_local

train = launch_local.command
launch_local.command = lambda run: [sys.executable, "-c", sys.argv[1], *train(run)[3:]]
main(sys.argv[2:])
"""
"""Runs a command whose trainings are replaced by the program in its first argument."""


def test_killed_twice(place: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGKILL and SIGTERM the same command resumes the study; the numbers are those of an uninterrupted run."""
    Path("one.yaml").write_text("variants: {mse: {loss: {bbox_loss: mse}}}\n")
    train = [*place, "--epochs", "6", "--eval-every", "2"]
    assert main(["train", *train, "--bbox-loss", "mse", "--out", "whole"]) == 0
    command = ["ablate", "one.yaml", "--out", "study", "--seeds", "1", "--threads", "1", "--", *train]
    folder = Path("study/mse/seed-0")
    killed, terminated = (
        SIGNALS.replace("EPOCH", str(epoch)).replace("SIGNAL", name) for epoch, name in ((1, "SIGKILL"), (3, "SIGTERM"))
    )
    ended = warm.run("-c", KILLED, killed, *command)
    assert ended.returncode == -signal.SIGKILL
    capsys.readouterr()
    with monkeypatch.context() as patch:
        real = launch_local.command
        patch.setattr(launch_local, "command", lambda run: [sys.executable, "-c", terminated, *real(run)[3:]])
        assert main(command) == 130
    out = capsys.readouterr().out
    assert "mse/seed-0: stopped\n" in out
    assert f"continue with the same command: python -m yolo {shlex.join(command)}\n" in out
    assert len(numbers(folder)) == 4
    assert not finished(folder)
    assert not Path("study/report.md").exists()
    monkeypatch.setattr(launch_local, "start", start_warm)
    assert main(command) == 0
    assert "study: 1 of 1 runs are finished\n" in capsys.readouterr().out
    assert len(numbers(folder)) == 6
    assert difference(numbers(folder), numbers(Path("whole"))) == ""
    log = (folder / "train.log").read_text()
    assert log.count("SIGTERM: stopped after a completed step") == 2  # the run ended with its killed parent, too
    assert "| V1.1 | mse | 1 of 1 |" in Path("study/report.md").read_text()


def test_a_run_ends_with_its_parent() -> None:
    """A run gets a SIGTERM from the kernel even if its parent is killed."""
    code = """
import os, subprocess, sys, time
child = "import os, signal, time; signal.signal(signal.SIGTERM, lambda *_: os._exit(os.write(1, b'asked' + bytes([10])) and 0)); print('up', flush=True); time.sleep(60)"
subprocess.Popen([sys.executable, "-m", "yolo.ablation.tethered", str(os.getpid()), sys.executable, "-c", child])
time.sleep(60)
"""  # noqa: E501
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout
        assert parent.stdout.readline() == "up\n"
        parent.kill()
        parent.wait()
        assert parent.stdout.read() == ("asked\n" if sys.platform == "linux" else "")


def test_a_run_without_parent_does_not_begin() -> None:
    """A run whose parent has already ended does not start."""
    command = [sys.executable, "-m", "yolo.ablation.tethered", "1", sys.executable, "-c", "print('up')"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "process 1, which started this run, is gone" in ended.stderr


# -------------------------------------------------------------------------------------------------------- the command


def test_finished_runs_are_not_repeated(toy: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs go seed by seed. A second command runs nothing; one with more seeds runs only those."""
    assert ablate() == 0
    assert done() == ["mse/seed-0", "iou/seed-0", "mse/seed-1", "iou/seed-1"]
    out = capsys.readouterr().out
    assert "iou/seed-0: finished in 0 s, AP50 0.0060, AP 0.2500; 2 of 4 left, about" in out
    assert ablate() == 0
    assert ablate(seeds=3) == 0
    assert done()[4:] == ["mse/seed-2", "iou/seed-2"]
    assert read_study(Path("study")).seeds == 3
    assert read_yaml(Path("study/mse/options.yaml"), Train()).loss.bbox_loss == "mse"


@pytest.mark.parametrize(
    ("change", "more", "seeds", "says"),
    [
        ("", ["--", "--epochs", "7"], 2, "mse: epochs: 7, not 60; iou: epochs: 7, not 60"),
        ("  ciou: {loss: {bbox_loss: ciou}}\n", [], 2, "variants: mse, iou, ciou, not mse, iou"),
        ("pilot: {option: epochs, values: [1, 2]}\n", [], 2, "pilot: "),
        ("", [], 1, "seeds: 1, not 2 or more"),
    ],
)
def test_another_study(
    change: str, more: list[str], seeds: int, says: str, toy: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The message names what differs, and nothing runs or is written."""
    with monkeypatch.context() as patch:
        patch.setattr(yolo.ablation.driver, "run_local", lambda *_: None)
        assert ablate() == 0
    before = Path("study/study.yaml").read_bytes()
    Path("grid.yaml").write_text(GRID + change)
    assert ablate(*more, seeds=seeds) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: study is another study, this command asks for ")
    assert says in error
    assert Path("study/study.yaml").read_bytes() == before
    assert not Path("study/log").exists()


def test_a_folder_of_something_else(toy: None, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with other files is refused and left as it was."""
    Path("study").mkdir()
    Path("study/thesis.txt").write_text("x")
    assert ablate() == 1
    assert "study: files but no study.yaml, so it is not a study" in capsys.readouterr().err
    assert [path.name for path in Path("study").iterdir()] == ["thesis.txt"]


def test_a_failed_run(toy: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The others continue. The command prints the log's last lines; repeated, it runs only the failed one."""
    with monkeypatch.context() as patch:
        patch.setenv("BAD", "mse/seed-0")
        assert ablate() == 1
    out, error = capsys.readouterr()
    assert "mse/seed-0: failed with status 1; the others continue" in out
    assert "study: 3 of 4 runs are finished" in out
    log = Path("study/mse/seed-0/train.log")
    lines = ["two", "three", "four", "five", "error: no room on the disk, which is not a finite number"]
    assert error == f"error: mse/seed-0 failed; the last lines of {log}:\n" + "".join(f"    {x}\n" for x in lines)
    assert "| V1.1 | mse | 1 of 2 |" in Path("study/report.md").read_text()
    assert ablate() == 0
    assert done() == ["iou/seed-0", "mse/seed-1", "iou/seed-1", "mse/seed-0"]


def test_weights_without_a_checkpoint(toy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was killed between its first weights and its first checkpoint starts from the beginning."""
    folder = Path("study/mse/seed-0")
    assert ablate(seeds=1) == 0
    (folder / "metrics.jsonl").unlink()
    seen = []
    toy_command = launch_local.command

    def command(run: StudyRun) -> list[str]:
        seen.append((folder / "best.safetensors").exists())
        return toy_command(run)

    monkeypatch.setattr(launch_local, "command", command)
    assert ablate(seeds=1) == 0
    assert seen == [False]
    assert finished(folder)


def test_what_is_run(tmp_path: Path) -> None:
    """The command starts a new run, or resumes one."""
    run = StudyRun("mse", 3, tmp_path / "seed-3", tmp_path / "options.yaml")
    new = ["--options", str(run.options), "--out", str(run.folder), "--seed", "3"]
    assert launch_local.command(run) == [sys.executable, "-m", "yolo", "train", *new]
    run.folder.mkdir()
    (run.folder / "last.pt").write_bytes(b"x")
    assert launch_local.command(run)[4:] == ["--resume", str(run.folder)]


def test_several_at_once(toy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs at once each see a GPU of their own, and use the threads that they were given. The two runs of a seed
    wait for each other."""
    monkeypatch.setenv("TOGETHER", "2")
    monkeypatch.setattr(launch_local, "_gpus", lambda: ("GPU-a", "GPU-b"))
    assert main(["ablate", "grid.yaml", "--out", "study", "--seeds", "2", "--threads", "3", "--", *NO_IMAGES]) == 0
    logs = [(run.folder / "train.log").read_text() for run in read_study(Path("study")).runs()]
    assert sorted(logs) == sorted(f"seed {s} threads 3 gpu GPU-{gpu}\n" for s in (0, 1) for gpu in "ab")


def test_what_a_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default one run has all cores of a CPU, or there is one run per GPU; more runs share them."""
    monkeypatch.setattr(launch_local, "_gpus", lambda: ("0", "1"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert find_machine(None, None, cpu=True) == Machine(1, 8)
    assert find_machine(3, None, cpu=True) == Machine(3, 2)
    assert find_machine(None, None, cpu=False) == Machine(2, 4, ("0", "1"))
    assert [Machine(3, 2, ("0", "1")).gpu(slot) for slot in range(3)] == ["0", "1", "0"]
    assert Machine(3, 2).gpu(0) is None


def test_a_run_of_an_earlier_command_is_waited_for(
    toy: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that still saves after its command was killed is waited for; the other runs start meanwhile."""
    Path("study/mse/seed-0").mkdir(parents=True)
    (Path("study") / "study.yaml").write_text("variants: {mse: {}, iou: {}}\nseeds: 2\n")
    lock = open_alone(Path("study/mse/seed-0") / LOCK, wait=False)
    assert lock is not None
    end = Console.ended

    def ended(console: Console, *more: Any, **words: Any) -> None:
        end(console, *more, **words)
        if len(done()) == 3:
            lock.close()

    monkeypatch.setattr(Console, "ended", ended)
    assert ablate() == 0
    assert done() == ["iou/seed-0", "mse/seed-1", "iou/seed-1", "mse/seed-0"]
    assert (
        capsys.readouterr().out.count("mse/seed-0: a process of an earlier command still runs it; waiting for its end")
        == 1
    )


def test_two_commands_in_one_study(toy: None, capsys: pytest.CaptureFixture[str]) -> None:
    """The second of two commands is refused."""
    assert ablate(seeds=1) == 0
    files = set(Path("study").iterdir())
    with owned_alone(Path("study")):
        assert ablate() == 1
    assert f"study: another `ablate` writes here: process {os.getpid()} on" in capsys.readouterr().err
    assert set(Path("study").iterdir()) == files
    assert ablate() == 0


def test_two_commands_begin_a_study(toy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one is refused before it looks for a study, and not only before it writes one."""

    def first(*arguments: Any, read: Any = read_grid) -> Any:
        with pytest.raises(BlockingIOError), owned_alone(Path("study")):
            raise AssertionError
        return read(*arguments)

    monkeypatch.setattr(yolo.commands.ablate, "read_grid", first)
    assert ablate(seeds=1) == 0


def test_dry(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the commands and their number; nothing is started or written."""
    Path("grid.yaml").write_text(GRID + "pilot: {option: schedule.peak_lr, values: [1e-3, 2e-3]}\n")
    assert ablate("--dry") == 0
    *commands, last = capsys.readouterr().out.splitlines()
    assert len(commands) == 8
    assert commands[0].startswith("python -m yolo train --options study/mse/pilot-1e-3.yaml --out study/mse/pilot-1e-3")
    assert last == "8 runs: 2 variants times 2 seeds, 4 pilots, 0 are finished"
    assert not Path("study").exists()


def test_wrong_words(toy: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong options are found before anything is written; options of `train` before -- are refused."""
    assert ablate("--", "--bbox-loss", "iou") == 1
    assert "error: variant mse: the options after -- undo" in capsys.readouterr().err
    for given in (["--", "--epoch", "3"], ["--epochs", "3"]):
        with pytest.raises(SystemExit):
            ablate(*given)
    assert not Path("study").exists()


@pytest.mark.parametrize(
    ("variant", "words", "message"),
    [
        ("{schedule: {schedule: cosine, warmup_steps: 900, warmup_share: null}}", "--limit 20 --epochs 2",
         "variant late: warmup_steps=900 of 6 steps: expected fewer"),
        ("{cfg: nowhere.cfg}", "", "variant late: .*nowhere.cfg"),
        ("{size: 100}", "", "variant late: .*100"),
        ("{weights: nothing.weights}", "", "variant late: weights: nothing.weights: no such file"),
    ],
)  # fmt: skip
def test_every_variant_is_checked_before_the_first_run(
    variant: str, words: str, message: str, toy: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last variant cannot start, whatever the data: the command names it and nothing is written or run."""
    Path("grid.yaml").write_text(f"{GRID}  late: {variant}\n")
    assert ablate("--", *words.split()) == 1
    assert re.search(f"error: {message}", capsys.readouterr().err)
    assert not Path("study").exists()


def test_a_pilot_is_checked_with_its_own_epochs(toy: None, capsys: pytest.CaptureFixture[str]) -> None:
    """A warm-up that fits the study but not its shorter pilot runs is found before the first of them."""
    Path("grid.yaml").write_text(PILOT)
    words = ("--limit", "80", "--epochs", "20", "--warmup-share", "None")  # 200 steps, of a pilot 60
    assert ablate("--", *words) == 1
    assert "error: mse/pilot-1e-3: warmup_steps=100 of 60 steps" in capsys.readouterr().err
    assert not Path("study").exists()


def test_a_try_out_of_a_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs on 20 images, with the warm-up of the preset: the run does not fail at its first step."""
    Path("one.yaml").write_text("variants: {mse: {loss: {bbox_loss: mse}}}\n")
    started: list[warm.Warm] = []

    def start(run: StudyRun, *_: object) -> warm.Warm:
        started.append(start_warm(run))
        return started[-1]

    monkeypatch.setattr(launch_local, "start", start)
    data, cfg = make_shapes(Path("twenty"), train=20, val=3), tiny_cfg(Path())
    train = f"--data {data} --cfg {cfg} --size 64 --epochs 2 --eval-every 2 --workers 0 --device cpu".split()
    assert main(["ablate", "one.yaml", "--out", "study", "--seeds", "1", "--threads", "1", "--", *train]) == 0
    (run,) = started
    assert "warm-up: 100 steps shortened to 1 of 6" in run.communicate()[0]


# -------------------------------------------------------------------------------------------------------------- pilots

PILOT = GRID + "pilot: {option: schedule.peak_lr, values: [1e-3, 3e-3, 2e-3], epochs_share: 0.3}\n"


def test_the_pilot_chooses(toy: None, capsys: pytest.CaptureFixture[str]) -> None:
    """The pilot chooses by AP50, here the rate, once for all seeds of a variant, by shorter runs with another seed."""
    Path("grid.yaml").write_text(PILOT)
    assert ablate(seeds=1) == 0
    assert done()[:6] == [f"{v}/pilot-{rate}" for v in ("mse", "iou") for rate in ("1e-3", "3e-3", "2e-3")]
    assert "seed 1000000 " in Path("study/mse/pilot-1e-3/train.log").read_text()
    assert read_yaml("study/mse/pilot-1e-3/options.yaml", Train()).epochs == 18
    assert "mse: schedule.peak_lr is 0.003, by AP50 of the pilots (0.001: 0.001, 0.003: 0.003," in (
        capsys.readouterr().out
    )
    assert read_study(Path("study")).chosen == {"mse": 3e-3, "iou": 3e-3}
    options = read_yaml("study/iou/seed-0/options.yaml", Train())
    assert (options.schedule.peak_lr, options.epochs, options.early_metric) == (3e-3, 60, "AP")
    assert ablate(seeds=2) == 0
    assert done()[6:] == ["mse/seed-0", "iou/seed-0", "mse/seed-1", "iou/seed-1"]


def test_a_pilot_that_diverges_has_lost(toy: None) -> None:
    """A rate that is too high loses; it is not a failure."""
    Path("grid.yaml").write_text(PILOT.replace("3e-3", "0.9"))
    assert ablate(seeds=1) == 0
    assert read_study(Path("study")).chosen == {"mse": 2e-3, "iou": 2e-3}
    assert [read_status(Path("study/mse", f"pilot-{rate}")) for rate in ("0.9", "2e-3")] == [NotFiniteError.status, 0]


def test_a_divergence_is_remembered(toy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later command knows from the run's folder that a pilot diverged, until the pilot starts again."""
    Path("grid.yaml").write_text(PILOT.replace("3e-3", "0.9"))
    diverged = Path("study/mse/pilot-0.9")
    with monkeypatch.context() as patch:
        patch.setenv("BAD", "mse/pilot-2e-3")
        assert ablate(seeds=1) == 1
    assert read_status(diverged) == NotFiniteError.status
    assert read_study(Path("study")).chosen == {"iou": 2e-3}
    seen = []
    toy_command = launch_local.command

    def command(run: StudyRun) -> list[str]:
        seen.append((run.folder.name, read_status(run.folder)))
        return toy_command(run)

    monkeypatch.setattr(launch_local, "command", command)
    assert ablate(seeds=1) == 0
    assert seen == [("pilot-0.9", None), ("pilot-2e-3", None), ("seed-0", None)]
    assert read_study(Path("study")).chosen == {"mse": 2e-3, "iou": 2e-3}


def test_a_pilot_that_fails(toy: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A variant with a failed pilot waits for the next command; the others continue."""
    Path("grid.yaml").write_text(PILOT)
    with monkeypatch.context() as patch:
        patch.setenv("BAD", "mse/pilot-3e-3")
        assert ablate(seeds=1) == 1
    assert "error: mse/pilot-3e-3 failed; the last lines of" in capsys.readouterr().err
    assert read_study(Path("study")).chosen == {"iou": 3e-3}
    assert "mse/seed-0" not in done()
    assert ablate(seeds=1) == 0
    assert done()[6:] == ["mse/pilot-3e-3", "mse/seed-0"]


# ----------------------------------------------------------------------------------------------------------------- Ray


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray(capsys: pytest.CaptureFixture[str]) -> None:
    """The message says what to install."""
    assert ablate("--launcher", "ray") == 1
    assert capsys.readouterr().err == "error: --launcher ray needs Ray: pip install 'exact-yolov3[sweep]'\n"
    assert not Path("study").exists()


BESIDE = """
import sys
from yolo.__main__ import main
from yolo.ablation import launch_ray

def follow(run, threads, folder):
    import time
    from pathlib import Path
    from yolo.ablation.launch_ray import follow
    Path(folder, "begun", run.variant).touch()
    while len(list(Path(folder, "begun").iterdir())) < 2:
        time.sleep(0.01)
    return follow(run, threads, folder)

launch_ray.follow = follow
sys.exit(main(sys.argv[1:]))
"""
"""The command, with tasks of Ray that begin only when two of them are there."""


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: exact-yolov3[sweep]")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_two_workers_of_ray(place: list[str]) -> None:
    """Two runs at the same time have the numbers of the local launcher. Own processes keep Ray out of this one."""
    Path("begun").mkdir()
    for launcher, program in (("ray", ["-c", BESIDE]), ("local", ["-m", "yolo"])):
        command = ["ablate", "grid.yaml", "--out", launcher, "--seeds", "1", "--jobs", "2", "--threads", "1"]
        command = [sys.executable, *program, *command, "--launcher", launcher, "--", *place]
        ended = subprocess.run(
            command, env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, timeout=120
        )
        assert ended.returncode == 0, ended.stderr
        assert "2 of 2 runs are finished" in ended.stdout
    for name in ("mse", "iou"):
        assert difference(numbers(Path("ray", name, "seed-0")), numbers(Path("local", name, "seed-0"))) == ""
        assert read_status(Path("ray", name, "seed-0")) == 0
