"""Whether a place on the network is there at all: DNS, a connection, TLS, told apart."""

from __future__ import annotations

import asyncio
import ssl
import time
from ipaddress import ip_network
from typing import NamedTuple

import httpx

from service.doctor.ground import SECONDS, Ground
from service.net.calls import provider_client
from service.net.policy import GuardPolicy
from service.webhook_checks.reaching import reach, read_origin
from service.webhook_checks.report import Step

EVERYWHERE = GuardPolicy((ip_network("0.0.0.0/0"), ip_network("::/0")))
_DAY = 86_400


class Way(NamedTuple):
    """What stands in the way. code: as `genrelay check-webhook` has it."""

    code: str
    found: str
    hint: str


async def find_obstacle(url: str, ground: Ground, policy: GuardPolicy = EVERYWHERE) -> list[Way]:
    """Return what keeps this machine from a URL's host; nothing when it answers."""
    steps = await reach(url, policy, ground.trusted, seconds=SECONDS)
    return [Way(step.code or "", step.message or "", step.hint or "") for step in steps if _is_bad(step)]


def _is_bad(step: Step) -> bool:
    return step.ok is False


def open_client(ground: Ground) -> httpx.AsyncClient:
    """Return a client as calls to providers have it: no proxy of the environment's, no redirects."""
    if ground.trusted is not None:
        return httpx.AsyncClient(verify=ground.trusted, trust_env=False)
    return provider_client(8)


async def days_left(url: str, ground: Ground) -> float | None:
    """Return for how many days the certificate of an https URL is still good; None when it can't be told."""
    origin = read_origin(url)
    if not origin.secure:
        return None
    trusted = ground.trusted or await asyncio.to_thread(httpx.create_ssl_context, trust_env=False)
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(
                origin.host, origin.port, ssl=trusted, server_hostname=origin.host
            )
    except (OSError, EOFError, TimeoutError):
        return None
    until = (writer.get_extra_info("peercert") or {}).get("notAfter")
    writer.transport.abort()
    return None if until is None else (ssl.cert_time_to_seconds(until) - time.time()) / _DAY
