"""No connection leaves this machine: an attempt raises, and is noted in the file `NETWORK_GUARD`.

Python imports this file when it starts, in tests and in every Python process that a test starts, because its folder is
in PYTHONPATH. An audit hook sees what the module `socket` does, and cannot be removed. Libraries that open sockets in C
are not seen.
"""

from __future__ import annotations

import os
import sys
from ipaddress import ip_address
from typing import Any


class OutsideError(BaseException):
    """A connection or a question to a name server. It is no Exception, so that the program does not catch it."""


def is_inside(host: Any) -> bool:
    """Return whether a host name or address is this machine, without asking anybody."""
    if isinstance(host, bytes | bytearray):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str) or host in ("", "localhost", os.uname().nodename if hasattr(os, "uname") else ""):
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not event.startswith("socket."):
        return
    host: Any = None
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # others are UNIX sockets
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    elif event == "socket.getnameinfo":
        host = arguments[0][0]
    if not is_inside(host):
        if note := os.environ.get("NETWORK_GUARD"):
            with open(note, "a") as file:
                file.write(f"{event} {host!r}, process {os.getpid()}: {sys.argv}\n")
        raise OutsideError(f"a test may not leave this machine: {event} {host!r}")


sys.addaudithook(_watch)
