"""Files -> a Detector, for every command and for `yolo.load`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
import yaml
from torch import Tensor, nn

from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import check_types, json_in, load_safetensors, read_metadata, read_tensors, size_in
from yolo.darknet.sound import check_sound
from yolo.darknet.weights import load_weights
from yolo.models.detector import Detector
from yolo.models.engines import Engine
from yolo.models.exported import load_exported
from yolo.models.placing import placing
from yolo.models.weights_of import OWN, Use, Weights, usable, weights_of
from yolo.models.yolo import YoloDetector
from yolo.names import class_names
from yolo.options.detection import ModelFiles
from yolo.options.registry import find_model, resolve
from yolo.options.training import Training
from yolo.options.yaml_file import read_values
from yolo.pixels import check_pixels
from yolo.size import Size

log = logging.getLogger("yolo")

PRECISIONS = ("auto", "fp32", "bf16")
"""Arithmetic of a network: auto is fp32."""


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
    engine: Engine | None = None,
    compile: bool = False,
) -> Detector:
    """Return a detector from weights of any kind, alone or with the `.cfg` of their network.

    Args:
        cfg: a `.cfg` file, or the name of a shipped one (`yolov3.cfg`). Or weights alone: a `.weights` file with its
            `.cfg` beside it, a `.safetensors` or `.onnx` file of this program, the folder of a run, or the name of a
            published model (`yolov3`), downloaded if necessary (see `yolo.models.weights_of`).
        weights: such weights, for the network of the `cfg`. None: initial weights, if `cfg` is a `.cfg`.
        names: class names, as a list or as a `.names` file; None takes those in the file or beside it, COCO's for
            80 classes, or `class 0`, `class 1`, ...
        device: device of the network; None takes a GPU if there is one, else the CPU.
        size: network input (height, width) in pixels; None takes that of the safetensors file, else the cfg's.
        letterbox: keep the proportions of images (grey bars) or stretch them; None takes what the model was trained
            with: what the safetensors file has, letterbox for the published weights of the first darknet, else the
            cfg's `letter_box` (logged).
        exact: use darknet's own resize in float32, for darknet's numbers. Only for darknet's networks.
        precision: "fp32", "bf16", or "auto", which is fp32. Only for darknet's networks, and .onnx files with OpenVINO.
        engine: what computes an .onnx file, "onnxruntime" (by default) or "openvino". Only for .onnx files.
        compile: compile the network for a GPU; without effect on a CPU, which is logged. Only for darknet's networks.

    Raises:
        ValueError: cfg and weights do not fit (with file and place), the weights are those of the first layers only
            (a backbone), are not finite or have negative variances, or this machine does not have the device; it is
            not known which cfg belongs to the weights.
        FileNotFoundError: A file does not exist.
        ImportError: `onnx` or the engine, for an .onnx file, is not installed.
    """
    _check_words(precision, engine)
    # Weights alone say which network they belong to; a cfg alone has initial weights.
    if weights is None and Path(cfg).suffix.lower() != ".cfg":
        found = weights_of(cfg, None, names)
    elif weights is None:
        found = Weights(None, read_cfg(cfg), names)
    elif Path(cfg).suffix.lower() in OWN:
        raise ValueError(f"{cfg} holds its own weights; give it alone, or give a .cfg with {weights}")
    else:
        found = weights_of(weights, cfg, names)
    ending = found.file.suffix.lower() if found.file else ""
    if found.file and ending == ".onnx":
        _check_exported(found, compile)
        own: dict[str, Any] = {"engine": engine, "precision": precision, "device": device, "size": size}
        return load_exported(found.file, found.names, letterbox=letterbox, exact=exact, **own)
    if engine is not None:
        raise ValueError(
            f"{found.file or cfg}: --engine is for .onnx files, and PyTorch computes these weights; leave it out, or "
            f"first: convert SOURCE TARGET.onnx"
        )
    detector = (_from_safetensors if ending == ".safetensors" else _from_darknet)(found, letterbox)
    # What the caller chooses replaces what the files say.
    made = _sized(detector, size, found.file or cfg)
    made |= {"letterbox": letterbox} if letterbox is not None else {}
    if exact or compile or precision != "auto":
        if not isinstance(detector, YoloDetector):
            only = "exact, precision and compile are for darknet's networks"
            raise ValueError(f"{found.file}: a {detector.model}; {only}")
        made |= {"exact": exact, "precision": precision, "compile": compile}
    detector = detector.replace(**made, network=detector.network.to(find_device(device)))
    return detector.own() if isinstance(detector, YoloDetector) else detector  # nobody else has the network


def _sized(detector: Detector, size: Size | tuple[int, int] | None, source: str | Path) -> dict[str, Any]:
    """Return what the caller's `size` (height, width) changes. Raises ValueError for more pixels than --max-pixels."""
    chosen = Size(*size) if size is not None else detector.size
    check_pixels(chosen.width, chosen.height, f"{source}: the network input")
    return {"size": chosen} if size is not None else {}


def _check_exported(found: Weights, compile: bool) -> None:
    """Raise ValueError for what does not go with an .onnx file."""
    if found.cfg is not None:
        raise ValueError(f"{found.file} holds its own cfg; give the .onnx file alone")
    if compile:
        raise ValueError(f"{found.file}: --compile is for weights that PyTorch computes; leave it out")


