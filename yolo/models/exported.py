"""An exported network as a Detector: it detects and evaluates, and cannot be trained.

Letters: `B` images, `D` detections, `C` classes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from yolo.boxes import Detections
from yolo.darknet.cfg import parse_cfg
from yolo.darknet.layers import build_layer
from yolo.darknet.network import Darknet
from yolo.darknet.plan import make_plan
from yolo.darknet.safetensors_file import FORMAT
from yolo.darknet.sections import HeadSection
from yolo.images.placement import Placement
from yolo.models.detector import Detector
from yolo.models.engines import NO_LIMIT, Engine, Session, metadata_of, read_model
from yolo.models.yolo import YoloDetector
from yolo.names import class_names
from yolo.options.detection import Filter
from yolo.size import Size

AGAIN = "export it again: convert SOURCE TARGET.onnx"


class ExportedDetector(Detector):
    """A whole detector in a file: images in, detections out, thresholds and NMS included.

    Args:
        session: a file whose metadata say "detections".
        names: `[C]`, by default those in the file.
    """

    model, terms, fused = "onnx", (), True

    def __init__(self, session: Session, names: Sequence[str] | str | Path | None = None) -> None:
        self.session, own = session, values_in(session.path, session.metadata)
        self.names = class_names(own["names"] if names is None else names, len(own["names"]))
        self.size, self.letterbox = own["size"], own["letterbox"]
        self.channels, self.agnostic = own["channels"], own["agnostic"]
        self.nms_kind, self.network = session.metadata.get("nms_kind", "iou"), nn.Module()
        self._placed = self.size, self.letterbox

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def predict(self, images: Tensor) -> Tensor:
        """Return the images: `select` runs the whole graph, since it has the thresholds."""
        return images

    def select(self, predictions: Tensor, placements: Sequence[Placement], options: Filter) -> list[Detections]:
        """Return the detections in images `[B, channels, h, w]` as `Detector.select`.

        Raises ValueError for images, placements or thresholds that the file was not made for.
        """
        if len(predictions) != len(placements):
            got = f"{len(predictions)} images and {len(placements)} placements"
            raise ValueError(f"got {got}; expected one for each image")
        self._check(placements, options)
        # One by one: in a batch, NMS takes all images through as many rounds as the fullest one needs.
        return [self._detect(predictions[b : b + 1], placements[b], options) for b in range(len(placements))]

    def _detect(self, image: Tensor, placement: Placement, options: Filter) -> Detections:
        """Return the detections in one image `[1, channels, h, w]`."""
        feeds = {
            "images": image_input(self.session, image),
            "sizes": np.array([placement.image], np.int64),
            "confidence": np.array(options.confidence, np.float32),
            "nms": np.array(options.nms, np.float32),
            "max_detections": np.array(options.max_detections or NO_LIMIT, np.int64),
        }
        outputs = self.session.run(feeds)
        count = int(outputs["count"][0])
        return Detections(*(torch.from_numpy(outputs[name][0, :count]) for name in ("boxes", "scores", "labels")))

    def _check(self, placements: Sequence[Placement], options: Filter) -> None:
        """Raise ValueError for placements and options that the graph does not have."""
        path, (size, letterbox) = self.session.path, self._placed
        for placement in placements:
            if placement != Placement.of(placement.image, size, letterbox=letterbox):
                raise ValueError(f"{path}: places images as {_placing(size, letterbox)} does; for others, {AGAIN}")
        if options.agnostic != self.agnostic:
            kind, other = ("all classes together", "") if self.agnostic else ("each class by itself", " --agnostic")
            raise ValueError(f"{path}: its NMS compares {kind}; for the other kind, {AGAIN}{other}")

    def conditions(self, options: Filter) -> dict[str, str]:
        """Return those of every detector, and what computes the file."""
        words = super().conditions(options)
        words["NMS"] += f" ({self.nms_kind})" * (self.nms_kind != "iou")
        return words | {"computed by": _computed_by(self.session)}

    def losses(self, images: Tensor, targets: Sequence[Any], through: Any = None) -> NoReturn:
        """Raise ValueError: it has no weights to train."""
        refuse("training")

    def save(self, path: str | os.PathLike[str]) -> NoReturn:
        """Raise ValueError: it has no weights to save."""
        refuse("saving")


class RawNetwork(Darknet):
    """The network of a file with raw predictions, without weights: images -> raw predictions.

    Its `layers` are the heads. Raises CfgError for a cfg that is broken.
    """

    def __init__(self, session: Session) -> None:
        nn.Module.__init__(self)  # nothing of Darknet's is allocated
        self.session, own = session, values_in(session.path, session.metadata)
        self.cfg = parse_cfg(own["cfg"], f"{session.path}, cfg in its metadata")
        self.plan = make_plan(self.cfg, own["size"])
        heads = (layer for layer in self.plan.layers if isinstance(layer.section, HeadSection))
        self.layers = nn.ModuleList(map(build_layer, heads))

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the raw predictions as `Darknet.forward`. Raises ValueError for images of another shape."""
        outputs = self.session.run({"images": image_input(self.session, images)})
        return [torch.from_numpy(outputs[f"head_{s}"]) for s in range(len(self.heads))]


