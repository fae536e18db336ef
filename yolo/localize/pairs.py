"""A data set as pairs of an image and its answer, for a training loop of one's own; see `train_step`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset

from yolo.data.sample import DataSet
from yolo.data.transforms import placed
from yolo.size import Size


class Pairs(Dataset[tuple[Tensor, tuple[Tensor, Tensor]]]):
    """Yields `(image, (label, box))`, which a plain DataLoader makes batches of.

    `image` is float32 `[3, h, w]` in [0, 1], RGB. `label` is int64: for presence 1 or 0, else the class of the object,
    -1 without one. `box` is `[4]` xyxy as fractions of the input, zeros without an object.

    Args:
        data: at most one object in an image, such as a view of `yolo.localize.view`.
        size: network input.
        presence: whether labels say if there is an object, or which.
        letterbox: keep the proportions of images; False stretches them to the input.
    """

    def __init__(self, data: DataSet, size: Size, *, presence: bool = False, letterbox: bool = False) -> None:
        self.data, self.size, self.presence, self.letterbox = data, size, presence, letterbox

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, k: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return image `k` and its answer. Raises ValueError for a damaged image, or one with several objects."""
        image, target = placed(self.data.sample(k), self.size, self.letterbox)
        labels, boxes = target["labels"], target["boxes"]
        if len(labels) > 1:
            raise ValueError(
                f"{self.data.path(k)}: {len(labels)} objects; expected at most one, see yolo.localize.view"
            )
        label = labels[0] if len(labels) else torch.tensor(-1)
        box = boxes[0] / boxes.new_tensor(self.size.wh * 2) if len(labels) else torch.zeros(4)
        return image.float() / 255, ((label >= 0).long() if self.presence else label, box)
