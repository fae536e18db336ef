"""The training loop. It knows a `Detector`, and never which.

A *batch* goes forward and backward; `accumulate` batches make a *step* of the optimizer; an *epoch* is every image
once. A checkpoint is taken between two steps, so nothing of a step that is under way has to be kept, and what follows
depends on nothing but the checkpoint: `state_dict` names all of it.

Nothing in a step waits for the device: a step that would do harm, one with a loss or gradient that is no number, is
left out by the optimizer's own kernel, and the host learns of it when the numbers of the step arrive
(`yolo/training/readback.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from yolo.data.loader import Batch, Loader
from yolo.distributed import first_fills, gather, rank, sum_over_ranks, world_size
from yolo.models.detector import Detector
from yolo.options.train import Train
from yolo.options.yaml_file import yaml_text
from yolo.training.checkpoint import random_state, save_checkpoint, set_random_state
from yolo.training.diagnose import diagnosis
from yolo.training.ema import Ema
from yolo.training.interrupt import Interrupt
from yolo.training.precision import autocast
from yolo.training.progress import Progress
from yolo.training.readback import Reading, Readings
from yolo.training.run_folder import LAST, Run

Memory = dict[str, Tensor]

Evaluate = Callable[[Detector, int, Memory], Mapping[str, float]]


class Watcher(Protocol):
    """Sees every step, changes nothing, and has numbers of its own at the end of an epoch."""

    def __call__(self, first: int, batches: Sequence[Batch], /) -> None:
        """The step of these batches is done; `first` counts within the epoch."""

    def numbers(self) -> dict[str, float]:
        """Of the epoch, which is over."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


