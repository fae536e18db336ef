"""The layers between the convolutions of an inference copy: equal, bit for bit, to those of the network."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from yolo.darknet.between import AddInPlace, PairMax, lean
from yolo.darknet.cfg import parse_cfg, read_cfg
from yolo.darknet.inference import inference_copy
from yolo.darknet.layers import Add, MaxPool
from yolo.darknet.network import Darknet

NET = "[net]\nwidth={w}\nheight={h}\nchannels=3\n"
CONV = "[convolutional]\nfilters={}\nsize=1\nactivation={}\n"


def network_of(text: str, h: int = 8, w: int = 8) -> Darknet:
    torch.manual_seed(0)
    return Darknet(parse_cfg(NET.format(h=h, w=w) + text, "a.cfg")).eval()


def same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.nan_to_num(123.0), b.nan_to_num(123.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("keys", ["stride=1", "stride=2", "stride=3", "stride_x=1\nstride_y=2"])
@pytest.mark.parametrize("padding", [0, 1])
def test_pairs(keys: str, padding: int, dtype: torch.dtype) -> None:
    """Odd and even sides, a single row, batches, NaN and infinities, with and without cells outside the input."""
    for h, w in itertools.product((1, 2, 5, 8, 13), repeat=2):
        if padding == 0 and 1 in (h, w):
            continue
        network = network_of(f"[maxpool]\nsize=2\n{keys}\npadding={padding}\n", h, w)
        pool = network.layers[0]
        assert isinstance(pool, MaxPool)
        pairs = lean(pool, network.plan.layers[0], network.plan)
        assert isinstance(pairs, PairMax)
        x = torch.randn(2, 3, h, w).to(dtype)
        x[torch.rand_like(x, dtype=torch.float32) < 0.1] = torch.nan
        x[torch.rand_like(x, dtype=torch.float32) < 0.2] = -torch.inf
        for layout in (torch.contiguous_format, torch.channels_last):
            images = x.contiguous(memory_format=layout)
            before = images.clone()
            assert same(pairs(images), pool(images))
            assert same(images, before)
    assert pairs(torch.rand(1, 16, 8, 8).to(memory_format=torch.channels_last)).is_contiguous(
        memory_format=torch.channels_last
    )


def test_other_windows_stay() -> None:
    """A size of 3, and a padding that reaches before the first cell."""
    for keys in ("size=3\nstride=2", "size=2\nstride=2\npadding=2"):
        network = network_of(f"[maxpool]\n{keys}\n")
        assert type(lean(network.layers[0], network.plan.layers[0], network.plan)) is MaxPool


def kind_of_addition(middle: str) -> type:
    """Return the class of the copy's addition; the copy's output is the network's."""
    network = network_of(CONV.format(4, "leaky") + middle)
    images = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        expected = dict(enumerate(outputs(network, images)))
        found = dict(enumerate(outputs(inference_copy(network), images)))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    (index,) = (k for k, layer in enumerate(network.layers) if isinstance(layer, Add))
    return type(inference_copy(network).layers[index])


def outputs(network: Darknet, images: Tensor) -> list[Tensor]:
    """Return the output of every layer as it is after all layers have run."""
    kept: list[Tensor] = []
    for plan, layer in zip(network.plan.layers, network.layers, strict=True):
        kept.append(layer(*(images if k < 0 else kept[k] for k in plan.sources)))
    last = {k: plan.index for plan in network.plan.layers for k in plan.sources}
    # An addition in place may overwrite what no later layer reads.
    return [
        x
        for k, x in enumerate(kept)
        if last.get(k, k) == k or not isinstance(network.layers[last[k]], Add | AddInPlace)
    ]


LEAKY = CONV.format(4, "leaky")


@pytest.mark.parametrize(
    ("middle", "kind"),
    [
        (LEAKY + "[shortcut]\nfrom=-2\nactivation=linear\n", AddInPlace),
        (LEAKY + "[shortcut]\nfrom=-2\nactivation=leaky\n" + LEAKY, AddInPlace),
        (CONV.format(6, "linear") + "[shortcut]\nfrom=-2\nactivation=linear\n", AddInPlace),
        (CONV.format(2, "linear") + "[shortcut]\nfrom=-2\nactivation=linear\n", AddInPlace),
        (LEAKY + "[shortcut]\nfrom=-1\nactivation=linear\n", Add),
        (LEAKY + "[shortcut]\nfrom=-2\nactivation=linear\n[route]\nlayers=-2,-1\n" + LEAKY, Add),
        (LEAKY + "[route]\nlayers=-1\n[shortcut]\nfrom=0\nactivation=linear\n[route]\nlayers=1\n" + LEAKY, Add),
        (LEAKY + "[shortcut]\nfrom=-2\nactivation=linear\nweights_type=per_feature\n", Add),
    ],
    ids=["plain", "activation", "wider", "narrower", "itself", "read later", "route", "weights"],
)
def test_additions(middle: str, kind: type) -> None:
    """In place only where nobody else reads the first input, under its own name or another."""
    assert kind_of_addition(middle) is kind


def test_yolov3_adds_in_place_and_tiny_takes_pairs() -> None:
    """All 23 shortcuts and all 6 poolings."""
    for cfg, kind, count in (("yolov3.cfg", AddInPlace, 23), ("yolov3-tiny.cfg", PairMax, 6)):
        plan = Darknet(read_cfg(cfg), init=None)
        layers = [
            lean(layer, at, plan.plan) for layer, at in zip(plan.layers, plan.plan.layers, strict=True) if not at.floats
        ]
        assert sum(isinstance(layer, kind) for layer in layers) == count
