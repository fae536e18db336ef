"""YOLO as a Detector: the Darknet network, its loss, its postprocessing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from threading import Lock
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from yolo.boxes import Detections
from yolo.darknet.current_copy import CurrentCopy
from yolo.darknet.heads import Head
from yolo.darknet.inference import inference_copy, resolve_precision
from yolo.darknet.network import Darknet
from yolo.darknet.weights import Header
from yolo.detection.assign import assign
from yolo.detection.dense import Dense, Rated
from yolo.detection.labels import pack_labels
from yolo.detection.loss import compute_loss
from yolo.detection.perfect import blank, perfect
from yolo.detection.postprocess import postprocess
from yolo.images.inputs import ImageLike
from yolo.images.placement import Placement
from yolo.images.resize import darknet_place
from yolo.models.detector import Detector, Losses, Perfect
from yolo.options.detection import Filter
from yolo.options.loss import LossOptions
from yolo.process.devices import to_device
from yolo.size import Size

if TYPE_CHECKING:
    from yolo.data.sample import Target

_FLAGS = Lock()


class YoloDetector(Detector):
    """A Darknet network that detects.

    Args:
        network: unfolded, float32; it stays the training module. An inference copy is made at the first detection,
            and again after anything has changed (`yolo.darknet.current_copy`).
        names: one class name for each class.
        size: height and width of the network input in pixels, by default those of the cfg.
        letterbox: keep the proportions of images (grey bars); False stretches them to the input.
        exact: use darknet's own resize in float32 (`prepare` then returns float32), for darknet's numbers.
        precision: of the inference copy, "fp32", "bf16", or "auto" (see `yolo.darknet.inference.resolve_precision`).
        compile: compile the inference copy where that saves time (`yolo.darknet.compiled`).
        loss: the options of the loss that training minimizes.
    """

    model = "yolo"
    terms = ("box", "obj", "cls")
    parallel = True

    def __init__(
        self,
        network: Darknet,
        names: list[str],
        *,
        size: Size | None = None,
        letterbox: bool = True,
        exact: bool = False,
        precision: str = "auto",
        compile: bool = False,
        loss: LossOptions | None = None,
    ) -> None:
        if not network.heads:
            raise network.cfg.error(-1, "no [yolo] or [region] section follows, so there is nothing to detect with")
        self._inference, self.names = CurrentCopy(network), names
        self.channels, self.size = network.cfg.net.channels, size or network.size
        self.letterbox, self.exact, self.precision, self.compile = letterbox, exact, precision, compile
        self.loss = loss or LossOptions()

    @property  # type: ignore[override]  # of a narrower type, as it is in an ordinary subclass
    def network(self) -> Darknet:
        """The training module. Whoever has it may write it, so from the first call on each detection checks for that.

        The check reads all weights: it takes a few per cent of the time of a detection on a CPU.
        """
        return self._inference.hand_out()

    @network.setter
    def network(self, network: Darknet) -> None:
        self._inference = CurrentCopy(network)

    def own(self) -> Self:
        """Return the detector as the only owner of its network, for a caller that gives the network to nobody else."""
        other = copy(self)
        other._inference = CurrentCopy(self._inference.network, shared=False)
        return other

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self._inference.network.parameters()).device

    def prepare(self, image: ImageLike) -> tuple[Tensor, Placement]:
        """Return an image as network input `[channels, h, w]`, uint8 (`exact`: float32 in [0, 1]), and its place.

        Raises as `Detector.prepare`.
        """
        if not self.exact:
            return super().prepare(image)
        pixels = self.pixels_of(image)
        size = Size.of(pixels)
        stretched = Placement.stretch(size, self.size)
        placement = Placement.letterbox(size, self.size, darknet=True) if self.letterbox else stretched
        return torch.from_numpy(darknet_place(pixels, placement)), placement

    def losses(self, images: Tensor, targets: Sequence[Target], through: nn.Module | None = None) -> Losses:
        """Return `box`, `obj` and `cls` of `compute_loss`, multiplied by their gains.

        The counts are `labels`, `positives`, and `unmatched`, the labels that no anchor is responsible for. The network
        runs in the arithmetic of autocast, the loss in float32.
        """
        labels = to_device(pack_labels(targets, (images.shape[2], images.shape[3])), images.device)
        raw = (self.network if through is None else through)(images / 255)
        with torch.autocast(images.device.type, enabled=False):
            found = assign(raw, labels, self.network.heads, self.loss.assign)
            terms = compute_loss(raw, labels, self.network, self.loss, assignment=found)
        total = torch.full((), len(labels), device=images.device)
        counts = {"labels": total, "positives": found.matched.sum(), "unmatched": found.unmatched(len(labels))}
        gains = {"box": self.loss.box_gain, "obj": self.loss.obj_gain, "cls": self.loss.cls_gain}
        return Losses({name: gain * getattr(terms, name) for name, gain in gains.items()}, counts)

    def start_loss(self) -> dict[str, tuple[float, float]]:
        """Return three times what the terms are with class logits of 0, objectness of the biases and boxes far off.

        A bias above 0 promises no more than one of 0: nearly all predictions are no objects.

        The objectness takes up to 100 objects in an image into account.
        """
        o, network = self.loss, self._inference.network
        slots = [len(h.anchors) * (self.size.height // h.stride) * (self.size.width // h.stride) for h in network.heads]
        positives = sum(slots) / 2 if o.pos_weight == "auto" else 100 * o.pos_weight
        obj = 0.0
        for index, count in zip(network.cfg.heads, slots, strict=True):
            bias = getattr(getattr(network.layers[index - 1], "conv", None), "bias", None)
            logit = torch.zeros(()) if bias is None else bias.detach().view(-1, 5 + len(self.names))[:, 4].mean()
            logit = logit.clamp(max=0)
            found = float(count * softplus(logit) + positives * (softplus(logit) + softplus(-logit)))
            obj += found / count if o.obj_reduction == "mean" else found
        most = {"obj": o.obj_gain * obj, "cls": o.cls_gain * len(slots) * math.log(2)}
        most |= {} if o.bbox_loss == "mse" else {"box": o.box_gain * len(slots)}
        return {name: (0.0, 3 * value) for name, value in most.items()}

    def predict(self, images: Tensor) -> list[Tensor]:
        """Return the raw predictions `[B, A, H, W, 5 + C]` of every head, computed by the inference copy.

        `images` are as `prepare` returns them, `[B, channels, h, w]`.
        """
        device, dtype = self.device, torch.float32 if self.exact else resolve_precision(self.precision)
        images = to_device(images, device).contiguous(memory_format=torch.channels_last)
        exactly = _without_tf32() if self.exact and device.type == "cuda" else nullcontext()
        with torch.autocast(device.type, enabled=False), exactly:  # the caller's arithmetic is not the copy's
            network = self._inference.get(dtype, self.compile)
            with torch.inference_mode():
                return network(images)

    def select(
        self, predictions: Sequence[Tensor], placements: Sequence[Placement], options: Filter
    ) -> list[Detections]:
        """Turn raw predictions into detections by decoding, thresholds and NMS.

        Boxes are in original pixels, on the device of the predictions. Raises ValueError for another number of
        placements than images.
        """
        if any(len(raw) != len(placements) for raw in predictions):
            got = f"{len(predictions[0])} images and {len(placements)} placements"
            raise ValueError(f"got predictions for {got}; expected one for each image")
        if not placements:
            return []
        with torch.inference_mode():
            return postprocess(predictions, self._inference.network.heads, placements[0].input, placements, options)

    def perfect(self, images: Tensor, targets: Sequence[Target]) -> Perfect | None:
        """Return the perfect predictions by the run's assignment; None for a network whose training is refused.

        Only the assignment `prediction` needs the network, which then runs in the mode that it is in, as in `losses`.
        """
        heads, size = self.network.heads, Size(*images.shape[2:])
        if any(head.region or head.new_coords for head in heads):
            return None
        raw = blank(heads, size, len(images))
        if self.loss.assign == "prediction":
            with torch.no_grad():
                raw = self.network(images / 255)
        return Perfect(*perfect(raw, targets, heads, size, self.loss.assign))

    def conditions(self, options: Filter) -> dict[str, str]:
        """Return those of every detector; the measure of NMS is named if it is not IoU."""
        words, kind = super().conditions(options), self._inference.network.heads[-1].nms_kind
        words["NMS"] += f" ({kind})" * (kind != "iou")
        return words

    def dense(self) -> Dense:
        """Return the folded network with its heads decoded, on the CPU, and the measure of the last head's NMS."""
        last = self._inference.network.heads[-1]
        return Dense(Rated(*self.folded()), last.nms_kind, last.nms_beta)

    def folded(self) -> tuple[Darknet, Sequence[Head], Size]:
        """Return a folded float32 copy of the network on the CPU, made of ordinary operators, its heads, the input."""
        network = inference_copy(self._inference.network, prepack=False).cpu()
        for module in network.modules():
            if "inplace" in vars(module):
                vars(module)["inplace"] = False  # the same numbers; the exporter takes longer for operators in place
        return network, list(network.heads), self.size

    def metadata(self) -> Mapping[str, str]:
        """Return the cfg and darknet's header too, so that a saved network needs no other file."""
        own = {"cfg": self._inference.network.cfg.to_text(), "darknet_header": json.dumps(Header())}
        return {**own, **super().metadata()}


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Compute float32 convolutions in float32; by default a GPU rounds their inputs to 10 bits of mantissa.

    The flag belongs to the process: two threads at once would restore each other's.
    """
    with _FLAGS, torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
