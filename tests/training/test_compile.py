"""Training through torch.compile."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch

from tests.support.train_problems import numbers, shapes, tiny_cfg, words
from yolo.__main__ import main


def test_compiled_training_is_the_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a backend that runs the traced operations as they are, `--compile` gives the same metrics."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    plain = words(shapes(tmp_path), tiny_cfg(tmp_path), "--epochs", "1", "--no-check")
    assert main(["train", *plain, "--out", str(tmp_path / "plain")]) == 0
    assert main(["train", *plain, "--out", str(tmp_path / "compiled"), "--compile"]) == 0
    assert numbers(tmp_path / "compiled") == numbers(tmp_path / "plain")
