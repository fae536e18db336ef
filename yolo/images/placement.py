"""Where an image lies in the network input, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Placement:
    """Where an image of `image` pixels lies in a network input of `input` pixels (sizes are width, height).

    The image is resized to `placed` pixels and pasted at `offset` (left, top). `undo_offset` is what the
    inverse subtracts; it equals `offset` except under darknet's own letterbox, which pastes at the floored
    half of the margin but subtracts the exact half, half an input pixel more when the margin is odd.
    """

    image: tuple[int, int]
    input: tuple[int, int]
    placed: tuple[int, int]
    offset: tuple[int, int] = (0, 0)
    undo_offset: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def stretch(cls, image: tuple[int, int], input: tuple[int, int]) -> Self:
        """The whole input is covered, whatever that does to the proportions."""
        return cls(image, input, placed=input)

    @classmethod
    def letterbox(cls, image: tuple[int, int], input: tuple[int, int], darknet: bool = False) -> Self:
        """The proportions stay, grey bars fill the rest. The sizes are darknet's, in integer division.

        `darknet` selects darknet's inverse (see `undo_offset`). A side never becomes 0 pixels.
        """
        (w, h), (input_w, input_h) = image, input
        if input_w * h < input_h * w:
            placed = input_w, max(h * input_w // w, 1)
        else:
            placed = max(w * input_h // h, 1), input_h
        margin = input_w - placed[0], input_h - placed[1]
        offset = margin[0] // 2, margin[1] // 2
        undo = (margin[0] / 2, margin[1] / 2) if darknet else (float(offset[0]), float(offset[1]))
        return cls(image, input, placed, offset, undo)

    def to_input(self, boxes: Tensor) -> Tensor:
        """Boxes xyxy `[..., 4]` in image pixels to input pixels. The inverse of `to_image`."""
        scale_x, scale_y = self.placed[0] / self.image[0], self.placed[1] / self.image[1]
        left, top = self.undo_offset
        return boxes * boxes.new_tensor([scale_x, scale_y] * 2) + boxes.new_tensor([left, top] * 2)

    def to_image(self, boxes: Tensor) -> Tensor:
        """Boxes xyxy `[..., 4]` in input pixels to image pixels. Nothing is clipped."""
        scale_x, scale_y = self.placed[0] / self.image[0], self.placed[1] / self.image[1]
        left, top = self.undo_offset
        x1, y1, x2, y2 = boxes.unbind(-1)
        return torch.stack(
            ((x1 - left) / scale_x, (y1 - top) / scale_y, (x2 - left) / scale_x, (y2 - top) / scale_y), dim=-1
        )

    def relative(self, boxes: Tensor) -> Tensor:
        """Boxes cxcywh `[..., 4]` as fractions of the input to fractions of the image.

        darknet's NMS works in this unit (reference: its correction of boxes comes before its NMS).
        """
        (input_w, input_h), (placed_w, placed_h) = self.input, self.placed
        left, top = self.undo_offset
        cx, cy, w, h = boxes.unbind(-1)
        scale_x, scale_y = input_w / placed_w, input_h / placed_h
        return torch.stack(
            ((cx - left / input_w) * scale_x, (cy - top / input_h) * scale_y, w * scale_x, h * scale_y), dim=-1
        )
