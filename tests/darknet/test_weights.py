"""Weights files: every byte accounted for, both ways; backbones; other class counts; damaged files."""

from __future__ import annotations

import json
import resource
import signal
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.support.paths import ROOT
from yolo.darknet import network as darknet
from yolo.darknet.cfg import CfgError, parse_cfg, read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import load_safetensors, read_tensors, save_safetensors, save_tensors
from yolo.darknet.weights import Header, load_weights, read_header, save_weights

SHARED = ROOT / ".." / "shared" / "data" / "darknet"
TINY = """
[net]
width=32
height=32
channels=3
[conv]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[conv]
filters=5
size=1
groups=1
activation=linear
[conv]
filters=24
activation=linear
[yolo]
mask=0,1,2
anchors=4,4, 8,8, 16,16
num=3
classes=3
"""
FLOATS = [4 * 4 + 4 * 27, 0, 5 + 5 * 4, 24 + 24 * 5, 0]  # biases, scales, means, variances, weights; biases, weights


def network(text: str = TINY) -> Darknet:
    """A tiny network with initial weights."""
    return Darknet(parse_cfg(text, "tiny.cfg"))


def weights_file(path: Path, floats: int = sum(FLOATS), header: bytes | None = None) -> Path:
    """Write random float32 values above 0 after a header, by default version 0.2.5 and 77 images seen."""
    values = np.abs(np.random.default_rng(0).normal(size=floats)).astype("<f4")
    path.write_bytes((header if header is not None else struct.pack("<3iQ", 0, 2, 5, 77)) + values.tobytes())
    return path


def test_every_value_goes_where_darknet_keeps_it(tmp_path: Path) -> None:
    """Biases, scales, means, variances, then weights; without batch norm biases and weights."""
    file = weights_file(tmp_path / "a.weights")
    tiny = network()
    report = load_weights(tiny, file)
    assert report.complete
    values = torch.from_numpy(np.frombuffer(file.read_bytes()[20:], "<f4").copy())
    assert [layer.floats for layer in tiny.plan.layers] == FLOATS
    first = tiny.state_dict(prefix="")
    assert first["layers.0.bn.bias"].equal(values[0:4])
    assert first["layers.0.bn.weight"].equal(values[4:8])
    assert first["layers.0.bn.running_mean"].equal(values[8:12])
    assert first["layers.0.bn.running_var"].equal(values[12:16])
    assert first["layers.0.conv.weight"].equal(values[16:124].view(4, 3, 3, 3))
    assert first["layers.2.conv.bias"].equal(values[124:129])
    assert first["layers.2.conv.weight"].equal(values[129:149].view(5, 4, 1, 1))
    assert first["layers.3.conv.bias"].equal(values[149:173])
    assert first["layers.3.conv.weight"].flatten().equal(values[173:293])


@pytest.mark.parametrize(
    ("header", "seen"),
    [
        (struct.pack("<3iQ", 0, 2, 5, 32_013_312), 32_013_312),
        (struct.pack("<3iQ", 0, 2, 0, 2**40), 2**40),
        (struct.pack("<3iQ", 1, 0, 0, 5), 5),  # 10 * major + minor decides
        (struct.pack("<3iI", 0, 1, 0, 4_000_000_000), 4_000_000_000),
        (struct.pack("<3iI", 0, 0, 0, 0), 0),
    ],
)
def test_load_and_save_is_the_same_file(header: bytes, seen: int, tmp_path: Path) -> None:
    """Byte for byte, with both lengths of header and the images seen."""
    file = weights_file(tmp_path / "a.weights", header=header)
    tiny = network()
    report = load_weights(tiny, file)
    assert report.header.seen == seen
    save_weights(tiny, tmp_path / "b.weights", report.header)
    assert (tmp_path / "b.weights").read_bytes() == file.read_bytes()


