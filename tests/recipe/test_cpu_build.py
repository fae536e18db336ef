"""The network as darknet's CPU build trains it, against plain formulas and a loop over its layers.

That the rules are darknet's is shown by whole trainings of darknet (`tests/training/test_darknet_runs.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.recipe_problems import recipe_text
from tests.support.train_problems import difference
from yolo.darknet.cfg import parse_cfg
from yolo.darknet.heads import Head
from yolo.darknet.layers import ConvBlock
from yolo.darknet.network import Darknet
from yolo.recipe.cpu_build import BatchNorm, CpuBuild


def test_batch_norm_is_the_plain_formula() -> None:
    """In float64; the variance divides by n - 1, the means of the gradient by n."""
    torch.manual_seed(0)
    norm = BatchNorm(3, eps=1e-5)
    with torch.no_grad():
        for parameter in (norm.weight, norm.bias):
            parameter.copy_(torch.randn(3))
        norm.running_mean.copy_(torch.randn(3))  # type: ignore[union-attr]
        norm.running_var.copy_(torch.rand(3) + 1)  # type: ignore[union-attr]
    before = {name: value.double().numpy() for name, value in norm.state_dict().items()}
    x, dy = (2 * torch.randn(2, 3, 2, 2) + 1).requires_grad_(), torch.randn(2, 3, 2, 2)
    y = norm(x)
    y.backward(dy)

    def rows(values: Tensor) -> np.ndarray:
        return values.detach().double().transpose(0, 1).reshape(3, 8).numpy()

    mean, gamma, beta = rows(x).mean(1), before["weight"][:, None], before["bias"][:, None]
    var = ((rows(x) - mean[:, None]) ** 2).sum(1) / 7
    scale = 1 / np.sqrt(var + 1e-5)[:, None]
    normal, g = (rows(x) - mean[:, None]) * scale, rows(dy)
    dx = gamma * scale * (g - g.mean(1, keepdims=True) - normal * (g * normal).mean(1, keepdims=True))
    assert rows(y) == pytest.approx(gamma * normal + beta, abs=1e-5)
    assert x.grad is not None
    assert rows(x.grad) == pytest.approx(dx, abs=1e-5)
    assert norm.weight.grad == pytest.approx((g * normal).sum(1), abs=1e-5)
    assert norm.running_mean == pytest.approx(0.9 * before["running_mean"] + 0.1 * mean, abs=1e-6)
    assert norm.running_var == pytest.approx(0.9 * before["running_var"] + 0.1 * var, abs=1e-6)


def test_batch_norm_outside_of_training() -> None:
    """It is PyTorch's, and one value per channel is enough; to train it is not."""
    norm, plain = BatchNorm(2), nn.BatchNorm2d(2)
    norm(torch.randn(3, 2, 4, 4))
    plain.load_state_dict(norm.state_dict())
    x = torch.randn(1, 2, 1, 1)
    assert norm.eval()(x).equal(plain.eval()(x))
    with pytest.raises(ValueError, match=r"\[1, 2, 1, 1\]: training needs more than one value per channel"):
        norm.train()(x)


def by_hand(network: CpuBuild, images: Tensor, deltas: dict[int, Tensor], gradients: Sequence[Tensor]) -> None:
    """Add the gradients of a mini-batch to those of the parameters, layer by layer as the CPU build does.

    Args:
        network: computes every layer on its own.
        images: `[B, 3, h, w]`.
        deltas: the gradients of outputs by layer; those of the mini-batch before stay in it.
        gradients: those of the raw predictions of each head.
    """
    outputs, saved, heads = {-1: images}, {}, list(gradients)
    for k, (plan, layer) in enumerate(zip(network.plan.layers, network.layers, strict=True)):
        inputs = [outputs[j].detach().requires_grad_() for j in plan.sources]
        output = layer(*inputs)
        outputs[k], saved[k] = output.detach(), (inputs, output)
        if k not in deltas or isinstance(layer, ConvBlock):  # only a convolution begins at 0
            deltas[k] = torch.zeros_like(output)
    for k, (plan, layer) in reversed(list(enumerate(zip(network.plan.layers, network.layers, strict=True)))):
        inputs, output = saved[k]
        output.backward(heads.pop() if isinstance(layer, Head) else deltas[k])
        for j, value in zip(plan.sources, inputs, strict=True):
            if j >= 0:
                assert value.grad is not None
                deltas[j] = value.grad if isinstance(layer, ConvBlock) else deltas[j] + value.grad


