"""Options of training: learning rate, loss, data, hardware. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from yolo.options.augment import PLAIN, Augment
from yolo.options.loss import LossOptions as LossOptions
from yolo.size import Size

ScheduleName = Literal["warmup", "darknet", "cosine", "constant"]

USED: dict[ScheduleName, tuple[str, ...]] = {
    "warmup": ("lr", "peak_lr", "warmup_steps", "warmup_power"),
    "darknet": ("lr", "burn_in", "steps", "scales"),
    "cosine": ("lr", "peak_lr", "warmup_steps", "final_lr"),
    "constant": ("lr", "warmup_steps"),
}
"""What each schedule is made of; the other settings have no effect on it."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate over the steps of the optimizer; `yolo/training/schedule.py` has the formulas.

    A setting that the schedule does not use is refused unless it has its default, so that none is without effect.
    """

    schedule: ScheduleName = "cosine"
    """warmup rises to a peak and falls as 1/step, darknet falls in stairs, cosine falls along half a cosine."""
    lr: float = 1e-4
    """Where warmup and cosine start from; darknet and constant: the full rate."""
    peak_lr: float = 6e-3
    """warmup, cosine: the highest rate, reached at the end of the warm-up."""
    warmup_steps: int = 100
    """warmup, cosine, constant: steps of the optimizer until the highest rate is reached."""
    warmup_power: float = 1.0
    """warmup: behind the peak the rate falls as 1/step to this power; 0 stays at the peak."""
    burn_in: int = 1000
    """darknet: steps of the optimizer in which the rate rises from 0, as (step/burn_in)^4; 0 is off."""
    steps: tuple[int, ...] = (400_000, 450_000)
    """darknet: from these steps of the optimizer on the rate is multiplied by its `scales`."""
    scales: tuple[float, ...] = (0.1, 0.1)
    """darknet: a factor for each of `steps`."""
    final_lr: float = 0.0
    """cosine: the rate of the last step."""

    @property
    def read(self) -> tuple[str, ...]:
        """The settings that have an effect, in their order."""
        skipped = self.schedule == "cosine" and self.warmup_steps == 0  # the first step has the peak already
        return tuple(name for name in USED[self.schedule] if not (skipped and name == "lr"))

    def __post_init__(self) -> None:
        self._refuse_without_effect()
        for name in ("lr", "peak_lr", "final_lr"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)}: expected a learning rate from 0")
        top = "peak_lr" if "peak_lr" in self.read else "lr"
        if not getattr(self, top) > 0:
            raise ValueError(f"{top}={getattr(self, top)} with schedule={self.schedule}: expected a rate above 0")
        for name in {"lr", "final_lr"}.intersection(self.read):
            if getattr(self, name) > getattr(self, top):
                raise ValueError(f"{name}={getattr(self, name)} is above {top}={getattr(self, top)}, the highest rate")
        least = 1 if self.schedule == "warmup" else 0
        if self.warmup_steps < least:
            raise ValueError(f"warmup_steps={self.warmup_steps}: expected at least {least} with {self.schedule}")
        if not 0 <= self.warmup_power < math.inf:
            raise ValueError(f"warmup_power={self.warmup_power}: expected a power from 0")
        self._check_stairs()

    def _refuse_without_effect(self) -> None:
        """ValueError that names the changed settings which the schedule does not read."""
        unread = [f for f in fields(self) if f.name not in ("schedule", *self.read)]
        changed = [
            f"{f.name}={getattr(self, f.name)} (by default {f.default})"
            for f in unread
            if getattr(self, f.name) != f.default
        ]
        if changed:
            raise ValueError(
                f"without effect: {', '.join(changed)} with schedule={self.schedule}, which reads "
                f"{', '.join(self.read)}; leave it out"
            )

    def _check_stairs(self) -> None:
        """ValueError unless `steps` ascend and each has its factor."""
        if self.burn_in < 0:
            raise ValueError(f"burn_in={self.burn_in}: expected steps of the optimizer, 0 for none")
        if len(self.steps) != len(self.scales):
            raise ValueError(f"{len(self.steps)} steps and {len(self.scales)} scales: expected a factor for each step")
        if list(self.steps) != sorted({*self.steps}) or any(step < 1 for step in self.steps):
            raise ValueError(f"steps={self.steps}: expected steps of the optimizer from 1, each above the one before")
        if not all(0 < scale < math.inf for scale in self.scales):
            raise ValueError(f"scales={self.scales}: expected factors above 0")


@dataclass(frozen=True, kw_only=True)
class Train:
    """Trains a detector on a data set and evaluates it as it goes."""

    data: str = "shapes"
    """COCO json file, data.yaml, darknet .data file, a folder with COCO, VOC or YOLO annotations; or `shapes`, the
    embedded set."""
    split: str = "train"
    """Of the data, to train on: its name or the beginning of it."""
    val_split: str = "val"
    """Of the data, to evaluate on."""
    limit: int | None = None
    """Only the first so many images of `split`."""
    cfg: Path = Path("toy.cfg")
    """Darknet .cfg; its classes, and the filters before its heads, become those of the data."""
    weights: Path | None = None
    """.weights, .safetensors or a backbone such as darknet53.conv.74 to start from; by default random ones."""
    init: Literal["darknet", "torch"] = "darknet"
    """Weights that no file fills start as darknet draws them (normal, variance 2 / inputs) or as PyTorch does (uniform,
    a sixth of it). Where batch norm follows, the scale only decides how fast they turn: with Adam small ones faster."""
    epochs: int = 30
    """Times that every image is seen."""
    batch_size: int = 16
    """Images that go through the network at once, over all processes."""
    accumulate: int = 1
    """Batches per step of the optimizer: a large batch where memory holds a small one."""
    size: str | None = None
    """Network input in pixels, N or WIDTHxHEIGHT; by default the cfg's."""
    seed: int = 0
    """Of weights, order and augmentation: the same seed is the same run."""
    shuffle: bool = True
    """A new order of the images in each epoch; off is that of the annotations."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; by default a GPU if there is one."""
    workers: int | None = None
    """Processes that read and augment images; 0 does it between the steps. By default one for each core beyond two,
    at most 8: on two cores they would take from the network what they give."""
    cache: Literal["none", "ram", "disk"] = "none"
    """Keep the images decoded and shrunk to the input: in memory, or in a file for the next runs too."""
    bad: Literal["error", "skip"] = "error"
    """Faults in annotations and damaged images end the run before it starts, or are listed and left out."""
    out: Path | None = None
    """Folder of the run; by default a new one in runs/."""
    resume: Path | None = None
    """Folder of a run to go on with, exactly as if it had not stopped; its options are taken from it."""

    loss: LossOptions = field(default_factory=LossOptions)
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    """sgd is darknet's and wants a higher rate; adamw decays weights apart from the gradient."""
    schedule: Schedule = Schedule()
    weight_decay: float = 1e-4
    """Of convolution weights only, not of biases and batch norm."""
    momentum: float = 0.9
    """Of sgd; the first beta of adam and adamw."""
    clip: float | None = None
    """Longest gradient: a longer one is shortened to this norm, over all parameters; None is off."""
    ema: float = 0.0
    """Decay per step of the average of the weights that is evaluated and kept, such as 0.999; 0 is off."""
    freeze: str | None = None
    """Layers that stay as they are, batch norm included: names or a range of sections, such as 0-73."""
    obj_bias: float | None = None
    """Objectness bias at the start, of heads that `weights` do not fill: -4.5 means that a prediction is an object once
    in 90; None is 0."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the network; auto is bf16 where the device is made for it, else fp32."""
    channels_last: bool = True
    """Memory order of the network: faster nearly everywhere, same numbers up to rounding."""
    compile: bool = False
    """torch.compile: a minute before the first step, then faster steps."""
    deterministic: bool = False
    """Only algorithms that give the same bits again, where PyTorch has them; slower."""
    sync_bn: bool = False
    """Batch norm over the images of all processes instead of each its own."""

    plain: bool = False
    """No augmentation: images as detection sees them."""
    augment: Augment = field(default_factory=Augment)

    eval_on: Literal["val", "train"] = "val"
    """Images to evaluate on: those of `val_split`, or the training images as detection sees them."""
    eval_every: int = 1
    """Epochs between evaluations; 0 evaluates after the last one only."""
    save_every: int = 1
    """Epochs between checkpoints; the last one and an interrupted one are always saved."""
    probe: bool = False
    """Log at every evaluation what the network makes of labels: IoU of positives, calibration, anchors that changed,
    near misses, duplicates (`yolo/training/probe.py`)."""
    glance: int | None = None
    """Log the AP50 of every so many batches, right after their step, at confidence 0.3 and NMS 0.5: no evaluation, but
    how many a curve is drawn (`yolo/training/glance.py`)."""
    early_stop: int | None = None
    """Ends the training after so many epochs without a better `early_metric`; None does not."""
    early_metric: str = "AP"
    """What chooses the best checkpoint and stops early: AP, AP50, ..., or another metric of the log."""

    @property
    def augmentation(self) -> Augment:
        """How images are changed, `plain` considered; the size of the input may vary all the same."""
        return replace(PLAIN, multi_scale=self.augment.multi_scale) if self.plain else self.augment

    def __post_init__(self) -> None:
        if self.size is not None:
            Size.parse(self.size)
        least = {"epochs": 1, "batch_size": 1, "accumulate": 1, "eval_every": 0, "save_every": 1}
        least |= {} if self.workers is None else {"workers": 0}
        least |= {name: 1 for name in ("limit", "early_stop", "glance") if getattr(self, name) is not None}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least {bound}")
        for name in ("momentum", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected a number from 0 (off), below 1")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay={self.weight_decay}: expected a number from 0")
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise ValueError(f"clip={self.clip}: expected a norm above 0, or None for none")
        if self.obj_bias is not None and not math.isfinite(self.obj_bias):
            raise ValueError(f"obj_bias={self.obj_bias}: expected a number, or None")
        if self.early_stop is not None and self.eval_every == 0:
            raise ValueError("early_stop without effect: eval_every=0 evaluates after the last epoch only")
        self.augment.ends_plain(0, self.epochs)
        if self.plain and replace(self.augment, multi_scale=1.0) != Augment():
            raise ValueError("plain means no augmentation, but settings of it were changed; leave one of them out")
