"""An exported network as a Detector: it detects and evaluates, and cannot be trained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from yolo.darknet.onnx_file import OnnxNetwork
from yolo.models.yolo import YoloDetector


class OnnxDetector(YoloDetector):
    """A YOLO whose network onnxruntime computes on the CPU, with the input that the file was exported for.

    Args:
        network: the file.
        names: one class name for each class.
    """

    model = "onnx"

    def __init__(self, network: OnnxNetwork, names: list[str]) -> None:
        super().__init__(network, names, size=network.size, letterbox=network.letterbox)

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def predict(self, images: Tensor) -> list[Tensor]:
        """Return the raw predictions as `YoloDetector.predict`. Raises ValueError for images of another shape."""
        predictions: list[Tensor] = self._inference.network(
            images.float() / 255 if images.dtype == torch.uint8 else images
        )
        return predictions

    def losses(self, images: Tensor, targets: Sequence[Any], through: Any = None) -> NoReturn:
        """Raise ValueError: it has no weights to train."""
        self._refuse("training")

    def save(self, path: str | os.PathLike[str]) -> NoReturn:
        """Raise ValueError: it has no weights to save."""
        self._refuse("saving")

    def _refuse(self, use: str) -> NoReturn:
        raise ValueError(
            f"an .onnx file only detects; {use} needs the weights: load the .safetensors that it was made from"
        )
