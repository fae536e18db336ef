"""Two processes that train together give the numbers of one that trains alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.support.preflight_problems import change
from tests.support.recipe_problems import recipe_text, recipe_words
from tests.support.single_problems import singles, tiny_backbone
from tests.support.train_problems import Place, checkpoint, ended, process, same_run, shapes, tiny_cfg, words
from yolo.__main__ import main
from yolo.backbones.published import make_backbone
from yolo.training.run_folder import read_metrics

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "yolo", "train"]
"""Two processes that meet on a free port, which its own test starts; the other tests start what it would start."""

RECIPE = ["--epochs", "10", "--batch-size", "6", "--schedule", "constant", "--lr", "1e-2", "--optimizer", "sgd"]
RECIPE += ["--ema", "0.9", "--eval-every", "10"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Batches of six, with augmentation. Batch norm is frozen: it would depend on which images share a batch."""
    folder = tmp_path_factory.mktemp("processes")
    command = words(shapes(folder), tiny_cfg(folder), *RECIPE, "--freeze", "*.bn.*")
    assert main(["train", *command, "--out", str(folder / "one")]) == 0
    return Place(command, folder / "one")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go into the test's own folder."""
    monkeypatch.chdir(tmp_path)


def losses(run: Path) -> list[dict[str, float]]:
    """Return the loss terms of every step from TensorBoard's events."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    terms = [[(event.step, event.value) for event in events.Scalars(f"step/{name}")] for name in ("box", "obj", "cls")]
    assert [step for step, _ in terms[0]] == list(range(1, 21))
    return [
        dict(zip(("box", "obj", "cls"), (value for _, value in row), strict=True)) for row in zip(*terms, strict=True)
    ]


def test_two_processes_are_one(place: Place) -> None:
    """The loss terms of twenty steps and the numbers of the epochs agree within 1e-5; each line is printed once."""
    child = process(*place.words, "--out", "two", ranks=2)
    out, errors = ended(child)
    assert child.returncode == 0, errors
    assert out.count("done: two/best.safetensors") == 1
    assert out.count("epoch 10/10") == 1
    for step, (one, two) in enumerate(zip(losses(place.run), losses(Path("two")), strict=True), 1):
        assert two == pytest.approx(one, abs=1e-5), step
    for row, other in zip(read_metrics(place.run), read_metrics("two"), strict=True):
        for name in ("train/loss", "train/box", "train/obj", "train/cls"):
            assert other[name] == pytest.approx(row[name], abs=1e-5)
        assert other["train/labels"] == row["train/labels"]
    last, same = read_metrics("two")[-1], read_metrics(place.run)[-1]
    for name in ("val/box", "val/obj", "val/cls"):
        assert last[name] == pytest.approx(same[name], abs=1e-4)


def test_one_process_checks_for_both(place: Place) -> None:
    """What the quick checks of the first find ends the training in both of them, before a folder is made."""
    shutil.copytree(place.words[1], "set")
    change(Path("set"), lambda content: [one.update(bbox=[0.1, 0.1, 0.5, 0.5]) for one in content["annotations"]])
    child = process(*place.words, "--data", "set", "--out", "two", ranks=2)
    _, errors = ended(child)
    assert child.returncode == 1
    assert errors.count("error: this training cannot succeed; --no-check starts it anyway") == 2
    assert not Path("two").exists()


STOP = """
import sys
from yolo.__main__ import main
from yolo.training.engine import Trainer
Trainer._all_agree = lambda trainer, _interrupt: trainer.step == 9
sys.exit(main(["train", *sys.argv[1:]]))
"""
"""A run whose processes all stop after the first of the two steps of an epoch."""


def test_two_processes_resume(place: Place) -> None:
    """With batch norm, stopped within an epoch and resumed: bit for bit the run that did not stop. `eval` gives the
    logged metrics, although batch norm has seen other images in each process."""
    thawed = [word for word in place.words if word not in ("--freeze", "*.bn.*")]
    thawed += ["--optimizer", "adam", "--lr", "1e-3", "--early-metric", "val/loss"]
    thawed += ["--epochs", "6", "--eval-every", "6", "--no-check"]
    Path("stop.py").write_text(STOP)
    whole = process(*thawed, "--out", "whole", ranks=2)
    stopped = process("stop.py", *thawed, "--out", "run", ranks=2, module=False)
    _, errors = ended(whole)
    assert whole.returncode == 0, errors
    out, errors = ended(stopped)
    assert "resume with: python -m yolo train --resume run" in out, errors
    assert checkpoint(Path("run"))["loader"]["position"] == 1
    resumed = process("--resume", "run", ranks=2)
    _, errors = ended(resumed)
    assert resumed.returncode == 0, errors
    assert same_run(Path("whole"), Path("run")) == ""
    data = place.words[place.words.index("--data") + 1]
    assert main(["eval", "--weights", "run", "--data", data, "--split", "val", "--device", "cpu", "--out", "e"]) == 0
    found, logged = json.loads(Path("e/metrics.json").read_text()), read_metrics("run")[-1]
    assert logged["AR100"] > 0
    assert {name: found[name] for name in logged if name[0] == "A"} == {k: v for k, v in logged.items() if k[0] == "A"}


def test_layers_that_are_frozen_for_some_epochs(tmp_path: Path) -> None:
    """A frozen half of a backbone has no gradient to exchange: it stays as it was, and the other one is trained."""
    spec = tiny_backbone(tmp_path / "backbone")
    command = ["--model", "largest", "--backbone", spec, "--unfreeze", "1", "--data", str(singles(tmp_path, 16, 4))]
    command += ["--size", "64", "--epochs", "2", "--batch-size", "8", "--workers", "0", "--device", "cpu"]
    child = process(*command, "--out", "two", ranks=2)
    out, errors = ended(child)
    assert child.returncode == 0, errors
    assert out.count("epoch 2/2") == 1
    given, found = make_backbone(spec, pretrained=True).state_dict(), checkpoint(Path("two"))["network"]
    same = {name.split(".")[1]: torch.equal(values, found[f"backbone.{name}"]) for name, values in given.items()}
    assert same == {"0": True, "1": True, "2": False, "3": False}


@pytest.mark.parametrize("layers", [{}, {3: "stopbackward=1\n"}], ids=["all", "some"])
def test_parameters_without_gradient_are_looked_for_only_where_the_cfg_freezes_some(
    tmp_path: Path, layers: dict[int, str]
) -> None:
    """Two processes train as the cfg says; PyTorch would warn of a search in vain, and fail without a search."""
    (tmp_path / "my.cfg").write_text(recipe_text(layers, max_batches=2))
    child = process(*recipe_words(shapes(tmp_path), tmp_path / "my.cfg", "--out", "two")[1:], ranks=2)
    _, errors = ended(child)
    assert child.returncode == 0, errors
    assert checkpoint(Path("two"))["step"] == 2
    assert "unused_parameters" not in errors


def test_a_signal_stops_both(place: Place) -> None:
    """torchrun passes it on. Both complete the step, and it is saved once."""
    words = [*place.words, "--epochs", "3000", "--eval-every", "0", "--out", "run"]
    child = process(*TORCHRUN, *words, module=False)
    metrics, deadline = Path("run/metrics.jsonl"), time.monotonic() + 120
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < 2:
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGTERM)
    out, errors = ended(child)
    assert out.splitlines()[-1].endswith("resume with: python -m yolo train --resume run"), errors
    state = checkpoint(Path("run"))
    assert state["step"] >= 4
    assert state["step"] == 2 * state["loader"]["epoch"] + state["loader"]["position"]


LOST = """
import os, signal, sys
from yolo.__main__ import main
from yolo.training import heartbeat
from yolo.training.engine import Trainer

