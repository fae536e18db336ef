"""Another number of classes: the text of the cfg, the shapes of the network, and weights that are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.paths import ROOT
from yolo.darknet.cfg import Cfg, CfgError, parse_cfg, read_cfg, with_classes
from yolo.darknet.network import Darknet
from yolo.darknet.plan import make_plan
from yolo.darknet.sections import Convolutional, Region, Yolo
from yolo.darknet.weights import load_weights, save_weights

SHIPPED = sorted(path.name for path in (ROOT / "config").glob("*.cfg"))
TINY = """[net]
width=32
height=32
channels=3

[convolutional]
filters=16
activation=linear

[region]
anchors=1,1, 2,2
num=2
classes=3
softmax=1
"""


def classes_of(cfg: Cfg) -> int:
    """The number of classes that all heads of a cfg agree on."""
    (classes,) = {layer.classes for layer in cfg.layers if isinstance(layer, (Yolo, Region))}
    return classes


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("classes", [1, 3, 21, 365])
def test_there_and_back_is_the_same_text(name: str, classes: int) -> None:
    """On every shipped cfg; on the way only the lines of heads and of the convolutions before them differ."""
    cfg = read_cfg(name)
    changed = with_classes(cfg, classes)
    before, after = cfg.to_text().splitlines(), changed.to_text().splitlines()
    different = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    heads = len(cfg.heads)
    assert different.count((f"classes={classes_of(cfg)}", f"classes={classes}")) == heads
    anchors = 5 if name.startswith(("yolov2", "yolo-voc")) else 3
    assert (
        different.count((f"filters={anchors * (5 + classes_of(cfg))}", f"filters={anchors * (5 + classes)}")) == heads
    )
    assert len(different) == 2 * heads
    assert with_classes(changed, classes_of(cfg)).to_text() == cfg.to_text()
    assert parse_cfg(changed.to_text()) == changed


@pytest.mark.parametrize("name", SHIPPED)
def test_the_plan_fits(name: str) -> None:
    """Every head of the changed cfg gets A · (5 + C) channels; no other shape moves."""
    cfg = read_cfg(name)
    plan, changed = make_plan(cfg), make_plan(with_classes(cfg, 7))
    touched = {k - d for k in cfg.heads for d in (0, 1)}
    for old, new in zip(plan.layers, changed.layers, strict=True):
        if new.index in touched:
            anchors = 5 if name.startswith(("yolov2", "yolo-voc")) else 3
            assert new.output == (anchors * 12, *old.output[1:])
        else:
            assert (new.output, new.floats) == (old.output, old.floats)


def test_the_network_has_the_right_shapes() -> None:
    """Built and run on an image that is not square: `[B, A, H, W, 5 + C]`."""
    network = Darknet(with_classes(read_cfg("toy.cfg"), 2))
    shapes = [tuple(p.shape) for p in network(torch.rand(2, 3, 64, 96))]
    assert shapes == [(2, 3, 64 // head.stride, 96 // head.stride, 7) for head in network.heads]


def test_the_same_count_changes_nothing() -> None:
    """Also the typed cfg is equal."""
    cfg = read_cfg("yolov3.cfg")
    assert with_classes(cfg, 80) == cfg


def test_a_count_that_is_not_written_down() -> None:
    """Darknet's default is 20: the line appears with another count, and goes with 20."""
    cfg = parse_cfg(TINY.replace("classes=3\n", "").replace("filters=16", "filters=50"))
    assert classes_of(cfg) == 20
    changed = with_classes(cfg, 3)
    assert "classes=3\n" in changed.to_text()
    assert with_classes(changed, 20).to_text() == cfg.to_text()


def test_a_region_head() -> None:
    """YOLOv2's: all its `num` anchors count."""
    cfg = with_classes(parse_cfg(TINY), 11)
    convolution = cfg.layers[0]
    assert isinstance(convolution, Convolutional)
    assert convolution.filters == 2 * 16
    assert make_plan(cfg).layers[1].output[0] == 32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            TINY.replace("[region]", "[dropout]\n\n[region]"),
            r"a.cfg:12: \[region\] \(layer 2\) the layer before is \[dropout\], line 10; the number of classes",
        ),
        (
            "[net]\nwidth=32\nheight=32\nchannels=16\n[region]\nanchors=1,1, 2,2\nnum=2\nclasses=3\nsoftmax=1\n",
            r"a.cfg:5: \[region\] \(layer 0\) no layer is before it",
        ),
    ],
)
def test_a_head_without_a_convolution(text: str, message: str) -> None:
    """Refused with file and line: it is unknown which filters would have to change."""
    with pytest.raises(CfgError, match=message):
        with_classes(parse_cfg(text, "a.cfg"), 4)


def test_no_classes_and_no_heads() -> None:
    """A data set without labels, and a classifier."""
    with pytest.raises(ValueError, match="0 classes; a detector needs at least 1"):
        with_classes(read_cfg("toy.cfg"), 0)
    with pytest.raises(ValueError, match=r"a.cfg: no \[yolo\] or \[region\] section"):
        with_classes(parse_cfg(TINY.partition("[region]")[0], "a.cfg"), 4)


def test_weights_are_kept(tmp_path: Path) -> None:
    """From 80 classes to 3: all weights are equal except the convolutions before the heads, which are initialised."""
    torch.manual_seed(0)
    toy = read_cfg("toy.cfg")
    source = Darknet(with_classes(toy, 80))
    for buffer in source.buffers():  # running statistics must be kept, too
        if buffer.is_floating_point() and buffer.ndim == 1:
            buffer.uniform_(0.5, 1.5)
    save_weights(source, tmp_path / "coco.weights")
    network = Darknet(with_classes(toy, 3), init=None)
    report = load_weights(network, tmp_path / "coco.weights", transfer=True)
    heads = {k - 1 for k in toy.heads}
    others = [row for row in report.rows if row.fate != "loaded"]
    assert {row.first for row in others} == {row.last for row in others} == heads
    assert all("the head has other classes" in row.fate for row in others)
    for name, tensor in network.state_dict().items():
        if int(name.split(".")[1]) in heads:
            assert tensor.shape[0] == 3 * 8
            assert bool(tensor.isfinite().all())
        elif not name.endswith("num_batches_tracked"):  # darknet has no such count
            assert tensor.equal(source.state_dict()[name]), name
