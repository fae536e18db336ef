"""Exports that share what PyTorch finds out about all of ONNX's operators: most of a second each time."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import pytest
import torch


@functools.cache
def _remember() -> None:
    registry = importlib.import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
    registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))


def share_the_registry(patch: pytest.MonkeyPatch) -> None:
    """Have the exports of this process read PyTorch's library of operators once."""
    export = torch.onnx.export

    def quick(*given: Any, **more: Any) -> Any:
        _remember()  # not before an export: its modules take seconds to import
        return export(*given, **more)

    patch.setattr(torch.onnx, "export", quick)
