"""Weights that are not finite, and negative variances, are refused by everything that loads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import yolo
from tests.support.load import load_yolo
from yolo.__main__ import main
from yolo.darknet.cfg import read_cfg
from yolo.darknet.layers import ConvBlock
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import save_safetensors
from yolo.darknet.transfer import transfer
from yolo.darknet.weights import save_weights

NAMES = list("abcdef")


def damaged(what: str, value: float, count: int) -> Darknet:
    """Return a toy network with `count` bad values in layer 2."""
    torch.manual_seed(0)
    network = Darknet(read_cfg("toy.cfg"))
    block = network.layers[2]
    assert isinstance(block, ConvBlock)
    state = dict(block.state_dict())
    state[what].view(-1)[:count] = value
    return network


@pytest.mark.parametrize("suffix", ["weights", "safetensors"])
@pytest.mark.parametrize(
    ("what", "value", "count", "expected"),
    [
        ("conv.weight", torch.nan, 3, "3 of 512 values are not finite"),
        ("bn.weight", torch.inf, 1, "1 of 16 values are not finite"),
        ("bn.running_mean", -torch.inf, 16, "16 of 16 values are not finite"),
        ("bn.running_var", torch.nan, 2, "2 of 16 values are not finite"),
        ("bn.running_var", -0.5, 4, "4 of 16 variances are negative"),
        ("bn.running_var", -1e-7, 1, "1 of 16 variances are negative"),
    ],
)
def test_layer_and_count(what: str, value: float, count: int, expected: str, suffix: str, tmp_path: Path) -> None:
    """Both formats, for detection and for training from them."""
    network, file = damaged(what, value, count), tmp_path / f"a.{suffix}"
    if suffix == "weights":
        save_weights(network, file)
    else:
        save_safetensors(network, file, NAMES)
    message = rf"a\.{suffix}: layer 2 \({what}\): {expected}; the training that wrote the file diverged"
    with pytest.raises(ValueError, match=message):
        yolo.load("toy.cfg" if suffix == "weights" else file, file if suffix == "weights" else None, device="cpu")
    with pytest.raises(ValueError, match=message):
        transfer(Darknet(read_cfg("toy.cfg")), file, NAMES)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """They end with exit status 1 and one line."""
    monkeypatch.chdir(tmp_path)
    network = damaged("conv.weight", torch.nan, 1)
    block = network.layers[5]
    assert isinstance(block, ConvBlock)
    block.conv.weight.data[:] = torch.inf
    save_weights(network, "a.weights")
    for words in (["summary", "toy.cfg", "--weights", "a.weights"],
                  ["convert", "a.weights", "b.safetensors", "--cfg", "toy.cfg"]):  # fmt: skip
        assert main(words) == 1
        error = capsys.readouterr().err
        assert (
            "a.weights: layer 2 (conv.weight): 1 of 512 values are not finite, and 1 other tensors have some" in error
        )
    assert not Path("b.safetensors").exists()


def test_zero_variances_are_sound(tmp_path: Path) -> None:
    """Darknet begins with them; so do very large and very small values."""
    network = damaged("bn.running_var", 0.0, 16)
    block = network.layers[2]
    assert isinstance(block, ConvBlock)
    block.conv.weight.data[0, 0] = 3e38
    block.conv.weight.data[0, 1] = 1e-45
    save_weights(network, tmp_path / "a.weights")
    assert load_yolo("toy.cfg", tmp_path / "a.weights", device="cpu").network.layers