def lost(trainer, epoch, finish=Trainer._finish):
    finish(trainer, epoch)
    if epoch == 1:
        heartbeat.PAUSE = 0.1
        if os.environ["RANK"] == sys.argv[1]:
            os.kill(os.getpid(), getattr(signal, sys.argv[2]))

Trainer._finish = lost
sys.exit(main(["train", *sys.argv[3:]]))
"""
"""A training one of whose processes kills or stops itself after the second epoch."""


@pytest.mark.parametrize(("one", "name"), [(0, "SIGKILL"), (1, "SIGSTOP")])
def test_a_lost_process_ends_the_other_one(one: int, name: str, place: Place) -> None:
    """In one line, which says how to resume; the checkpoint is whole. PyTorch alone would wait for half an hour."""
    child = process("-c", LOST, one, name, *place.words, "--workers", one, "--out", "run", ranks=2, module=False)
    left = child.processes[1 - one]
    left.join(100)
    try:
        assert left.exitcode == 1
    finally:
        child.kill()
    _, errors = child.communicate()
    *_, last = errors.splitlines()
    what = f"process {one} of 2 of this training does not answer;" if name == "SIGSTOP" else "has ended;"
    assert what in last
    assert last.startswith("error: ")
    assert last.endswith("with torchrun as before: -m yolo train --resume run")
    assert "Traceback" not in errors
    assert checkpoint(Path("run"))["step"] == 4


SCRIPT = """
import os, yolo

def fails(epoch, numbers):
    print("called in process", os.environ["RANK"], flush=True)
    raise LookupError("gone")

tiny = dict(data=DATA, cfg=CFG, epochs=2, batch_size=4, workers=0, device="cpu", save_every=2, quiet=True)
try:
    yolo.train(**tiny, out="run", on_epoch_end=fails)
except RuntimeError as problem:
    print(f"{problem}\\n", end="", flush=True)
run = yolo.train(resume="run", quiet=True)
print(f"{run.finished} {[row['step'] for row in run.history]}\\n", end="", flush=True)
"""


def test_a_function_that_fails_in_two_processes(place: Place) -> None:
    """It is called in one of them, both end with its error, and both train on in the same script."""
    data, cfg = (place.words[place.words.index(word) + 1] for word in ("--data", "--cfg"))
    Path("script.py").write_text(SCRIPT.replace("DATA", repr(data)).replace("CFG", repr(cfg)))
    out, errors = ended(process("script.py", ranks=2, module=False))
    problem = "on_epoch_end=__main__:fails failed after epoch 1 (LookupError: gone); run is saved up to there"
    assert sorted(out.splitlines()) == sorted(
        ["called in process 0", *[f"{problem}, and can be resumed"] * 2, *["True [3, 6]"] * 2]
    ), errors
