"""Full batches go the fast way, others do not; the gradients of a recorder that reuses its buffers are right."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.train_problems import numbers, shapes, tiny_cfg, words
from yolo.__main__ import main
from yolo.darknet.cfg import parse_cfg, read_cfg
from yolo.darknet.network import Darknet
from yolo.options.train import Train
from yolo.training import full_batches
from yolo.training.full_batches import FullBatches, Pass, Recorded, compiled

SMALLEST = """\
[net]
width=32
height=32
channels=3
[convolutional]
batch_normalize=1
filters=7
size=3
stride=8
pad=1
activation=leaky
[yolo]
mask=0
anchors=6,6
classes=2
num=1
"""
"""What a compiler is done with soon."""


@pytest.fixture
def network(tmp_path: Path) -> Darknet:
    """A tiny network in training mode."""
    torch.manual_seed(0)
    return Darknet(read_cfg(tiny_cfg(tmp_path))).train()


def images(number: int, size: int = 64, seed: int = 1) -> Tensor:
    """Return random images."""
    return torch.rand(number, 3, size, size, generator=torch.Generator().manual_seed(seed))


class Graphs:
    """Records as `torch.cuda.make_graphed_callables`: static outputs and gradients, which every replay overwrites."""

    def __init__(self) -> None:
        self.recorded: list[tuple[int, ...]] = []

    def __call__(self, network: nn.Module, sample: Tensor) -> Pass:
        self.recorded.append(tuple(sample.shape))
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        for _ in range(3):  # warm-up, which batch norm sees
            network(sample)
        static = [torch.zeros_like(parameter) for parameter in parameters]
        outputs: list[Tensor] = []

        class Graphed(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, given: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
                with torch.enable_grad():
                    outputs[:] = network(given)
                return tuple(output.detach() for output in outputs)

            @staticmethod
            def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
                for buffer, value in zip(static, torch.autograd.grad(outputs, parameters, gradients), strict=True):
                    buffer.copy_(value)
                return None, *(buffer.detach() for buffer in static)

        return lambda given: list(Graphed.apply(given, *parameters))


def accumulated(network: nn.Module, run: Pass, sizes: tuple[int, ...] = (64, 64)) -> None:
    """Run two batches forward and backward, whose gradients add up."""
    network.zero_grad(set_to_none=True)
    for seed, size in enumerate(sizes):
        sum(((raw - 0.1 * seed).square().mean() for raw in run(images(2, size, seed))), torch.zeros(())).backward()


@pytest.mark.parametrize("sizes", [(64, 64), (64, 96), (96, 64, 96)])
def test_gradients_of_recorded_batches_add_up(network: Darknet, sizes: tuple[int, ...]) -> None:
    """Gradients and running statistics are those of the network itself, over several steps."""
    other, graphs = copy.deepcopy(network), Graphs()
    fast = Recorded(network, graphs)
    for _ in range(3):
        accumulated(network, fast, sizes)
        accumulated(other, other, sizes)
        for (name, own), expected in zip(network.named_parameters(), other.parameters(), strict=True):
            assert own.grad is not None
            assert expected.grad is not None
            assert own.grad.equal(expected.grad), name
    for mean, of_other in zip(network.buffers(), other.buffers(), strict=True):
        assert mean.equal(of_other)
    assert sorted(graphs.recorded) == sorted({(2, 3, size, size) for size in sizes})


def test_the_alias_is_real(network: Darknet) -> None:
    """Without the copies that `Recorded` makes, a second batch would count twice: the recorder of this test is fair."""
    run = Graphs()(network, images(2))
    other = copy.deepcopy(network)
    accumulated(network, run)
    accumulated(other, other)
    pairs = zip(network.parameters(), other.parameters(), strict=True)
    assert not all(a.grad is not None and b.grad is not None and a.grad.allclose(b.grad) for a, b in pairs)


def test_frozen_layers_are_recorded_anew(network: Darknet) -> None:
    """What is trained and in which mode belongs to a recording."""
    graphs = Graphs()
    fast = Recorded(network, graphs)
    accumulated(network, fast)
    network.layers[0].requires_grad_(False)
    accumulated(network, fast)
    network.layers[0].eval()
    accumulated(network, fast)
    network.layers[0].requires_grad_(True).train()
    accumulated(network, fast)
    assert len(graphs.recorded) == 3


def test_what_cannot_be_recorded_is_computed(network: Darknet, caplog: pytest.LogCaptureFixture) -> None:
    """The reason is logged once, and batch norm has not seen the attempt."""
    tried: list[Tensor] = []

    def refuse(network: nn.Module, sample: Tensor) -> Pass:
        tried.append(sample)
        network(sample)
        raise RuntimeError("capture failed\nmore")

    other = copy.deepcopy(network)
    with caplog.at_level(logging.WARNING, "yolo"):
        accumulated(network, Recorded(network, refuse))
    accumulated(other, other)
    assert caplog.messages == ["batches [2, 3, 64, 64] are trained without CUDA graphs: capture failed"]
    assert len(tried) == 1
    for own, expected in zip(network.buffers(), other.buffers(), strict=True):
        assert own.equal(expected)


def test_compiled_once_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine sizes and smaller last batches over two epochs are nine graphs: more than PyTorch's own limit."""
    graphs: list[int] = []

    def count(module: Any, _: Any) -> Any:
        graphs.append(1)
        return module.forward

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *words, **named: real(*words, backend=count, **named))
    torch._dynamo.reset()
    network = Darknet(parse_cfg(SMALLEST, "smallest.cfg")).train()
    whole = FullBatches(network, 4, compiled(network))
    sizes = range(32, 32 + 16 * 9, 16)
    for _ in range(2):
        for size in sizes:
            for number in (4, 4, 3):
                found = whole(images(number, size))
                assert [len(raw) for raw in found] == [number]
    assert len(graphs) == len(sizes)
    assert dict(whole.named_parameters()).keys() == {f"network.{name}" for name, _ in network.named_parameters()}


