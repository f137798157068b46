"""Ports for servers that are told beforehand where to listen.

Not from the range that the kernel lends to outgoing connections: one of those may take a port between the moment it was
found free and the moment the server binds it, and again whenever the server is restarted.
"""

from __future__ import annotations

import secrets
import socket

# With the twin 10,000 above it still below the range of outgoing connections, which begins at 32,768 on Linux.
_FIRST, _LAST = 20_000, 22_700


def free_port(*, twin: int = 0) -> int:
    """Return a port of this machine that nobody listens on; with `twin`, also the one so far above it is free."""
    while True:
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if is_free(port) and (not twin or is_free(port + twin)):
            return port


def is_free(port: int) -> bool:
    """Tell whether a server could listen on a port of 127.0.0.1."""
    with socket.socket() as probe:
        # As servers do it, so that the last connections of one that has just ended are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
