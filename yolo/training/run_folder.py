"""The folder of a training run: options, metrics line by line, TensorBoard's events; and the newest run.

A run has `options.yaml`, `metrics.jsonl` (a json object per epoch), events of TensorBoard, `last.pt` (for resuming),
`best.safetensors` (for detection), `data.json` and `network.cfg` (what it was trained on, and its network). Other files
decide what is in the last four. The step on every axis is the number of
optimizer steps done, also for the numbers of an epoch. So one number decides what a resumed run drops.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolo.files.atomic import naming, replacing
from yolo.files.reading import read_bytes
from yolo.process.distributed import from_rank_0, rank

if TYPE_CHECKING:  # its import takes a second or two
    from torch.utils.tensorboard import SummaryWriter


OPTIONS, METRICS, LAST, BEST = "options.yaml", "metrics.jsonl", "last.pt", "best.safetensors"

EPOCHS = 10**6
"""Epochs of a run at most, so that a damaged line is not taken for one of them."""

_MARK = "# options of a run of exact-yolov3\n"


class Run:
    """Writes into the folder of a run. All processes may call its methods; only process 0 writes.

    Make it with `Run.create` or `Run.open`. `close` it, or use it in a `with` statement.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self.folder = folder
        self._writes = rank() == 0
        self._first_step: int | None = first_step
        self._events: SummaryWriter | None = None
        self._place: tuple[int, int] | None = None

    @classmethod
    def create(cls, folder: str | os.PathLike[str], options: str, files: Mapping[str, str] | None = None) -> Run:
        """Return a new run, with the YAML text of its options and the texts of further `files` by name.

        The folder is made if it does not exist.

        Leftovers of a run that never saved a checkpoint are overwritten. Raises FileExistsError for a folder with a run
        that can be resumed (the message has the command), with trained weights, or with files of these names that no
        run wrote.
        """
        folder = Path(folder)
        if (folder / LAST).exists():
            raise FileExistsError(
                f"{folder} has a run that can be resumed: python -m yolo train --resume {shlex.quote(str(folder))}; "
                f"for a new run give another folder with --out"
            )
        if (folder / BEST).exists():
            raise FileExistsError(f"{folder / BEST}: these are trained weights; give another folder with --out")
        # Files with our mark and without a checkpoint are leftovers; others are somebody's work.
        ours = (folder / OPTIONS).is_file() and read_bytes(folder / OPTIONS).startswith(_MARK.encode())
        texts = {OPTIONS: options, METRICS: "", **(files or {})}
        for name in texts:
            if (folder / name).exists() and not ours:
                raise FileExistsError(f"{folder / name}: not written by a run; give another folder with --out")
        run = cls(folder, first_step=0)
        run.replace(texts)
        return run

    @classmethod
    def open(cls, folder: str | os.PathLike[str], epoch: int, step: int) -> Run:
        """Return an existing run, to be resumed at `epoch`, the first one that is not complete, after `step` steps.

        Lines of that epoch and of later ones are dropped, and so is an incomplete last line that a killed process left.
        TensorBoard ignores events of later steps. Raises FileNotFoundError if there is nothing to resume, ValueError
        for a damaged line.
        """
        folder = Path(folder)
        if not (folder / LAST).is_file():
            raise FileNotFoundError(f"{folder}: no {LAST} in it, so there is no run to resume; give a folder of runs/")
        run = cls(folder, first_step=step + 1)
        run.rewind(epoch)
        return run

    def rewind(self, epoch: int) -> None:
        """Drop the lines of this epoch and of later ones; the file is rewritten only if there are any."""
        metrics = self.folder / METRICS
        if self._writes and metrics.exists():
            kept = b"".join(line for line, values in _lines(metrics) if values["epoch"] < epoch)
            if kept != metrics.read_bytes():
                with replacing(metrics) as temporary:
                    temporary.write_bytes(kept)

    def check_there(self) -> None:
        """Raise FileNotFoundError if the folder is gone, also if another one is in its place; call it before writing.

        Otherwise writing would make a folder with half a run.
        """
        if not self._writes:
            return
        try:
            status = self.folder.stat()
            place = status.st_dev, status.st_ino
        except OSError:
            place = None
        self._place = self._place or place
        if place is None or place != self._place:
            self._events = None  # its file is gone, and it would fail once more when it is closed
            raise FileNotFoundError(
                f"{self.folder}: this folder was deleted or moved while the run was writing there, so the run ends; "
                f"what was deleted with it is lost, a moved folder can be resumed"
            )

    def replace(self, texts: Mapping[str, str]) -> None:
        """Write the texts of files by name, each whole or not at all; equal files are left alone."""
        for name, text in texts.items() if self._writes else ():
            file, content = self.folder / name, ((_MARK if name == OPTIONS else "") + text).encode()
            if not file.is_file() or file.read_bytes() != content:
                with replacing(file) as temporary:
                    temporary.write_bytes(content)

    def log(self, epoch: int, step: int, values: Mapping[str, float | None]) -> dict[str, Any]:
        """Log the numbers of an epoch (from 0) that ended with optimizer step `step`, in metrics.jsonl and as events.

        The line is on the disk when this returns; write `last.pt` after it. None, NaN and infinities become null in the
        file. Returns what the line holds. Raises OSError if the disk is full.
        """
        assert not {"epoch", "step"} & values.keys(), "epoch and step have their own arguments"
        row = {"epoch": epoch, "step": step, **{name: _finite(value) for name, value in values.items()}}
        if not self._writes:
            return row
        self.check_there()
        line = json.dumps(row, allow_nan=False) + "\n"
        with naming(self.folder / METRICS), (self.folder / METRICS).open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        self.scalars(step, values)
        with naming(self.folder):  # the name of its file has the time in it
            self._tensorboard().flush()
        return row

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """Log numbers after optimizer step `step`, for TensorBoard only; None is left out."""
        if self._writes:
            self.check_there()
            with naming(self.folder):
                for name, value in values.items():
                    if value is not None:
                        self._tensorboard().add_scalar(name, value, step)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Log an image, uint8 `[h, w, 3]` RGB, after optimizer step `step`, for TensorBoard."""
        if self._writes:
            self._tensorboard().add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Write pending events. More may be logged afterwards."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tensorboard(self) -> SummaryWriter:
        """Return the writer of events. The first one makes TensorBoard ignore existing events from its step on."""
        if self._events is None:
            from torch.utils.tensorboard import SummaryWriter

            _quieten_threads()
            self._events = SummaryWriter(str(self.folder), purge_step=self._first_step)
            self._first_step = None
        return self._events


def read_metrics(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the objects of a run's metrics.jsonl in order, without an incomplete last line.

    Each has `epoch`, `step` and the logged numbers; null is None, words are left out. Raises FileNotFoundError, or
    ValueError with file and line for a line that is not such an object.
    """
    return [values for _, values in _lines(Path(folder) / METRICS)]