def test_a_run_with_a_smaller_last_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """12 images in batches of 5 with two batches in a step: the metrics are those of the plain run."""
    seen: list[int] = []

    def compiled(network: nn.Module) -> Pass:
        def run(images: Tensor) -> Any:
            seen.append(len(images))
            return network(images)

        return run

    monkeypatch.setattr("yolo.training.assemble.compiled", compiled)
    plain = words(shapes(tmp_path), tiny_cfg(tmp_path), "--epochs", "1", "--batch-size", "5", "--accumulate", "2")
    plain.append("--no-check")
    assert main(["train", *plain, "--out", str(tmp_path / "plain")]) == 0
    assert main(["train", *plain, "--out", str(tmp_path / "compiled"), "--compile"]) == 0
    assert numbers(tmp_path / "compiled") == numbers(tmp_path / "plain")
    assert seen == [5, 5]


def test_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CUDA graphs need a GPU, and one way at a time."""
    line = words(shapes(tmp_path), tiny_cfg(tmp_path), "--graphs")
    assert main(["train", *line, "--out", str(tmp_path / "run")]) == 1
    assert "graphs=True on cpu, 1 processes: it needs one GPU" in capsys.readouterr().err
    with pytest.raises(ValueError, match="leave one of them out"):
        Train(compile=True, graphs=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_graphs_on_a_gpu(network: Darknet, dtype: torch.dtype) -> None:
    """Gradients, also accumulated ones, and running statistics are those of the network itself."""
    network = network.cuda()
    other = copy.deepcopy(network)
    fast = full_batches.recorded(network)

    def on_gpu(run: Pass) -> Pass:
        def go(given: Tensor) -> Any:
            with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
                return [raw.float().cpu() for raw in run(given.cuda())]

        return go

    for _ in range(3):
        accumulated(network, on_gpu(fast), (64, 96, 64))
        accumulated(other, on_gpu(other), (64, 96, 64))
        for own, expected in zip(network.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(own.grad, expected.grad, rtol=2e-2, atol=1e-4)
    for mean, of_other in zip(network.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(mean, of_other, rtol=1e-3, atol=1e-4)
    assert len(fast.made) == 2