def test_odd_values_keep_their_bits(tmp_path: Path) -> None:
    """Denormals, a negative zero and the largest number survive load and save."""
    file = tmp_path / "a.weights"
    odd = struct.pack("<4I", 0x00000001, 0x80000000, 0x007FFFFF, 0x7F7FFFFF)
    file.write_bytes(struct.pack("<3iQ", 0, 2, 5, 0) + odd * (sum(FLOATS) // 4) + odd[: 4 * (sum(FLOATS) % 4)])
    tiny = network()
    save_weights(tiny, tmp_path / "b.weights", load_weights(tiny, file).header)
    assert (tmp_path / "b.weights").read_bytes() == file.read_bytes()


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is absent: no trained darknet files to round-trip")
@pytest.mark.parametrize("model", ["yolo-fastest-1.1", "yolo-fastest-1.1-xl"])
def test_trained_files_round_trip(model: str, tmp_path: Path) -> None:
    """Real files: through .weights, and through safetensors and back, byte for byte; 4 bytes off are refused."""
    source = SHARED / f"{model}.weights"
    data = source.read_bytes()
    net = Darknet(read_cfg(SHARED / f"{model}.cfg"), init=None)
    report = load_weights(net, source)
    save_weights(net, tmp_path / "direct.weights", report.header)
    assert (tmp_path / "direct.weights").read_bytes() == data
    save_safetensors(net, tmp_path / "a.safetensors", ["x"] * 80, report.header)
    again, _, header = load_safetensors(tmp_path / "a.safetensors")[:3]
    save_weights(again, tmp_path / "back.weights", header)
    assert (tmp_path / "back.weights").read_bytes() == data
    (tmp_path / "short.weights").write_bytes(data[:-4])
    (tmp_path / "long.weights").write_bytes(data + b"\0\0\0\0")
    with pytest.raises(ValueError, match=r"ends in layer 129 \[convolutional\]"):
        load_weights(net, tmp_path / "short.weights")
    with pytest.raises(ValueError, match=r"4 bytes are left after layer 129 \[convolutional\]"):
        load_weights(net, tmp_path / "long.weights")


def test_too_short_names_the_layer_and_both_counts(tmp_path: Path) -> None:
    """The whole message."""
    file = weights_file(tmp_path / "a.weights")
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ValueError, match="a.weights") as error:
        load_weights(network(), file)
    assert str(error.value) == (
        f"{file}: 1,188 bytes, but the network needs 1,192: the file ends in layer 3 [convolutional], "
        f"tiny.cfg:21, which has 572 of its 576 bytes. Is it the file of another cfg, or was the copy cut short?"
    )


def test_too_long_names_the_last_layer_and_both_counts(tmp_path: Path) -> None:
    """Surplus bytes are an error, too: they are the only sign of a wrong cfg."""
    file = weights_file(tmp_path / "a.weights")
    file.write_bytes(file.read_bytes() + b"1234")
    with pytest.raises(ValueError, match="a.weights") as error:
        load_weights(network(), file)
    assert str(error.value) == (
        f"{file}: 1,196 bytes, but the network needs 1,192: 4 bytes are left after layer 3 [convolutional], "
        f"the last one with weights. Is it the file of another cfg, or was the copy cut short?"
    )


def test_every_truncation_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    """A file cut at any byte is refused before a parameter is written."""
    data = weights_file(tmp_path / "a.weights").read_bytes()
    tiny = network()
    for parameter in tiny.parameters():
        torch.nn.init.constant_(parameter, 7.0)
    for cut in range(20, len(data)):
        (tmp_path / "cut.weights").write_bytes(data[:cut])
        with pytest.raises(ValueError, match="needs 1,192"):
            load_weights(tiny, tmp_path / "cut.weights")
    assert all(bool((parameter == 7).all()) for parameter in tiny.parameters())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\0" * 15, "15 bytes; a darknet .weights file begins with a header of 16 or 20 bytes"),
        (struct.pack("<3iI", 0, 2, 5, 0), "the file ends in its header, after 16 bytes of 20"),
        (b"PK\x03\x04" + b"\0" * 40, "version 67324752.0.0 in the header, which darknet never writes"),
        (struct.pack("<3iQ", -1, 2, 5, 0), "version -1.2.5 in the header"),
    ],
)
def test_other_files_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    """Empty, cut in the header, a zip archive, negative versions: each error says what is wrong."""
    (tmp_path / "a.weights").write_bytes(data)
    with pytest.raises(ValueError, match="a.weights: ") as error:
        load_weights(network(), tmp_path / "a.weights")
    assert message in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """FileNotFoundError with the path."""
    with pytest.raises(FileNotFoundError, match="nothing.weights: no such file"):
        load_weights(network(), tmp_path / "nothing.weights")


