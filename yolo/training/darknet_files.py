"""darknet's own files of a training with `--recipe cfg`, and its average of the weights, `ema_alpha`.

NAME is the name of the cfg up to its first dot:

    NAME_last.weights    every 100 iterations, and when the training is stopped
    NAME_1000.weights    every 1,000 iterations, of more than 10,000 every 10,000
    NAME_final.weights   after the last iteration
    NAME_best.weights    at the best evaluation
    NAME_ema.weights     the average, with NAME_last.weights
    NAME.names           the class names
    iterations.csv       darknet's line of each iteration: loss, running mean of the loss, rate, images

The header of each file counts the images, so that darknet and `--weights FILE` go on from there.
"""

from __future__ import annotations

import csv
import glob
import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from yolo.darknet.network import Darknet
from yolo.darknet.weights import Header, save_weights
from yolo.data.loader import Batch
from yolo.files.atomic import naming, replacing
from yolo.models.by_cfg import CfgDetector
from yolo.models.detector import Detector
from yolo.options.train import Train
from yolo.process.distributed import rank, world_size
from yolo.recipe.cpu_build import CpuBuild
from yolo.training.precision import Arithmetic
from yolo.training.run_folder import OPTIONS, next_folder
from yolo.training.validation import Validation
from yolo.training.watch import Watcher

LAST, APART = 100, 1_000
"""Iterations between two `_last` files, and before the end at which the average replaces the weights."""

LOG = "iterations.csv"

COLUMNS = ("iteration", "loss", "avg", "rate", "images")


class DarknetFiles(Watcher):
    """Writes darknet's files into the folder of a run, and averages its weights if the cfg has `ema_alpha`.

    Args:
        detector: the detector that is trained.
        folder: the folder of the run.
        name: the beginning of the names of weights files.
    """

    of_one_process = False

    def __init__(self, detector: CfgDetector, folder: Path, name: str) -> None:
        self.detector, self.folder, self.name = detector, folder, name
        self.recipe, self.done = detector.recipe, detector.recipe.first
        self.loss = math.nan  # darknet's running mean
        self.average: Darknet | None = None

    def step(self, first: int, batches: Sequence[Batch], /) -> None:
        """Average the weights after a step, and write the files that are due."""
        self.done += 1
        self._average()
        total, done = self.recipe.total, self.done
        every = 1_000 if total < 10_000 else 10_000
        due = {"last": done % LAST == 0, str(done): done % every == 0, "final": done == total}
        for word in (word for word, on in due.items() if on):
            self._write(word, self.detector.network)
        if due["last"] and self.average is not None:
            # What is averaged are the weights alone; the statistics of batch norm are those of the network.
            torch._foreach_copy_(list(self.average.buffers()), list(self.detector.network.buffers()))
            self._write("ema", self.average)

    def read(self, step: int, loss: float, /) -> dict[str, float]:
        """Write the line of a step, and return the running mean of the loss."""
        self.loss = loss if math.isnan(self.loss) else 0.9 * self.loss + 0.1 * loss
        row = (step, f"{loss:.9g}", f"{self.loss:.9g}", f"{self.recipe.rate(step):.9g}", step * self.recipe.batch)
        if rank() == 0:
            new = step == self.recipe.first + 1
            if new:  # who detects with the weights finds the names beside them
                names = self.folder / f"{self.name}.names"
                with naming(names):
                    names.write_text("".join(f"{name}\n" for name in self.detector.names), encoding="utf-8")
            log = self.folder / LOG
            with naming(log), log.open("w" if new else "a", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows([COLUMNS, row] if new else [row])
        return {"step/avg_loss": self.loss}

    def best(self, detector: Detector, /) -> None:
        """Write the weights of the best evaluation."""
        assert isinstance(detector, CfgDetector)
        self._write("best", detector.network)

    def stopped(self) -> None:
        """Write the weights of the last step."""
        self._write("last", self.detector.network)

    def epoch(self) -> dict[str, float]:
        """Return the running mean of the loss."""
        return {"train/avg_loss": self.loss}

    def state_dict(self) -> dict[str, Any]:
        """Return the iterations done, the running mean of the loss, and the average of the weights."""
        network, average = self.detector.network, self.average and self.average.state_dict()
        carried = dict(network.carried) if isinstance(network, CpuBuild) else {}
        return {"done": self.done, "loss": self.loss, "average": average, "carried": carried}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Continue from `state_dict()`; lines of later iterations are dropped."""
        self.done, self.loss = state["done"], state["loss"]
        self.detector.step = self.done  # an evaluation may come before the next step
        if isinstance(network := self.detector.network, CpuBuild):
            network.carried.update(state["carried"])
        if state["average"] is not None:
            self.average = deepcopy(self.detector.network).requires_grad_(False)
            self.average.load_state_dict(state["average"])
        file = self.folder / LOG
        if rank() == 0 and file.exists():
            lines = file.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if line.endswith(b"\n") and _iteration(line) <= self.done]
            if kept != lines:
                with replacing(file) as temporary:
                    temporary.write_bytes(b"".join(kept))

    @torch.no_grad()
    def _average(self) -> None:
        """Average from half of the training on; near its end the average becomes the weights."""
        alpha, network, total = self.recipe.cfg.net.ema_alpha, self.detector.network, self.recipe.total
        if not alpha or not total // 2 <= self.done <= total - APART or total <= 2 * APART:
            return
        if self.average is None:
            self.average = deepcopy(network).requires_grad_(False)
        elif self.done < total - APART:
            torch._foreach_lerp_(list(self.average.parameters()), list(network.parameters()), 1 - alpha)
        if self.done == total - APART:
            torch._foreach_copy_(list(network.parameters()), list(self.average.parameters()))

    def _write(self, word: str, network: Darknet) -> None:
        """Write `NAME_word.weights`; the average has the statistics of batch norm of the moment at which it began."""
        if rank() == 0:
            header = Header(seen=self.done * self.recipe.batch)
            save_weights(network, self.folder / f"{self.name}_{word}.weights", header)


def _iteration(line: bytes) -> int:
    """Return the iteration of a line of the csv file, 0 for the line with the names of the columns."""
    number = line.split(b",")[0]
    return int(number) if number.isdigit() and len(number) < 19 else 0


def watchers(detector: Detector, options: Train, validation: Validation, arithmetic: Arithmetic) -> dict[str, Watcher]:
    """Return the watcher of a training with the recipe cfg; none for others.

    Raises FileExistsError for files of these names that no run wrote, and ValueError for the CPU build in several
    processes, whose gradients of before would be those of one.
    """
    if not isinstance(detector, CfgDetector):
        return {}
    if isinstance(detector.network, CpuBuild) and world_size() > 1:
        raise ValueError("darknet_build=cpu: darknet's CPU build is one process; train without torchrun, or as gpu")
    folder, name = options.out or next_folder(), Path(options.cfg or "weights").name.split(".")[0]
    own = folder / LOG, folder / f"{name}.names"
    there = [file for file in (*own, *folder.glob(f"{glob.escape(name)}_*.weights")) if file.exists()]
    if there and not (folder / OPTIONS).exists():
        raise FileExistsError(f"{there[0]}: not written by a run; give another folder with --out")
    return {"darknet_files": DarknetFiles(detector, folder, name)}
