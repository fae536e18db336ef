"""Damaged checkpoints and weights files: bytes, members of the zip file, entries of the state, metadata."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import yolo
from tests.support.fuzz import damaged, survives
from tests.support.train_problems import tiny_cfg
from tests.training.test_fitting import run, trainer
from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import save_safetensors
from yolo.darknet.weights import load_weights, save_weights
from yolo.models.exported import values_in
from yolo.training.checkpoint import load_checkpoint
from yolo.training.engine import Trainer
from yolo.training.fitting import check_parts, loading

__all__ = ["run", "trainer"]  # fixtures

VALUES: list[Any] = [
    *(None, True, 0, 1, -1, 2**31, 2**63, 10**400, 0.5, -1e308, float("nan"), float("inf"), "", "0", "x" * 300),
    *("\ud800", [], {}, [0], [[]], {"a": 1}, {0: 0}, torch.zeros(0), torch.zeros(1), torch.zeros(3, 4)),
    *(torch.zeros(8, dtype=torch.uint8), torch.tensor(7), torch.zeros(2, 2).bool(), torch.tensor(float("nan"))),
    torch.zeros(5056, dtype=torch.uint8),
]
"""Replace an entry of a state or a value of the metadata."""


@pytest.fixture(autouse=True)
def random_numbers_stay() -> Any:
    """Damaged states are loaded into the random generators of this process."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    yield
    torch.set_rng_state(before[0])
    np.random.set_state(before[1])
    random.setstate(before[2])


def rewritten(draw: Random, files: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """A checkpoint with damage in a member, whose checksum is right; at times damage anywhere."""
    if draw.random() < 0.3:
        return damaged(draw, files, words)
    file, old = io.BytesIO(), _members(draw.choice(files))
    chosen = draw.choice([name for name in old if name.endswith("data.pkl")] * len(old) + list(old))
    with zipfile.ZipFile(file, "w") as new:
        for name, content in old.items():
            if name == chosen and draw.random() < 0.1:
                continue
            if name == chosen:
                content = damaged(draw, [content], words)
            deflated = draw.random() < 0.01
            new.writestr(name, content, zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED)
    return file.getvalue()


@cache
def _members(file: bytes) -> Mapping[str, bytes]:
    """The contents of a zip file, by name."""
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def other_entries(draw: Random, files: Sequence[bytes], _words: Sequence[bytes]) -> bytes:
    """A whole checkpoint in which one to three entries are others, or are not there."""
    state = torch.load(io.BytesIO(draw.choice(files)), weights_only=True)
    for _ in range(draw.choice((1, 1, 2, 3))):
        holder: Any = state
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = draw.choice(keys)
            inner = holder[key]
            if isinstance(inner, (dict, list)) and len(inner) < 100 and draw.random() < 0.8:
                holder = inner
                continue
            holder[key] = changed(draw, inner)
            if draw.random() < 0.3:
                del holder[key]
            break
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def changed(draw: Random, value: Any) -> Any:
    """Another value, at times one that is nearly the same."""
    if isinstance(value, Tensor) and value.numel() and draw.random() < 0.6:
        if not value.ndim:
            return value.double()
        return draw.choice((value.flatten(), value[None], value.double(), value.long(), value * 0 - 1, value[:0]))
    if isinstance(value, int) and draw.random() < 0.5:
        return value + draw.choice((-1, 1, 10**6, -(10**6)))
    return draw.choice(VALUES)


def resume(file: Path, trainer: Trainer) -> None:
    """Load a checkpoint as a resume does."""
    state = load_checkpoint(file)
    with loading(file):
        check_parts(state)
        trainer.load_state_dict(state["trainer"])


@pytest.mark.filterwarnings("ignore")  # of PyTorch, about storages
@pytest.mark.parametrize("damage", [rewritten, other_entries])
def test_checkpoints(damage: Any, run: Path, trainer: Trainer, tmp_path: Path) -> None:
    """A trainer that goes on, or one line that names the file."""
    seed = (run / "last.pt").read_bytes()
    inputs = 60 if damage is other_entries else 100
    survives(lambda file: resume(file, trainer), [seed], tmp_path / "last.pt", inputs=inputs, damage=damage)


def small(folder: Path) -> Path:
    """A tiny network as .weights, with its cfg beside it, and as .safetensors."""
    network = Darknet(read_cfg(tiny_cfg(folder)))
    save_weights(network, folder / "tiny.weights")
    save_safetensors(network, folder / "tiny.safetensors", list("abcdef"))
    return folder


def other_metadata(draw: Random, files: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """A safetensors file with other values in its header, which fits it nevertheless; at times damage anywhere."""
    if draw.random() < 0.3:
        return damaged(draw, files, words)
    data = draw.choice(files)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    for _ in range(draw.choice((1, 1, 2))):
        holder = header["__metadata__"] if draw.random() < 0.7 else header
        key = draw.choice(list(holder))
        if holder is not header and draw.random() < 0.6:
            holder[key] = damaged(draw, [holder[key].encode()], words).decode("utf-8", "replace")
        elif holder is not header and draw.random() < 0.7:
            holder[key] = draw.choice(
                ["", "null", "0", "[]", "{}", "[1e999, 32]", "[0, 32]", "yolo", "single", "[" * 9999]
            )
        elif isinstance(holder[key], dict) and "dtype" in holder[key]:
            holder[key]["dtype"] = draw.choice(["F64", "F16", "BF16", "I32", "U8", "BOOL", "F8_E4M3", "C64", "X"])
        else:
            del holder[key]
        if "__metadata__" not in header:
            break
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


@pytest.mark.filterwarnings("ignore")
def test_safetensors(tmp_path: Path) -> None:
    """A detector, or one line that names the file."""
    seed = (small(tmp_path) / "tiny.safetensors").read_bytes()
    survives(lambda file: yolo.load(file), [seed], tmp_path / "a.safetensors", inputs=150, damage=other_metadata)


def test_weights_with_a_cfg(tmp_path: Path) -> None:
    """Loaded weights, or one line that names the file."""
    network = Darknet(read_cfg(tiny_cfg(tmp_path)))
    seed = (small(tmp_path) / "tiny.weights").read_bytes()
    survives(lambda file: load_weights(network, file), [seed], tmp_path / "a.weights", inputs=400)


def test_metadata_of_onnx_files(tmp_path: Path) -> None:
    """The values in the metadata of an exported file."""
    own = {"names": '["a"]', "size": "[32, 64]", "letterbox": "true"}
    whole = own | {"output": "detections", "channels": "3", "agnostic": "true"}
    seeds = [json.dumps(own | {"cfg": "[net]"}).encode(), json.dumps(whole).encode()]

    def read(file: Path) -> None:
        try:
            found = {str(key): str(value) for key, value in json.loads(file.read_bytes()).items()}
        except (ValueError, AttributeError, RecursionError):  # the file of this test, not of an export
            found = {}
        values_in(file, found)

    survives(read, seeds, tmp_path / "a.onnx", inputs=500)
