"""Training steps of one network by `python -m yolo train` and in plain PyTorch; and whole epochs with data.

    python benchmarks/train.py [--net yolov3-tiny.cfg:16 yolov3.cfg:4] [--size 416] [--rounds 6]
    python benchmarks/train.py --data FOLDER                   # the same, and epochs on the images of a data set
    python benchmarks/train.py --before CLONE                  # with a further contender, the code of another clone
    python benchmarks/train.py --profile                       # where the time of our step goes (benchmarks/kinds.py)

A step is forward, loss, backward and optimizer (SGD) on one batch, uint8, in the memory layout of a loader's batches.

- `plain`: float32, contiguous memory, `torch.optim.SGD` with its defaults, the plain loss of benchmarks/loss.py.
- `ours`: `Trainer.fit` as `assemble` makes it with the default options, without evaluation and checkpoints: bfloat16
  where the processor is made for it, channels_last, fused optimizer, large blocks kept by the allocator, a check of
  every gradient, the log. Only the loader is replaced, by one that repeats the same batch.

Both are processes that take turns; a turn is a step that does not count, then `--steps` that do. Both start from the
same weights; `loss apart` is the relative difference of their losses before the first step. Images per second are
minimum, median, maximum. Ratios are those of the median and of the fastest steps. `peak MB` is the resident memory of
the whole process. `limit` is the rate of one large convolution alone, in the arithmetic of our contender
(benchmarks/inference.py). A step counts three forward passes, because the backward pass computes one for the inputs and
one for the weights.

With data, an epoch is everything from the start of the worker processes to the last step: reading, the default
augmentation, batches. `epoch` is that of `train`, which without worker processes keeps the images of a small data set
decoded; `decoding` decodes every image in every epoch, as for a large one. Epochs with data and epochs of bare steps
take turns in the same process; the share is the ratio of their rates in the same round.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from inference import best_rate
from kinds import Counting, print_kinds
from loss import plain_loss
from measure import Figures, Worker, clock, peak_memory, race
from noise_set import write_data
from torch import Tensor

from yolo.darknet.cfg import Cfg, read_cfg, with_classes
from yolo.darknet.network import Darknet
from yolo.darknet.plan import make_plan
from yolo.data.datasets import open_data
from yolo.data.loader import Batch, Loader
from yolo.data.sampler import Batches
from yolo.data.transforms import Augmented
from yolo.detection.labels import pack_labels
from yolo.names import COCO
from yolo.options.augment import PLAIN
from yolo.options.schedule import Schedule
from yolo.options.train import Train
from yolo.training.assemble import assemble, gather
from yolo.training.batches import loader_workers
from yolo.training.engine import Trainer
from yolo.training.interrupt import Interrupt
from yolo.training.precision import training_precision


class Repeated(Loader):
    """A loader that repeats one batch `steps` times an epoch, and notes the seconds that the trainer took with each."""

    def __init__(self, batch: Batch, steps: int) -> None:
        self.batch, self.steps, self.epoch, self.position = batch, steps, 0, 0
        self.times: list[float] = []
        self.failure = ""

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.steps):
            self.position += 1
            start = time.perf_counter()
            yield self.batch
            self.times.append(time.perf_counter() - start)
        self.epoch, self.position = self.epoch + 1, 0


def options(arguments: argparse.Namespace, folder: Path, **others: Any) -> Train:
    """Return the options of a run: the settings that both contenders share, else the defaults."""
    return Train(
        data=str(arguments.data),
        cfg=Path(arguments.cfg),
        size=str(arguments.size),
        batch_size=arguments.batch,
        optimizer="sgd",
        schedule=Schedule(schedule="constant", lr=1e-4, warmup_steps=0),
        eval_on="train",
        save_every=10**9,
        out=folder / "run",
        **others,
    )


def network_cfg(arguments: argparse.Namespace) -> Cfg:
    """Return the cfg with COCO's number of classes, as in the drawn set."""
    return with_classes(read_cfg(arguments.cfg), len(COCO))


def first_batch(arguments: argparse.Namespace) -> Batch:
    """Return the first images of the data as a batch, without augmentation."""
    data = open_data(arguments.data, split="train")
    batches = Batches(len(data), arguments.batch, (arguments.size, arguments.size))
    return next(iter(Loader(Augmented(data, PLAIN), batches)))


class EpochDone(Exception):  # noqa: N818  # not an error
    """Ends `Trainer.fit` after an epoch whose numbers have been read, before anything is evaluated or written."""


