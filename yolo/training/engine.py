"""The training loop. It works with any `Detector` and never asks which one.

A *batch* goes forward and backward; `accumulate` batches make a *step* of the optimizer; an *epoch* is every image
once. Checkpoints are taken between two steps, so they hold no part of an unfinished step. The rest of a run depends
only on the checkpoint; `state_dict` lists everything in it.

Nothing in a step waits for the device. A step whose loss or gradient is not finite would spoil the weights. So the
optimizer's own kernel skips it, and the host notices when the numbers of the step arrive (`yolo/training/readback.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from yolo.data.loader import Batch, Loader
from yolo.data.workers import WorkerError
from yolo.models.detector import Detector
from yolo.options.aliases import renamed
from yolo.options.training import Training
from yolo.options.yaml_file import yaml_text
from yolo.process.distributed import copy_from_rank_0, rank, sum_over_ranks, world_size
from yolo.training.callback import EpochEnd, called
from yolo.training.checkpoint import random_state, rounding, save_checkpoint, set_random_state
from yolo.training.diagnose import NotFiniteError, diagnosis
from yolo.training.ema import Ema
from yolo.training.fitting import check_fits
from yolo.training.interrupt import Interrupt
from yolo.training.precision import autocast
from yolo.training.progress import Progress
from yolo.training.readback import Readings
from yolo.training.run_folder import BEST, LAST, Run
from yolo.training.totals import Best, Totals
from yolo.training.watch import Watcher

Evaluate = Callable[[Detector, int], Mapping[str, float | None]]
"""Returns the metrics of a detector by name (`AP`, `val/box`, ...), given the number of optimizer steps done. None is
a metric that the data does not define."""


class Trainer:
    """Trains a detector: the state of a run and its loop.

    Args:
        detector: the detector whose `network` is trained.
        loader: the batches of every epoch; its position is saved in checkpoints.
        optimizer: the optimizer of the network's parameters.
        schedule: returns the learning rate of a step, counted from 1.
        evaluate: returns the metrics of a detector, given the number of steps done.
        run: the folder that everything is written to.
        options: epochs, accumulation, clipping and how often to evaluate and save.
        precision: the dtype in which the network computes; bfloat16 and float16 by autocast.
        wrapped: the network within DDP or torch.compile, used for training; None is the network itself.
        watchers: watchers of steps and evaluations, by name.
        origin: epoch and step from which on every epoch has as many images as now; kept in checkpoints.
        transform: name of the user's transform; kept in checkpoints.
        on_epoch_end: the user's function that is called after every epoch.
    """

    def __init__(
        self,
        detector: Detector,
        loader: Loader,
        optimizer: torch.optim.Optimizer,
        schedule: Callable[[int], float],
        *,
        evaluate: Evaluate,
        run: Run,
        options: Training,
        precision: torch.dtype,
        wrapped: nn.Module | None,
        watchers: dict[str, Watcher],
        origin: tuple[int, int] = (0, 0),
        transform: str | None = None,
        on_epoch_end: EpochEnd | None = None,
    ) -> None:
        self.detector, self.loader, self.optimizer, self.schedule = detector, loader, optimizer, schedule
        self.evaluate, self.run, self.options = evaluate, run, options
        self.wrapped, self.watchers, self.origin = wrapped, watchers, origin
        self.transform, self.on_epoch_end = transform, on_epoch_end
        self.device = next(detector.network.parameters()).device
        self.ema = Ema(detector.network, options.ema) if options.ema else None
        self.arithmetic = partial(autocast, self.device, precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == torch.float16)
        self.readings = Readings(self.device)
        self.step = 0  # optimizer steps done
        self.totals = Totals(self.device)
        self.best = Best(options.early_metric)
        self._terms = torch.zeros(0)  # means of the loss terms over the batches of this step
        self._broken = torch.zeros((), device=self.device)  # 1 from the first non-finite step on
        self.progress = Progress(len(loader), options, loader.workers)

    def fit(self, interrupt: Interrupt) -> bool:
        """Train until the last epoch or a stop request. Returns True if training is complete.

        In both cases `last.pt` holds the final state. The end of a worker is a stop request too; `loader.failure` says
        so. Raises NotFiniteError with a diagnosis if a loss or gradient is not finite; `last.pt` is then from before
        that step. Raises WorkerError if the worker that replaced another one has ended as well.
        """
        while not self._done(self.loader.epoch):
            epoch = self.loader.epoch
            try:
                complete = self._epoch(interrupt)
            except WorkerError:
                # Between two steps all is whole. Other processes wait for the gradients of this one, and cannot save.
                if self.loader.position % self.options.accumulate == 0 and world_size() == 1:
                    self._read(everything=True)
                    self.save()
                raise
            if not complete:
                self._read(everything=True)
                self.save()
                for watcher in self.watchers.values():
                    watcher.stopped()
                return False
            self._finish(epoch)
        return True

    def stopped_early(self) -> str:
        """Return why training ended before its last epoch; empty if it has not."""
        epochs = self.loader.epoch
        if epochs >= self.options.epochs or not self._done(epochs):
            return ""
        without = epochs - 1 - self.best.epoch
        return f"stopped early: {self.best.metric} has not improved for {without} epochs; {self.best}"

    def averaged(self) -> Detector:
        """Return the detector that is evaluated and saved: with averaged weights, if `ema` is on."""
        return self.detector.replace(network=self.ema.network) if self.ema else self.detector

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the run depends on. A collective call: each process has its own sums."""
        return {
            "network": self.detector.network.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "loader": self.loader.state_dict(),
            "step": self.step,
            **self.totals.state_dict(),
            **self.best.state_dict(),
            "watchers": {name: watcher.state_dict() for name, watcher in self.watchers.items()},
            "random": random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`, to the bit. Raises ValueError or MisfitError for the state of another run."""
        state = renamed(state)
        check_fits(state, self.state_dict(), self.detector.terms, self.optimizer, not self.detector.freezes)
        self.detector.network.load_state_dict(state["network"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.loader.load_state_dict(renamed(state["loader"]))
        self.step = state["step"]
        self.totals.load_state_dict(state)
        self.best.load_state_dict(state)
        set_random_state(state["random"])
        for name, watcher in self.watchers.items():  # last, because they may change files
            watcher.load_state_dict(state["watchers"][name])

    def save(self) -> None:
        """Write `last.pt`. A collective call."""
        self.run.check_there()
        state = self.state_dict()
        if rank() == 0:
            own = {"options": run_text(self.options), "origin": list(self.origin), "transform": self.transform}
            own["rounding"] = rounding(self.device)
            save_checkpoint(self.run.folder / LAST, {"trainer": state, **own})

    def _epoch(self, interrupt: Interrupt) -> bool:
        """Train the rest of the epoch. Returns False if it was interrupted, between two steps."""
        self.detector.network.train()
        self.detector.begin_epoch(self.loader.epoch)
        step: list[Batch] = []
        # A resumed epoch begins at the loader's position, which is between two steps.
        with self.progress.epoch(self.loader.epoch, self.loader.position) as bar:
            for batch in bar.timed(self.loader):
                # The last step of an epoch may have fewer batches; its mean is over those.
                first = (self.loader.position - 1) // self.options.accumulate * self.options.accumulate
                size = min(self.options.accumulate, len(self.loader) - first)
                if not step:
                    self.detector.begin_step(self.step + 1)
                last = self.loader.position == first + size
                self._batch(batch, size, first=not step, last=last)
                step.append(batch)
                if last:
                    self._step(step)
                    step = []
                    if self._all_agree(interrupt):
                        return False
        return True

    def _batch(self, batch: Batch, size: int, *, first: bool, last: bool) -> None:
        """Run a batch forward and backward. The gradients of `size` batches add up to the gradient of their mean."""
        images = batch.images.to(self.device, non_blocking=True)
        with self.arithmetic(), self._communication(last):
            losses = self.detector.losses(images, batch.targets, self.wrapped)
            terms = torch.stack(list(losses.terms.values()))
            self.scaler.scale(terms.sum() / size).backward()
        self.totals.add(losses, len(images))
        mean = terms.detach() / size
        self._terms = mean if first else self._terms + mean

    def _step(self, batches: list[Batch]) -> None:
        """Take an optimizer step, unless this step or one that was not read yet has a number that is not finite."""
        self.step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule(self.step) * group.get("factor", 1.0)  # older checkpoints have no factor
        # The norm is that of the true gradients, before clipping.
        self.scaler.unscale_(self.optimizer)
        gradients = [p for p in self.detector.network.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in gradients if p.grad is not None])
        if self.options.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(gradients, self.options.clip, norm)
        terms = sum_over_ranks(self._terms) / world_size()
        # A fused optimizer skips a step where found_inf is 1. In float16 infinite gradients are normal, and the scaler
        # sets found_inf.
        if not self.scaler.is_enabled():
            finite = terms.isfinite().all() & norm.isfinite()
            self._broken = torch.maximum(self._broken, (~finite).float())
            self.optimizer.grad_scale = None  # type: ignore[attr-defined]
            self.optimizer.found_inf = self._broken  # type: ignore[attr-defined]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        # Average and watchers see the new weights.
        if self.ema:
            self.ema.update()
        for watcher in self.watchers.values():
            watcher.step(self.loader.position - len(batches), batches)
        self.readings.put(self.step, torch.cat((terms, norm[None].to(terms.dtype))), batches)
        self._read()

    def _read(self, *, everything: bool = False) -> None:
        """Log the numbers of the steps that have arrived, or wait for all steps: always before something is saved."""
        for step, (*values, norm), batches in self.readings.take(everything=everything):
            terms = dict(zip(self.detector.terms, values, strict=True))
            # In float16 an infinite gradient is normal: the scaler skipped the step.
            if not all(map(math.isfinite, values if self.scaler.is_enabled() else [*values, norm])):
                raise NotFiniteError(diagnosis(self.detector, batches, step, terms, norm, self.arithmetic))
            self.totals.add_step(norm)
            self.progress.show(terms)
            numbers = {f"step/{name}": value for name, value in terms.items()}
            for watcher in self.watchers.values():
                numbers |= watcher.read(step, sum(values))
            self.run.scalars(step, {**numbers, "step/gradient": norm, "step/lr": self.schedule(step)})

    def _finish(self, epoch: int) -> None:
        """End an epoch: log its numbers, evaluate if it is due, save checkpoints."""
        self._read(everything=True)
        values: dict[str, float | None] = {**self.totals.take()}
        values["lr"] = self.schedule(self.step)
        for watcher in self.watchers.values():
            values |= watcher.epoch()
        if self._evaluated(epoch + 1):
            start = time.perf_counter()
            shown = self.averaged()
            # Each process has batch norm statistics of its own images; all must evaluate the same network.
            copy_from_rank_0(shown.network.buffers())
            values |= self.evaluate(shown, self.step)
            for watcher in self.watchers.values():
                values |= watcher.evaluated(shown)
            values["eval_seconds"] = time.perf_counter() - start
            # As long as the metric is not defined, the newest weights are kept: a run always has weights.
            if (self.best.better(epoch, values) or self.best.epoch < 0) and rank() == 0:
                shown.save(self.run.folder / BEST)
                for watcher in self.watchers.values():
                    watcher.best(shown)
        # The line comes before the checkpoint: a resume drops a line that is too new and cannot replace a missing one.
        row = self.run.log(epoch, self.step, values | self.progress.measured())
        saved = (epoch + 1) % self.options.save_every == 0 or self._done(epoch + 1)
        if saved:
            self.save()
        judged = self.best.epoch >= 0 or self._evaluated(epoch + 1)
        self.progress.epoch_line(epoch, self.detector, values, str(self.best) if judged else "")
        if self.on_epoch_end is not None and (problem := called(self.on_epoch_end, row, self.run.folder)):
            if not saved:
                self.save()
            raise problem

    def _evaluated(self, done: int) -> bool:
        """Return whether an evaluation is due after `done` epochs."""
        every = self.options.eval_every
        return done == self.options.epochs or (every > 0 and done % every == 0)

    def _done(self, done: int) -> bool:
        """Return whether training ends after `done` epochs: all, or `early_stop` epochs without improvement."""
        if done >= self.options.epochs:
            return True
        # Only an evaluation can end the patience: the epochs since the previous one may have improved.
        if self.options.early_stop is None or self.best.epoch < 0 or not self._evaluated(done):
            return False
        return done - 1 - self.best.epoch >= self.options.early_stop

    def _all_agree(self, interrupt: Interrupt) -> bool:
        """Return whether any process has a stop request; then all of them stop after the same step."""
        stop = bool(interrupt) or bool(self.loader.failure)
        if world_size() == 1:
            return stop
        return bool(sum_over_ranks(torch.tensor(float(stop), device=self.device)))

    def _communication(self, last: bool) -> AbstractContextManager[None]:
        """Return a context in which processes exchange gradients after the last batch of a step only."""
        wrapped = self.wrapped
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) and not last else nullcontext()


def run_text(options: Training) -> str:
    """Return the options of a run as YAML, without its folder: that may be moved."""
    return yaml_text(replace(options, out=None))
