"""The public URL, as this machine sees it: does a callback that is posted there reach a genrelay?"""

from __future__ import annotations

import json
import secrets

import httpx

from config.settings import Settings
from service.doctor.findings import Notes, size_of
from service.doctor.ground import SECONDS, Ground
from service.doctor.places import days_left, find_obstacle, open_client
from service.net.calls import AnswerLostError, NotSentError, send
from service.net.policy import GuardPolicy
from service.providers.contract import HttpCall, HttpReply
from service.providers.registry import PROVIDERS
from service.webhook_checks.probe import explain

_FEW_DAYS, _LAST_DAYS = 14, 3
_SMALL = 2048
_FROM_HERE = " Seen from this machine only: it need not be so for providers, as where nothing leads out and back in. "
_ASK = "`genrelay check-webhook` lets a provider try it, free of charge."
# What only says how it looks from here.
_MAYBE_HAIRPIN = frozenset(
    {"private_address", "connection_refused", "connect_timeout", "connect_failed", "dns_timeout"}
)


async def check(ground: Ground, notes: Notes) -> None:
    """Reach it step by step; then post what no genrelay takes, small and large."""
    settings = ground.given()
    if settings.public_url is None:
        hint = (
            "Set GENRELAY_PUBLIC_URL to the https origin that leads here; with polling, jobs end up to minutes later."
        )
        notes.warn("", "not set: no provider can call back, and every job is polled", hint)
        return
    reachable = await _look_at_the_way(settings.public_url, ground, notes)
    if not reachable:
        notes.skip("callbacks", "not tried: it can't be reached from here")
        return
    await _look_at_the_certificate(settings.public_url, ground, notes)
    async with open_client(ground) as client:
        await _post_both(client, settings, ground, notes)


async def _look_at_the_way(url: str, ground: Ground, notes: Notes) -> bool:
    policy = GuardPolicy(tuple(ground.given().allowed_private_subnets))
    obstacles = await find_obstacle(url, ground, policy)
    for code, found, hint in obstacles:
        if code in _MAYBE_HAIRPIN:
            notes.warn("reachable", found, hint + _FROM_HERE + _ASK)
        elif code == "not_https":
            notes.warn("tls", found, hint)
        else:
            notes.fail("tls" if code.startswith(("certificate", "tls")) else "reachable", found, hint)
    if not obstacles:
        notes.ok("reachable", f"{url} accepts connections")
    return all(obstacle.code in {"private_address", "not_https"} for obstacle in obstacles)


async def _look_at_the_certificate(url: str, ground: Ground, notes: Notes) -> None:
    days = await days_left(url, ground)
    if days is None:
        return
    found, hint = (
        f"the certificate is good for {days:.0f} days",
        "Renew it, and let whoever serves it load the new one.",
    )
    if days < _LAST_DAYS:
        notes.fail("tls", f"{found} only", hint)
    else:
        notes.judge("tls", found, bad=days < _FEW_DAYS, hint=hint)


async def _post_both(client: httpx.AsyncClient, settings: Settings, ground: Ground, notes: Notes) -> None:
    if not await _post(client, settings, ground, notes, "callbacks", _SMALL):
        return
    await _post(client, settings, ground, notes, "large_callbacks", min(2**20, settings.callbacks.max_bytes) - 1024)


async def _post(
    client: httpx.AsyncClient, settings: Settings, ground: Ground, notes: Notes, name: str, size: int
) -> bool:
    """Post with a token that nobody has: a genrelay refuses it in its own words, and keeps nothing."""
    url = f"{settings.public_url}/v1/callbacks/{next(iter(PROVIDERS))}/{secrets.token_urlsafe(39)}"
    headers = {"content-type": "application/json", "user-agent": "genrelay-doctor"}
    body = json.dumps({"genrelay": "doctor", "padding": "x" * size}).encode()
    began = ground.clock()
    try:
        reply = await send(client, HttpCall("POST", url, headers, body), timeout=SECONDS, max_bytes=2**20)
    except (NotSentError, AnswerLostError) as error:
        hint = (
            "Look at what stands in front of genrelay, and whether a genrelay with role api or all is running."
            + _FROM_HERE
        )
        notes.fail(name, f"a callback of {size_of(size)} got no answer ({error})", hint + _ASK)
        return False
    ground.hear("public URL", reply.headers.get("date"), began, ground.clock())
    return _judge(reply, name, size, notes)


def _judge(reply: HttpReply, name: str, size: int, notes: Notes) -> bool:
    code, found, hint = explain(reply)
    if code == "other_secret_key":
        notes.ok(name, f"a callback of {size_of(size)} reaches a genrelay, which does not take a token that nobody has")
        return True
    if code == "not_ours":
        found = f"HTTP {reply.status} was answered to a token that nobody has: this is not a genrelay"
        hint = "Another service answers at the public URL. Let GENRELAY_PUBLIC_URL lead to this one."
    elif code == "http_413":
        found = f"HTTP 413 was answered: it takes no callback of {size_of(size)}"
        hint = "Allow bodies of 1 MiB at least in front of genrelay (nginx: client_max_body_size 1m)."
    notes.fail(name, found, hint)
    return False
