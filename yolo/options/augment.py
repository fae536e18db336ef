"""How training images are changed. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How training images are changed. The sizes of changes are those of YOLOv3's own cfg where it has them."""

    flip: float = 0.5
    """Share of images that are mirrored left to right."""
    hue: float = 0.05
    """Hue is turned by up to this part of the colour circle, either way. darknet turns 0.1, red balls become yellow."""
    saturation: float = 1.5
    """Saturation is multiplied by up to this, or divided by it."""
    value: float = 1.5
    """Brightness is multiplied by up to this, or divided by it."""
    scale: float = 1.4
    """Beyond the letterbox an image is enlarged by up to this, or shrunk by it."""
    translate: float = 0.1
    """Its centre moves by up to this part of the input's sides."""
    mosaic: float = 0.0
    """Share of images that are put together of four."""
    mixup: float = 0.0
    """Share of images that are blended with another one, half and half."""
    multi_scale: float = 1.0
    """The input of a batch is up to this times larger or smaller, in steps of 32 pixels; 1 is off."""
    last_plain: int = 0
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

    def __post_init__(self) -> None:
        for name in ("flip", "mosaic", "mixup"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected a share from 0 to 1")
        for name in ("saturation", "value", "scale", "multi_scale"):
            if not 1 <= getattr(self, name) <= 10:
                raise ValueError(f"{name}={getattr(self, name)}: expected a factor from 1 (off) to 10")
        if not 0 <= self.hue <= 0.5 or not 0 <= self.translate <= 1 or self.last_plain < 0:
            raise ValueError(
                f"hue={self.hue}, translate={self.translate}, last_plain={self.last_plain}: expected hue from 0 to "
                f"0.5, translate from 0 to 1, last_plain from 0"
            )


PLAIN = Augment(flip=0, hue=0, saturation=1, value=1, scale=1, translate=0)
"""Nothing is changed: the letterbox of detection."""
