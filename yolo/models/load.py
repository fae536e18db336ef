"""The one way from files to a Detector."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import load_safetensors
from yolo.darknet.weights import load_weights
from yolo.models.yolo import YoloDetector
from yolo.names import class_names

log = logging.getLogger("yolo")


def load(
    cfg: str | Path,
    weights: str | Path | None = None,
    names: Sequence[str] | str | Path | None = None,
    device: str | torch.device | None = None,
) -> YoloDetector:
    """A detector from a darknet `.cfg` and `.weights`.

    Args:
        cfg: a `.cfg` file, or the name of a shipped one (`yolov3.cfg`); or a `.safetensors` file of this
            program, which holds cfg and names itself.
        weights: a `.weights` file, a backbone such as `darknet53.conv.74`, or a `.safetensors` file of the same
            network; None gives initial weights.
        names: class names, as a list or as a `.names` file; None takes those in the safetensors file, COCO's for
            80 classes, or `class 0`, `class 1`, ...
        device: where the network lives; None takes a GPU if there is one, else the CPU.

    Raises ValueError (cfg or weights that do not fit, with file and place; a device that this machine lacks) or
    FileNotFoundError.
    """
    if Path(cfg).suffix == ".safetensors":
        if weights is not None:
            raise ValueError(f"{cfg} holds its own weights; give it alone, or give a .cfg with {weights}")
        cfg, weights = "", cfg
    if weights is not None and Path(weights).suffix == ".safetensors":
        saved = load_safetensors(weights)
        network, size, letterbox = saved.network, saved.size, saved.letterbox
        if cfg and read_cfg(cfg) != network.cfg:
            raise ValueError(f"{weights} was saved with another cfg than {cfg}; give the safetensors file alone")
        names = saved.names if names is None else names
    else:
        file_bytes = Path(weights).stat().st_size if weights is not None and Path(weights).is_file() else 0
        network = Darknet(read_cfg(cfg), file_bytes=file_bytes, init="darknet" if weights is None else None)
        size, letterbox = network.size, True
        if weights is not None:
            report = load_weights(network, weights)
            if not report.complete:
                log.warning("%s", report)
    classes = network.heads[-1].classes if network.heads else 0
    return YoloDetector(network.to(find_device(device)), class_names(names, classes), size=size, letterbox=letterbox)


def load_trained(
    weights: Path, cfg: Path | None = None, names: Path | None = None, device: str | None = None
) -> YoloDetector:
    """What a user calls weights: the folder of a run, a `.safetensors` file, or a `.weights` file with its cfg.

    Raises ValueError and FileNotFoundError as `load`, and ValueError for a `.weights` file without cfg.
    """
    if weights.is_dir():
        weights = weights / "best.safetensors"
    if weights.suffix == ".safetensors":
        return load(cfg or weights, weights if cfg else None, names, device)
    if cfg is None:
        raise ValueError(f"{weights} does not say what network it belongs to; give --cfg FILE")
    return load(cfg, weights, names, device)


def find_device(name: str | torch.device | None) -> torch.device:
    """A device that this machine has; for None a GPU if there is one. ValueError if it has none of that name."""
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device).cpu()
    except (RuntimeError, AssertionError) as problem:
        raise ValueError(f"device {str(device)!r}: {str(problem).partition(chr(10))[0]}") from problem
    return torch.device(device)