def epoch_of(trainer: Trainer, loader: Loader) -> Callable[[], None]:
    """Return a function that trains one epoch from a loader, without evaluation and checkpoints."""

    def evaluate(*_arguments: object) -> dict[str, float]:
        raise EpochDone

    trainer.evaluate = evaluate

    def epoch() -> None:
        trainer.loader = loader
        with contextlib.suppress(EpochDone):
            trainer.fit(Interrupt())

    return epoch


def ours(arguments: argparse.Namespace, folder: Path, answer: Callable[..., None]) -> None:
    """Run our contender: each line on stdin is a turn, one epoch of `Trainer.fit`."""
    trainer = assemble(gather(options(arguments, folder, plain=True, workers=0, epochs=10**6), torch.device("cpu")))
    batch = first_batch(arguments)
    repeated = Repeated(batch, arguments.steps + 1)
    epoch = epoch_of(trainer, repeated)
    trainer.detector.network.train()
    with torch.no_grad(), trainer.arithmetic():
        loss = float(sum(trainer.detector.losses(batch.images, batch.targets).terms.values()))

    answer(loss=loss, best=best_rate(training_precision("auto", torch.device("cpu"))))
    while sys.stdin.readline():
        repeated.times.clear()
        epoch()
        answer(times=repeated.times[1:], rss=peak_memory())


def profile(arguments: argparse.Namespace, folder: Path, answer: Callable[..., None]) -> None:
    """Answer a line on stdin with the kinds of work of our steps, and the median seconds of steps without counting."""
    trainer = assemble(gather(options(arguments, folder, plain=True, workers=0, epochs=10**6), torch.device("cpu")))
    repeated = Repeated(first_batch(arguments), arguments.steps + 1)
    epoch = epoch_of(trainer, repeated)
    answer()
    sys.stdin.readline()
    epoch()
    seconds, repeated.steps = statistics.median(repeated.times[1:]), arguments.steps
    with Counting() as counting:
        epoch()
    answer(kinds=counting.kinds, seconds=seconds)


def plain(arguments: argparse.Namespace, answer: Callable[..., None]) -> None:
    """Run the plain contender: the loop that one writes first."""
    torch.manual_seed(0)
    network = Darknet(network_cfg(arguments)).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)
    images, targets = first_batch(arguments)
    images = images.contiguous()

    def loss() -> Tensor:
        raws = network(images.float() / 255)
        return plain_loss(raws, pack_labels(targets, (arguments.size, arguments.size)), network.heads)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    with torch.no_grad():
        answer(loss=float(loss()))
    while sys.stdin.readline():
        times = [clock(step) for _ in range(arguments.steps + 1)]
        answer(times=times[1:], rss=peak_memory())


def epochs(arguments: argparse.Namespace, folder: Path, answer: Callable[..., None]) -> None:
    """Answer the lines `epoch`, `decoding` and `bare` with the images per second of an epoch of that kind."""
    trainer = assemble(gather(options(arguments, folder, workers=arguments.workers, epochs=10**6), torch.device("cpu")))
    images, repeated = trainer.loader.batches.images, Repeated(first_batch(arguments), arguments.steps + 1)
    cold, seen = copy(trainer.loader), copy(trainer.loader.data)
    assert isinstance(seen, Augmented), "the samples of YOLO"
    cold.data, seen.images = seen, seen.data
    with_data = {"epoch": epoch_of(trainer, trainer.loader), "decoding": epoch_of(trainer, cold)}
    bare = epoch_of(trainer, repeated)

    answer(images=images)
    for line in sys.stdin:
        if line.strip() in with_data:
            answer(rate=images / clock(with_data[line.strip()]))
        else:
            repeated.times.clear()
            bare()
            answer(rate=arguments.batch / statistics.median(repeated.times[1:]))


def work(arguments: argparse.Namespace, folder: Path) -> None:
    """Run a contender: print when it is ready, then answer each line on stdin with the figures of a turn."""
    torch.set_num_threads(arguments.threads)
    out = sys.stdout

    def answer(**values: object) -> None:
        print(json.dumps(values), file=out, flush=True)

    with contextlib.redirect_stdout(sys.stderr):  # what the trainer prints is not an answer
        if arguments.worker == "plain":
            plain(arguments, answer)
        else:
            {"ours": ours, "epochs": epochs, "profile": profile}[arguments.worker](arguments, folder, answer)


