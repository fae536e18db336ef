"""The network as a whole: shapes, sizes, memory, gradients, and its inference copy."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.paths import GOLDEN
from yolo.darknet.cfg import CfgError, parse_cfg, read_cfg
from yolo.darknet.inference import inference_copy
from yolo.darknet.layers import BUILDERS, ConvBlock, Nearest
from yolo.darknet.network import Darknet
from yolo.darknet.sections import SECTIONS, Upsample

GOLDEN = GOLDEN / "nets"


def toy(**net: int) -> Darknet:
    """toy.cfg, seeded, with some `[net]` keys replaced and batch norm that is not the identity."""
    text = read_cfg("toy.cfg").to_text()
    for key, value in net.items():
        text = text.replace(f"{key}={getattr(read_cfg('toy.cfg').net, key)}", f"{key}={value}", 1)
    torch.manual_seed(0)
    network = Darknet(parse_cfg(text, "toy.cfg"))
    for layer in network.layers:
        if isinstance(layer, ConvBlock) and layer.bn is not None:
            assert layer.bn.running_mean is not None
            assert layer.bn.running_var is not None
            nn.init.normal_(layer.bn.running_mean)
            nn.init.uniform_(layer.bn.running_var, 0.5, 2)
            nn.init.uniform_(layer.bn.weight, -1, 1)
            nn.init.normal_(layer.bn.bias)
    return network


@pytest.mark.parametrize(("h", "w"), [(160, 160), (64, 96), (96, 32), (320, 256)])
@pytest.mark.parametrize("training", [False, True])
def test_any_size_that_the_strides_divide(h: int, w: int, training: bool) -> None:
    """Contract: per head `[B, A, H, W, 5 + C]`, the same in training and evaluation, non-square included."""
    network = toy().train(training)
    shapes = [list(raw.shape) for raw in network(torch.rand(2, 3, h, w))]
    assert shapes == [[2, 3, h // s, w // s, 11] for s in (32, 16, 8)]
    assert [head.stride for head in network.heads] == [32, 16, 8]
    assert all(list(head.anchors.shape) == [3, 2] for head in network.heads)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels(channels: int) -> None:
    """`channels` other than 3."""
    assert len(toy(channels=channels)(torch.rand(1, channels, 64, 64))) == 3


def test_a_size_that_does_not_go_through_is_named() -> None:
    """The error names the layer, what it joins, and the sizes that fit."""
    with pytest.raises(CfgError, match=r"\[route\] \(layer 24\) joins outputs of unequal height and width: .* of 32"):
        toy()(torch.rand(1, 3, 100, 96))


@pytest.mark.parametrize(
    ("images", "got"),
    [
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "uint8"),
        (torch.zeros(3, 64, 64), r"\[3, 64, 64\]"),
        (torch.zeros(1, 1, 64, 64), r"\[1, 1, 64, 64\]"),
    ],
)
def test_other_images_are_refused(images: Tensor, got: str) -> None:
    """uint8, a missing batch dimension, wrong channels: what we got and what to do."""
    with pytest.raises(ValueError, match=rf"expected images \[B, 3, h, w\] .* got .*{got}.*divide uint8 images by 255"):
        toy()(images)


def test_outputs_are_freed_after_their_last_use() -> None:
    """While layer k runs, only those outputs are alive that it or a later layer reads."""
    network = toy().eval()
    plan = network.plan
    alive: dict[int, weakref.ref[Tensor]] = {}
    kept: list[set[int]] = []

    def hook(index: int) -> Any:
        def before(_module: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
            kept.append({k for k, reference in alive.items() if reference() is not None})

        def after(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            alive[index] = weakref.ref(output)

        network.layers[index].register_forward_pre_hook(before)
        network.layers[index].register_forward_hook(after)

    for index in range(len(network.layers)):
        hook(index)
    with torch.inference_mode():
        raw = network(torch.rand(1, 3, 64, 64))
    heads = set(network.cfg.heads)
    for index, now in enumerate(kept):
        needed = {k for k in range(index) if plan.last_use[k] >= index and k not in heads}
        # the output of a route with one source is the same tensor as its input
        passed_on = {plan.layers[k].sources[0] for k in now if len(plan.layers[k].sources) == 1}
        assert now - heads - passed_on <= needed, f"layer {index} runs while {now - needed} are alive"
        assert needed <= now
    assert len(raw) == 3


def test_every_parameter_gets_a_gradient() -> None:
    """No step of the forward pass interrupts the graph; in-place activations do not break it."""
    network = toy().train()
    sum(raw.square().mean() for raw in network(torch.rand(2, 3, 64, 96))).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.abs().sum() > 0), name


@pytest.mark.parametrize("case", ["activations-1", "activations-2", "maxpool", "maxpool-options", "shortcut", "reorg"])
def test_gradients_equal_finite_differences(case: str) -> None:
    """Every activation and layer kind differentiates what it computes, in float64."""
    network = Darknet(read_cfg(GOLDEN / case / f"{case}.cfg")).double().eval()
    torch.manual_seed(1)
    h, w = network.size
    images = torch.rand(1, 3, h, w, dtype=torch.float64, requires_grad=True)
    direction = torch.randn_like(images)
    (slope,) = torch.autograd.grad(sum(raw.sum() for raw in network(images)), images)
    step = 1e-7
    with torch.no_grad():
        up, down = (sum(raw.sum() for raw in network(images + sign * step * direction)) for sign in (1, -1))
    numeric = (up - down) / (2 * step)
    assert float((slope * direction).sum()) == pytest.approx(float(numeric), rel=1e-4, abs=1e-5)


def test_every_section_has_a_module() -> None:
    """The table of modules and the table of sections have the same kinds."""
    assert BUILDERS.keys() == set(SECTIONS.values())


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 32, 41, 47, 82])
def test_upsampling_repeats_every_pixel(stride: int) -> None:
    """out[y][x] = scale * in[y / stride][x / stride], at strides where a division in floating point errs too."""
    x = torch.arange(2 * 3 * 7.0).reshape(1, 2, 3, 7)
    y, z = torch.arange(3 * stride) // stride, torch.arange(7 * stride) // stride
    assert Nearest(Upsample(stride=stride, scale=0.5))(x).equal(x[:, :, y][..., z] * 0.5)


def test_initial_weights_keep_the_scale_of_activations() -> None:
    """He initialisation: deep activations neither die nor explode; the same seed gives the same weights."""
    torch.manual_seed(3)
    first = Darknet(read_cfg("yolov3-tiny.cfg"))
    raw = first.train()(torch.rand(2, 3, 96, 96))
    assert all(0.05 < float(x.detach().std()) < 20 for x in raw)
    torch.manual_seed(3)
    second = Darknet(read_cfg("yolov3-tiny.cfg"))
    assert all(a.equal(b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_initial_weights_as_pytorch_draws_them() -> None:
    """Those of nn.Conv2d for the same seed, biases of heads included; darknet's have a variance six times as large."""
    torch.manual_seed(3)
    block = next(
        layer for layer in Darknet(read_cfg("yolov3-tiny.cfg"), init="torch").layers if isinstance(layer, ConvBlock)
    )
    torch.manual_seed(3)
    assert block.conv.weight.equal(nn.Conv2d(3, 16, 3, bias=False).weight)
    drawn, ours = (Darknet(read_cfg("yolov3-tiny.cfg"), init=init) for init in ("torch", "darknet"))
    for a, b in zip(drawn.state_dict().values(), ours.state_dict().values(), strict=True):
        if a.numel() > 100_000:
            assert float(b.var() / a.var()) == pytest.approx(6, rel=0.05)
        elif a.numel() == 255:  # a head's biases
            assert float(b.abs().max()) == 0 < float(a.abs().max())


def test_the_inference_copy_predicts_the_same() -> None:
    """Batch norm folded, channels_last: equal up to rounding; the training module is untouched."""
    network = toy().train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    folded = inference_copy(network)
    images = torch.rand(2, 3, 96, 64)
    with torch.inference_mode():
        expected = network.eval()(images)
        found = folded(images.contiguous(memory_format=torch.channels_last))
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(before[key].equal(value) for key, value in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())
