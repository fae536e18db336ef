"""The heads: their layers, the shapes and ranges of their outputs, and what their branches share."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from yolo.localize.heads import LargestHead, LocalizationNet, SimpleDetector
from yolo.localize.loss import LocalizationLoss


def names(layers: nn.Module) -> list[str]:
    """Return the names of the layers in the order of their use."""
    return [str(type(layer).__name__) for layer in layers.children()]


def test_localization_net_has_two_branches_of_two_layers() -> None:
    """Each branch has two linear layers with ReLU between; the box branch ends with a sigmoid."""
    net = LocalizationNet(12, 5, dropout=0.2)
    branch = ["Flatten", "Linear", "Norm", "ReLU", "Dropout", "Linear"]
    assert names(net.presence) == branch
    assert names(net.box) == [*branch, "Sigmoid"]
    shapes = {name: list(values.shape) for name, values in net.named_parameters() if values.ndim == 2}
    assert shapes == {
        "presence.1.weight": [5, 12],
        "presence.5.weight": [1, 5],
        "box.1.weight": [5, 12],
        "box.5.weight": [4, 5],
    }
    logits, boxes = net(torch.rand(3, 3, 2, 2))
    assert (logits.shape, boxes.shape) == ((3,), (3, 4))
    assert (boxes > 0).all()
    assert (boxes < 1).all()


def test_norm_is_a_choice_that_keeps_the_names_of_the_weights() -> None:
    """Without batch norm there is no buffer and one image can train; the linear layers have the same names."""
    plain, normed = LocalizationNet(6, norm=False), LocalizationNet(6)
    assert not list(plain.buffers())
    assert plain.state_dict().keys() < normed.state_dict().keys()
    assert plain(torch.rand(1, 6))[1].shape == (1, 4)


@given(seed=st.integers(0, 2**32), scale=st.floats(1e-3, 1e4), norm=st.booleans())
def test_boxes_are_fractions(seed: int, scale: float, norm: bool) -> None:
    """Whatever the weights and the inputs, the box heads stay within 0 to 1."""
    torch.manual_seed(seed)
    features = torch.randn(4, 8) * scale
    for head in (LocalizationNet(8, 6, norm=norm), LargestHead(8, 3)):
        boxes = head(features)[1]
        assert (boxes >= 0).all()
        assert (boxes <= 1).all()


@pytest.mark.parametrize("norm", [True, False])
def test_the_branches_share_no_gradient(norm: bool) -> None:
    """The box term moves no weight of the presence branch, the class term none of the box branch."""
    torch.manual_seed(0)
    net = LocalizationNet(6, norm=norm)
    targets = torch.tensor([0, 1, 1, 0]), torch.tensor([[0.1, 0.2, 0.6, 0.7]]).expand(4, 4)
    logits, boxes = net(torch.rand(4, 6))
    terms = LocalizationLoss().terms(logits, boxes, *targets)
    for term, own, other in ((terms.cls, net.presence, net.box), (terms.box, net.box, net.presence)):
        net.zero_grad()
        term.backward(retain_graph=True)
        assert all(weight.grad is None or not weight.grad.any() for weight in other.parameters())
        assert all(weight.grad is not None for weight in own.parameters())
        assert any(weight.grad is not None and weight.grad.any() for weight in own.parameters())


def test_simple_detector_has_1_840_110_parameters() -> None:
    """The published count, of which 1,310,730 are in the classifier; dropout and the sigmoid have none."""
    for net in (SimpleDetector(), SimpleDetector(dropout=0.3, sigmoid=True)):
        assert sum(weight.numel() for weight in net.parameters()) == 1_840_110
        assert sum(weight.numel() for weight in net.classifier.parameters()) == 1_310_730
        assert names(net.features) == ["Conv2d", "ReLU", "MaxPool2d", "Dropout"] * 2 + ["Flatten"]


def test_simple_detector_of_other_sizes() -> None:
    """Height comes first, sizes that 4 does not divide work, and the sigmoid is a choice."""
    images = torch.rand(2, 3, 13, 22)
    torch.manual_seed(0)
    logits, raw = SimpleDetector(7, (13, 22))(images)
    torch.manual_seed(0)
    boxes = SimpleDetector(7, (13, 22), sigmoid=True)(images)[1]
    assert (logits.shape, raw.shape) == ((2, 7), (2, 4))
    assert torch.equal(boxes, raw.sigmoid())


def test_simple_detector_refuses_sizes() -> None:
    """A size without a cell after two poolings, and images of another size: named with what was expected."""
    with pytest.raises(ValueError, match=r"size=\(3, 8\).*at least 4"):
        SimpleDetector(2, (3, 8))
    with pytest.raises(ValueError, match=r"\[1, 3, 12, 8\], expected \[B, 3, 8, 12\]"):
        SimpleDetector(2, (8, 12))(torch.rand(1, 3, 12, 8))


def test_largest_head_is_that_of_the_course() -> None:
    """The published list of layers; class values and box values are parts of one output."""
    head = LargestHead(2 * 3 * 3, 20)
    expected = ["Flatten", "ReLU", "Dropout", "Linear", "ReLU", "Norm", "Dropout", "Linear"]
    assert names(head.layers) == expected
    assert [layer.p for layer in head.layers if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
    maps = torch.randn(3, 2, 3, 3)
    outputs: Tensor = head.eval().layers(maps)
    logits, boxes = head(maps)
    assert outputs.shape == (3, 24)
    assert logits.shape == (3, 20)
    assert torch.equal(torch.cat((logits, boxes), 1), torch.cat((outputs[:, :20], outputs[:, 20:].sigmoid()), 1))
