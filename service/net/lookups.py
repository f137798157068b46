"""DNS for what customers name and nobody vouches for: in threads of its own, so that a name server that never answers
holds up its own names and nothing else of this process.

asyncio's own threads are few, and they also hash, parse and read files; a hundred look-ups that hang would stop all of that,
and every other look-up with it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from service.net.resolver import NameNotFound, ResolverAway, read_answer, read_trouble

_THREADS = 32
_SECONDS = 5.0

Ask = Callable[[str, int], list[Any]]


def _ask_system(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Lookups:
    """Asks for one host once at a time, however many want it, and for so many hosts at a time.

    seconds: how long one is waited for. ask: as socket.getaddrinfo, in a thread.
    """

    def __init__(self, *, threads: int = _THREADS, seconds: float = _SECONDS, ask: Ask = _ask_system) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="dns")
        self._seconds = seconds
        self._ask = ask
        self._under_way: dict[tuple[str, int], asyncio.Future[list[Any]]] = {}
        self._begun: set[tuple[str, int]] = set()

    async def find(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host; raises NameNotFound, or ResolverAway when that is not the name's fault."""
        key = host, port
        found = self._under_way.get(key) or self._begin(key)
        try:
            async with asyncio.timeout(self._seconds):
                # Shielded: others may wait for the same one.
                return read_answer(await asyncio.shield(found))
        except TimeoutError:
            # One that still waits for a thread has not been asked for.
            kind = NameNotFound if key in self._begun else ResolverAway
            raise kind(f"the host name {host} can't be resolved in time") from None
        except OSError as error:
            raise read_trouble(host, error) from None
        except UnicodeError:
            raise NameNotFound(f"the host name {host} can't be resolved") from None

    def close(self) -> None:
        """Ask for nothing more; those under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, key: tuple[str, int]) -> asyncio.Future[list[Any]]:
        found = asyncio.get_running_loop().run_in_executor(self._threads, self._look_up, key)
        self._under_way[key] = found
        found.add_done_callback(lambda done: self._end(key, done))
        return found

    def _look_up(self, key: tuple[str, int]) -> list[Any]:
        self._begun.add(key)
        return self._ask(*key)

    def _end(self, key: tuple[str, int], done: asyncio.Future[list[Any]]) -> None:
        del self._under_way[key]
        self._begun.discard(key)
        if not done.cancelled():
            done.exception()  # seen, also when nobody waits any more
