"""The kill bar: trainings that are ended in every way, at drawn moments, and resumed until they are complete.

    python benchmarks/kill.py [--runs 18] [--seed 0] [--folder FOLDER]

Each run is `python -m yolo train` with toy.cfg on the embedded set: augmentation, averaged weights, two batches a step,
an evaluation after every second epoch. Workers (0, 2) and caches (none, ram, disk) take turns. A run is ended once to
three times, at a drawn batch, in what follows an epoch, or while a file is saved, by one of

    SIGKILL, SIGTERM, SIGHUP, SIGINT    to the process; the last three save and stop (status 130)
    twice                               two SIGTERMs: it ends at once (status 143)
    worker                              SIGKILL to one of its workers: it ends with a sentence

and resumed each time. Then it is compared with an undisturbed run with the same cache and no workers. `trainer` in
last.pt (network, average, optimizer, random numbers, position), best.safetensors and metrics.jsonl without times and
memory must be equal to the bit. Nothing may be left in the run folder or in /dev/shm, no process may be left, and no
end may print a traceback. /dev/shm is compared by the names of this program and PyTorch, so nothing else may train at
the same time. The exit status is 1 if a run fails. The processes are those of tests/support/warm.py, which
needs `pip install '.[test]'`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import measure  # noqa: F401, it makes the clone importable

from tests.support.train_problems import checkpoint, difference, numbers
from tests.support.warm import Warm
from yolo.darknet.safetensors_file import read_tensors
from yolo.data.shapes.scenes import make_shapes
from yolo.training.run_folder import BEST, LAST

EPOCHS, BATCHES = 4, 8
AFTER, SAVING = BATCHES + 1, BATCHES + 2
"""Places in an epoch after its batches: evaluation and so on; a file is being saved."""

EXPECTED = {"SIGKILL": -9, "SIGTERM": 130, "SIGHUP": 130, "SIGINT": 130, "twice": 143, "worker": 1}
"""Ways to end a run, and the exit status that follows."""

SHARED = Path("/dev/shm")

CHILD = """
import os, sys, time
from yolo.__main__ import main
from yolo.training import run_folder
from yolo.training.engine import Trainer

note = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
batch, finish, sync, now = Trainer._batch, Trainer._finish, os.fsync, [0, 0]

def at(epoch, place):
    now[:] = epoch, place
    os.pwrite(note, b"%4d %4d" % (epoch, place), 0)

def noted_batch(self, *arguments, **options):
    at(self.loader.epoch + 1, self.loader.position)
    batch(self, *arguments, **options)

def noted_finish(self, epoch):
    at(epoch + 1, len(self.loader) + 1)
    finish(self, epoch)

def slow_sync(file):  # between the content of a file and its name
    if now[1] == len_batches + 1:
        at(now[0], now[1] + 1)
    time.sleep(0.02)
    sync(file)

len_batches = int(sys.argv[2])
Trainer._batch, Trainer._finish, os.fsync = noted_batch, noted_finish, slow_sync
sys.exit(main(["train", *sys.argv[3:]]))
"""
"""`python -m yolo train` that writes its epoch and place to a file, and saves slowly."""


class End(NamedTuple):
    """How and where a process was ended, and what is wrong with that ("" for nothing)."""

    way: str
    place: tuple[int, int]
    problem: str


def start(note: Path, *words: object) -> Warm:
    """Start a process that trains."""
    note.unlink(missing_ok=True)
    return Warm("-c", CHILD, note, BATCHES, *words)


def where(note: Path) -> tuple[int, int]:
    """Return epoch and place of a process; (0, 0) before its first batch."""
    text = note.read_text() if note.exists() else ""
    epoch, place = map(int, text.split()) if len(text) == 9 else (0, 0)
    return epoch, place


def until(true: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is true; return whether it became so in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def group_is_gone(pid: int) -> bool:
    """Return whether no process of a group is left."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return True
    return False


