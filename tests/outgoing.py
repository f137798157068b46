"""Sees every connection that this process begins, and every name that it asks the system to resolve."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Outgoing:
    """What was connected to (host and port, or a path) and asked of DNS, but for what belongs to the test's own world."""

    known: set[object] = field(default_factory=set)
    connected: list[object] = field(default_factory=list)
    resolved: list[object] = field(default_factory=list)

    def belongs(self, *ports: int) -> None:
        """Look away from connections to these ports of this machine."""
        self.known.update(("127.0.0.1", port) for port in ports)

    @property
    def nothing(self) -> bool:
        """Whether nothing was connected to and nothing resolved."""
        return not self.connected and not self.resolved

    def note_connection(self, address: Any) -> None:
        """Note a connection that begins."""
        where = address[:2] if isinstance(address, tuple) else address
        if isinstance(where, tuple) and where not in self.known:
            self.connected.append(where)

    def note_name(self, host: Any) -> None:
        """Note a question to the system's resolver; a literal address is none."""
        try:
            socket.inet_pton(socket.AF_INET6 if ":" in str(host) else socket.AF_INET, str(host))
        except (OSError, ValueError):
            self.resolved.append(host)


@contextmanager
def watching_outgoing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outgoing]:
    """Watch below everything that makes connections: asyncio's loop, botocore, asyncpg."""
    seen = Outgoing()
    ask = socket.getaddrinfo

    def noting(method: Callable[..., Any]) -> Callable[..., Any]:
        def connect(made: socket.socket, address: Any) -> Any:
            seen.note_connection(address)
            return method(made, address)

        return connect

    def getaddrinfo(host: Any, *more: Any, **settings: Any) -> Any:
        seen.note_name(host)
        return ask(host, *more, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", noting(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", noting(socket.socket.connect_ex))
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield seen
