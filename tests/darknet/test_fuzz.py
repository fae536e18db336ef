"""A thousand damaged cfgs and as many damaged weights files: each is accepted, or refused with its place.

`FUZZ_INPUTS=10000 python -m pytest tests/darknet/test_fuzz.py` tries more of them.

No other exception than ValueError, no hang, no allocation out of proportion.
"""

from __future__ import annotations

import os
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.paths import GOLDEN, ROOT
from yolo.darknet.cfg import parse_cfg
from yolo.darknet.heads import Head
from yolo.darknet.network import Darknet
from yolo.darknet.plan import Plan
from yolo.darknet.sections import OUT_OF_SCOPE, SECTIONS, Maxpool
from yolo.darknet.weights import load_weights

EXAMPLES = int(os.environ.get("FUZZ_INPUTS", "1000"))

SMALL = """\
[net]
width=16
height=8
channels=3
policy=steps
steps=10,20
scales=.1,.1
[convolutional]
batch_normalize=1
filters=8
size=3
stride=1
pad=1
groups=1
activation=mish
[maxpool]
size=2
stride=2
[dropout]
probability=.2
[reorg3d]
stride=2
[upsample]
stride=2
[convolutional]
filters=8
activation=leaky
[sam]
from=2
[avgpool]
[convolutional]
filters=8
activation=logistic
[scale_channels]
from=-3
[shortcut]
from=-4,2
activation=linear
[route]
layers=-1,1
groups=2
group_id=1
[convolutional]
filters=12
activation=linear
[yolo]
mask=0,1
anchors=1,2, 3.5,4
num=2
classes=1
"""
OLD = """\
[net]
width=8
height=8
channels=1
[conv]
filters=4
size=3
pad=1
dilation=1
[max]
size=5
stride=1
padding=4
[reorg]
stride=2
[conv]
filters=12
stride_x=2
stride_y=1
padding=1
activation=linear
[region]
anchors=1,1, 2,2
num=2
classes=1
softmax=1
"""
COVERING = ["grammar", "maxpool-options", "squeeze-excite", "route-groups", "dropout", "mini-yolov2"]
SEEDS = [
    *[SMALL, OLD] * 4,
    *((GOLDEN / "nets" / name / f"{name}.cfg").read_text() for name in COVERING),
    (ROOT / "config" / "toy.cfg").read_text(),
]
# fmt: off
NUMBERS = [
    "0", "-1", "1", "2", "3", "7", "64", "1000", "2147483647", "-2147483648", "99999999999", "1e9", "1e-9", "2.5", ".5",
    "nan", "inf", "-0", "0x10", "٣", "３", "3#", "#3", ",,", "1,",
]
# fmt: on
WORDS = ["", "=", "leaky", "linear", "diounms", "3;4", "-1,-2", "0,1,2", "1," * 500 + "1", "9" * 5000, "é\u200b"]
HOSTILE = [*NUMBERS, *WORDS]
KEYS = [*sorted({f.name.rstrip("_") for kind in SECTIONS.values() for f in kind.fields()}), "", "width", "inputs", "x"]
NAMES = [*SECTIONS, *OUT_OF_SCOPE, "net", "network", "Conv", "", "conv]", "yolo]#x", "\x00"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: networks as small as these are slower with two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_seeds_hold_every_kind_of_section() -> None:
    """The cfgs that are damaged below are valid, and have every kind of section."""
    cfgs = [parse_cfg(text) for text in SEEDS]
    assert {type(layer) for cfg in cfgs for layer in cfg.layers} == set(SECTIONS.values())
    for cfg in cfgs:
        run(Darknet(cfg, init=None))


def index(draw: Random) -> int:
    """Return a number that is taken modulo the number of things there are."""
    return draw.randrange(1000)


def anything(draw: Random) -> str:
    """Return a line, the head of a section, a word or a few characters."""
    characters = "".join(
        chr(draw.choice((draw.randrange(128), draw.randrange(0xD800)))) for _ in range(draw.randrange(7))
    )
    line, head = f"{draw.choice(KEYS)}={draw.choice(HOSTILE)}", f"[{draw.choice(NAMES)}]"
    return draw.choice((line, head, draw.choice(HOSTILE), characters, "[net]\n"))


MUTATIONS: list[tuple[str, Callable[[Random], str]]] = [
    ("value", lambda draw: draw.choice(HOSTILE)),
    ("value", lambda draw: draw.choice(NUMBERS)),
    ("key", lambda draw: draw.choice(KEYS)),
    ("name", lambda draw: draw.choice(NAMES)),
    ("delete", lambda draw: ""),
    ("duplicate", lambda draw: ""),
    ("insert", anything),
    ("move section", lambda draw: str(index(draw))),
    ("delete section", lambda draw: ""),
    ("duplicate section", lambda draw: str(index(draw))),
    ("characters", anything),
    ("truncate", lambda draw: ""),
]
"""Each kind of damage, and what draws its new text."""


def mutated(text: str, what: str, index: int, new: str) -> str:
    """Return a cfg text with one damage."""
    if what == "characters":
        at = index * 7919 % (len(text) + 1)
        return text[:at] + new + text[at + 1 :]
    if what == "truncate":
        return text[: index * 7919 % (len(text) + 1)]
    if what.endswith("section"):
        blocks = re.split(r"^(?=\[)", text, flags=re.MULTILINE)
        at = index % len(blocks)
        block = blocks[at] if what.startswith("duplicate") else blocks.pop(at)
        if not what.startswith("delete"):
            blocks.insert(int(new) % (len(blocks) + 1), block)
        return "".join(blocks)
    lines = text.split("\n")
    wanted = [
        k for k, line in enumerate(lines) if what not in ("value", "key", "name") or ("=" in line) != (what == "name")
    ]
    if not wanted:
        return text
    at = wanted[index % len(wanted)]
    key, _, value = lines[at].partition("=")
    changed = {
        "value": [f"{key}={new}"],
        "key": [f"{new}={value}"],
        "name": [f"[{new}]"],
        "delete": [],
        "duplicate": [lines[at], lines[at]],
        "insert": [new, lines[at]],
    }
    return "\n".join([*lines[:at], *changed[what], *lines[at + 1 :]])


def small(plan: Plan) -> bool:
    """Return whether a forward pass takes milliseconds: few values, padded ones included, and few operations."""
    values = sum(c * h * w for c, h, w in (layer.output for layer in plan.layers))
    for layer in plan.layers:
        if isinstance(layer.section, Maxpool):
            (c, h, w), pad = layer.inputs[0], layer.section.pixels_padded
            values += c * (h + pad) * (w + pad)
    return values < 200_000 and plan.floats < 200_000 and plan.flops < 20_000_000


@torch.inference_mode()
def run(network: Darknet) -> None:
    """Run an image of zeros, and compare the shape of every layer with the plan."""
    shapes: list[tuple[int, ...]] = []

    def keep(layer: nn.Module, inputs: object, output: Tensor) -> None:
        shapes.append(tuple(output.shape))

    for layer in network.layers:
        layer.register_forward_hook(keep)
    network.eval()(torch.zeros(1, network.cfg.net.channels, *network.size))
    for planned, layer, shape in zip(network.plan.layers, network.layers, shapes, strict=True):
        c, h, w = planned.output
        if isinstance(layer, Head):
            assert (shape[0], shape[1] * shape[4], *shape[2:4]) == (1, c, h, w)
        else:
            assert shape == (1, c, h, w)


def build_and_run(text: str, counts: Counter[str]) -> str:
    """Parse, build and run a cfg. Returns the message if it is refused, else an empty text."""
    try:
        cfg = parse_cfg(text, "damaged.cfg")
        network = Darknet(cfg, init=None)
    except ValueError as problem:
        return str(problem)
    assert parse_cfg(cfg.to_text()) == cfg
    assert all(note.startswith("damaged.cfg:") for note in cfg.notes)
    assert 4 * network.plan.floats <= 2**31
    if small(network.plan):
        run(network)
        counts["run"] += 1
    return ""


def test_damaged_cfgs() -> None:
    """Each builds, and runs if it is small, or the error names file and line."""
    counts = Counter[str]()
    for seed in range(EXAMPLES):
        draw = Random(seed)
        text = draw.choice(SEEDS)
        for _ in range(draw.randint(1, 3)):
            what, new = draw.choice(MUTATIONS)
            text = mutated(text, what, index(draw), new(draw))
        refusal = build_and_run(text, counts)
        counts["refused" if refusal else "built"] += 1
        assert not refusal or re.match(r"damaged\.cfg:[1-9][0-9]*: .", refusal), text
        assert len(refusal) < 600, text
    assert min(counts["refused"], counts["run"]) > EXAMPLES / 5  # the damage is neither harmless nor total


TINY = """\
[net]
width=8
height=8
channels=1
[conv]
filters=2
batch_normalize=1
[conv]
filters=7
[yolo]
classes=2
anchors=1,2
"""
INTEGERS = [0, 1, 2, 5, 10, -1, 999, 1000, 2**31 - 1, -(2**31)]
NEW, OLDER = struct.pack("<3iQ", 0, 2, 5, 32013312), struct.pack("<3iI", 0, 1, 0, 6400)


def header(draw: Random) -> bytes:
    """Return a right header, one with strange versions, or any bytes."""
    strange = struct.pack("<3i", *draw.choices(INTEGERS, k=3)) + bytes(8)
    return draw.choice((NEW, OLDER, strange, draw.randbytes(draw.randrange(25))))


def test_damaged_weights(tmp_path: Path) -> None:
    """Each fills the network to the byte, or is refused with its name; then nothing is changed."""
    counts = Counter[str]()
    network = Darknet(parse_cfg(TINY))
    assert [layer.floats for layer in network.plan.layers] == [10, 21, 0]  # 4 x 2 + 2, 7 + 7 x 2

    for seed in range(EXAMPLES):
        draw = Random(seed)
        path = tmp_path / draw.choice(["a.weights"] * 6 + ["a.conv.1", "a.conv.2", "a.conv.0", "a.conv.99"])
        floats = draw.choice((31, draw.choice((10, 28, 34, 45)), draw.randint(0, 60)))
        tail = draw.choice((b"", b"", b"", draw.randbytes(draw.randrange(6))))
        cutoff, transfer = draw.choice([None] * 6 + [-1, 0, 1, 2, 3, 4]), draw.random() < 0.5
        data = header(draw) + np.arange(floats, dtype="<f4").tobytes() + tail
        path.write_bytes(data)
        before = [parameter.clone() for parameter in network.parameters()]
        refusal = ""
        try:
            report = load_weights(network, path, cutoff=cutoff, transfer=transfer)
        except ValueError as problem:
            refusal = str(problem)
        if refusal:
            assert refusal.startswith(f"{path}: "), seed
            assert len(refusal) < 2 * len(str(path)) + 600, seed
            assert all(map(torch.equal, before, network.parameters())), seed
        else:
            loaded = sum(row.floats for row in report.rows if row.fate == "loaded")
            transferred = any("floats of the file skipped" in row.fate for row in report.rows)
            assert transferred or report.header.length + 4 * loaded == len(data), seed
            assert transfer or not transferred, seed
            assert report.complete == (loaded == network.plan.floats), seed
        counts["refused" if refusal else "loaded"] += 1
    assert min(counts["refused"], counts["loaded"]) > EXAMPLES / 20