def _check_words(precision: str, engine: str | None) -> None:
    """Raise ValueError for a precision or an engine that there is not."""
    for name, value, kinds in (("precision", precision, PRECISIONS), ("engine", engine, (None, *get_args(Engine)))):
        if value not in kinds:
            raise ValueError(f"{name}={value!r}: expected one of {', '.join(filter(None, kinds))}")


def load_trained(files: ModelFiles, *, exact: bool = False) -> Detector:
    """Return the detector that a command's options describe. Raises as `load`."""
    assert files.weights is not None, "the options of every command make sure of it"
    return load(
        files.cfg or files.weights,
        files.weights if files.cfg else None,
        files.names,
        files.device,
        size=Size.parse(files.size) if files.size else None,
        letterbox=files.placement == "letterbox" if files.placement else None,
        exact=exact,
        precision=files.precision,
        engine=files.engine,
        compile=files.compile,
    )


def load_yolo(files: ModelFiles, command: Use) -> YoloDetector:
    """Return the detector as `load_trained` does. Raises ValueError, which names `command`, for a model but YOLO."""
    assert files.weights is not None, "the options of every command make sure of it"
    usable(files.weights, command)
    detector = load_trained(files)
    if not isinstance(detector, YoloDetector):
        raise ValueError(f"{files.weights} holds a {detector.model}; {command} is for YOLO, whose anchors it shows")
    return detector


def _from_darknet(found: Weights, letterbox: bool | None) -> Detector:
    """Return the detector of a cfg with darknet's weights, or with initial ones.

    A trained model sees its images as `placing` says, which is logged, unless `letterbox` is given. Raises as `load`.
    """
    file, cfg, names = found
    assert cfg is not None, "`weights_of` makes sure of it"
    file_bytes = file.stat().st_size if file else 0
    network = Darknet(cfg, file_bytes=file_bytes, init=None if file else "darknet")
    if file and not (report := load_weights(network, file)).complete:
        last = max(row.last for row in report.rows if row.fate == "loaded")
        problem = f"holds layers 0 to {last} of {len(network.layers)} only, so it detects nothing"
        raise ValueError(f"{file}: {problem}; it is a backbone to train from: train --weights {file}")
    classes = class_names(names, network.heads[-1].classes if network.heads else 0)
    place = placing(cfg, file)
    if letterbox is None and file:  # the wrong placement costs objects
        log.warning("%s", place)
    return YoloDetector(network, classes, letterbox=place.letterbox)


def _from_safetensors(found: Weights, letterbox: bool | None) -> Detector:
    """Return the detector in a file, of the registered model that its metadata name.

    Raises ValueError for a model that is not registered, and for another cfg than the one in the file.
    """
    path, cfg, names = found
    assert path is not None, "only a file can be read"
    metadata = read_metadata(path)
    name = metadata.get("model", YoloDetector.model)  # files of version 0.1 have no name
    restore = find_model(name, f"{path}: a file of model").restore
    detector: Detector = resolve(restore or rebuilt)(path, metadata)
    if cfg and not (isinstance(detector, YoloDetector) and cfg == detector.network.cfg):
        raise ValueError(f"{path} was saved with another cfg than {cfg.file}; give the safetensors file alone")
    classes = detector.network.heads[-1].classes if isinstance(detector, YoloDetector) else len(detector.names)
    if names is None and len(detector.names) != classes:
        raise ValueError(
            f"{path}: {len(detector.names)} class names for a network of {classes} classes; give others with --names"
        )
    return detector.replace(names=class_names(detector.names if names is None else names, classes))


def restore_yolo(path: Path, metadata: Mapping[str, str]) -> YoloDetector:
    """Return the YOLO in a file, from the cfg in its metadata. Raises ValueError for tensors that do not fit it."""
    saved = load_safetensors(path)
    return YoloDetector(saved.network, saved.names, size=saved.size, letterbox=saved.letterbox)


def rebuilt(
    path: Path, metadata: Mapping[str, str], build: Callable[[Any, list[str]], Detector] | None = None
) -> Detector:
    """Return the detector that `build`, or the model's builder, makes of the options in the metadata and the tensors.

    Raises ValueError for metadata or tensors that are missing or do not fit.
    """
    model = find_model(metadata["model"])
    try:
        # The detector as it was built, with initial weights.
        given = yaml.safe_load(metadata["options"])
        options: Training = read_values(given, model.options(), f"{path}, options in its metadata")
        values = json_in(path, metadata, {"names": list, "letterbox": bool})
        names, size = list(map(str, values["names"])), size_in(path, metadata)
        detector: Detector = (build or resolve(model.builder))(options.without_weights(), names)
        # What has changed since: weights, input, placement.
        detector.network.load_state_dict(read_tensors(path)[0])
        check_sound(detector.network, path)
        return detector.replace(options=options, size=size, letterbox=values["letterbox"])
    except (KeyError, TypeError, RuntimeError, yaml.YAMLError) as problem:
        raise ValueError(f"{path}: not a complete file of model {metadata['model']!r}: {problem}") from None


def fill(network: nn.Module, tensors: Mapping[str, Tensor], file: Path, its: str) -> None:
    """Load the tensors of a file. Raises ValueError for those of another network, or of other types.

    `its` is what should be given instead.
    """
    check_types(tensors, network, file)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as problem:
        raise ValueError(
            f"{file}: the weights of another network; give {its}: {str(problem).splitlines()[1].strip()[:120]}"
        ) from None


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
