"""Options of the tests."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.support.guard import sitecustomize as guard
from tests.support.ink import ink


def pytest_configure(config: pytest.Config) -> None:
    """Use one thread: the tensors of tests are small, and on a busy machine threads wait for each other."""
    config.addinivalue_line("markers", "drawn: diagrams are rendered, which most tests have no use for")
    torch.set_num_threads(1)
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for tests that import onnxruntime themselves
    settings.register_profile("no clock", deadline=None)
    settings.load_profile("no clock")
    _guard_the_network()


def _guard_the_network() -> None:
    """Have this process and those that it starts note each attempt to leave the machine; importing the guard set it."""
    with tempfile.NamedTemporaryFile(prefix="network-guard-", delete=False) as note:
        os.environ["NETWORK_GUARD"] = note.name
    others = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(guard.__file__).parent), *([others] if others else [])])


def pytest_unconfigure() -> None:
    """Remove the guard's notes."""
    Path(os.environ.get("NETWORK_GUARD", "")).unlink(missing_ok=True)


def left_machine() -> list[str]:
    """Return the attempts to leave this machine that were noted since the last call, also those of processes."""
    note = Path(os.environ["NETWORK_GUARD"])
    found = note.read_text().splitlines() if note.stat().st_size else []
    if found:
        note.write_text("")
    return found


@pytest.fixture(autouse=True)
def _network_guard() -> Iterator[None]:
    """Fail a test that tried to leave this machine, even if it survived that."""
    yield
    if found := left_machine():
        pytest.fail("the test tried to leave this machine:\n" + "\n".join(found))


def pytest_collection_finish() -> None:
    """Leave what was imported and collected to itself: each round of the garbage collector would look at it."""
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Render diagrams in tests that have the mark for it, before their fixtures are made."""
    ink(item.get_closest_marker("drawn") is not None)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests find out about their images out of the user's cache folder, and wait for no disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)  # thousands of times; the machine does not fail in between
        patch.setenv("EXACT_YOLOV3_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--cfgs=FOLDER`, which can be given several times."""
    parser.addoption(
        "--cfgs",
        action="append",
        type=Path,
        metavar="FOLDER",
        help="test_counts: build every .cfg in this folder and below, such as darknet's cfg/, instead of those here",
    )