def test_backbone(tmp_path: Path) -> None:
    """`partial` writes layers 0 to N - 1 with seen = 0; the name `.conv.N`, or the cutoff, reads them back."""
    whole = network()
    load_weights(whole, weights_file(tmp_path / "a.weights"))
    save_weights(whole, tmp_path / "tiny.conv.3", Header(seen=77), cutoff=3)
    assert (tmp_path / "tiny.conv.3").stat().st_size == 20 + 4 * sum(FLOATS[:3])
    assert read_header((tmp_path / "tiny.conv.3").read_bytes(), "").seen == 0
    tiny = network()
    report = load_weights(tiny, tmp_path / "tiny.conv.3")
    assert not report.complete
    assert str(report).splitlines()[1:] == [
        "  layers 0 to 2               149 floats  loaded",
        "  layers 3 to 4               144 floats  re-initialised: not in the file",
    ]
    for key, value in whole.state_dict().items():
        if not key.startswith("layers.3"):
            assert tiny.state_dict()[key].equal(value)
    assert tiny.state_dict()["layers.3.conv.bias"].eq(0).all()
    (tmp_path / "renamed.weights").write_bytes((tmp_path / "tiny.conv.3").read_bytes())
    with pytest.raises(ValueError, match="ends exactly after layer 2: if it is a backbone, load it with cutoff 3"):
        load_weights(tiny, tmp_path / "renamed.weights")
    assert load_weights(tiny, tmp_path / "renamed.weights", cutoff=3).rows == report.rows
    with pytest.raises(ValueError, match="cutoff 9 for a network of 5 layers; expected 1 to 5"):
        load_weights(tiny, tmp_path / "tiny.conv.3", cutoff=9)


def test_darknet53_is_74_layers() -> None:
    """The published backbone file: 162,482,580 bytes are layers 0 to 73 of yolov3.cfg."""
    plan = Darknet(read_cfg("yolov3.cfg"), init=None).plan
    assert 20 + 4 * sum(layer.floats for layer in plan.layers[:74]) == 162_482_580


def test_other_class_count(tmp_path: Path) -> None:
    """A file for 7 classes and a network of 3: refused with the remedy; with `transfer` all but the head is loaded."""
    other = TINY.replace("filters=24", "filters=36").replace("classes=3", "classes=7")
    source = network(other)
    file = weights_file(tmp_path / "seven.weights", floats=source.plan.floats)
    load_weights(source, file)
    tiny = network()
    with pytest.raises(ValueError, match="It fits this network with 7 classes, not 3: use that cfg, or transfer"):
        load_weights(tiny, file)
    report = load_weights(tiny, file, transfer=True)
    assert str(report).splitlines()[1:] == [
        "  layers 0 to 2               149 floats  loaded",
        "  layer 3                     144 floats  re-initialised: the head has other classes, "
        "216 floats of the file skipped",
        "  layer 4                       0 floats  loaded",
    ]
    assert tiny.state_dict()["layers.2.conv.weight"].equal(source.state_dict()["layers.2.conv.weight"])
    assert tiny.state_dict()["layers.3.conv.bias"].eq(0).all()


def test_safetensors_hold_cfg_names_and_header(tmp_path: Path) -> None:
    """Loading gives the same network, with everything needed to use it or to write darknet's file again."""
    tiny = network()
    header = load_weights(tiny, weights_file(tmp_path / "a.weights", header=struct.pack("<3iI", 0, 1, 3, 9))).header
    save_safetensors(tiny, tmp_path / "a.safetensors", ["a", "b ü", "c"], header)
    again, names, same = load_safetensors(tmp_path / "a.safetensors")[:3]
    assert (again.cfg, names, same) == (tiny.cfg, ["a", "b ü", "c"], header)
    for key, value in tiny.state_dict().items():
        assert again.state_dict()[key].equal(value)


WRONG = [
    *(("names", text) for text in ("7", '"abc"', "[", "[" * 100_000, "9" * 5000, "{}")),
    *(("size", text) for text in ("[0, 32]", "[Infinity, 32]", "[1e5, 1e5]", "[100000, 100000]", "[NaN, 32]", "x")),
    *(("size", text) for text in ("[1]", '["32", "32"]', "[true, 32]", "[-32, 32]", "null")),
    *(("letterbox", text) for text in ("1", '"yes"', "", "null")),
    *(("darknet_header", text) for text in ("{", "[-1]", "[0, 2, 5, 0, 3]", "[0, 2, 5, 1e9]", "[1, 2, 3, 4, 8, 6]")),
    ("darknet_header", "[0, 2, 5, 4294967296, 4]"),
]
"""Values in the metadata of a file that are not what they should be."""