def gradients_of(network: nn.Module) -> dict[str, Tensor]:
    """Return the gradients of the parameters that have one."""
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def mini_batch(seed: int, size: int = 64) -> tuple[Tensor, list[Tensor]]:
    """Return images and gradients of both heads, all random."""
    random = torch.Generator().manual_seed(seed)
    sides = (size // 16, size // 8)
    return torch.rand(2, 3, size, size, generator=random), [
        torch.randn(2, 3, side, side, 11, generator=random) for side in sides
    ]


def backward(network: Darknet, images: Tensor, gradients: Sequence[Tensor]) -> None:
    """Add the gradients of a mini-batch to those of the parameters."""
    torch.autograd.backward(network(images), list(gradients))


def test_gradients_are_those_of_a_loop_over_the_layers() -> None:
    """Of two updates of two mini-batches, in the second of which more and more of those before is in them."""
    torch.manual_seed(0)
    network = CpuBuild(parse_cfg(recipe_text()))
    other, true = deepcopy(network), Darknet(network.cfg)
    deltas: dict[int, Tensor] = {}
    true.load_state_dict(network.state_dict())
    for update in range(2):
        for model in (network, other, true):
            model.zero_grad()
        for k in range(2):
            images, gradients = mini_batch(2 * update + k)
            backward(network, images, gradients)
            by_hand(other, images, deltas, gradients)
            backward(true, images, gradients)
        found, expected, right = map(gradients_of, (network, other, true))
        assert found.keys() == expected.keys() == {name for name in right if not name.endswith("bn.bias")}
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-5 * float(value.abs().max())), name
    # They are not the true ones where a reader is lost, or where something is carried.
    for name in ("layers.0.conv.weight", "layers.9.conv.weight"):
        assert (found[name] - right[name]).norm() > 0.1 * right[name].norm()
    assert list(network.carried) == [10]
    assert network.carried[10] == pytest.approx(deltas[10], rel=1e-4, abs=1e-5)


def test_nothing_is_carried_to_another_input_size() -> None:
    network = CpuBuild(parse_cfg(recipe_text()))
    fresh = deepcopy(network)
    backward(network, *mini_batch(0))
    network.zero_grad()
    for model in (network, fresh):
        backward(model, *mini_batch(1, size=96))
    assert difference(gradients_of(network), gradients_of(fresh)) == ""
    backward(fresh, *mini_batch(2, size=96))
    assert network.carried[10].shape == (2, 8, 12, 12)


def test_predictions_state_and_copies_are_those_of_darknet() -> None:
    """Bit for bit, with and without gradients. Copies do not share what they carry."""
    network = CpuBuild(parse_cfg(recipe_text()))
    backward(network, *mini_batch(0))
    plain = Darknet(network.cfg)
    assert [*plain.state_dict()] == [*network.state_dict()]
    plain.load_state_dict(network.state_dict())
    copied, images = deepcopy(network), torch.rand(2, 3, 64, 64)
    for model in (network, plain, copied):
        model.eval()
    expected = plain(images)
    for model in (network, copied):
        assert all(a.equal(b) for a, b in zip(model(images), expected, strict=True))
        with torch.inference_mode():
            assert all(a.equal(b) for a, b in zip(model(images), expected, strict=True))
    before = network.carried[10].clone()
    backward(copied, *mini_batch(1))
    assert network.carried[10].equal(before)
    assert not copied.carried[10].equal(before)
