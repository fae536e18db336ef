"""How training images are changed. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from yolo.options.bounds import Bound, Checked, Factor, FromZero, Share


@dataclass(frozen=True, kw_only=True)
class Augment(Checked):
    """How training images are changed. The sizes of changes are those of YOLOv3's own cfg where it has them."""

    flip: Share = 0.5
    """Share of images that are mirrored left to right."""
    hue: Annotated[float, Bound("a part of the colour circle from 0 to 0.5", low=0, high=0.5)] = 0.05
    """Hue is turned by up to this part of the colour circle, either way. darknet turns 0.1, red balls become yellow."""
    saturation: Factor = 1.5
    """Saturation is multiplied by up to this, or divided by it."""
    value: Factor = 1.5
    """Brightness is multiplied by up to this, or divided by it."""
    scale: Factor = 1.4
    """Beyond the letterbox an image is enlarged by up to this, or shrunk by it."""
    translate: Share = 0.1
    """Its centre moves by up to this part of the input's sides."""
    mosaic: Share = 0.0
    """Share of images that are put together of four."""
    mixup: Share = 0.0
    """Share of images that are blended with another one, half and half."""
    multi_scale: Factor = 1.0
    """The input of a batch is up to this times larger or smaller, in steps of 32 pixels; 1 is off."""
    last_plain: FromZero = 0
    """The last so many epochs are without any of this, so that training ends on what detection will see."""

    @property
    def plain(self) -> bool:
        """Whether an image stays as detection sees it; the size of the input may still vary."""
        return replace(self, multi_scale=1.0, last_plain=0) == PLAIN

    def ends_plain(self, epoch: int, epochs: int) -> bool:
        """Whether this epoch, counted from 0, is one of the `last_plain` ones. ValueError if all are."""
        if self.last_plain and not self.last_plain < epochs:
            raise ValueError(
                f"last_plain={self.last_plain} of {epochs} epochs: expected fewer than there are; for none at all use "
                f"PLAIN instead"
            )
        return self.last_plain > 0 and epoch >= epochs - self.last_plain


PLAIN = Augment(flip=0, hue=0, saturation=1, value=1, scale=1, translate=0)
"""Nothing is changed: the letterbox of detection."""