def test_damaged_safetensors(tmp_path: Path) -> None:
    """Cut short, of another program or model, without tensors, with damaged metadata: the error names the file."""
    tiny = network()
    load_weights(tiny, weights_file(tmp_path / "a.weights"))
    save_safetensors(tiny, tmp_path / "a.safetensors", ["a", "b", "c"])
    data = (tmp_path / "a.safetensors").read_bytes()
    for cut in (0, 7, 100, len(data) - 1):
        (tmp_path / "cut.safetensors").write_bytes(data[:cut])
        with pytest.raises(ValueError, match="cut.safetensors: not a whole safetensors file"):
            load_safetensors(tmp_path / "cut.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="other.safetensors: a safetensors file without this program's metadata"):
        load_safetensors(tmp_path / "other.safetensors")
    metadata = {"cfg": TINY, "names": "[]", "darknet_header": json.dumps(Header())}
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors", {**metadata, "format": "pt"})
    with pytest.raises(ValueError, match="foreign.safetensors: a safetensors file without this program's metadata"):
        load_safetensors(tmp_path / "foreign.safetensors")
    save_tensors(tmp_path / "less.safetensors", {"x": torch.zeros(1)}, metadata)
    with pytest.raises(ValueError, match="less.safetensors: its tensors do not fit its own cfg"):
        load_safetensors(tmp_path / "less.safetensors")
    save_tensors(tmp_path / "model.safetensors", {"x": torch.zeros(1)}, {"names": "[]"})
    with pytest.raises(ValueError, match="model.safetensors: not a Darknet network: its metadata lacks cfg, darknet_h"):
        load_safetensors(tmp_path / "model.safetensors")
    metadata["names"] = '["a", "b", "c"]'
    for key, damaged in WRONG:
        save_tensors(tmp_path / "odd.safetensors", tiny.state_dict(), {**metadata, key: damaged})
        with pytest.raises(ValueError, match=r"odd\.safetensors.* in its metadata|odd\.safetensors: its metadata: "):
            load_safetensors(tmp_path / "odd.safetensors")
    save_tensors(tmp_path / "odd.safetensors", {k: v.double() for k, v in tiny.state_dict().items()}, metadata)
    with pytest.raises(ValueError, match=r"odd.safetensors: its tensor \S+ has torch.float64, expected torch.float32"):
        load_safetensors(tmp_path / "odd.safetensors")
    with pytest.raises(FileNotFoundError, match="none.safetensors: no such file"):
        load_safetensors(tmp_path / "none.safetensors")


def test_tensors_of_any_model(tmp_path: Path) -> None:
    """Tensors of several types and shapes, also views, and metadata: read as they were written."""
    tensors = {
        "a": torch.arange(6.0).view(2, 3).T,
        "b": torch.tensor(7),
        "c": torch.zeros(0, 3, dtype=torch.bfloat16),
        "d": torch.tensor([True, False]),
    }
    metadata = {"model": "another", "classes": "[1, 2] ü"}
    save_tensors(tmp_path / "a.safetensors", tensors, metadata)
    found, stored = read_tensors(tmp_path / "a.safetensors")
    assert stored == {**metadata, "format": "exact-yolov3"}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].equal(tensor)


def test_extra_metadata(tmp_path: Path) -> None:
    """`extra` is added to the file, but replaces nothing that the network needs; without it, exactly six keys."""
    tiny, file = network(), tmp_path / "a.safetensors"
    save_safetensors(tiny, file, ["a", "b", "c"])
    plain = read_tensors(file)[1]
    assert plain.keys() == {"cfg", "names", "darknet_header", "size", "letterbox", "format"}
    save_safetensors(tiny, file, ["a", "b", "c"], extra={"model": "yolo", "cfg": "x", "format": "x"})
    assert read_tensors(file)[1] == {**plain, "model": "yolo"}
    assert load_safetensors(file).network.cfg == tiny.cfg


@pytest.mark.parametrize("ending", ["weights", "safetensors"])
def test_a_full_disk_leaves_the_old_file(ending: str, tmp_path: Path) -> None:
    """A write that fails half way: the old file stays, and no other file is left."""
    tiny = network()
    load_weights(tiny, weights_file(tmp_path / "a.weights"))
    target = tmp_path / "run" / f"b.{ending}"
    target.parent.mkdir()
    target.write_bytes(b"the old file")

    def save() -> None:
        if ending == "weights":
            save_weights(tiny, target)
        else:
            save_safetensors(tiny, target, ["a", "b", "c"])

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
        with pytest.raises(OSError, match="File too large"):
            save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert target.read_bytes() == b"the old file"
    assert [file.name for file in target.parent.iterdir()] == [target.name]


def test_too_many_parameters_are_refused_before_they_are_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 2 GiB needs a weights file of that size; the message names the largest layer."""
    huge = TINY.replace("filters=5\nsize=1", "filters=40000\nsize=60\npad=1")
    with pytest.raises(
        CfgError, match=r"tiny.cfg:16: \[convolutional\] \(layer 2\) the network would have 2,3.* bytes"
    ):
        network(huge)
    monkeypatch.setattr(darknet, "MAX_BYTES", 1000)
    with pytest.raises(CfgError, match="more than 1,000 need a weights file of that size"):
        Darknet(parse_cfg(TINY))
    Darknet(parse_cfg(TINY), file_bytes=20 + 4 * sum(FLOATS))