class Trainer:
    """A run: what is trained, with what, and how far it is.

    Args:
        detector: its `network` is trained, through `wrapped` where that is set.
        loader: batches of every epoch; it knows which is next.
        optimizer: of the network's parameters.
        schedule: the learning rate of a step, counted from 1.
        evaluate: the metrics of a detector after so many steps, by name: `AP`, `val/box`, ...; it may keep tensors in
            the memory that it gets for the next time, which a checkpoint has, too.
        keep: saves a detector as the best one so far.
        watcher: of the steps.
        run: the folder that everything is written to.
        options: epochs, accumulation, clipping and how often to evaluate and save.
        precision: arithmetic of the network; bfloat16 and float16 by autocast.
    """

    def __init__(
        self,
        detector: Detector,
        loader: Loader,
        optimizer: torch.optim.Optimizer,
        schedule: Callable[[int], float],
        *,
        evaluate: Evaluate,
        keep: Callable[[Detector], None],
        run: Run,
        options: Train,
        precision: torch.dtype = torch.float32,
        watcher: Watcher | None = None,
    ) -> None:
        self.detector, self.loader, self.optimizer, self.schedule = detector, loader, optimizer, schedule
        self.evaluate, self.keep, self.run, self.options, self.watcher = evaluate, keep, run, options, watcher
        self.device = next(detector.network.parameters()).device
        self.ema = Ema(detector.network, options.ema) if options.ema else None
        self.arithmetic = partial(autocast, self.device, precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == torch.float16)
        self.readings = Readings(self.device)
        self.step = 0  # optimizer steps done
        self.sums: dict[str, Tensor] = {}  # of the terms over the images of this epoch so far, float64
        self.counts: dict[str, Tensor] = {}  # what the detector counted in them, int64
        self.images = 0  # this process's share of them
        self._terms = torch.zeros(0)  # mean of the terms over the batches of this step
        self._broken = torch.zeros((), device=self.device)  # 1 from the first step on that must not change the weights
        self.gradient = [0.0, 0.0, 0.0]  # steps of this epoch, sum of their gradient norms, the largest
        self.memory: Memory = {}  # of the evaluation
        self.best, self.best_epoch = -math.inf, -1
        self.progress = Progress(len(loader), options, loader.workers)

    def fit(self, asked: Interrupt) -> bool:
        """Trains to the end, or until somebody asks for it; whether it is the end. A checkpoint is there in both cases.

        Raises ValueError with a diagnosis when a loss or gradient is no number; the last checkpoint is from before.
        """
        while not self._done(self.loader.epoch):
            epoch = self.loader.epoch
            if not self._epoch(asked):
                self._read_all()
                self.save()
                return False
            self._finish(epoch)
        return True

    def averaged(self) -> Detector:
        """The detector that is evaluated and kept: with the averaged weights, where there are some."""
        shown = copy(self.detector)
        shown.wrapped = None
        if self.ema:
            shown.network = self.ema.network
        return shown

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on. A collective call: each process has sums of its own."""
        return {
            "network": self.detector.network.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "loader": self.loader.state_dict(),
            "step": self.step,
            "sums": {name: gather(value[None]) for name, value in self.sums.items()},
            "counts": {name: gather(value[None]) for name, value in self.counts.items()},
            "images": self.images,
            "gradient": self.gradient,
            "memory": self.memory,
            "watcher": self.watcher.state_dict() if self.watcher else None,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "random": random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there, to the bit. ValueError, RuntimeError or KeyError for the state of another run."""
        self.detector.network.load_state_dict(state["network"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.loader.load_state_dict(state["loader"])
        self.step, self.images = state["step"], state["images"]
        self.sums = {name: values[rank()].to(self.device) for name, values in state["sums"].items()}
        self.counts = {name: values[rank()].to(self.device) for name, values in state["counts"].items()}
        self.gradient, self.memory = state["gradient"], state["memory"]
        if self.watcher:
            self.watcher.load_state_dict(state["watcher"])
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        set_random_state(state["random"])

    def save(self) -> None:
        """Writes `last.pt`. A collective call."""
        state = self.state_dict()
        if rank() == 0:
            save_checkpoint(self.run.folder / LAST, {"trainer": state, "options": run_text(self.options)})

    def _epoch(self, asked: Interrupt) -> bool:
        """The rest of the epoch; False if it was interrupted, between two steps."""
        self.detector.network.train()
        step: list[Batch] = []
        with self.progress.epoch(self.loader.epoch, self.loader.position) as bar:
            for batch in bar.timed(self.loader):
                first = (self.loader.position - 1) // self.options.accumulate * self.options.accumulate
                size = min(self.options.accumulate, len(self.loader) - first)  # batches of this step
                last = self.loader.position == first + size
                self._batch(batch, size, first=not step, last=last)
                step.append(batch)
                if last:
                    self._step(step)
                    step = []
                    if self._all_agree(asked):
                        return False
        return True

    def _batch(self, batch: Batch, size: int, *, first: bool, last: bool) -> None:
        """Forward and backward; the gradients of `size` batches add up to that of their mean."""
        images = batch.images.to(self.device, non_blocking=True)
        with self.arithmetic(), self._communication(last):
            terms = self.detector.losses(images, batch.targets)
            self.scaler.scale(torch.stack(list(terms.values())).sum() / size).backward()
        values = {name: value.detach() for name, value in terms.items()}
        _add(self.sums, {name: value.double() * len(images) for name, value in values.items()})
        _add(self.counts, self.detector.counts)
        self.images += len(images)
        mean = torch.stack(list(values.values())) / size
        self._terms = mean if first else self._terms + mean

    def _step(self, batches: list[Batch]) -> None:
        """One step of the optimizer, unless a number is broken, in this step or one before that is not read yet."""
        self.step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule(self.step)
        self.scaler.unscale_(self.optimizer)
        gradients = [p for p in self.detector.network.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in gradients if p.grad is not None])
        if self.options.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(gradients, self.options.clip, norm)
        terms = sum_over_ranks(self._terms) / world_size()
        if not self.scaler.is_enabled():  # with float16 the scaler looks, and infinite gradients are ordinary
            finite = terms.isfinite().all() & norm.isfinite()
            self._broken = torch.maximum(self._broken, (~finite).float())
            self.optimizer.grad_scale = None  # type: ignore[attr-defined]
            self.optimizer.found_inf = self._broken  # type: ignore[attr-defined]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update()
        if self.watcher:
            self.watcher(self.loader.position - len(batches), batches)
        self.readings.put(self.step, torch.cat((terms, norm[None].to(terms.dtype))), batches)
        for reading in self.readings.take():
            self._read(reading)

    def _read(self, reading: Reading) -> None:
        """The numbers of a step have arrived."""
        *values, norm = reading.values
        terms = dict(zip(self.sums, values, strict=True))
        if not all(map(math.isfinite, values if self.scaler.is_enabled() else reading.values)):
            raise ValueError(diagnosis(self.detector, reading.about, reading.step, terms, norm, self.arithmetic))
        steps, total, largest = self.gradient
        self.gradient = [steps + 1, total + norm, max(largest, norm)]
        self.progress.show(terms)
        numbers = {f"step/{name}": value for name, value in terms.items()}
        self.run.scalars(reading.step, {**numbers, "step/gradient": norm, "step/lr": self.schedule(reading.step)})

    def _read_all(self) -> None:
        """The numbers of every step, before something is saved that a broken one may have touched."""
        for reading in self.readings.take(everything=True):
            self._read(reading)

    def _finish(self, epoch: int) -> None:
        """What comes behind an epoch: its numbers, the evaluation where it is due, the checkpoints."""
        self._read_all()
        values = self._totals()
        values["lr"] = self.schedule(self.step)
        if self.watcher:
            values |= self.watcher.numbers()
        if self._evaluated(epoch + 1):
            start = time.perf_counter()
            shown = self.averaged()
            first_fills(shown.network.buffers())  # batch norm counts in each process on its own; one is evaluated
            values |= self.evaluate(shown, self.step, self.memory)
            values["eval_seconds"] = time.perf_counter() - start
            self._choose(shown, epoch, values)
        self.run.log(epoch, self.step, values | self.progress.measured())
        if (epoch + 1) % self.options.save_every == 0 or self._done(epoch + 1):
            self.save()
        self.progress.epoch_line(epoch, values, self.best, self.best_epoch)

    def _totals(self) -> dict[str, float]:
        """The means of the terms and the counts of the epoch, over all processes; begins the next one's at 0."""
        images = torch.tensor(float(self.images), dtype=torch.float64, device=self.device)
        *sums, images = sum_over_ranks(torch.stack([*self.sums.values(), images])).unbind()
        means = {f"train/{name}": float(total / images) for name, total in zip(self.sums, sums, strict=True)}
        counts = {f"train/{name}": int(sum_over_ranks(count)) for name, count in self.counts.items()}
        steps, total, largest = self.gradient
        norms = {"train/gradient": total / steps, "train/gradient_max": largest} if steps else {}
        self.sums, self.counts, self.images, self.gradient = {}, {}, 0, [0.0, 0.0, 0.0]
        return {"train/loss": sum(means.values()), **means, **counts, **norms}

    def _choose(self, shown: Detector, epoch: int, values: Mapping[str, float]) -> None:
        """Keeps the detector if it is the best so far: the highest metric, or the lowest loss."""
        metric = self.options.early_metric
        value = -values[metric] if "/" in metric else values[metric]
        if value > self.best or self.best_epoch < 0 or math.isnan(self.best):
            self.best, self.best_epoch = value, epoch
            if rank() == 0:
                self.keep(shown)

    def _evaluated(self, done: int) -> bool:
        """Whether there is an evaluation behind so many epochs."""
        every = self.options.eval_every
        return done == self.options.epochs or (every > 0 and done % every == 0)

    def _done(self, done: int) -> bool:
        """Whether so many epochs are all: the last evaluation was `early_stop` epochs or more behind the best one."""
        if done >= self.options.epochs:
            return True
        patience = self.options.early_stop
        if patience is None or self.best_epoch < 0 or not self._evaluated(done):
            return False
        return done - 1 - self.best_epoch >= patience

    def _all_agree(self, asked: Interrupt) -> bool:
        """Whether any process was asked to stop; then all of them do, after the same step."""
        if world_size() == 1:
            return bool(asked)
        return bool(sum_over_ranks(torch.tensor(float(bool(asked)), device=self.device)))

    def _communication(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are exchanged with the last batch of a step only."""
        wrapped = self.detector.wrapped
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) and not last else nullcontext()


def run_text(options: Train) -> str:
    """The options of a run as YAML, without its folder, which may be moved."""
    return yaml_text(replace(options, out=None))


def _add(sums: dict[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Adds to the sums of these names, which begin at 0."""
    for name, value in values.items():
        sums[name] = sums[name] + value if name in sums else value
