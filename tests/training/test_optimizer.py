"""Optimizers against their formulas, weight decay per parameter, frozen layers, errors."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.training.optimizer import OptimizerName, freeze, make_optimizer

NAMES: tuple[OptimizerName, ...] = ("sgd", "adam", "adamw")


@pytest.fixture
def toy() -> Darknet:
    """The smallest shipped network, for six classes, with running statistics that are not the initial ones."""
    torch.manual_seed(0)
    network = Darknet(read_cfg("toy.cfg"))
    for name, buffer in network.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return network


def state(network: nn.Module) -> dict[str, Tensor]:
    """A copy of all that is saved of a network."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    """Train `steps` steps on noise, each after `network.train()`, as at the start of an epoch."""
    for _ in range(steps):
        network.train()
        optimizer.zero_grad()
        sum(raw.square().mean() for raw in network(torch.rand(2, 3, 32, 64))).backward()
        optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_in_one_group(name: OptimizerName, toy: Darknet) -> None:
    """Convolution weights decay, biases and batch norm do not; frozen ones have their place as well."""
    frozen = freeze(toy, "0")
    optimizer = make_optimizer(toy, name, lr=0.1, weight_decay=5e-4)
    group_of = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(group_of) == len(list(toy.parameters()))
    decays = {key: group_of[id(p)] for key, p in toy.named_parameters()}
    assert {key for key, decay in decays.items() if decay == 5e-4} == {k for k in decays if k.endswith("conv.weight")}
    assert {key for key, decay in decays.items() if decay == 0} == {k for k in decays if not k.endswith("conv.weight")}
    assert set(frozen) <= decays.keys()
    assert all(group["lr"] == 0.1 and group["fused"] for group in optimizer.param_groups)


def expected_step(name: str, w: float, g: float, lr: float, momentum: float, decay: float) -> float:
    """A first step written out: SGD, Adam with the decay in the gradient, AdamW with the decay beside it."""
    if name == "sgd":
        return w - lr * (g + decay * w)
    if name == "adam":
        g += decay * w
    else:
        w -= lr * decay * w
    m, v = (1 - momentum) * g, 0.001 * g**2
    return w - lr * (m / (1 - momentum)) / (math.sqrt(v / 0.001) + 1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_one_step_by_hand(name: OptimizerName) -> None:
    """A convolution with one weight and a bias; only the weight decays."""
    network = nn.Conv2d(1, 1, 1).double()
    with torch.no_grad():
        network.weight.fill_(2.0)
        network.bias.fill_(3.0)  # type: ignore[union-attr]
    optimizer = make_optimizer(network, name, lr=0.1, momentum=0.8, weight_decay=0.25)
    (5 * network.weight.sum() + 7 * network.bias.sum()).backward()  # type: ignore[union-attr]
    optimizer.step()
    assert network.weight.item() == pytest.approx(expected_step(name, 2.0, 5.0, 0.1, 0.8, 0.25), rel=1e-12)
    assert network.bias.item() == pytest.approx(expected_step(name, 3.0, 7.0, 0.1, 0.8, 0.0), rel=1e-12)  # type: ignore[union-attr]


def test_sgd_is_darknets_update() -> None:
    """u ← u - decay·B·w; w ← w + (lr/B)·u; u ← momentum·u, with gradients that are sums over B images."""
    batch, lr, momentum, decay = 4, 0.01, 0.9, 0.0005
    torch.manual_seed(0)
    network = nn.Conv2d(3, 2, 3, bias=False).double()
    optimizer = make_optimizer(network, "sgd", lr, momentum, decay)
    w, u = network.weight.detach().clone(), torch.zeros_like(network.weight)
    for _ in range(5):
        total = torch.randn_like(w)
        network.weight.grad = total / batch
        optimizer.step()
        u = u - total - decay * batch * w  # darknet's updates point downhill
        w = w + lr / batch * u
        u = momentum * u
    torch.testing.assert_close(network.weight.detach(), w, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spec", ["0-3", "layers.0.*, layers.[12].*", "0,1-2"])
def test_frozen_layers_do_not_change(name: OptimizerName, spec: str, toy: Darknet) -> None:
    """Parameters and running statistics are equal to the bit after steps with decay; all other layers moved."""
    last = 3 if spec == "0-3" else 2
    frozen = freeze(toy, spec)
    before = state(toy)
    train(toy, make_optimizer(toy, name, lr=0.01, weight_decay=0.1))
    for key, tensor in toy.state_dict().items():
        assert tensor.equal(before[key]) == (int(key.split(".")[1]) <= last), key
    assert frozen == [key for key, p in toy.named_parameters() if not p.requires_grad]
    assert frozen == [key for key, _ in toy.named_parameters() if int(key.split(".")[1]) <= last]


def test_freezing_after_a_step(toy: Darknet) -> None:
    """Gradients and momentum from before do not move a layer any more."""
    optimizer = make_optimizer(toy, "sgd", lr=0.01, weight_decay=0.1)
    train(toy, optimizer)
    freeze(toy, "0-2")
    before = state(toy)
    optimizer.step()
    train(toy, optimizer)
    assert all(tensor.equal(before[key]) for key, tensor in toy.state_dict().items() if key.split(".")[1] in "012")


def test_a_copy_is_frozen_too(toy: Darknet) -> None:
    """`copy.deepcopy` keeps what keeps batch norm in evaluation mode, for the copy's own modules."""
    freeze(toy, "0")
    twin = copy.deepcopy(toy).train()
    assert not twin.get_submodule("layers.0.bn").training
    assert twin.get_submodule("layers.2").training
    toy.get_submodule("layers.0.bn").training = True
    assert not twin.get_submodule("layers.0.bn").training


