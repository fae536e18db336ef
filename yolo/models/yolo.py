"""YOLO as a Detector: the Darknet network with its images in front and its postprocessing behind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from yolo.boxes import Detections
from yolo.darknet.inference import inference_copy, resolve_precision
from yolo.darknet.network import Darknet
from yolo.detection.assign import assign
from yolo.detection.labels import pack_labels
from yolo.detection.loss import compute_loss
from yolo.detection.postprocess import postprocess
from yolo.images.files import read_image
from yolo.images.placement import Placement
from yolo.images.resize import darknet_place, place
from yolo.models.detector import Detector, ImageLike
from yolo.options.detection import Filter
from yolo.options.loss import LossOptions
from yolo.size import Size

if TYPE_CHECKING:
    from yolo.data.sample import Target


class YoloDetector(Detector):
    """A Darknet network that detects.

    Args:
        network: unfolded, float32; it stays the training module. An inference copy is made at the first
            detection, and again when weights, device or precision have changed.
        names: one class name for each class.
        size: height and width of the network input in pixels, by default those of the cfg.
        letterbox: keep the proportions of images (grey bars); False stretches them to the input.
        exact: darknet's own resize in float32 (`prepare` then gives float32), for darknet's numbers.
        precision: "fp32", "bf16", or "auto" (see `yolo.darknet.inference.resolve_precision`), of the inference copy.
        options: thresholds of detection.
        loss: what training lowers.
    """

    network: Darknet

    def __init__(
        self,
        network: Darknet,
        names: list[str],
        *,
        size: Size | None = None,
        letterbox: bool = True,
        exact: bool = False,
        precision: str = "auto",
        options: Filter | None = None,
        loss: LossOptions | None = None,
    ) -> None:
        if not network.heads:
            raise network.cfg.error(-1, "no [yolo] or [region] section follows, so there is nothing to detect with")
        self.network = network
        self.names = names
        self.size = size or network.size
        self.letterbox, self.exact, self.precision = letterbox, exact, precision
        self.options, self.loss = options or Filter(), loss or LossOptions()
        self._inference: Darknet | None = None
        self._copied: tuple[object, ...] = ()  # what the inference copy was made of

    def set_input(self, size: str | None, placement: str | None) -> None:
        """Another input, in the words of options: `size` in pixels as N or WIDTHxHEIGHT, `letterbox` or `stretch`; None
        leaves it as it is. ValueError for a size that is none."""
        self.size = Size.parse(size) if size else self.size
        self.letterbox = placement == "letterbox" if placement else self.letterbox

    def prepare(self, image: ImageLike) -> tuple[Tensor, Placement]:
        """An image as network input `[channels, h, w]`, uint8 (float32 in [0, 1] where `exact`), and its place."""
        channels = self.network.cfg.net.channels
        pixels = image if isinstance(image, np.ndarray) else read_image(Path(image), channels)
        if pixels.ndim != 3 or pixels.shape[2] != channels or pixels.dtype != np.uint8 or 0 in pixels.shape:
            raise ValueError(
                f"got pixels of shape {list(pixels.shape)} and type {pixels.dtype}; expected uint8 [h, w, {channels}]"
            )
        size = Size.of(pixels)
        if self.letterbox:
            placement = Placement.letterbox(size, self.size, darknet=self.exact)
        else:
            placement = Placement.stretch(size, self.size)
        if self.exact:
            return torch.from_numpy(darknet_place(pixels, placement)), placement
        return torch.from_numpy(place(pixels, placement)).permute(2, 0, 1), placement

    def losses(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """`box`, `obj` and `cls` of `compute_loss` with their gains, in the arithmetic of autocast; counts labels,
        positives, and labels that no anchor answers for."""
        labels = pack_labels(targets, (images.shape[2], images.shape[3])).to(images.device, non_blocking=True)
        raw = (self.wrapped or self.network)(images / 255)
        with torch.autocast(images.device.type, enabled=False):
            found = assign(raw, labels, self.network.heads, self.loss.assign)
            terms = compute_loss(raw, labels, self.network, self.loss, assignment=found)
        total = torch.full((), len(labels), device=images.device)
        self.counts = {"labels": total, "positives": found.matched.sum(), "unmatched": found.unmatched(len(labels))}
        gains = {"box": self.loss.box_gain, "obj": self.loss.obj_gain, "cls": self.loss.cls_gain}
        return {name: gain * getattr(terms, name) for name, gain in gains.items()}

    def predict(self, images: Tensor) -> list[Tensor]:
        """Raw predictions of prepared images `[B, channels, h, w]`, by the inference copy: `[B, A, H, W, 5 + C]`."""
        device = next(self.network.parameters()).device
        dtype = torch.float32 if self.exact else resolve_precision(self.precision)
        state = (dtype, *map(_state, self.network.state_dict(keep_vars=True).values()))
        if self._inference is None or state != self._copied:
            self._inference, self._copied = inference_copy(self.network, dtype), state
        images = images.to(device, memory_format=torch.channels_last)
        if images.dtype == torch.uint8:
            images = images.float() / 255
        # A GPU rounds the inputs of float32 convolutions to 10 bits unless it is told not to.
        exactly = torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if self.exact else nullcontext()
        with torch.inference_mode(), exactly:
            return self._inference(images)

    def select(self, predictions: Sequence[Tensor], placements: Sequence[Placement]) -> list[Detections]:
        """Raw predictions to detections: decoding, thresholds, NMS. Boxes in original pixels, on the device."""
        if not placements:
            return []
        with torch.inference_mode():
            return postprocess(predictions, self.network.heads, placements[0].input, placements, self.options)

    def detect_batch(self, images: Tensor, placements: Sequence[Placement]) -> list[Detections]:
        """Detections of prepared images `[B, channels, h, w]`: `predict`, then `select`."""
        return self.select(self.predict(images), placements)


def _state(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor lies and how often it was written: changes with training, loading and moving."""
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version
