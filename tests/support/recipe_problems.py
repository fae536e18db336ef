"""A tiny cfg that says how it is trained, and runs of `python -m yolo train --recipe cfg` on it."""

from __future__ import annotations

import csv
from pathlib import Path

from yolo.__main__ import main

NET = {
    "width": 64, "height": 64, "channels": 3, "batch": 4, "subdivisions": 2, "max_batches": 6,
    "learning_rate": 0.001, "momentum": 0.8, "decay": 0.0005, "policy": "steps", "steps": "3,5", "scales": ".5,.1",
}  # fmt: skip
"""The keys of `[net]`: two mini-batches of two images, six iterations with three rates."""

PLAIN_HEAD = {"jitter": 0, "random": 0, "resize": 1}

SHAPE = "size=3\nstride={stride}\npad=1\nactivation=leaky\nbatch_normalize=1\n"

LAYERS = [
    "[convolutional]\nfilters=8\n" + SHAPE.format(stride=2),
    "[convolutional]\nfilters=8\n" + SHAPE.format(stride=2),
    "[convolutional]\nfilters=8\n" + SHAPE.format(stride=1),
    "[shortcut]\nfrom=-2\nactivation=linear\n",
    "[convolutional]\nfilters=12\n" + SHAPE.format(stride=2),
    "[convolutional]\nfilters=16\n" + SHAPE.format(stride=2),
    "[convolutional]\nfilters=33\nsize=1\nstride=1\npad=1\nactivation=linear\n",
    "[yolo]\nmask=3,4,5\nanchors=6,6, 10,10, 16,16, 22,22, 32,32, 50,50\nclasses=6\nnum=6\n",
    "[route]\nlayers=-3\n",
    "[convolutional]\nfilters=8\n" + SHAPE.format(stride=1),
    "[upsample]\nstride=2\n",
    "[route]\nlayers=-1,4\n",
    "[convolutional]\nfilters=33\nsize=1\nstride=1\npad=1\nactivation=linear\n",
    "[yolo]\nmask=0,1,2\nanchors=6,6, 10,10, 16,16, 22,22, 32,32, 50,50\nclasses=6\nnum=6\n",
]
"""Two heads of strides 16 and 8. Layers 1, 4 and 5 are read twice; no convolution reads layer 10."""


def keys(values: dict[str, object]) -> str:
    """Return lines of a cfg."""
    return "".join(f"{key}={value}\n" for key, value in values.items())


def recipe_text(layers: dict[int, str] | None = None, head: dict[str, object] | None = None, **net: object) -> str:
    """Return the cfg with other keys of `[net]`, more keys of both heads, and lines added to layers by number."""
    text = "[net]\n" + keys(NET | net)
    for k, layer in enumerate(LAYERS):
        text += (
            "\n" + layer + (keys(PLAIN_HEAD | (head or {})) if "[yolo]" in layer else "") + (layers or {}).get(k, "")
        )
    return text


def recipe_words(data: Path, cfg: Path, *more: object) -> list[str]:
    """Return the command line of a training as the cfg says, on the CPU, without workers and without checks."""
    words = ["train", "--recipe", "cfg", "--cfg", cfg, "--data", data, "--no-check", "--workers", "0"]
    return [str(word) for word in (*words, "--device", "cpu", *more)]


def by_cfg_run(data: Path, folder: Path, text: str, *more: object, out: str = "run") -> Path:
    """Train as the cfg of this text says. Returns the folder of the run; the cfg beside it is my.net.cfg."""
    cfg = folder / "my.net.cfg"
    cfg.write_text(text)
    assert main(recipe_words(data, cfg, "--out", folder / out, *more)) == 0
    return folder / out


def iterations(run: Path) -> list[dict[str, float]]:
    """Return the lines of iterations.csv as numbers."""
    with (run / "iterations.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
