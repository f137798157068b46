"""Asks DNS, and judges every address of the answer before any of them is used."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx

from service.net.guard import check_reach
from service.net.policy import GuardPolicy, Refused, check_address, read_address

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]


class NameNotFound(httpx.ConnectError):
    """DNS has no address for the host, or could not be asked; may be better later."""


class ResolverAway(NameNotFound):
    """DNS could not be asked at all, which says nothing about the host."""


# What getaddrinfo says when it is not the name that is wrong: nobody answered, or we lack files or memory.
_AWAY = frozenset({socket.EAI_AGAIN, socket.EAI_SYSTEM, socket.EAI_MEMORY})


async def ask_dns(host: str, port: int) -> list[str]:
    """Return the addresses of a host as the system's resolver gives them; raises NameNotFound, or ResolverAway."""
    loop = asyncio.get_running_loop()
    try:
        return read_answer(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError as error:
        raise read_trouble(host, error) from None
    except UnicodeError:
        raise NameNotFound(f"the host name {host} can't be resolved") from None


def read_answer(answer: Sequence[Any]) -> list[str]:
    """Return the addresses in what getaddrinfo answered, each once."""
    return list(dict.fromkeys(str(entry[4][0]) for entry in answer))


def read_trouble(host: str, error: OSError) -> NameNotFound:
    """Return what an error of getaddrinfo means: NameNotFound, or ResolverAway."""
    is_name = isinstance(error, socket.gaierror) and error.errno not in _AWAY
    return (NameNotFound if is_name else ResolverAway)(f"the host name {host} can't be resolved")


async def find_addresses(host: str, port: int, *, scheme: str, policy: GuardPolicy, resolver: Resolver) -> list[str]:
    """Return the addresses that may be connected to, all of the answer; one bad address in it refuses the host."""
    answer = await resolver(host, port)
    if not answer:
        raise NameNotFound(f"the host name {host} can't be resolved")
    reaches = [check_address(address, policy) for address in answer]
    check_reach(scheme, port, reaches)
    return list(answer)


def check_peer(peer: str, wanted: str) -> None:
    """Refuse a connection whose other end is not the address that was checked."""
    if read_address(peer) != read_address(wanted):
        raise Refused("peer_mismatch", "the connection went to another address than the one that was checked")
