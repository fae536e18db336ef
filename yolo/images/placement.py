"""Where an image lies in the network input; coordinates there and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from yolo.size import Size


@dataclass(frozen=True)
class Placement:
    """Where an image of size `image` lies in a network input of size `input`.

    The image is resized to `placed` and pasted at `offset` (left, top). The inverse subtracts `undo_offset`, which is
    `offset` except for darknet's own letterbox. That pastes at the floored half of the margin but subtracts the exact
    half: half an input pixel more if the margin is odd.
    """

    image: Size
    input: Size
    placed: Size
    offset: tuple[int, int] = (0, 0)
    undo_offset: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(cls, image: Size, input: Size, *, letterbox: bool) -> Self:
        """Return the placement `letterbox`, or `stretch` where that is False."""
        return (cls.letterbox if letterbox else cls.stretch)(image, input)

    @classmethod
    def stretch(cls, image: Size, input: Size) -> Self:
        """Return the placement that covers the whole input, without keeping the aspect ratio."""
        return cls(image, input, placed=input)

    @classmethod
    def letterbox(cls, image: Size, input: Size, darknet: bool = False) -> Self:
        """Return the placement that keeps the aspect ratio, with grey bars around the image.

        The sizes are darknet's, by integer division. No side becomes 0 pixels. `darknet` selects darknet's inverse.
        """
        # The side that reaches the border first decides the scale.
        if input.width * image.height < input.height * image.width:
            placed = Size(max(image.height * input.width // image.width, 1), input.width)
        else:
            placed = Size(input.height, max(image.width * input.height // image.height, 1))
        margin = input.width - placed.width, input.height - placed.height
        offset = margin[0] // 2, margin[1] // 2
        undo = (margin[0] / 2, margin[1] / 2) if darknet else (float(offset[0]), float(offset[1]))
        return cls(image, input, placed, offset, undo)

    @property
    def scale(self) -> tuple[float, float]:
        """The number of input pixels per image pixel, along x and along y."""
        return self.placed.width / self.image.width, self.placed.height / self.image.height

    def to_input(self, boxes: Tensor) -> Tensor:
        """Return boxes xyxy `[..., 4]` in image pixels as boxes in input pixels. The inverse of `to_image`."""
        scale_x, scale_y = self.scale
        left, top = self.undo_offset
        return boxes * boxes.new_tensor([scale_x, scale_y] * 2) + boxes.new_tensor([left, top] * 2)

    def to_image(self, boxes: Tensor) -> Tensor:
        """Return boxes xyxy `[..., 4]` in input pixels as boxes in image pixels, not clipped to the image."""
        scale_x, scale_y = self.scale
        left, top = self.undo_offset
        x1, y1, x2, y2 = boxes.unbind(-1)
        return torch.stack(
            ((x1 - left) / scale_x, (y1 - top) / scale_y, (x2 - left) / scale_x, (y2 - top) / scale_y), dim=-1
        )

    def relative(self, boxes: Tensor) -> Tensor:
        """Return boxes cxcywh `[..., 4]` in fractions of the input as fractions of the image.

        darknet's NMS works in this unit, because darknet corrects boxes before its NMS.
        """
        left, top = self.undo_offset
        cx, cy, w, h = boxes.unbind(-1)
        scale_x, scale_y = self.input.width / self.placed.width, self.input.height / self.placed.height
        cx, cy = (cx - left / self.input.width) * scale_x, (cy - top / self.input.height) * scale_y
        return torch.stack((cx, cy, w * scale_x, h * scale_y), dim=-1)
