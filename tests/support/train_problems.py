"""A tiny network, a tiny data set, and runs of `python -m yolo train` on them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import yolo
from tests.support.drawn import drawn
from tests.support.warm import Warm
from yolo.__main__ import main
from yolo.data.loader import Batch
from yolo.data.shapes.scenes import make_shapes
from yolo.training.engine import Trainer
from yolo.training.run_folder import read_metrics

TIMES = ("seconds", "eval_seconds", "memory_mb")
"""Numbers in a line of metrics.jsonl that differ from run to run."""


def _convolution(filters: int, size: int = 3, stride: int = 1, *, norm: bool = True) -> str:
    return (
        f"[convolutional]\nbatch_normalize={int(norm)}\nfilters={filters}\nsize={size}\nstride={stride}\npad=1\n"
        f"activation=leaky\n\n"
    )


def _head(mask: str) -> str:
    return (
        "[convolutional]\nfilters=33\nsize=1\nstride=1\npad=1\nactivation=linear\n\n"
        f"[yolo]\nmask={mask}\nanchors=6,6, 10,10, 16,16, 22,22, 32,32, 50,50\nclasses=6\nnum=6\n\n"
    )


def tiny_cfg(folder: Path, *, norm: bool = True, size: int = 64) -> Path:
    """Four convolutions, two heads of strides 16 and 8, six classes; without batch norm for `norm` False."""
    text = f"[net]\nwidth={size}\nheight={size}\nchannels=3\n\n"
    text += _convolution(8, stride=2, norm=norm) + _convolution(12, stride=2, norm=norm)
    text += _convolution(16, stride=2, norm=norm) + _convolution(16, stride=2, norm=norm) + _head("3,4,5")
    text += "[route]\nlayers=-4\n\n" + _head("0,1,2")
    path = folder / ("tiny.cfg" if norm else "plain.cfg")
    path.write_text(text)
    return path


class Place(NamedTuple):
    """A command line without `--out`, and the run that it makes in one process without interruption."""

    words: list[str]
    run: Path


def shapes(folder: Path) -> Path:
    """Return the embedded set with 12 images to train on and 6 to evaluate on."""
    return drawn(folder / "shapes", make_shapes, train=12, val=6)


def words(data: Path, cfg: Path, *more: object) -> list[str]:
    """A command line: the tiny run, in two epochs of three batches, on the CPU in float32, without workers."""
    given = [str(word) for word in more]
    usual = {"--epochs": "2", "--batch-size": "4", "--workers": "0", "--device": "cpu", "--precision": "fp32"}
    usual |= {"--schedule": "constant", "--lr": "1e-3", "--warmup-steps": "0", "--eval-every": "1", "--ema": "0"}
    usual |= {"--clip": "None", "--obj-bias": "None", "--obj-reduction": "mean", "--box-gain": "1", "--cls-gain": "1"}
    usual |= {"--pos-weight": "auto", "--ignore-thresh": "None", "--weight-decay": "1e-4"}
    rest = [word for name, value in usual.items() if name not in given for word in (name, value)]
    return ["--data", str(data), "--cfg", str(cfg), *rest, *given]


def process(*arguments: object, ranks: int = 1, module: bool = True) -> Warm:
    """`python -m yolo train ...` as a process group of its own; `ranks` of them that train together.

    If not `module`, the arguments begin with a script in its place.
    """
    return Warm(*(["-m", "yolo", "train"] if module else []), *arguments, ranks=ranks)


def ended(child: Warm | subprocess.Popen[str], seconds: float = 120) -> tuple[str, str]:
    """Return stdout and stderr of a process that must end by itself; else its process group is killed, and it fails."""
    try:
        return child.communicate(timeout=seconds)
    finally:
        if child.returncode is None:
            if isinstance(child, Warm):
                child.kill()
            else:
                os.killpg(child.pid, signal.SIGKILL)
            child.communicate()


def checkpoint(run: Path) -> dict[str, Any]:
    """Return the trainer's state in last.pt."""
    state: dict[str, Any] = torch.load(run / "last.pt", weights_only=True)["trainer"]
    return state


def numbers(run: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl without times and memory."""
    return [{name: value for name, value in row.items() if name not in TIMES} for row in read_metrics(run)]


def options_of(run: Path) -> str:
    """Return the text of options.yaml."""
    return (run / "options.yaml").read_text()


def difference(one: Any, other: Any, where: str = "") -> str:
    """Return the first place where two nested values differ in a bit; "" if they are equal."""
    if type(one) is not type(other):
        return f"{where}: {type(one).__name__} and {type(other).__name__}"
    if isinstance(one, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape and _bytes(one) == _bytes(other)
        return "" if same else f"{where}: tensors differ"
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return f"{where}: {sorted(map(str, one))} and {sorted(map(str, other))}"
        return next((found for k in one if (found := difference(one[k], other[k], f"{where}/{k}"))), "")
    if isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return f"{where}: {len(one)} and {len(other)} entries"
        pairs = enumerate(zip(one, other, strict=True))
        return next((found for k, (a, b) in pairs if (found := difference(a, b, f"{where}/{k}"))), "")
    return "" if json.dumps(one) == json.dumps(other) else f"{where}: {one!r} and {other!r}"


def same_run(one: Path, other: Path) -> str:
    """Return the first difference in network, average, optimizer, random numbers or metrics of two runs; "" if none."""
    return difference(checkpoint(one), checkpoint(other)) or difference(numbers(one), numbers(other), "metrics")


def _bytes(tensor: torch.Tensor) -> bytes:
    """Return the bytes of a tensor, so that NaN equals NaN."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def interrupted(line: Sequence[str], after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train by a command line in this process, and stop by SIGINT after some steps."""
    step = Trainer._step

    def stopping(trainer: Trainer, batches: list[Batch]) -> None:
        step(trainer, batches)
        if trainer.step == after:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stopping)
        assert main(list(line)) == 130


def best_weights(run: str) -> dict[str, Tensor]:
    """Return the best weights of a run."""
    return yolo.load(f"{run}/best.safetensors", device="cpu").network.state_dict()