class RawDetector(YoloDetector):
    """A YOLO whose raw predictions a file gives, with the input that the file was exported for.

    Args:
        session: a file whose metadata say "raw", or nothing as in version 0.2.
        names: `[C]`, by default those in the file.
    """

    model = "onnx"
    parallel = False  # the engine uses all cores for one image

    def __init__(self, session: Session, names: Sequence[str] | str | Path | None = None) -> None:
        network, own = RawNetwork(session), values_in(session.path, session.metadata)
        classes = class_names(own["names"] if names is None else names, network.heads[-1].classes)
        super().__init__(network, classes, size=network.size, letterbox=own["letterbox"])
        self.session = session

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def predict(self, images: Tensor) -> list[Tensor]:
        """Return the raw predictions as `YoloDetector.predict`. Raises ValueError for images of another shape."""
        predictions: list[Tensor] = self._inference.network(images)
        return predictions

    def conditions(self, options: Filter) -> dict[str, str]:
        """Return those of every detector, and what computes the file."""
        return super().conditions(options) | {"computed by": _computed_by(self.session)}

    def losses(self, images: Tensor, targets: Sequence[Any], through: Any = None) -> NoReturn:
        """Raise ValueError: it has no weights to train."""
        refuse("training")

    def save(self, path: str | os.PathLike[str]) -> NoReturn:
        """Raise ValueError: it has no weights to save."""
        refuse("saving")


def load_exported(
    path: Path,
    names: Sequence[str] | str | Path | None = None,
    *,
    engine: Engine | None = None,
    precision: str = "auto",
    device: str | torch.device | None = None,
    size: tuple[int, int] | None = None,
    letterbox: bool | None = None,
    exact: bool = False,
) -> Detector:
    """Return the detector in an .onnx file; the arguments are those of `yolo.models.load.load`.

    Raises ValueError for what the file or the engine cannot do, with the way to do it, and as `Session`.
    """
    if device is not None and torch.device(device).type != "cpu":
        raise ValueError(f"{path}: an .onnx file runs on the CPU here; got the device {str(device)!r}")
    arithmetic: Literal["fp32", "bf16"] = "bf16" if precision == "bf16" else "fp32"
    session = Session(path, engine or "onnxruntime", arithmetic)
    metadata = exported_metadata(path, session.metadata)
    output = metadata.get("output", "raw")
    if output not in ("detections", "raw"):
        raise ValueError(
            f"{path}: its output is {output!r}, for other programs; for this one, {AGAIN} --onnx-output detections"
        )
    detector: Detector = (ExportedDetector if output == "detections" else RawDetector)(session, names)
    if size is not None and Size(*size) != detector.size:
        other = Size(*size)
        raise ValueError(f"{path}: takes images of {detector.size} only; for {other}, {AGAIN} --size {other}")
    if isinstance(detector, RawDetector):
        changes = {} if letterbox is None else {"letterbox": letterbox}
        return detector.replace(exact=exact, **changes).own()
    if exact:
        raise ValueError(f"{path}: exact needs a file of raw predictions; {AGAIN} --onnx-output raw")
    if letterbox not in (None, detector.letterbox):
        place = _placing(detector.size, detector.letterbox)
        raise ValueError(f"{path}: has {place} in its graph, as its model was trained; leave out --placement")
    return detector


def exported_metadata(path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the metadata of a file of this program, read from the file if they are not given.

    Raises ValueError for another program's file, and as `read_model`.
    """
    metadata = metadata_of(read_model(path)) if metadata is None else metadata
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path}: an ONNX file without this program's metadata (format: {FORMAT}), so its network and classes "
            f"are not known; give the .safetensors or .weights that it was made from, or {AGAIN}"
        )
    return metadata


def refuse(use: str) -> NoReturn:
    """Raise ValueError for a use that needs weights."""
    raise ValueError(
        f"an .onnx file only detects; {use} needs the weights: load the .safetensors that it was made from"
    )


def values_in(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the values in the metadata that are json. Raises ValueError for those that are missing or damaged."""
    kinds: dict[str, type] = {"names": list, "size": list, "letterbox": bool}
    kinds |= {"channels": int, "agnostic": bool} if metadata.get("output") == "detections" else {"cfg": str}
    try:
        found = {key: metadata[key] if kind is str else json.loads(metadata[key]) for key, kind in kinds.items()}
        if wrong := [key for key, kind in kinds.items() if type(found[key]) is not kind]:
            raise ValueError(f"{wrong[0]}: {repr(found[wrong[0]])[:60]}")
        found["size"] = Size.of_json(found["size"])
    except (KeyError, ValueError, RecursionError) as problem:
        raise ValueError(f"{path}: damaged metadata ({problem}); {AGAIN}") from None
    return found


def image_input(session: Session, images: Tensor) -> np.ndarray:
    """Return images `[B, channels, h, w]`, uint8 or float in [0, 1], as the file takes them.

    Raises ValueError for images of another shape, and for float images where the file takes uint8.
    """
    shape, dtype = session.inputs["images"]
    if dtype == np.uint8:
        if images.dtype != torch.uint8:
            raise ValueError(f"{session.path}: takes uint8 images, got {images.dtype}")
        images = images.permute(0, 2, 3, 1)
    else:
        images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    fixed = [n if isinstance(n, int) else len(images) for n in shape]  # a name is any number of images
    if list(images.shape) != fixed:
        raise ValueError(
            f"{session.path}: takes images of the shape {shape} only, got {list(images.shape)}; for other ones, "
            f"{AGAIN} --size WIDTHxHEIGHT"
        )
    return np.ascontiguousarray(images.cpu().numpy())


def _placing(size: Size, letterbox: bool) -> str:
    return f"{'letterbox' if letterbox else 'stretch'} to {size}"


def _computed_by(session: Session) -> str:
    """Return the engine with its version, and the arithmetic of the file and of the engine."""
    weights = session.metadata.get("precision", "fp32")
    return f"{session.engine}, {session.precision if weights == 'fp32' else weights}"