@contextlib.contextmanager
def workers(arguments: argparse.Namespace, data: Path, *kinds: str) -> Iterator[list[Worker]]:
    """Start the processes of these contenders on a data set, and close them at the end of the block."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        found = []
        for kind in kinds:
            # Another clone is measured by its own script.
            script = arguments.before / "benchmarks" / "train.py" if kind == "before" else __file__
            worker = "ours" if kind == "before" else kind
            place = str(Path(name) / kind)
            command = [sys.executable, str(script), "--worker", worker, "--folder", place, "--data", str(data)]
            for option in ("cfg", "batch", "size", "threads", "steps", "workers"):
                command += [f"--{option}", str(getattr(arguments, option))]
            found.append(Worker(command, Path(name) / f"{kind}.log"))
            stack.callback(found[-1].close)
        yield found


def compare(arguments: argparse.Namespace) -> None:
    """Race the contenders on one cfg and print their table."""
    kinds = ("plain", "before", "ours") if arguments.before else ("plain", "ours")
    memory: dict[str, float] = {}

    def take(kind: str, worker: Worker) -> list[float]:
        answer = worker.ask("")
        memory[kind] = answer["rss"]
        return [arguments.batch / seconds for seconds in answer["times"]]

    with tempfile.TemporaryDirectory() as name:
        write_data(Path(name), arguments.batch)
        with workers(arguments, Path(name), *kinds) as found:
            turns = {kind: partial(take, kind, worker) for kind, worker in zip(kinds, found, strict=True)}
            # The slow contender need not be measured more often than what is compared with care.
            rates = race(turns, arguments.rounds, at_most={"plain": 1} if arguments.before else None)
            losses, best = [worker.ready["loss"] for worker in found], found[-1].ready["best"]
    medians = rates["ours"].median / rates["plain"].median
    fastest = {kind: max(figures.values) for kind, figures in rates.items()}
    print("              min  median     max images/s | peak MB")
    for kind, figures in rates.items():
        print(f"{kind:<9} {figures.spread('7.2f')}            | {memory[kind]:7.0f}")
    size = (arguments.size, arguments.size)
    gflops = 3 * make_plan(network_cfg(arguments), size).flops / 1e9 * fastest["ours"]
    print(f"ours: x plain {medians:.2f} (median), {fastest['ours'] / fastest['plain']:.2f} (fastest); ", end="")
    print(f"{gflops:.0f} GFLOP/s, {gflops / best:.0%} of the limit, {best:.0f}")
    print(f"loss apart: {abs(losses[-1] / losses[0] - 1):.1e} of {losses[0]:.4g}")
    if arguments.before:
        print(f"ours: x before {Figures([rates['ours'].over(rates['before'])]).spread('.3f')} (turn by turn)")


def print_profile(arguments: argparse.Namespace) -> None:
    """Print where the time of our step goes."""
    with tempfile.TemporaryDirectory() as name:
        write_data(Path(name), arguments.batch)
        with workers(arguments, Path(name), "profile") as (worker,):
            answer = worker.ask("")
    print_kinds(answer["kinds"], arguments.steps, answer["seconds"])


def race_with_data(arguments: argparse.Namespace) -> None:
    """Race whole epochs with bare steps and print their rates."""
    with workers(arguments, arguments.data, "epochs") as (worker,):

        def take(kind: str) -> list[float]:
            return [worker.ask(kind)["rate"]]

        turns = {kind: partial(take, kind) for kind in ("epoch", "decoding", "bare")}
        rates = race(turns, arguments.rounds, warmup=1)
        images = worker.ready["images"]
    print(f"epochs of {images} images, {arguments.workers} workers:")
    for kind, figures in rates.items():
        print(f"{kind:<9} {figures.spread('7.2f')} images/s")
    for kind in ("epoch", "decoding"):
        print(f"share of {kind:<8} {Figures([rates[kind].over(rates['bare'])]).spread('7.1%')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", nargs="+", metavar="CFG:BATCH", default=["yolov3-tiny.cfg:16", "yolov3.cfg:4"])
    parser.add_argument("--data", type=Path, help="a data set with a split that begins with train")
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--workers", type=int, default=loader_workers(None))
    parser.add_argument("--before", type=Path, help="another clone of this repository, a contender of its own")
    parser.add_argument("--profile", action="store_true", help="where the time of our step goes, and nothing else")
    for name, kind in (("worker", str), ("folder", Path), ("cfg", str), ("batch", int)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments, arguments.folder)
        return
    print(f"{platform.machine()}, {arguments.threads} threads, torch {torch.__version__}")
    for net in arguments.net:
        arguments.cfg, batch = net.rsplit(":", 1)
        arguments.batch = int(batch)
        print(f"\n{arguments.cfg} at {arguments.size}, batch {arguments.batch}")
        if arguments.profile:
            print_profile(arguments)
            continue
        compare(arguments)
        if arguments.data:
            race_with_data(arguments)


if __name__ == "__main__":
    main()
