"""Training of any model: data, learning rate, hardware, evaluation. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, Self

from yolo.options.augment import PLAIN, Augment
from yolo.options.bounds import Bound, Checked, Count, Decay, FromZero, MaxPixels, MaybeCount, Number
from yolo.options.schedule import Schedule
from yolo.pixels import MAX_PIXELS
from yolo.size import Size


@dataclass(frozen=True, kw_only=True)
class Training(Checked):
    """Train a detector on a data set and evaluate it as it goes.

    These options belong to every model. A model adds its own (fields of a subclass): see `train --model NAME --help`.
    """

    model: str = "yolo"
    """Name of the model to train, one of the registered models."""
    data: str = "shapes"
    """Folder with COCO, VOC or YOLO annotations in the layout of any exporter, COCO json file, csv file of boxes,
    data.yaml, darknet .data file; or `shapes`, the embedded set."""
    split: str = "train"
    """Split of the data to train on: its name or the beginning of it; of a set that is not divided, all of it."""
    val_split: str = "val"
    """Split of the data to evaluate on; val is also valid, validation and dev."""
    val: Path | None = None
    """Another folder or file, which holds the images to evaluate on."""
    holdout: Decay = 0.2
    """Share of the images that is held out to evaluate on where the data has no validation split, chosen by a hash of
    their names; 0 makes that an error."""
    limit: MaybeCount = None
    """Use only the first N images of `split`."""
    weights: Path | None = None
    """Weights to start from: the folder of a run, .safetensors, .weights or a backbone such as darknet53.conv.74, or
    the name of a published file; by default random ones. A run or .safetensors gives its network, its input and its
    order of classes as well; a .weights file the network of the .cfg beside it."""
    epochs: Count = 30
    """Number of passes over all images."""
    batch_size: Count = 16
    """Images per batch, over all processes."""
    accumulate: Count = 1
    """Batches per optimizer step: a large batch where memory only holds a small one."""
    size: str | None = None
    """Network input in pixels, N or WIDTHxHEIGHT; by default the model's own (of YOLO: the cfg's)."""
    placement: Literal["letterbox", "stretch"] = "letterbox"
    """Keep the proportions of an image (grey bars), or stretch it to the network input. The run's files record it.
    Weights to start from do not decide: give `stretch` to fine-tune a model of darknet that saw stretched images."""
    seed: int = 0
    """Seed of weights, order and augmentation: the same seed gives the same run."""
    shuffle: bool = True
    """Draw a new order of images in each epoch; --no-shuffle keeps the order of the annotations."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; by default a GPU if there is one."""
    workers: Annotated[int | None, Bound("at least 0, or None", low=0)] = None
    """Number of processes that read and augment images; 0 reads them between the steps. By default one for each core
    beyond two, at most 8: with only two cores they would slow the network down."""
    cache: Literal["none", "ram", "disk"] = "none"
    """Keep images decoded and shrunk to the input: in memory, or in a file that later runs use as well."""
    bad: Literal["error", "skip"] = "error"
    """What to do about faults in annotations and damaged images: stop before training starts, or list them and leave
    out their images, which are never trained as background."""
    allow_empty: bool = False
    """Accept a split without objects. Without objects to evaluate on, AP is n/a, no epoch is the best by it, early
    stopping does not count, and best.safetensors has the weights of the last evaluated epoch."""
    out: Path | None = None
    """Folder of the run; by default a new one in runs/."""
    resume: Path | None = None
    """Folder of a run to resume, exactly as if it had not stopped; its options are read from it. Only --epochs (more),
    --workers, --device, --eval-every, --save-every, --max-pixels may be given beside it, and --data, --val for data
    that moved."""
    check: bool = True
    """Run the quick checks of `python -m yolo check` before the first step: warnings are printed, and a training that
    cannot succeed does not begin. --no-check starts it anyway."""
    max_pixels: MaxPixels = MAX_PIXELS
    accept_changes: bool = False
    """Resume although the data or the cfg changed since the run began; what changed is written into its data.json."""

    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    """sgd is darknet's and needs a higher rate; adamw decays weights apart from the gradient."""
    schedule: Schedule = field(default_factory=Schedule)
    weight_decay: Number = 1e-4
    """Weight decay of convolution weights; biases and batch norm have none."""
    momentum: Decay = 0.9
    """Momentum of sgd; the first beta of adam and adamw."""
    clip: Annotated[float | None, Bound("a norm above 0, or None for none", above=0, below=math.inf)] = None
    """Shorten a longer gradient to this norm, taken over all parameters; None is off."""
    ema: Decay = 0.0
    """Decay per step of the moving average of the weights, such as 0.999; 0 is off. The average is what is evaluated
    and saved."""
    freeze: str | None = None
    """Layers that are not trained, batch norm included: names or a range of cfg sections, such as 0-73."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the network; auto is bf16 where the device is made for it, else fp32."""
    channels_last: bool = True
    """Store channels last in memory: faster on nearly all devices, same numbers up to rounding; with --no-channels-last
    they are first."""
    compile: bool = False
    """Use torch.compile: a minute before the first step, then faster steps."""
    graphs: bool = False
    """On one GPU: replay the network's forward and backward pass as CUDA graphs, with the same kernels. Steps of few
    images, which wait for launches, are faster. It takes seconds and memory for each size of the input."""
    deterministic: bool = False
    """Use only algorithms that repeat every result bit by bit, where PyTorch has them; slower."""
    sync_bn: bool = False
    """Compute batch norm over the images of all processes instead of each process's own."""

    plain: bool = False
    """No augmentation: images as detection sees them."""
    augment: Augment = field(default_factory=Augment)

    eval_on: Literal["val", "train"] = "val"
    """Images to evaluate on: those of `val_split`, or the training images as detection sees them."""
    eval_every: FromZero = 1
    """Epochs between evaluations; 0 evaluates after the last one only."""
    save_every: Count = 1
    """Epochs between checkpoints; the last and an interrupted one are always saved."""
    early_stop: MaybeCount = None
    """Stop after this many epochs without a better `early_metric`; None is off."""
    early_metric: str = "AP"
    """Metric that chooses the best checkpoint and stops early: AP, AP50, ..., or another metric of the log."""

    @property
    def augmentation(self) -> Augment:
        """How images are changed, after `plain`, which leaves only the varying size of the network input."""
        return replace(PLAIN, multi_scale=self.augment.multi_scale) if self.plain else self.augment

    def without_weights(self) -> Self:
        """Return the options of the same network, whose weights come from elsewhere."""
        return replace(self, weights=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None:
            Size.parse(self.size)
        if self.accept_changes and self.resume is None:
            raise ValueError("accept_changes without effect: only a resumed run (resume=FOLDER) compares its data")
        if self.early_stop is not None and self.eval_every == 0:
            raise ValueError("early_stop without effect: eval_every=0 evaluates after the last epoch only")
        if self.compile and self.graphs:
            raise ValueError("compile and graphs: two ways to make a step faster; leave one of them out")
        self.augment.ends_plain(0, self.epochs)
        if self.plain and replace(self.augment, multi_scale=1.0) != type(self)().augment:
            raise ValueError("plain means no augmentation, but settings of augment were changed; leave one of them out")
