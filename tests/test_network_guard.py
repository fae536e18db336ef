"""No test leaves this machine, and the guard that sees to it bites."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import left_machine
from tests.support.guard.sitecustomize import is_inside

ELSEWHERE = "192.0.2.1"  # an address for documentation, which nobody has


def udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.sendto(b"x", (ELSEWHERE, 9))


def swallowed() -> None:
    try:
        socket.create_connection((ELSEWHERE, 9), 0.01)
    except Exception:  # as much of the program does
        pytest.fail("the guard is an ordinary exception")


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: socket.create_connection((ELSEWHERE, 9), 0.01),
        lambda: socket.getaddrinfo("a.invalid", 80),
        lambda: socket.gethostbyname("a.invalid"),
        lambda: socket.socket().connect_ex((ELSEWHERE, 9)),
        udp,
        swallowed,
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_it_bites(attempt: Callable[[], object]) -> None:
    """A connection, a question to a name server, a datagram: in the test, and noted for the check after the test."""
    with pytest.raises(BaseException, match="a test may not leave this machine: socket"):
        attempt()
    assert len(left_machine()) == 1
    assert left_machine() == []  # said once


def test_it_bites_in_processes_that_a_test_starts() -> None:
    """Even if they end well."""
    code = f"import socket\ntry: socket.create_connection(({ELSEWHERE!r}, 9), 0.01)\nexcept BaseException: pass"
    assert subprocess.run([sys.executable, "-c", code], check=True).returncode == 0
    assert [line.split(", process")[0] for line in left_machine()] == [f"socket.getaddrinfo {ELSEWHERE!r}"]


def test_this_machine_is_reached(tmp_path: Path) -> None:
    """By loopback, under its own name, and by UNIX sockets."""
    assert all(map(is_inside, ["127.0.0.1", "::1", "127.9.9.9", "localhost", "", None, socket.gethostname(), b"::1"]))
    assert not any(map(is_inside, ["10.0.0.1", "169.254.169.254", "example.org", "8.8.8.8", "fe80::1%eth0", b"a.b"]))
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    with socket.socket(socket.AF_UNIX) as line, pytest.raises(FileNotFoundError):
        line.connect(os.fspath(tmp_path / "x"))
