"""The same network for another number of classes: what training changes in a cfg, and nothing else. No torch."""

from __future__ import annotations

from dataclasses import replace

from yolo.cfg import Cfg
from yolo.sections import Convolutional, Layer, Region, Yolo


def with_classes(cfg: Cfg, classes: int) -> Cfg:
    """The cfg with so many classes: `classes` of every head, `filters` = A · (5 + C) of the convolution before it.

    All else stays, so `to_text()` differs in those lines only, and going back gives the first text again.

    Raises:
        ValueError: fewer than one class, or a cfg without heads.
        CfgError: a head whose layer before is no convolution, with file and line.
    """
    if classes < 1:
        raise ValueError(f"{classes} classes; a detector needs at least 1: does the data set have labels?")
    if not cfg.heads:
        raise ValueError(f"{cfg.file}: no [yolo] or [region] section, so there is no number of classes to change")
    layers = list(cfg.layers)
    for index in cfg.heads:
        head = layers[index]
        assert isinstance(head, (Yolo, Region))
        filters = len(head.pairs) * (5 + classes)
        layers[index - 1] = replace(_convolution_before(cfg, index), filters=filters)
        layers[index] = replace(head, classes=classes)
    return replace(cfg, layers=tuple(layers))


def _convolution_before(cfg: Cfg, index: int) -> Convolutional:
    """The layer that computes the predictions of the head at `index`."""
    before: Layer | None = cfg.layers[index - 1] if index else None
    if isinstance(before, Convolutional):
        return before
    got = f"the layer before is [{before.name}], line {before.source.line}" if before else "no layer stands before it"
    raise cfg.error(
        index,
        f"{got}; the number of classes can be changed only where a [convolutional] section comes right before the "
        f"head: write classes and filters into the cfg yourself",
    )