def next_folder(root: str | os.PathLike[str] = "runs", name: str = "train") -> Path:
    """Make the folder of the next run: runs/train, runs/train-2, ... No other program gets the same one.

    A collective call: every process returns the folder that process 0 made.
    """
    return Path(from_rank_0(str(_make_next(Path(root), name)) if rank() == 0 else ""))


def _make_next(root: Path, name: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = root / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def newest_run(root: str | os.PathLike[str] = "runs") -> Path | None:
    """Return the newest best weights of all runs and print their path to stderr; None if there is no trained run."""
    runs = sorted(Path(root).glob(f"*/{BEST}"), key=lambda file: file.stat().st_mtime)
    if runs:
        print(f"weights: {runs[-1]}, the newest trained run", file=sys.stderr)
    return runs[-1] if runs else None


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Return the complete lines of a metrics.jsonl and their objects. Text after the last newline was cut off."""
    *whole, _cut = read_bytes(path).split(b"\n")
    lines = []
    for number, line in enumerate(whole, start=1):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as problem:
            raise ValueError(f"{path}:{number}: not a line of metrics ({problem}); delete it to resume") from None
        epoch = values.get("epoch") if isinstance(values, dict) else None
        if type(epoch) is not int or not 0 <= epoch < EPOCHS:
            raise ValueError(f"{path}:{number}: expected an object with epoch, got {line[:60]!r}; delete it to resume")
        numbers = {name: value for name, value in values.items() if value is None or type(value) in (int, float)}
        if beyond := [name for name, value in numbers.items() if not abs(value or 0) <= sys.float_info.max]:
            wrong = f"{beyond[0]!s:.60}: expected a finite number or null"
            raise ValueError(f"{path}:{number}: {wrong}; delete the line to resume")
        lines.append((line + b"\n", numbers))
    return lines


@cache
def _quieten_threads() -> None:
    """Have no traceback printed of TensorBoard's thread on a full disk: the next event raises its error once more."""
    before = threading.excepthook

    def tell(problem: threading.ExceptHookArgs) -> None:
        if not (isinstance(problem.exc_value, OSError) and type(problem.thread).__name__ == "_AsyncWriterThread"):
            before(problem)

    threading.excepthook = tell


def _finite(value: float | None) -> float | None:
    """Return a number for json: None for NaN and infinities; NumPy's and other kinds become Python's."""
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(value)