def workers_of(pid: int) -> list[int]:
    """Return the process ids of the children of a process."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def end(process: Warm, note: Path, way: str, place: tuple[int, int], delay: float) -> End | None:
    """End a process `delay` seconds after it has reached a place; None if it has completed before."""
    until(lambda: where(note) >= place or process.poll() is not None, 120)
    time.sleep(delay)
    reached, killed = where(note), []
    if way == "worker" and (killed := workers_of(process.pid)):
        killed = killed[-1:]
    if way == "worker" and not killed:
        way = "SIGKILL"
    with suppress(ProcessLookupError):
        for number in ["SIGTERM", "SIGTERM"] if way == "twice" else ["SIGKILL" if killed else way]:
            os.kill(killed[0] if killed else process.pid, signal.Signals[number])
            time.sleep(0.001)
    found = []
    if not until(lambda: process.poll() is not None, 90):
        process.kill()
        found.append("it did not end")
    _, errors = process.communicate()
    status = process.returncode
    if status == 0:
        return None
    # A second signal may come when the first has already stopped the run, a dead worker when it is no longer needed.
    if status not in (EXPECTED[way], 130 if way == "twice" else EXPECTED[way]):
        found.append(f"status {status}")
    found += ["traceback"] * ("Traceback" in errors)
    found += ["processes left"] * (not until(lambda: group_is_gone(process.pid), 30))
    return End(way, reached, ", ".join(found))


def disturbed(folder: Path, words: list[object], draw: random.Random, ways: list[str]) -> list[End]:
    """Train in `folder`, ended in each of the ways and resumed; return the ends."""
    note, ends = folder.with_suffix(".note"), []
    for number, way in enumerate([*ways, ""], 1):
        process = start(note, *(["--resume", folder] if (folder / LAST).exists() else [*words, "--out", folder]))
        if way:
            last = EPOCHS if number == len(ways) else EPOCHS - 1
            place = draw.randint(1, last), draw.choice([*range(1, BATCHES + 1), AFTER, SAVING, SAVING])
            ended = end(process, note, way, place, draw.uniform(0, 0.04))
            ends += [ended] if ended else []
        elif process.wait():
            ends.append(End("resume", where(note), process.communicate()[1].strip()[-200:]))
    return ends


def shared() -> set[str]:
    """Return the names in /dev/shm that this program and PyTorch make."""
    names = os.listdir(SHARED) if SHARED.is_dir() else []
    return {name for name in names if name.startswith(("exact-yolov3", "torch_", "psm_"))}


def problems(folder: Path, whole: Path, before: set[str]) -> list[str]:
    """Return what is wrong with a complete run."""
    found = [f"left: {path.name}" for path in folder.iterdir() if path.name.startswith(".") or path.suffix == ".part"]
    found += [f"left in {SHARED}: {name}" for name in shared() - before]
    for name, read in {LAST: checkpoint, "metrics": numbers}.items():
        found += [f"{name}{where}" for where in [difference(read(whole), read(folder))] if where]  # type: ignore[operator]
    one, other = (read_tensors(run / BEST)[0] for run in (whole, folder))
    return found + [f"{BEST}{where}" for where in [difference(one, other)] if where]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=18)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    folder = (arguments.folder or Path(tempfile.mkdtemp())).absolute()
    os.environ["EXACT_YOLOV3_CACHE"] = str(folder / "cache")
    data, draw = make_shapes(folder / "shapes", train=4 * BATCHES, val=8), random.Random(arguments.seed)
    words: list[object] = ["--data", data, "--cfg", "toy.cfg", "--size", 64, "--batch-size", 4, "--accumulate", 2]
    words += ["--epochs", EPOCHS, "--ema", 0.9, "--eval-every", 2, "--warmup-steps", 5]
    words += ["--device", "cpu", "--precision", "fp32", "--no-check"]
    before, ways = shared(), itertools.cycle(EXPECTED)
    print("run  workers  cache  result  ended by (epoch, place)", flush=True)
    good, count = 0, 0
    for k, (workers, cache) in zip(
        range(arguments.runs), itertools.cycle(itertools.product((0, 2), ("none", "ram", "disk"))), strict=False
    ):
        run, whole = folder / f"run-{k + 1}", folder / f"undisturbed-{cache}"
        if not whole.exists() and start(folder / "note", *words, "--cache", cache, "--out", whole).wait():
            raise SystemExit(f"{whole}: failed")
        drawn = list(itertools.islice(ways, draw.randint(1, 3)))
        ends = disturbed(run, [*words, "--workers", workers, "--cache", cache], draw, drawn)
        wrong = [f"{one.way}: {one.problem}" for one in ends if one.problem] + problems(run, whole, before)
        before |= shared()  # each is blamed on one run
        good, count = good + (not wrong), count + len(ends)
        places = {AFTER: "end", SAVING: "saving", 0: "start"}
        text = "  ".join(f"{way} ({epoch}, {places.get(place, place)})" for way, (epoch, place), _ in ends)
        print(f"{k + 1:>3}  {workers:>7}  {cache:>5}  {'FAILED' if wrong else 'equal':>6}  {text}", flush=True)
        print(*(f"     {line}\n" for line in wrong), sep="", end="", flush=True)
    print(f"{good} of {arguments.runs} runs equal to the bit, nothing left; {count} ends", flush=True)
    return 0 if good == arguments.runs else 1


if __name__ == "__main__":
    sys.exit(main())
