"""Packages of extras, imported when they are needed, without their reports to their makers."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

_ONE = RLock()
"""One thread at a time hides a module: two would put back what the other one had hidden."""


def needed(package: str, use: str, extra: str = "onnx") -> Any:
    """Import a package of an extra for a `use`. Raises ImportError, which names both and how to install them."""
    try:
        with _ONE, _silent():
            return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{use} needs the package {package} ({error}); install it with: pip install 'exact-yolov3[{extra}]'"
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Have packages that are imported within the block send nothing.

    onnxruntime (1.32) reports every session to Microsoft, unless a variable is set when it is imported.
    `import openvino` reports itself to Google Analytics; no variable prevents that, but where openvino_telemetry cannot
    be imported, OpenVINO takes a stub of its own.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    modules: dict[str, Any] = sys.modules
    reporter = "openvino_telemetry"
    before = {name: modules[name] for name in (reporter,) if name in modules}
    modules[reporter] = None
    try:
        yield
    finally:
        del modules[reporter]
        modules.update(before)
