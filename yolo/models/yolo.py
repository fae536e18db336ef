"""YOLO as a Detector: the Darknet network with its pictures in front and its postprocessing behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from yolo.boxes import Detections, Placement
from yolo.darknet import Darknet
from yolo.fold import inference_copy
from yolo.models.detector import Detector, Picture
from yolo.options import Filter
from yolo.pictures import darknet_place, place, read_picture
from yolo.postprocess import postprocess


class YoloDetector(Detector):
    """A Darknet network that detects.

    Args:
        network: unfolded, float32; it stays the training module. An inference copy is made at the first
            detection and kept; `reset` drops it after the weights have changed.
        names: one class name for each class.
        size: height and width of the network input in pixels, by default those of the cfg.
        letterbox: keep the proportions of pictures (grey bars); False stretches them to the input.
        exact: darknet's own resize in float32 (`prepare` then gives float32), for darknet's numbers.
        options: thresholds of detection.
    """

    network: Darknet

    def __init__(
        self,
        network: Darknet,
        names: list[str],
        *,
        size: tuple[int, int] | None = None,
        letterbox: bool = True,
        exact: bool = False,
        options: Filter | None = None,
    ) -> None:
        if not network.heads:
            raise network.cfg.error(-1, "no [yolo] or [region] section follows, so there is nothing to detect with")
        self.network = network
        self.names = names
        self.size = size or network.size
        self.letterbox, self.exact = letterbox, exact
        self.options = options or Filter()
        self._inference: Darknet | None = None

    def prepare(self, picture: Picture) -> tuple[Tensor, Placement]:
        """A picture as network input `[channels, h, w]`, uint8 (float32 in [0, 1] where `exact`), and its place."""
        channels = self.network.cfg.net.channels
        pixels = picture if isinstance(picture, np.ndarray) else read_picture(Path(picture), channels)
        if pixels.ndim != 3 or pixels.shape[2] != channels or pixels.dtype != np.uint8 or 0 in pixels.shape:
            raise ValueError(
                f"got pixels of shape {list(pixels.shape)} and type {pixels.dtype}; expected uint8 [h, w, {channels}]"
            )
        picture_size, input_size = (pixels.shape[1], pixels.shape[0]), (self.size[1], self.size[0])
        if self.letterbox:
            placement = Placement.letterbox(picture_size, input_size, darknet=self.exact)
        else:
            placement = Placement.stretch(picture_size, input_size)
        if self.exact:
            return torch.from_numpy(darknet_place(pixels, placement)), placement
        return torch.from_numpy(place(pixels, placement)).permute(2, 0, 1), placement

    @torch.inference_mode()
    def detect_batch(self, images: Tensor, placements: Sequence[Placement]) -> list[Detections]:
        """Detections of prepared pictures `[B, channels, h, w]`; boxes on the network's device, in original pixels."""
        if self._inference is None:
            self._inference = inference_copy(self.network)
        device = next(self._inference.parameters()).device
        images = images.to(device, memory_format=torch.channels_last)
        if images.dtype == torch.uint8:
            images = images.float() / 255
        height, width = images.shape[2:]
        predictions = self._inference(images)
        return postprocess(predictions, self._inference.heads, (height, width), placements, self.options)

    def reset(self) -> None:
        """Forget the inference copy: the network has changed."""
        self._inference = None
