"""How training images are changed. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

from yolo.options.bounds import Bound, Checked, Factor, FromZero, Share


@dataclass(frozen=True, kw_only=True)
class Augment(Checked):
    """How training images are changed. The strengths are those of YOLOv3's own cfg where it has them."""

    flip: Share = 0.5
    """Share of images that are mirrored left to right."""
    hue: Annotated[float, Bound("a part of the colour circle from 0 to 0.5", low=0, high=0.5)] = 0.05
    """Hue is turned by up to this part of the colour circle, either way. darknet's 0.1 turns red balls yellow."""
    saturation: Factor = 1.5
    """Saturation is multiplied or divided by up to this."""
    value: Factor = 1.5
    """Brightness is multiplied or divided by up to this."""
    photometric: Share = 0.0
    """Share of images that go through torchvision's RandomPhotometricDistort, which changes brightness, contrast,
    saturation and hue and exchanges colour channels, each with probability 0.5. To use it alone, turn off `hue`,
    `saturation` and `value`."""
    scale: Factor = 1.4
    """An image is enlarged or shrunk by up to this, after it was fitted into the network input."""
    translate: Share = 0.1
    """An image is moved by up to this part of the input's width and height."""
    rotate: Annotated[float, Bound("degrees from 0 (off) to 45", low=0, high=45)] = 0.0
    """An image is turned about its middle by up to this many degrees, either way. Its boxes become the boxes around the
    turned boxes. These are too large: at 5, 10, 15 degrees their IoU with a disc's own box is 0.85, 0.75, 0.67. So
    rotation teaches loose boxes; at most 10 degrees are advised."""
    mosaic: Share = 0.0
    """Share of images that are composed of four."""
    mixup: Share = 0.0
    """Share of images that are blended half and half with another one."""
    multi_scale: Factor = 1.0
    """The input of a batch is up to this times larger or smaller, in steps of 32 pixels; 1 is off."""
    last_plain: FromZero = 0
    """Number of final epochs without augmentation, so that training ends on images as detection sees them."""

    @cached_property
    def plain(self) -> bool:
        """Whether images are as detection sees them; the size of the network input may still vary."""
        return replace(self, multi_scale=1.0, last_plain=0) == PLAIN

    def ends_plain(self, epoch: int, epochs: int) -> bool:
        """Return whether this epoch, counted from 0, is one of the `last_plain` ones. Raises ValueError if all are."""
        n = self.last_plain
        if n and not n < epochs:
            raise ValueError(
                f"last_plain={n} of {epochs} epochs: expected fewer than there are; for all use plain=True"
            )
        return n > 0 and epoch >= epochs - n


PLAIN = Augment(flip=0, hue=0, saturation=1, value=1, scale=1, translate=0)
"""Nothing is changed: the letterbox of detection."""