def test_synchronised_batch_norm(toy: Darknet) -> None:
    """Converted first and frozen then, as the docstring requires: it does not change, and computes as before."""
    images = torch.rand(1, 3, 32, 64)
    expected = toy.eval().layers[0](images)
    network = nn.SyncBatchNorm.convert_sync_batchnorm(toy)
    freeze(network, "0")
    assert isinstance(network.get_submodule("layers.0.bn"), nn.SyncBatchNorm)
    assert not network.train().get_submodule("layers.0.bn").training
    assert network.layers[0](images).equal(expected)


def test_half_a_batch_norm(toy: Darknet) -> None:
    """Only its scale is frozen: its statistics are updated. With its bias frozen too they stop, also in two calls."""
    frozen = freeze(toy, "*.bn.weight")
    assert len(frozen) == sum(isinstance(m, nn.BatchNorm2d) for m in toy.modules()) > 1
    assert toy.train().get_submodule("layers.0.bn").training
    freeze(toy, "layers.0.bn.bias")
    assert not toy.train().get_submodule("layers.0.bn").training
    assert toy.get_submodule("layers.2.bn").training


def test_other_modules_go_by_name() -> None:
    """Networks without numbered layers, such as torchvision's; modules called `layers` deeper down are no sections."""
    network = nn.ModuleDict({"backbone": nn.Conv2d(1, 2, 1), "head": nn.ModuleDict({"layers": nn.Linear(2, 1)})})
    assert freeze(network, "backbone.*") == ["backbone.weight", "backbone.bias"]
    with pytest.raises(ValueError, match=r"^freeze '0' matches nothing; names are backbone.weight, backbone.bias"):
        freeze(network, "0")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("99", r"freeze '99' matches nothing; layers 0 to \d+ have parameters, names are layers.0.conv.weight, "),
        ("0,layer.1.*", "freeze 'layer.1.\\*' matches nothing"),
        ("3-0", "freeze '3-0' matches nothing"),
        ("", "freeze '' matches nothing"),
        ("0-", "freeze '0-' matches nothing"),
        ("4", "freeze '4' matches nothing"),  # a shortcut, a layer without parameters
        ("0-999999999", "freeze '0-999999999' leaves nothing to train; layers 0 to"),
        ("*", "leaves nothing to train"),
    ],
)
def test_what_is_refused(spec: str, message: str, toy: Darknet) -> None:
    """The error lists what exists; nothing is frozen."""
    with pytest.raises(ValueError, match=message):
        freeze(toy, spec)
    assert all(p.requires_grad for p in toy.parameters())
    assert all(module.training for module in toy.train().modules())


def test_numbers_out_of_range(toy: Darknet) -> None:
    """PyTorch names what it got; it does not look at the weight decay of a group, so that is checked here."""
    with pytest.raises(ValueError, match="learning rate: -1"):
        make_optimizer(toy, "sgd", lr=-1)
    for decay in (-1, math.nan):
        with pytest.raises(ValueError, match=f"weight_decay={decay}: expected a number of at least 0"):
            make_optimizer(toy, "adamw", lr=0.1, weight_decay=decay)
