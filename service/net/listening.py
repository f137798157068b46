"""Taking no more connections without losing those that wait to be accepted."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from contextlib import suppress

_SO_ATTACH_FILTER = 26
# A program of one instruction for the kernel's packet filter: RET 0, which keeps nothing of a packet.
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)


def take_no_more(listening: socket.socket) -> None:
    """Have a listening socket drop who wants to connect from now on; who has connected can still be accepted.

    Closing it would reset those. Whoever is dropped tries again a second later and is refused then, or gets through to
    another process. Linux only; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
    with suppress(OSError):
        listening.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HxxxxxxP", 1, ctypes.addressof(program))
        )
