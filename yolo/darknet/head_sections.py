"""The head sections `[yolo]` and `[region]`. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from yolo.darknet.keys import Layer, SectionError, Shape, ShapeError, integer, integers, real, reals, training, word


@dataclass(frozen=True, kw_only=True)
class HeadSection(Layer):
    """The keys that both kinds of heads have. `anchors` are w, h pairs."""

    IN_CELLS: ClassVar[bool] = False
    """Whether anchors are in cells of the grid, not in pixels of the input."""

    classes: int = integer(20, 1)
    num: int = integer(1, 1)
    anchors: tuple[float, ...] = reals((), 0.0)
    max: int = training(integer(200))
    jitter: float = training(real(0.2))
    resize: float = training(real(1.0))
    random: float = training(real(0.0))
    focal_loss: int = training(integer(0))

    @property
    def anchor_numbers(self) -> tuple[int, ...]:
        """Which of the listed anchors this head predicts."""
        return tuple(range(self.num))

    @property
    def pairs(self) -> tuple[tuple[float, float], ...]:
        """Width and height of each anchor of this head, in the order of the mask if there is one."""
        return tuple((self.anchors[2 * k], self.anchors[2 * k + 1]) for k in self.anchor_numbers)

    def filters(self, classes: int) -> int:
        """Return the channels that this head reads with `classes` classes: A·(5 + C)."""
        return len(self.pairs) * (5 + classes)

    def output(self, inputs: Sequence[Shape]) -> Shape:
        """Return the shape of the input, which has A·(5 + C) channels."""
        got, expected = inputs[0].c, self.filters(self.classes)
        if got != expected:
            raise ShapeError(
                f"reads {got} channels; expected {expected} = {len(self.pairs)} anchors x (5 + {self.classes} "
                f"classes): set filters={expected} in the [convolutional] section before it, or its classes",
                "classes",
            )
        return inputs[0]


@dataclass(frozen=True, kw_only=True)
class Yolo(HeadSection):
    """`[yolo]`: anchors are in pixels of the input; `mask` lists those that this head predicts."""

    NAMES = ("yolo",)
    mask: tuple[int, ...] = integers((), 0)  # empty: all of them
    scale_x_y: float = real(1.0)
    new_coords: int = integer(0)
    nms_kind: str = word("default", ["default", "greedynms", "diounms"])
    beta_nms: float = real(0.6)
    ignore_thresh: float = training(real(0.5))
    truth_thresh: float = training(real(1.0))
    iou_loss: str = training(word("mse"))
    iou_normalizer: float = training(real(0.75))
    obj_normalizer: float = training(real(1.0))
    cls_normalizer: float = training(real(1.0))
    delta_normalizer: float = training(real(1.0))
    iou_thresh: float = training(real(1.0))
    iou_thresh_kind: str = training(word("iou"))
    max_delta: float = training(real(3.4e38))
    label_smooth_eps: float = training(real(0.0))
    objectness_smooth: int = training(integer(0))
    counters_per_class: tuple[int, ...] = training(integers())
    show_details: int = training(integer(1))
    track_history_size: int = training(integer(5))
    sim_thresh: float = training(real(0.8))
    dets_for_track: int = training(integer(1))
    dets_for_show: int = training(integer(1))
    track_ciou_norm: float = training(real(0.01))
    embedding_layer: int = integer(999999, refuse="tracking by embeddings is out of scope")
    map: str = word("", refuse="a remapping of classes is out of scope: reorder the names instead")

    @property
    def anchor_numbers(self) -> tuple[int, ...]:
        """Which of the listed anchors this head predicts: those of the mask, by default the first `num`."""
        return self.mask or super().anchor_numbers

    def check(self) -> None:
        """Require positive anchors for all that the mask names, within the first `num`."""
        listed = len(self.anchors) // 2
        if not self.anchors:
            raise SectionError("anchors", "", "expected pairs of width and height, in pixels of the input")
        if len(self.anchors) % 2:
            raise SectionError("anchors", f"{len(self.anchors)} numbers", "expected pairs of width and height")
        if self.num > listed and not self.mask:
            raise SectionError("num", self.num, f"anchors= lists only {listed} pairs")
        for k in self.anchor_numbers:
            if not k < min(self.num, listed):
                has = f"num={self.num} and {listed} pairs of anchors"
                raise SectionError("mask", k, f"there is no such anchor: the section has {has}, counted from 0")
            if min(self.anchors[2 * k : 2 * k + 2]) <= 0:
                raise SectionError("anchors", self.anchors, f"width and height of anchor {k} must be positive")


@dataclass(frozen=True, kw_only=True)
class Region(HeadSection):
    """`[region]`: the head of YOLOv2. Anchors are in grid cells."""

    NAMES = ("region",)
    IN_CELLS = True
    coords: int = integer(4, 4, 4)
    softmax: int = integer(0)
    rescore: int = training(integer(0))
    thresh: float = training(real(0.5))
    classfix: int = training(integer(0))
    absolute: int = training(integer(0))
    coord_scale: float = training(real(1.0))
    object_scale: float = training(real(1.0))
    noobject_scale: float = training(real(1.0))
    mask_scale: float = training(real(1.0))
    class_scale: float = training(real(1.0))
    bias_match: int = training(integer(0))
    log: int = training(integer(0))
    sqrt: int = training(integer(0))
    background: int = integer(0, refuse="versions of darknet disagree on it, one ignores it")
    tree: str = word("", refuse="class hierarchies (YOLO9000) are out of scope")
    map: str = word("", refuse="class hierarchies (YOLO9000) are out of scope")

    def check(self) -> None:
        """Require `num` positive anchors, and a softmax over the classes."""
        if len(self.anchors) < 2 * self.num or min(self.anchors[: 2 * self.num]) <= 0:
            raise SectionError("anchors", self.anchors, f"expected {self.num} pairs of positive width and height")
        if not self.softmax:
            raise SectionError("softmax", 0, "versions of darknet disagree on it: only softmax=1 is unambiguous")
