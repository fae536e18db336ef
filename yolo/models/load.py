"""Files -> a Detector, for every command and for `yolo.load`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import load_safetensors, read_metadata, read_tensors
from yolo.darknet.sound import check_sound
from yolo.darknet.weights import load_weights
from yolo.download.weights import WEIGHTS, published
from yolo.models.detector import Detector
from yolo.models.placing import placing
from yolo.models.yolo import YoloDetector
from yolo.names import class_names, did_you_mean
from yolo.options.detection import ModelFiles
from yolo.options.registry import find_model, resolve
from yolo.options.training import Training
from yolo.options.yaml_file import read_values
from yolo.size import Size

log = logging.getLogger("yolo")


def load(
    cfg: str | Path,
    weights: str | Path | None = None,
    names: Sequence[str] | str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    size: Size | tuple[int, int] | None = None,
    letterbox: bool | None = None,
    exact: bool = False,
    precision: str = "auto",
) -> Detector:
    """Return a detector from a darknet `.cfg` and `.weights`, or from a `.safetensors` file of this program.

    Args:
        cfg: a `.cfg` file, or the name of a shipped one (`yolov3.cfg`); a `.safetensors` file of this program, which
            holds cfg and names itself; or the name of a published model (`yolov3`), downloaded if necessary.
        weights: a `.weights` file, a `.safetensors` file of the same network, or the name of a published model; None
            gives initial weights.
        names: class names, as a list or as a `.names` file; None takes those in the safetensors file, COCO's for
            80 classes, or `class 0`, `class 1`, ...
        device: device of the network; None takes a GPU if there is one, else the CPU.
        size: network input (height, width) in pixels; None takes that of the safetensors file, else the cfg's.
        letterbox: keep the proportions of images (grey bars) or stretch them; None takes what the model was trained
            with: what the safetensors file has, letterbox for the published weights of the first darknet, else the
            cfg's `letter_box` (logged).
        exact: use darknet's own resize in float32, for darknet's numbers. Only for darknet's networks.
        precision: "fp32", "bf16", or "auto", which is fp32. Only for darknet's networks.

    Raises:
        ValueError: cfg and weights do not fit (with file and place), the weights are those of the first layers only
            (a backbone), are not finite or have negative variances, or this machine does not have the device.
        FileNotFoundError: A file does not exist.
    """
    # A published model, or its weights alone, may be given by its name.
    if model := published(cfg if weights is None else weights):
        cfg, weights = model.cfg if weights is None else cfg, model.weights
        names = model.names if names is None else names
    # A safetensors file alone holds the whole model.
    if Path(cfg).suffix == ".safetensors":
        if weights is not None:
            raise ValueError(f"{cfg} holds its own weights; give it alone, or give a .cfg with {weights}")
        cfg, weights = "", cfg
    # The detector, on the CPU: from its own file, or from a cfg with darknet's weights.
    if weights is not None and Path(weights).suffix == ".safetensors":
        detector = _from_safetensors(Path(weights), cfg, names)
    else:
        file_bytes = Path(weights).stat().st_size if weights is not None and Path(weights).is_file() else 0
        network = Darknet(read_cfg(cfg), file_bytes=file_bytes, init="darknet" if weights is None else None)
        if weights is not None:
            report = load_weights(network, weights)
            if not report.complete:
                last = max(row.last for row in report.rows if row.fate == "loaded")
                problem = f"holds layers 0 to {last} of {len(network.layers)} only, so it detects nothing"
                raise ValueError(f"{weights}: {problem}; it is a backbone to train from: train --weights {weights}")
        detector = YoloDetector(network, class_names(names, network.heads[-1].classes if network.heads else 0))
        if letterbox is None:
            place = placing(network.cfg, None if weights is None else Path(weights))
            letterbox = place.letterbox
            if weights is not None:  # a trained model: the wrong placement costs objects
                log.warning("%s", place)
    # What the caller chooses replaces what the files say.
    made: dict[str, Any] = {"network": detector.network.to(find_device(device))}
    made |= {"size": Size(*size)} if size is not None else {}
    made |= {"letterbox": letterbox} if letterbox is not None else {}
    if exact or precision != "auto":
        if not isinstance(detector, YoloDetector):
            raise ValueError(f"{weights}: a {detector.model}; exact and precision are for darknet's networks")
        made |= {"exact": exact, "precision": precision}
    detector = detector.replace(**made)
    return detector.own() if isinstance(detector, YoloDetector) else detector  # nobody else has the network


def load_trained(files: ModelFiles, *, exact: bool = False) -> Detector:
    """Return the detector that a command's options describe.

    `files.weights` is the folder of a run, a `.safetensors` file, the name of a published model, or a `.weights` file
    with `files.cfg`. Raises as `load`, and ValueError for a `.weights` file without cfg.
    """
    weights, cfg = files.weights, files.cfg
    assert weights is not None, "the options of every command make sure of it"
    # A folder is a run. A safetensors file is its own cfg.
    if weights.is_dir():
        weights = weights / "best.safetensors"
    if cfg is None:
        if not (weights.suffix or weights.exists() or str(weights) in WEIGHTS):
            hint = did_you_mean(str(weights), WEIGHTS) or f"the published weights are {', '.join(WEIGHTS)}"
            raise FileNotFoundError(f"{weights}: no such file; {hint}")
        if weights.suffix != ".safetensors" and (weights.exists() or str(weights) not in WEIGHTS):
            raise ValueError(f"{weights} does not say what network it belongs to; give --cfg FILE")
        cfg = weights
    given = None if cfg == weights else weights
    size = Size.parse(files.size) if files.size else None
    letterbox = files.placement == "letterbox" if files.placement else None
    return load(
        cfg, given, files.names, files.device, size=size, letterbox=letterbox, exact=exact, precision=files.precision
    )


def load_yolo(files: ModelFiles, command: str) -> YoloDetector:
    """Return the detector as `load_trained` does. Raises ValueError, which names `command`, for a model but YOLO."""
    detector = load_trained(files)
    if not isinstance(detector, YoloDetector):
        raise ValueError(f"{files.weights} holds a {detector.model}; {command} is for YOLO, whose anchors it shows")
    return detector


def _from_safetensors(path: Path, cfg: str | Path, names: Sequence[str] | str | Path | None) -> Detector:
    """Return the detector in a file, of the registered model that its metadata name.

    Raises ValueError for a model that is not registered, and for another `cfg` than the one in the file.
    """
    metadata = read_metadata(path)
    name = metadata.get("model", YoloDetector.model)  # files of version 0.1 have no name
    restore = find_model(name, f"{path}: a file of model").restore
    detector: Detector = resolve(restore or _restore)(path, metadata)
    if cfg and not (isinstance(detector, YoloDetector) and read_cfg(cfg) == detector.network.cfg):
        raise ValueError(f"{path} was saved with another cfg than {cfg}; give the safetensors file alone")
    classes = detector.network.heads[-1].classes if isinstance(detector, YoloDetector) else len(detector.names)
    return detector.replace(names=class_names(detector.names if names is None else names, classes))


def restore_yolo(path: Path, metadata: Mapping[str, str]) -> YoloDetector:
    """Return the YOLO in a file, from the cfg in its metadata. Raises ValueError for tensors that do not fit it."""
    saved = load_safetensors(path)
    return YoloDetector(saved.network, saved.names, size=saved.size, letterbox=saved.letterbox)


def _restore(path: Path, metadata: Mapping[str, str]) -> Detector:
    """Return the detector that the model's builder makes from the options in the metadata, with the file's tensors.

    Raises ValueError for metadata or tensors that are missing or do not fit.
    """
    model = find_model(metadata["model"])
    try:
        # The detector as it was built, with initial weights.
        given = yaml.safe_load(metadata["options"])
        options: Training = read_values(given, model.options(), f"{path}, options in its metadata")
        names = list(map(str, json.loads(metadata["names"])))
        detector: Detector = resolve(model.builder)(replace(options, weights=None), names)
        # What has changed since: weights, input, placement.
        detector.network.load_state_dict(read_tensors(path)[0])
        height, width = json.loads(metadata["size"])
        check_sound(detector.network, path)
        made = {"size": Size(int(height), int(width)), "letterbox": bool(json.loads(metadata["letterbox"]))}
        return detector.replace(options=options, **made)
    except (KeyError, TypeError, RuntimeError) as problem:
        raise ValueError(f"{path}: not a complete file of model {metadata['model']!r}: {problem}") from None


def find_device(name: str | torch.device | None) -> torch.device:
    """Return the device of that name; for None a GPU if there is one, else the CPU.

    Raises ValueError for a device that this machine does not have.
    """
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device).cpu()
    except (RuntimeError, AssertionError) as problem:
        raise ValueError(f"device {str(device)!r}: {str(problem).partition(chr(10))[0]}") from problem
    return torch.device(device)
