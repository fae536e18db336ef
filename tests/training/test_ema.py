"""The moving average against a plain loop, its ramp against a table, exact resume, frozen layers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.training.ema import Ema


def small() -> nn.Sequential:
    """Convolution, batch norm, and a head without batch norm."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.LeakyReLU(0.1), nn.Conv2d(4, 2, 1))


def train(network: nn.Module, steps: int, seed: int = 0) -> Iterator[int]:
    """Train `steps` steps of SGD on noise; yields after each."""
    dtype = next(network.parameters()).dtype
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    noise = torch.Generator().manual_seed(seed)
    for step in range(steps):
        optimizer.zero_grad()
        network(torch.randn(2, 3, 8, 12, generator=noise).to(dtype)).square().mean().backward()
        optimizer.step()
        yield step


def state(network: nn.Module) -> dict[str, Tensor]:
    """A copy of all that is saved of a network."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
@pytest.mark.parametrize(("decay", "warmup"), [(0.9, 10), (0.3, 10), (0.99, 1), (0.0, 10)])
def test_against_a_plain_loop(dtype: torch.dtype, tolerance: float, decay: float, warmup: int) -> None:
    """Every parameter and running statistic is the average, counts are the last ones."""
    network = small().to(dtype)
    expected = {name: tensor.to(torch.float64) for name, tensor in state(network).items()}
    ema = Ema(network, decay, warmup)
    for t in train(network, 30):
        ema.update()
        d = min(decay, (1 + t) / (warmup + t))
        for name, tensor in network.state_dict().items():
            expected[name] = d * expected[name] + (1 - d) * tensor.to(torch.float64)
    for name, tensor in ema.network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert tensor.item() == 30
        else:
            assert tensor.dtype == dtype
            torch.testing.assert_close(tensor.to(torch.float64), expected[name], rtol=0, atol=tolerance)


def test_the_ramp() -> None:
    """TensorFlow's (1 + t) / (10 + t), until the decay is lower."""
    ema = Ema(small(), decay=0.75)
    decays = []
    for _ in range(28):
        decays.append(ema.next_decay)
        ema.update()
    table = [1 / 10, 2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15]
    assert decays[:6] == table
    assert decays[8] == 0.5
    assert decays[25:] == [26 / 35, 0.75, 0.75]
    assert Ema(small(), decay=0.75, warmup=1).next_decay == 0.75


def test_the_initial_weights_are_soon_forgotten() -> None:
    """After ten updates less than a hundred-thousandth of them is left; without the ramp 0.9998 keeps 99.8 %."""
    left = {}
    for warmup in (1, 10):
        network = nn.Conv2d(3, 4, 3)
        ema = Ema(network, 0.9998, warmup)
        initial = network.weight.detach().clone()
        nn.init.zeros_(network.weight)
        for _ in range(10):
            ema.update()
        left[warmup] = float((ema.network.get_parameter("weight") / initial).max())
    assert 0 < left[10] < 1.1e-5
    assert 0.9979 < left[1] < 0.9981


def test_resume_is_exact(tmp_path: Path) -> None:
    """Saved after five of twelve steps, loaded into a new object, continued: equal to the bit, including the ramp."""
    network = small()
    ema = Ema(network, 0.9)
    other = small()
    resumed = Ema(other, 0.9)
    for step in train(network, 12):
        ema.update()
        if step == 4:
            torch.save(ema.state_dict(), tmp_path / "ema.pt")
            resumed.load_state_dict(torch.load(tmp_path / "ema.pt", weights_only=True))
        if step > 4:
            other.load_state_dict(network.state_dict())
            resumed.update()
    assert resumed.updates == ema.updates == 12
    for name, tensor in ema.network.state_dict().items():
        assert tensor.equal(resumed.network.state_dict()[name]), name


def test_frozen_layers_are_equal_to_the_bit() -> None:
    """A frozen convolution and a batch norm in evaluation mode, after a hundred updates in odd numbers."""
    network = small()
    assert isinstance(network[1], nn.BatchNorm2d)
    network.get_buffer("1.running_var").uniform_(0.3, 0.7)
    network[0].requires_grad_(False)
    network[1].eval().requires_grad_(False)
    before = state(network)
    ema = Ema(network, 0.999)
    for _ in train(network, 100):
        ema.update()
    for name, tensor in ema.network.state_dict().items():
        assert tensor.equal(before[name]) == (not name.startswith("3.")), name


def test_the_average_is_a_module_of_its_own() -> None:
    """In evaluation mode, without gradients, nothing shared; the trained network stays as it was."""
    network = small().train()
    for _ in train(network, 1):
        ema = Ema(network)
        before = state(network)
        ema.update()
    assert not any(module.training for module in ema.network.modules())
    assert not any(p.requires_grad or p.grad is not None for p in ema.network.parameters())
    assert all(module.training for module in network.modules())
    assert all(p.requires_grad and p.grad is not None for p in network.parameters())
    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())
    storages = [{t.untyped_storage().data_ptr() for t in n.state_dict().values()} for n in (network, ema.network)]
    assert not storages[0] & storages[1]


def test_of_a_darknet() -> None:
    """The average of equal states predicts the same."""
    network = Darknet(read_cfg("toy.cfg")).to(memory_format=torch.channels_last)
    ema = Ema(network)
    ema.update()
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        for mine, theirs in zip(ema.network(images), network.eval()(images), strict=True):
            assert mine.equal(theirs)


def test_no_update_waits_for_the_device() -> None:
    """Tensors without values suffice: whoever looks at a value of one fails."""
    ema = Ema(small().to("meta"))
    with pytest.raises(RuntimeError, match="meta"):
        ema.network.get_parameter("0.weight").sum().item()
    ema.update()
    assert ema.updates == 1


@pytest.mark.parametrize(("decay", "warmup"), [(1.0, 10), (-0.1, 10), (0.9, 0), (float("nan"), 10)])
def test_other_numbers_are_refused(decay: float, warmup: int) -> None:
    """A decay of 1 would keep the initial weights for good."""
    with pytest.raises(ValueError, match=r"expected a decay in \[0, 1\) and a warmup of at least 1"):
        Ema(small(), decay, warmup)


def test_the_state_of_another_network() -> None:
    """PyTorch's own error names the tensors."""
    with pytest.raises(RuntimeError, match="Missing key"):
        Ema(small()).load_state_dict(Ema(nn.Conv2d(1, 1, 1)).state_dict())
