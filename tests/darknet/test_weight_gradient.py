"""The gradient of a convolution's weights by products."""

from typing import Any

import pytest
import torch
from torch import nn

from yolo.darknet import weight_gradient as module
from yolo.darknet.layers import UndrawnConv2d
from yolo.darknet.weight_gradient import by_products, weight_gradient


@pytest.fixture(autouse=True)
def slow_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as on a processor without AVX-512, and as if small convolutions were large ones."""
    monkeypatch.setattr(module, "SLOW_KERNEL", True)
    monkeypatch.setattr(module, "SMALLEST", 0)


def conv_of(channels: int, filters: int, size: int, **others: Any) -> UndrawnConv2d:
    conv = UndrawnConv2d(channels, filters, size, bias=False, **others).to(memory_format=torch.channels_last)
    nn.Conv2d.reset_parameters(conv)
    return conv


@pytest.mark.parametrize(
    ("size", "stride", "padding", "h", "w"),
    [(3, 1, 1, 7, 9), (3, 2, 1, 8, 8), (3, 2, 1, 7, 10), (5, 1, 2, 6, 11), (3, 1, 0, 5, 5), (2, 1, 1, 4, 6),
     (2, 2, 0, 6, 7), (5, 3, 1, 12, 10), (3, 1, 3, 4, 4)],
)  # fmt: skip
def test_gradients_are_pytorchs(size: int, stride: int, padding: int, h: int, w: int) -> None:
    torch.manual_seed(0)
    conv = conv_of(32, 24, size, stride=stride, padding=padding)
    x = torch.randn(3, 32, h, w).to(memory_format=torch.channels_last).requires_grad_()
    assert by_products(conv, x)
    output = conv(x)
    assert torch.equal(output, nn.Conv2d.forward(conv, x))
    gradient = torch.randn_like(output)
    to_x, to_weight = torch.autograd.grad(output, (x, conv.weight), gradient)
    expected_x, _ = torch.autograd.grad(nn.Conv2d.forward(conv, x), (x, conv.weight), gradient)
    exact = torch.autograd.grad(
        nn.functional.conv2d(x.double(), conv.weight.double(), None, stride, padding), conv.weight, gradient.double()
    )[0]
    torch.testing.assert_close(to_x, expected_x)
    torch.testing.assert_close(to_weight, exact, rtol=1e-5, atol=1e-4)
    assert to_weight.stride() == conv.weight.stride()  # else PyTorch copies it once more


def test_a_product_by_hand() -> None:
    """One pixel of gradient 2 at (1, 0): the weights get twice the window of the input around it."""
    x = torch.arange(9.0).view(1, 1, 3, 3)
    gradient = torch.zeros(1, 1, 3, 3)
    gradient[0, 0, 1, 0] = 2
    found = weight_gradient(x, gradient, 3, (1, 1), (1, 1))
    assert found[0, 0].tolist() == [[0, 0, 2], [0, 6, 8], [0, 12, 14]]


def test_both_strides() -> None:
    torch.manual_seed(0)
    x, gradient = torch.randn(2, 3, 9, 8), torch.randn(2, 4, 5, 3)
    weight = torch.zeros(4, 3, 3, 3, requires_grad=True)
    (expected,) = torch.autograd.grad(nn.functional.conv2d(x, weight, None, (2, 3), 1), weight, gradient)
    torch.testing.assert_close(weight_gradient(x, gradient, 3, (2, 3), (1, 1)), expected)


def test_without_a_gradient_of_the_input() -> None:
    conv, x = conv_of(32, 8, 3, padding=1), torch.randn(2, 32, 5, 5).to(memory_format=torch.channels_last)
    conv(x).sum().backward()
    assert conv.weight.grad is not None
    assert x.grad is None


def test_what_pytorch_does_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, x = conv_of(32, 8, 3, padding=1), torch.zeros(2, 32, 5, 5).to(memory_format=torch.channels_last)
    assert by_products(conv, x)
    assert not by_products(conv, torch.zeros(2, 32, 5, 5))  # contiguous
    assert not by_products(conv_of(32, 8, 1), x)
    assert not by_products(conv_of(31, 8, 3), x[:, :31].contiguous(memory_format=torch.channels_last))
    assert not by_products(conv_of(32, 8, 3, groups=2), x)
    assert not by_products(conv_of(32, 8, 3, dilation=2), x)
    assert not by_products(UndrawnConv2d(32, 8, 3), x)  # a bias
    assert not by_products(conv, x.double())
    with torch.no_grad():
        assert not by_products(conv, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not by_products(conv, x)
    monkeypatch.setattr(module, "SMALLEST", 2 * 32 * 8 * 9 * 2 * 25)
    assert by_products(conv, x)
    assert not by_products(conv, x[:1])
    monkeypatch.setattr(module, "SLOW_KERNEL", False)
    assert not by_products(conv, x)
    monkeypatch.setattr(module, "SLOW_KERNEL", True)
    conv.weight.requires_grad_(False)
    assert not by_products(conv, x)


def test_twice_the_same_bits() -> None:
    torch.manual_seed(0)
    x, gradient = (torch.randn(4, 32, 13, 13).to(memory_format=torch.channels_last) for _ in range(2))
    first, second = (weight_gradient(x, gradient, 3, (1, 1), (1, 1)) for _ in range(2))
    assert torch.equal(first, second)
