"""Antialiasing, weighted shortcuts and silu beside a slow reference, through files, folding and export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.oracles import blur, weighted_sum
from yolo.darknet.cfg import parse_cfg
from yolo.darknet.current_copy import CurrentCopy
from yolo.darknet.inference import inference_copy
from yolo.darknet.layers import Add
from yolo.darknet.network import Darknet
from yolo.darknet.plan import make_plan
from yolo.darknet.safetensors_file import load_safetensors, save_safetensors
from yolo.darknet.weights import load_weights, save_weights

NET = "[net]\nwidth=16\nheight=12\nchannels=3\n"
HEAD = "[convolutional]\nfilters=6\nsize=1\nactivation=linear\n[yolo]\nmask=0\nanchors=4,4\nclasses=1\n"


def outputs(body: str, seed: int = 0, size: tuple[int, int] = (12, 16)) -> tuple[Darknet, list[torch.Tensor]]:
    """Return the network of a cfg with random weights, and the image and the outputs of its first sections."""
    torch.manual_seed(seed)
    network = Darknet(parse_cfg(NET + body + HEAD)).eval()
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.uniform_(-1, 1)
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    seen = [torch.rand(2, 3, *size)]
    for layer in network.layers:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        network(seen[0])
    return network, [one.clone() for one in seen]


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 3), (3, 1)])
@pytest.mark.parametrize("section", ["convolutional", "maxpool"])
def test_antialiasing(section: str, strides: tuple[int, int], kind: int) -> None:
    """The layer with stride 1, then darknet's blur with the stride; planned and computed sizes agree."""
    keys = (
        "filters=5\nbatch_normalize=1\nsize=3\npad=1\nactivation=mish\n" if section == "convolutional" else "size=2\n"
    )
    stepped = f"[{section}]\n{keys}stride_y={strides[0]}\nstride_x={strides[1]}\nantialiasing={kind}\n"
    _, plain = outputs(f"[{section}]\n{keys}stride=1\n")
    network, found = outputs(stepped)
    expected = blur(plain[1].numpy(), strides, kind)
    assert found[1].shape[1:] == network.plan.layers[0].output == expected.shape[1:]
    np.testing.assert_allclose(found[1].numpy(), expected, rtol=1e-5, atol=1e-5)
    assert network.plan.layers[1].stride == strides
    folded = inference_copy(network)(found[0])
    torch.testing.assert_close(folded, [found[-1]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ["linear", "leaky"])
@pytest.mark.parametrize("normalization", ["none", "relu", "avg_relu", "softmax"])
@pytest.mark.parametrize(("kind", "floats"), [("per_feature", 3), ("per_layer", 3), ("per_channel", 12)])
def test_weighted_shortcuts(kind: str, floats: int, normalization: str, activation: str) -> None:
    """Two sources, one with fewer and one with more channels than the input; weights below 0 among them."""
    conv = "[convolutional]\nfilters={}\nsize=3\npad=1\nactivation=linear\n"
    body = conv.format(3) + conv.format(6) + conv.format(4)
    body += f"[shortcut]\nfrom=-3,-2\nweights_type={kind}\nweights_normalization={normalization}\n"
    network, found = outputs(body + f"activation={activation}\n")
    layer = network.layers[3]
    assert isinstance(layer, Add)
    assert layer.weights is not None
    assert network.plan.layers[3].floats == layer.weights.numel() == floats
    weights = layer.weights.detach().numpy()
    assert (weights < 0).any()
    expected = weighted_sum([found[k].numpy() for k in (3, 1, 2)], weights, normalization)
    expected = np.where(expected > 0, expected, 0.1 * expected) if activation == "leaky" else expected
    np.testing.assert_allclose(found[4].numpy(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(inference_copy(network)(found[0]), [found[-1]], rtol=1e-4, atol=1e-4)


def test_weights_of_shortcuts_in_files(tmp_path: Path) -> None:
    """They are between those of the convolutions around them, in the order of the file; both formats give them back."""
    conv = "[convolutional]\nfilters=4\nsize=1\nactivation=silu\n"
    network, found = outputs(conv + conv + "[shortcut]\nfrom=-2\nweights_type=per_channel\n")
    assert network.plan.floats == 4 * 4 + 4 * 5 + 8 + 6 * 5
    save_weights(network, tmp_path / "a.weights")
    values = np.fromfile(tmp_path / "a.weights", "<f4", offset=20)
    layer = network.layers[2]
    assert isinstance(layer, Add)
    assert layer.weights is not None
    np.testing.assert_array_equal(values[36:44], layer.weights.detach().numpy().ravel())
    save_safetensors(network, tmp_path / "a.safetensors", ["one"])
    other = Darknet(network.cfg, init=None)
    assert load_weights(other, tmp_path / "a.weights").complete
    for again in (other, load_safetensors(tmp_path / "a.safetensors").network):
        with torch.no_grad():
            assert again.eval()(found[0])[0].equal(found[-1])
    fresh = Darknet(network.cfg).layers[2]
    assert isinstance(fresh, Add)
    assert fresh.weights is not None
    assert fresh.weights.eq(1).all(), "as darknet begins"


def test_a_shortcut_weight_reaches_the_inference_copy() -> None:
    """Weights of shortcuts are among those that the copy is compared with."""
    conv = "[convolutional]\nfilters=4\nsize=1\nactivation=linear\n"
    network, found = outputs(conv + conv + "[shortcut]\nfrom=-2\nweights_type=per_feature\n")
    kept = CurrentCopy(network)
    before = kept.get(torch.float32)(found[0])[0]
    layer = network.layers[2]
    assert isinstance(layer, Add)
    assert layer.weights is not None
    layer.weights.data.mul_(2)
    assert not kept.get(torch.float32)(found[0])[0].equal(before)


def test_silu_is_swish() -> None:
    """x · σ(x), by either name."""
    conv = "[convolutional]\nfilters=4\nsize=3\nactivation={}\n"
    _, found = outputs(conv.format("silu"))
    _, linear = outputs(conv.format("linear"))
    torch.testing.assert_close(found[1], linear[1] * linear[1].sigmoid())
    assert outputs(conv.format("swish"))[1][1].equal(found[1])


def test_operations_are_those_of_the_window() -> None:
    """A blurred convolution moves by 1, which takes stride² times as many operations."""
    conv = "[convolutional]\nfilters=4\nsize=3\npad=1\nstride=2\nactivation=linear\n"
    plain, blurred = (make_plan(parse_cfg(NET + conv + key + HEAD)).layers[0] for key in ("", "antialiasing=1\n"))
    assert blurred.flops == 4 * plain.flops
    assert blurred.output == plain.output
