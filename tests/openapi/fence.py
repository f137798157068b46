"""A fence around a process: it talks to nothing but this machine, whatever names are made up."""

from __future__ import annotations

import socket
import sys
from typing import Any

_HERE = ("127.", "::1", "localhost")


def build_fence() -> None:
    """Refuse, from now on, to look up names and to connect to addresses that are not this machine's."""
    sys.addaudithook(_watch)


def _watch(event: str, said: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo" and not _is_here(said[0]):
        raise socket.gaierror(socket.EAI_NONAME, "there is a fence")
    if event == "socket.connect" and isinstance(said[1], tuple) and not _is_here(said[1][0]):
        raise ConnectionRefusedError("there is a fence")


def _is_here(host: object) -> bool:
    text = host.decode("latin-1") if isinstance(host, bytes) else str(host)
    return host is None or text.startswith(_HERE)
