"""The folder of a training run: options, metrics line by line, TensorBoard's events; and which run is the newest.

A run lives in `options.yaml`, `metrics.jsonl` (a json object per epoch), events of TensorBoard, `last.pt` (what a
resume needs) and `best.safetensors` (what detection takes); the last two are written elsewhere. The step on every axis
is the number of optimizer steps done, also for numbers of an epoch, so that one number says what a resumed run drops.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolo.atomic import replacing
from yolo.distributed import from_rank_0, rank

if TYPE_CHECKING:  # its import takes a second or two
    from torch.utils.tensorboard import SummaryWriter


OPTIONS, METRICS, LAST, BEST = "options.yaml", "metrics.jsonl", "last.pt", "best.safetensors"

_MARK = "# options of a run of exact-yolov3\n"


class Run:
    """Writes into the folder of a run. Of several processes only the first one writes; all of them may call.

    Made by `Run.create` or `Run.open`; `close` it, or use it in a `with` statement.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self.folder = folder
        self._writes = rank() == 0
        self._first_step: int | None = first_step
        self._events: SummaryWriter | None = None

    @classmethod
    def create(cls, folder: str | os.PathLike[str], options: str) -> Run:
        """A new run, with the YAML text of its options; a folder that is not there is made.

        What a run left that ended before its first `last.pt` is replaced. Raises FileExistsError for a folder with a
        run that can be resumed (with the command), with trained weights, or with files of these names that are none
        of a run's.
        """
        folder = Path(folder)
        if (folder / LAST).exists():
            raise FileExistsError(
                f"{folder} has a run that can go on: python train.py --resume {shlex.quote(str(folder))}; "
                f"for a new one give another folder with --out"
            )
        if (folder / BEST).exists():
            raise FileExistsError(f"{folder / BEST}: trained weights are there; give another folder with --out")
        ours = (folder / OPTIONS).is_file() and (folder / OPTIONS).read_bytes().startswith(_MARK.encode())
        for name in (OPTIONS, METRICS):
            if (folder / name).exists() and not ours:
                raise FileExistsError(f"{folder / name}: not written by a run; give another folder with --out")
        run = cls(folder, first_step=0)
        if run._writes:
            for name, text in ((OPTIONS, _MARK + options), (METRICS, "")):
                with replacing(folder / name) as temporary:
                    temporary.write_text(text, encoding="utf-8")
        return run

    @classmethod
    def open(cls, folder: str | os.PathLike[str], epoch: int, step: int) -> Run:
        """Goes on with a run at `epoch`, the first that is not done, after `step` optimizer steps.

        Lines of that epoch and later ones are dropped, and a last line that a killed process wrote half; events of
        later steps no longer count for TensorBoard. Raises FileNotFoundError where there is nothing to resume,
        ValueError for a damaged line.
        """
        folder = Path(folder)
        if not (folder / LAST).is_file():
            raise FileNotFoundError(f"{folder}: no {LAST} in it, so there is no run to resume; give a folder of runs/")
        run = cls(folder, first_step=step + 1)
        metrics = folder / METRICS
        if run._writes and metrics.exists():
            kept = [line for line, values in _lines(metrics) if values["epoch"] < epoch]
            if b"".join(kept) != metrics.read_bytes():
                with replacing(metrics) as temporary:
                    temporary.write_bytes(b"".join(kept))
        return run

    def log(self, epoch: int, step: int, values: Mapping[str, float | None]) -> None:
        """Numbers of an epoch (from 0) that ended with optimizer step `step`: a line of metrics.jsonl, and events.

        The line is on the disk when this returns: log first, then write `last.pt`. None, NaN and infinities become
        null in the file. Raises OSError if the disk is full.
        """
        assert not {"epoch", "step"} & values.keys(), "epoch and step have their own arguments"
        if not self._writes:
            return
        plain = {name: _finite(value) for name, value in values.items()}
        line = json.dumps({"epoch": epoch, "step": step, **plain}, allow_nan=False) + "\n"
        with (self.folder / METRICS).open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        self.scalars(step, values)
        self._tensorboard().flush()

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """Numbers after optimizer step `step`, for TensorBoard only; None is left out."""
        if self._writes:
            for name, value in values.items():
                if value is not None:
                    self._tensorboard().add_scalar(name, value, step)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """An image `[h, w, 3]` uint8 RGB after optimizer step `step`, for TensorBoard."""
        if self._writes:
            self._tensorboard().add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Writes what is waiting. More may be logged afterwards."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tensorboard(self) -> SummaryWriter:
        """The events' writer. The first one tells TensorBoard that what is there from this step on does not count."""
        if self._events is None:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(self.folder), purge_step=self._first_step)
            self._first_step = None
        return self._events


def read_metrics(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The objects of a run's metrics.jsonl in order, without a half-written last line.

    Each has `epoch`, `step` and what was logged; null is None. Raises FileNotFoundError, or ValueError with file and
    line for what is no such object.
    """
    return [values for _, values in _lines(Path(folder) / METRICS)]


def next_folder(root: str | os.PathLike[str] = "runs", name: str = "train") -> Path:
    """Makes the folder of the next run: runs/train, runs/train-2, ...; nobody else gets the same one.

    A collective call: every process makes it and gets the folder that the first one made.
    """
    root = Path(root)
    return Path(from_rank_0(str(_make_next(root, name)) if rank() == 0 else ""))


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
    """The best weights of the run that wrote them last, which is said on stderr; None if there is no trained run."""
    runs = sorted(Path(root).glob(f"*/{BEST}"), key=lambda file: file.stat().st_mtime)
    if runs:
        print(f"weights: {runs[-1]}, the newest trained run", file=sys.stderr)
    return runs[-1] if runs else None


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """The whole lines of a metrics.jsonl as they stand, and what they say. What no newline ends was cut off."""
    *whole, _cut = path.read_bytes().split(b"\n")
    lines = []
    for number, line in enumerate(whole, start=1):
        try:
            values = json.loads(line)
        except ValueError as problem:
            raise ValueError(f"{path}:{number}: not a line of metrics ({problem}); delete it to go on") from None
        if not isinstance(values, dict) or not isinstance(values.get("epoch"), int):
            raise ValueError(
                f"{path}:{number}: expected an object with an epoch, got {line[:60]!r}; delete it to go on"
            )
        lines.append((line + b"\n", values))
    return lines


def _finite(value: float | None) -> float | None:
    """A number as json has it: NaN and infinities become null. NumPy's and other kinds of numbers become Python's."""
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(value)
