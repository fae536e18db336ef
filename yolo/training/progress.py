"""The output of a run: a progress bar in a terminal, a line per epoch, and once a line on what limits the speed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from yolo.data.loader import Batch
from yolo.metrics.precision import in_words
from yolo.models.detector import Detector
from yolo.options.training import Training
from yolo.process.distributed import silent
from yolo.process.signals import output_may_be_lost

MEASURED = range(2, 12)
"""Batches of a run whose time is measured; the first two only warm up."""


class Progress:
    """Shows the progress of a run with `batches` batches per epoch, which `workers` processes load."""

    def __init__(self, batches: int, options: Training, workers: int = 0) -> None:
        self.batches, self.options, self.workers = batches, options, workers
        self.seen = 0  # batches since this process started
        self.left = batches * options.epochs  # batches until the end of the run
        self.waited = self.worked = 0.0  # seconds waiting for data, and all other seconds, over MEASURED
        self._bar: tqdm[Any] | None = None
        self.seconds = 0.0

    @contextmanager
    def epoch(self, epoch: int, position: int) -> Iterator[Progress]:
        """Show a progress bar within the block, for an epoch from batch `position` on."""
        start = time.perf_counter()
        self.left = self.batches * (self.options.epochs - epoch) - position
        title = f"epoch {epoch + 1}/{self.options.epochs}"
        disable = silent() or None  # None: only in a terminal
        with tqdm(total=self.batches, initial=position, desc=title, unit="batch", leave=False, disable=disable) as bar:
            self._bar = bar
            yield self
            self._bar = None
        self.seconds = time.perf_counter() - start

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches. Measures how long the loop waits for them, and how long everything else takes."""
        start = time.perf_counter()
        for batch in batches:
            came = time.perf_counter()
            yield batch
            if self.seen in MEASURED:
                self.waited += came - start
                self.worked += time.perf_counter() - came
            self.seen, self.left = self.seen + 1, self.left - 1
            # Only once per process, when all of MEASURED is done.
            if self.seen == MEASURED.stop:
                self._say(self._advice())
            if self._bar is not None:
                self._bar.update()
            start = time.perf_counter()

    def show(self, terms: Mapping[str, float]) -> None:
        """Show the loss terms of the latest step that was read."""
        if self._bar is not None and not self._bar.disable:
            self._bar.set_postfix({**terms, "MB": round(memory_mb())}, refresh=False)

    def measured(self) -> dict[str, float]:
        """Return the seconds of the epoch without its evaluation, and the peak memory in MB so far."""
        return {"seconds": self.seconds, "memory_mb": memory_mb()}

    def epoch_line(self, epoch: int, detector: Detector, values: Mapping[str, float | None], best: str) -> None:
        """Print the numbers of an epoch: loss, its terms, metrics, and `best`, the text on the best epoch, if any."""
        shown = [f"epoch {epoch + 1}/{self.options.epochs}"]
        shown += [f"{name} {values[f'train/{name}']:.4g}" for name in ("loss", *detector.terms)]
        shown += [f"{name} {in_words(values[name])}" for name in ("AP", "AP50", *detector.metrics) if name in values]
        if values.get("train/unmatched"):
            shown.append(f"{values['train/unmatched']:,} of {values['train/labels']:,} labels without an anchor")
        self._say(", ".join(shown + ([best] if best else [])))

    def _say(self, line: str) -> None:
        if not silent():
            with output_may_be_lost():
                tqdm.write(line, file=sys.stdout)
                sys.stdout.flush()

    def _advice(self) -> str:
        """Return a line: the speed, the time left, what limits the speed, and what would help."""
        each = (self.waited + self.worked) / len(MEASURED)
        share = self.waited / (self.waited + self.worked)
        limit = what_limits(share, self.workers, self.options.precision)
        rate = self.options.batch_size / each
        return f"{rate:.1f} images/s, about {clock(each * self.left)} left, without evaluations: {limit}"


def what_limits(share: float, workers: int, precision: str) -> str:
    """Return whether data or network limit the speed, and what would help.

    `share` is the share of the time that is spent waiting for data, `precision` that of the options.
    """
    if share > 0.15:
        remedy = "--cache ram" if workers else "--workers 2, or --cache ram"
        return f"data loading is the limit, {share:.0%} of the time is spent waiting for it; {remedy} would help"
    remedy = "a smaller --size would help"
    if precision == "fp32":
        remedy = "--precision bf16 would help, where the device supports it"
    return f"the network is the limit ({share:.0%} of the time is spent waiting for data); {remedy}"


def memory_mb() -> float:
    """Return the peak memory so far in MB: of the GPU if one is used, else of the process; 0 where it is unknown."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def clock(seconds: float) -> str:
    """Return a time as text: 45 s, 2 min 5 s, 3 h 20 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
