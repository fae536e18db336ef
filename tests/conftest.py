"""Options of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


def pytest_configure() -> None:
    """One thread: the tensors of tests are small, and two threads wait for each other on a machine with other work."""
    torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--cfgs=FOLDER`, any number of times."""
    parser.addoption(
        "--cfgs",
        action="append",
        type=Path,
        metavar="FOLDER",
        help="test_counts: build every .cfg in this folder and below, say darknet's own cfg/, instead of those at hand",
    )
