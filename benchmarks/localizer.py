"""A localizer on one thread: the features of an image, which are computed once, and an epoch on cached features.

    python benchmarks/localizer.py [--backbone lite0 mobilenet_v3_small] [--images 200] [--size 224] [--rounds 20]

The images are drawn, 128 x 128 pixels. `view` is everything that a view of an image (as it is, or mirrored) costs:
decoding, resize and backbone, over all images; `backbone` is the backbone alone, in milliseconds per view. An epoch is
one of `Trainer.fit` with the preset `localizer` on all images, without evaluation and checkpoints, in seconds: minimum,
median, maximum. `share` is the part of a training with the preset's 60 epochs that the features take.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import tempfile
from pathlib import Path

import torch
from measure import clock, race, timed

from train import epoch_of
from yolo.data.datasets import open_data
from yolo.data.shapes.singles import make_singles
from yolo.localize.features import features_of
from yolo.models.localizer import build_localizer
from yolo.options.presets import parse_train
from yolo.options.single import Localizer
from yolo.training.assemble import assemble, gather

EPOCHS = 60
"""Those of the preset."""


def measure(spec: str, data: Path, arguments: argparse.Namespace) -> str:
    """Return the line of one backbone, after measuring it on the data set."""
    words = ["--model", "localizer", "--data", str(data), "--backbone", spec, "--size", str(arguments.size)]
    words += ["--target", "disc", "--negative-ratio", "None", "--eval-on", "train", "--epochs", str(10**6)]
    words += ["--workers", "0", "--save-every", str(10**9)] + ["--no-pretrained"] * arguments.no_pretrained
    options = parse_train(words)
    assert isinstance(options, Localizer)
    train = open_data(data, split="train")
    detector = build_localizer(options, ["disc"])
    views = 1e3 * clock(lambda: detector.store.add(train, mirrored=True)) / (2 * len(train))

    backbone, image = detector.store.backbone, detector.prepare(train.path(0))[0]
    alone = race({"": timed(lambda: features_of(backbone, image[None], detector.cells), unit=1e3)}, 20, warmup=3)
    trainer = assemble(gather(options, torch.device("cpu")))
    epochs = race({"": timed(epoch_of(trainer, trainer.loader))}, arguments.rounds, warmup=1)[""]
    features = 2 * len(train) * views / 1e3
    share = features / (features + EPOCHS * epochs.median)
    return f"{spec:<20} {views:8.1f} {alone[''].median:8.1f}   {epochs.spread('7.3f')} {share:7.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", nargs="+", default=["lite0"])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-pretrained", action="store_true", help="random weights, which cost the same")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        data = make_singles(Path(name) / "singles", train=arguments.images, val=1)
        lines = []
        for number, spec in enumerate(arguments.backbone):
            place = Path(name) / str(number)  # the features and the run are below the working directory
            place.mkdir()
            with contextlib.chdir(place), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                lines.append(measure(spec, data, arguments))
    print(f"{platform.machine()}, threads {arguments.threads}, torch {torch.__version__}")
    print(f"{arguments.images} images at {arguments.size} x {arguments.size}")
    print("                      view backbone ms |   min  median     max s | share", *lines, sep="\n")


if __name__ == "__main__":
    main()
