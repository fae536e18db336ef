"""Options of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import settings


def pytest_configure() -> None:
    """Use one thread: the tensors of tests are small, and on a busy machine threads wait for each other."""
    torch.set_num_threads(1)
    settings.register_profile("no clock", deadline=None)
    settings.load_profile("no clock")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--cfgs=FOLDER`, which can be given several times."""
    parser.addoption(
        "--cfgs",
        action="append",
        type=Path,
        metavar="FOLDER",
        help="test_counts: build every .cfg in this folder and below, such as darknet's cfg/, instead of those here",
    )
