"""Every fault is planted and named; clean targets and networks pass without a line, and networks stay as they were."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from yolo.localize.checks import check_network, check_targets
from yolo.localize.heads import LargestHead, LocalizationNet, SimpleDetector
from yolo.localize.loss import LocalizationLoss
from yolo.localize.step import train_step

LABELS = torch.tensor([0, 1, 1, 0])
BOXES = torch.tensor([[math.nan] * 4, [0.0, 0.0, 1.0, 1.0], [0.2, 0.3, 0.4, 0.9], [7.0, 0.0, 0.0, 0.0]])


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bool])
def test_clean_targets(dtype: torch.dtype) -> None:
    """The boxes of images without an object are not read, and rounding at the edge of the image is no fault."""
    assert check_targets(LABELS.to(dtype), BOXES) == []
    assert check_targets(LABELS.to(dtype), (BOXES - 0.5) * (1 + 2e-6) + 0.5) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda labels, boxes: (labels + 1, boxes), "labels are [1, 2], expected 0 (no object) and 1 (object): map"),
        (lambda labels, boxes: (labels * 2 - 1, boxes), "labels are [-1, 1], expected 0"),
        (lambda labels, boxes: (labels * 0, boxes), "labels are [0], of one kind: presence cannot be learned; add"),
        (lambda labels, boxes: (labels[1:3], boxes[1:3]), "labels are [1], of one kind"),
        (lambda labels, boxes: (labels[:0], boxes[:0]), "labels are [], of one kind"),
        (lambda labels, boxes: (labels, boxes * 416), "2 of 2 boxes are beyond 1, as in pixels: divide x"),
        (lambda labels, boxes: (labels, boxes - 0.1), "1 of 2 boxes are below 0: clip"),
        (lambda labels, boxes: (labels, boxes[:, [2, 1, 0, 3]]), "2 of 2 boxes have xmin > xmax or ymin > ymax"),
        (lambda labels, boxes: (labels, boxes[:, [0, 3, 2, 1]]), "2 of 2 boxes have xmin > xmax or ymin > ymax"),
        (lambda labels, boxes: (labels, boxes[:, [0, 1, 0, 3]]), "2 of 2 boxes have no area: remove"),
        (lambda labels, boxes: (labels, boxes * math.nan), "2 of 2 boxes are not finite: remove"),
    ],
)
def test_faulty_targets(change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], words: str) -> None:
    """The fault is the only line, with its count and the remedy."""
    (line,) = check_targets(*change(LABELS, BOXES))
    assert line.startswith(words)


class Ended(nn.Module):
    """A network with functions applied to its outputs."""

    def __init__(self, network: nn.Module, logits: nn.Module, boxes: nn.Module) -> None:
        super().__init__()
        self.network, self.logits, self.boxes = network, logits, boxes

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the changed outputs."""
        logits, boxes = self.network(inputs)
        return self.logits(logits), self.boxes(boxes)


def networks() -> list[nn.Module]:
    """Return the heads, which all take 3 x 8 x 8 values, and one whose weights are 0."""
    heads = [
        LocalizationNet(192),
        LocalizationNet(192, norm=False, dropout=0.5),
        LargestHead(192, 3),
        SimpleDetector(3, (8, 8), sigmoid=True),
    ]
    constant = LocalizationNet(192)
    for weight in constant.parameters():
        nn.init.constant_(weight, 0.0 if weight.ndim == 2 else 0.5)
    return [*heads, constant]


@pytest.mark.parametrize("seed", range(5))
def test_clean_networks(seed: int) -> None:
    """Before and after some steps of training, which move the statistics of batch norm, on inputs of any scale."""
    torch.manual_seed(seed)
    for scale in (0.1, 1, 30):
        inputs = torch.rand(8, 3, 8, 8) * scale
        for network in networks():
            optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
            labels = torch.tensor([0, 1] * 4)
            batch = inputs, (labels, torch.tensor([[0.5, 0.55, 0.65, 0.7]]).expand(8, 4))
            for _ in range(3):
                assert check_network(network, inputs) == []
                train_step(network, batch, LocalizationLoss(), optimizer, "cpu")


@pytest.mark.parametrize("seed", range(5))
def test_faulty_networks(seed: int) -> None:
    """No sigmoid, two sigmoids, a probability in place of a logit, and NaN in the weights."""
    torch.manual_seed(seed)
    inputs, same, sigmoid = torch.rand(8, 3, 8, 8), nn.Identity(), nn.Sigmoid()
    (line,) = check_network(SimpleDetector(3, (8, 8)), inputs)
    assert "beyond 0 to 1: end the box branch with a sigmoid" in line
    for network in networks()[:-1]:
        (line,) = check_network(Ended(network, same, sigmoid), inputs)
        assert "after two sigmoids: remove one" in line
        (line,) = check_network(Ended(network, sigmoid, same), inputs)
        assert "like probabilities: remove the sigmoid or softmax" in line
        nn.init.constant_(next(network.parameters()), math.nan)
        (line,) = check_network(network, inputs)
        assert "not finite" in line


def test_the_network_stays_as_it_was() -> None:
    """Modes, weights, statistics, gradients and random numbers: one module is in evaluation mode, as when frozen."""
    network = LocalizationNet(192, dropout=0.5)
    network.box.eval()
    state = {name: values.clone() for name, values in network.state_dict().items()}
    inputs = torch.rand(8, 192, requires_grad=True)
    modes, random = [module.training for module in network.modules()], torch.get_rng_state()
    check_network(network, inputs)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(values, state[name]) for name, values in network.state_dict().items())
    assert all(weight.grad is None for weight in (*network.parameters(), inputs))
    assert torch.equal(torch.get_rng_state(), random)
