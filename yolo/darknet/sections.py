"""The sections of a darknet `.cfg`, each a frozen dataclass: what it may say, the default, what is refused.

The field names are darknet's keys, the defaults are those of AlexeyAB's darknet. A key that would change the
numbers in a way this program does not compute is not ignored: its field carries a `refuse` sentence and any
value but the default is an error. Keys that only steer darknet's own training are read and kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from yolo.darknet.keys import Section, SectionError, integer, integers, real, reals, word

# fmt: off
ACTIVATIONS = [
    "linear", "leaky", "relu", "logistic", "mish", "swish", "hard_mish", "elu", "selu", "gelu", "tanh", "relie", "ramp",
    "loggy", "hardtan", "lhtan", "plse", "stair", "relu6", "revleaky",
]

# fmt: on

NOWHERE = -(2**31 - 1)  # the source of a section whose `from` is absent: no cfg has so many layers

_BITS = "bit networks (xnor) are out of scope"


@dataclass(frozen=True, kw_only=True)
class Layer(Section):
    """Keys that every layer section knows. All of them steer training only, apart from the refused ones."""

    clip: float = real(0.0)
    onlyforward: int = integer(0)
    dont_update: int = integer(0)
    burnin_update: int = integer(0)
    stopbackward: int = integer(0)
    train_only_bn: int = integer(0)
    learning_rate: float = real(1.0)
    dontload: int = integer(0, refuse="every layer with weights is read from the file")
    dontloadscales: int = integer(0, refuse="every layer with weights is read from the file")
    dontsave: int = integer(0, refuse="every layer with weights is written to the file")
    numload: int = integer(0, refuse="every layer with weights is read from the file")


@dataclass(frozen=True, kw_only=True)
class Convolutional(Layer):
    """`[convolutional]`. `pad` is a flag (padding = size // 2), `padding` the number it overrides."""

    NAMES = ("convolutional", "conv")
    batch_normalize: int = integer(0)
    filters: int = integer(1, 1)
    size: int = integer(1, 1)
    stride: int = integer(1, 1)
    stride_x: int = integer(0)  # below 1: as `stride`
    stride_y: int = integer(0)
    pad: int = integer(0)
    padding: int = integer(0, 0)
    dilation: int = integer(1, 1)
    groups: int = integer(1, 1)
    activation: str = word("logistic", ACTIVATIONS)
    binary: int = integer(0, refuse=_BITS)
    xnor: int = integer(0, refuse=_BITS)
    bin_output: int = integer(0, refuse=_BITS)
    flipped: int = integer(0, refuse="transposed weights occur in no detection model")
    dot: int = integer(0, refuse="unused in detection models")
    antialiasing: int = integer(0, refuse="blurred strides occur in no detection model")
    share_index: int = integer(-1000000000, refuse="shared weights occur in no detection model")
    cbn: int = integer(0, refuse="cross-iteration batch norm occurs in no detection model")
    assisted_excitation: float = real(0.0, refuse="it occurs in no detection model")
    sway: int = integer(0, refuse="rotated kernels occur in no detection model")
    rotate: int = integer(0, refuse="rotated kernels occur in no detection model")
    stretch: int = integer(0, refuse="stretched kernels occur in no detection model")
    stretch_sway: int = integer(0, refuse="stretched kernels occur in no detection model")
    angle: float = real(15.0)
    coordconv: int = integer(0, refuse="it occurs in no detection model")
    grad_centr: int = integer(0)
    reverse: float = real(0.0)
    stream: int = integer(-1)
    wait_stream: int = integer(-1)

    @property
    def strides(self) -> tuple[int, int]:
        """Stride in y and x."""
        y, x = self.stride_y, self.stride_x
        return (y if y > 0 else self.stride, x if x > 0 else self.stride)

    @property
    def pixels_padded(self) -> int:
        """Zero pixels added on every side, before dilation."""
        return self.size // 2 if self.pad else self.padding

    @property
    def kernel_dilation(self) -> int:
        """Dilation in effect: a 1x1 kernel has none."""
        return 1 if self.size == 1 else self.dilation


@dataclass(frozen=True, kw_only=True)
class Maxpool(Layer):
    """`[maxpool]`. `padding` is the total over both sides, by default size - 1; `size` defaults to the stride."""

    NAMES = ("maxpool", "max")
    stride: int = integer(1, 1)
    stride_x: int = integer(0)
    stride_y: int = integer(0)
    size: int = integer(0, 0)  # 0: as `stride`
    padding: int = integer(-1, 0)  # -1: size - 1
    maxpool_depth: int = integer(0, refuse="pooling over channels occurs in no detection model")
    out_channels: int = integer(1)
    antialiasing: int = integer(0, refuse="blurred strides occur in no detection model")
    maxpool_zero_nonmax: int = integer(0, refuse="it occurs in no detection model")

    @property
    def strides(self) -> tuple[int, int]:
        """Stride in y and x."""
        y, x = self.stride_y, self.stride_x
        return (y if y > 0 else self.stride, x if x > 0 else self.stride)

    @property
    def window(self) -> int:
        """Side of the window in effect."""
        return self.size or self.stride

    @property
    def pixels_padded(self) -> int:
        """Cells of minus infinity added over both sides together; the left side gets the smaller half."""
        return self.padding if self.padding >= 0 else self.window - 1


@dataclass(frozen=True, kw_only=True)
class Avgpool(Layer):
    """`[avgpool]`: the mean over height and width."""

    NAMES = ("avgpool", "avg")


@dataclass(frozen=True, kw_only=True)
class Upsample(Layer):
    """`[upsample]`: nearest neighbour times `scale`."""

    NAMES = ("upsample",)
    stride: int = integer(2, 1)
    scale: float = real(1.0)


@dataclass(frozen=True, kw_only=True)
class Route(Layer):
    """`[route]`: outputs of other layers, concatenated; `groups` takes slice `group_id` of every source."""

    NAMES = ("route",)
    layers: tuple[int, ...] = integers()
    groups: int = integer(1, 1)
    group_id: int = integer(0, 0)
    stream: int = integer(-1)
    wait_stream: int = integer(-1)

    def check(self) -> None:
        """Sources are needed and the slice exists."""
        if not self.layers:
            raise SectionError("layers", "", "expected the layers to route, such as layers=-1,61")
        if self.group_id >= self.groups:
            raise SectionError("group_id", self.group_id, f"expected 0 to {self.groups - 1}, as groups={self.groups}")


@dataclass(frozen=True, kw_only=True)
class Shortcut(Layer):
    """`[shortcut]`: the input plus the outputs of `from_`, on the channels that both have."""

    NAMES = ("shortcut",)
    from_: tuple[int, ...] = integers()
    activation: str = word("linear", ACTIVATIONS)
    weights_type: str = word("none", refuse="weighted shortcuts occur in no detection model")
    weights_normalization: str = word("none", refuse="weighted shortcuts occur in no detection model")
    alpha: float = real(1.0, refuse="the darknets disagree on it, one ignores it")
    beta: float = real(1.0, refuse="the darknets disagree on it, one ignores it")

    def check(self) -> None:
        """Sources are needed."""
        if not self.from_:
            raise SectionError("from", "", "expected the layer to add, such as from=-3")


@dataclass(frozen=True, kw_only=True)
class ScaleChannels(Layer):
    """`[scale_channels]`: the output of `from_` times the input, which is 1x1 (or one channel: `scale_wh`)."""

    NAMES = ("scale_channels",)
    from_: int = integer(NOWHERE)
    scale_wh: int = integer(0)
    activation: str = word("linear", ACTIVATIONS)

    def check(self) -> None:
        """The source is needed."""
        if self.from_ == NOWHERE:
            raise SectionError("from", "", "expected the layer to scale, such as from=-4")


@dataclass(frozen=True, kw_only=True)
class Sam(Layer):
    """`[sam]`: the input times the output of `from_`, element by element."""

    NAMES = ("sam",)
    from_: int = integer(NOWHERE)
    activation: str = word("linear", ACTIVATIONS)

    def check(self) -> None:
        """The source is needed."""
        if self.from_ == NOWHERE:
            raise SectionError("from", "", "expected the layer to multiply with, such as from=-2")


@dataclass(frozen=True, kw_only=True)
class Reorg(Layer):
    """`[reorg]`: YOLOv2's passthrough, which is not a space-to-depth."""

    NAMES = ("reorg",)
    stride: int = integer(1, 1)
    reverse: int = integer(0, refuse="only the forward direction occurs in detection models")
    flatten: int = integer(0, refuse="it occurs in no detection model")
    extra: int = integer(0, refuse="it occurs in no detection model")


@dataclass(frozen=True, kw_only=True)
class Reorg3d(Layer):
    """`[reorg3d]`: space to depth."""

    NAMES = ("reorg3d",)
    stride: int = integer(1, 1)
    reverse: int = integer(0, refuse="only the forward direction occurs in detection models")


@dataclass(frozen=True, kw_only=True)
class Dropout(Layer):
    """`[dropout]`: nothing at inference. It acts in place: whoever names the layer before it gets its output."""

    NAMES = ("dropout",)
    probability: float = real(0.2, 0.0, 1.0)
    dropblock: int = integer(0, refuse="dropblock occurs in no detection model")
    dropblock_size_rel: float = real(0.0)
    dropblock_size_abs: int = integer(0)


@dataclass(frozen=True, kw_only=True)
class Yolo(Layer):
    """`[yolo]`: a head. `anchors` are w, h pairs in pixels of the input, `mask` those this head predicts."""

    NAMES = ("yolo",)
    classes: int = integer(20, 1)
    num: int = integer(1, 1)
    mask: tuple[int, ...] = integers((), 0)  # empty: all of them
    anchors: tuple[float, ...] = reals((), 0.0)
    scale_x_y: float = real(1.0)
    new_coords: int = integer(0)
    nms_kind: str = word("default", ["default", "greedynms", "diounms"])
    beta_nms: float = real(0.6)
    max: int = integer(200)
    jitter: float = real(0.2)
    resize: float = real(1.0)
    random: float = real(0.0)
    ignore_thresh: float = real(0.5)
    truth_thresh: float = real(1.0)
    iou_loss: str = word("mse")
    iou_normalizer: float = real(0.75)
    obj_normalizer: float = real(1.0)
    cls_normalizer: float = real(1.0)
    delta_normalizer: float = real(1.0)
    iou_thresh: float = real(1.0)
    iou_thresh_kind: str = word("iou")
    max_delta: float = real(3.4e38)
    label_smooth_eps: float = real(0.0)
    objectness_smooth: int = integer(0)
    counters_per_class: tuple[int, ...] = integers()
    focal_loss: int = integer(0)
    show_details: int = integer(1)
    track_history_size: int = integer(5)
    sim_thresh: float = real(0.8)
    dets_for_track: int = integer(1)
    dets_for_show: int = integer(1)
    track_ciou_norm: float = real(0.01)
    embedding_layer: int = integer(999999, refuse="tracking by embeddings is out of scope")
    map: str = word("", refuse="a remapping of classes is out of scope: order the names instead")

    @property
    def anchor_numbers(self) -> tuple[int, ...]:
        """Which of the listed anchors this head predicts."""
        return self.mask or tuple(range(self.num))

    @property
    def pairs(self) -> tuple[tuple[float, float], ...]:
        """Width and height of each anchor of this head, in the order of the mask."""
        return tuple((self.anchors[2 * k], self.anchors[2 * k + 1]) for k in self.anchor_numbers)

    def check(self) -> None:
        """The anchors that the mask names are there, positive, and `num` of them are meant."""
        if not self.anchors:
            raise SectionError("anchors", "", "expected pairs of width and height, in pixels of the input")
        if len(self.anchors) % 2:
            raise SectionError("anchors", f"{len(self.anchors)} numbers", "expected pairs of width and height")
        if self.num > len(self.anchors) // 2 and not self.mask:
            raise SectionError("num", self.num, f"anchors= lists only {len(self.anchors) // 2} pairs")
        for k in self.anchor_numbers:
            if not k < min(self.num, len(self.anchors) // 2):
                has = f"num={self.num} and {len(self.anchors) // 2} pairs of anchors"
                raise SectionError("mask", k, f"there is no such anchor: the section has {has}, counted from 0")
            if min(self.anchors[2 * k : 2 * k + 2]) <= 0:
                raise SectionError("anchors", self.anchors, f"width and height of anchor {k} must be positive")


@dataclass(frozen=True, kw_only=True)
class Region(Layer):
    """`[region]`: the head of YOLOv2. `anchors` are w, h pairs in grid cells."""

    NAMES = ("region",)
    classes: int = integer(20, 1)
    num: int = integer(1, 1)
    anchors: tuple[float, ...] = reals((), 0.0)
    coords: int = integer(4, 4, 4)
    softmax: int = integer(0)
    max: int = integer(200)
    jitter: float = real(0.2)
    resize: float = real(1.0)
    random: float = real(0.0)
    rescore: int = integer(0)
    thresh: float = real(0.5)
    classfix: int = integer(0)
    absolute: int = integer(0)
    coord_scale: float = real(1.0)
    object_scale: float = real(1.0)
    noobject_scale: float = real(1.0)
    mask_scale: float = real(1.0)
    class_scale: float = real(1.0)
    bias_match: int = integer(0)
    focal_loss: int = integer(0)
    log: int = integer(0)
    sqrt: int = integer(0)
    background: int = integer(0, refuse="the darknets disagree on it, one ignores it")
    tree: str = word("", refuse="class hierarchies (YOLO9000) are out of scope")
    map: str = word("", refuse="class hierarchies (YOLO9000) are out of scope")

    @property
    def pairs(self) -> tuple[tuple[float, float], ...]:
        """Width and height of each anchor, in grid cells."""
        return tuple((self.anchors[2 * k], self.anchors[2 * k + 1]) for k in range(self.num))

    def check(self) -> None:
        """`num` positive anchors are listed, and classes go through a softmax."""
        if len(self.anchors) < 2 * self.num or min(self.anchors[: 2 * self.num]) <= 0:
            raise SectionError("anchors", self.anchors, f"expected {self.num} pairs of positive width and height")
        if not self.softmax:
            raise SectionError("softmax", 0, "the darknets disagree on it: only softmax=1 has one meaning")


SECTIONS: dict[str, type[Layer]] = {
    name: kind
    for kind in (
        Convolutional, Maxpool, Avgpool, Upsample, Route, Shortcut, ScaleChannels, Sam, Reorg, Reorg3d, Dropout,
        Yolo, Region,
    )
    for name in kind.NAMES
}  # fmt: skip

OUT_OF_SCOPE = {
    "Gaussian_yolo": "boxes with uncertainties",
    "crnn": "recurrent layers",
    "conv_lstm": "recurrent layers",
    "rnn": "recurrent layers",
    "gru": "recurrent layers",
    "lstm": "recurrent layers",
    "history": "recurrent layers",
    "contrastive": "contrastive learning",
    "local_avgpool": "it occurs in contrastive models only",
    "local_avg": "it occurs in contrastive models only",
    "connected": "fully connected layers (classifiers, YOLOv1)",
    "conn": "fully connected layers (classifiers, YOLOv1)",
    "local": "unshared convolutions (YOLOv1)",
    "detection": "the head of YOLOv1",
    "softmax": "classifiers",
    "soft": "classifiers",
    "cost": "classifiers",
    "crop": "classifiers",
    "deconvolutional": "segmentation",
    "deconv": "segmentation",
    "iseg": "segmentation",
    "implicit": "it occurs in no supported model",
    "batchnorm": "the darknets store it differently",
    "activation": "it occurs in no supported model",
    "normalization": "it occurs in no supported model",
    "lrn": "it occurs in no supported model",
    "logistic": "it occurs in no supported model",
    "l2norm": "it occurs in no supported model",
    "empty": "it occurs in no supported model",
    "silence": "it occurs in no supported model",
}
