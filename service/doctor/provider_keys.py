"""Are the providers there, and do they take our keys? Asked with the look-up of a task that never was, which costs nothing."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, NamedTuple
from uuid import uuid4

import httpx

from config.providers import ProviderSettings
from config.settings import PREFIX
from service.configured import configured_providers
from service.doctor.contradictions import with_key
from service.doctor.findings import Notes, Status
from service.doctor.ground import SECONDS, Ground
from service.doctor.places import find_obstacle, open_client
from service.net.calls import AnswerLostError, NotSentError, send
from service.providers.contract import HttpReply, Provider, ProviderAccess, TaskNotFound
from service.providers.registry import PROVIDERS

# Ids of ModelsLab's are numbers, those of Novita UUIDs; no task has had either of these.
_TASKS = {"modelslab": "1"}
_BAD_KEY = re.compile(r"api[ _-]?key|failed_to_auth|unauthorized|invalid token", re.IGNORECASE)
_NO_MONEY = re.compile(r"balance|insufficient|credits|billing", re.IGNORECASE)


class Verdict(NamedTuple):
    """What an answer says about the key."""

    status: Status
    found: str
    hint: str = ""


async def check(ground: Ground, notes: Notes) -> None:
    """Ask every provider whose key is given, side by side."""
    settings = ground.given()
    given = with_key(settings)
    if not given:
        names = ", ".join(f"{PREFIX}PROVIDERS__{name.upper()}__API_KEY" for name in PROVIDERS)
        notes.warn("", "no provider's key is given: every job is refused", f"Set one of {names}.")
        return
    providers = configured_providers(settings)
    async with open_client(ground) as client:
        await asyncio.gather(*(_ask(client, providers[name], given[name], ground, notes) for name in given))


async def _ask(
    client: httpx.AsyncClient, provider: Provider, settings: ProviderSettings, ground: Ground, notes: Notes
) -> None:
    obstacles = await find_obstacle(settings.base_url, ground)
    for code, found, hint in obstacles:
        if code != "not_https":
            notes.fail(provider.name, found, _name_the_way_out(provider.name, code, hint))
            return
    assert settings.api_key is not None
    access = ProviderAccess(settings.base_url, settings.api_key.get_secret_value())
    task = _TASKS.get(provider.name, str(uuid4()))
    operation = next((name for name, found in provider.operations.items() if found.answers == "task"), "txt2img")
    call = provider.look_up_call(access, operation, task)
    began = ground.clock()
    try:
        reply = await send(client, call, timeout=SECONDS, max_bytes=2**20, secret=access.api_key)
    except (NotSentError, AnswerLostError) as error:
        hint = "Look at its status page; else at the way out of this machine (egress policy, proxy)."
        notes.fail(provider.name, f"{settings.base_url} accepts connections and did not answer ({error})", hint)
        return
    ground.hear(provider.name, reply.headers.get("date"), began, ground.clock())
    unknown = isinstance(provider.read_look_up(operation, task, reply).outcome, TaskNotFound)
    verdict = judge(provider.name, reply, unknown=unknown)
    match verdict.status:
        case Status.OK:
            notes.ok(provider.name, verdict.found)
        case Status.WARNING:
            notes.warn(provider.name, verdict.found, verdict.hint)
        case _:
            notes.fail(provider.name, verdict.found, verdict.hint)


def _name_the_way_out(provider: str, code: str, hint: str) -> str:
    base = f"Is {PREFIX}PROVIDERS__{provider.upper()}__BASE_URL right?"
    if code.startswith(("certificate", "tls")):
        return f"{base} Else something between here and there breaks TLS open; this machine's clock may be wrong, too."
    if code == "connection_refused":
        return f"{base} Else look at a firewall, or at the sandbox that should be running there."
    return (
        f"{base} Else look at this machine's way out: DNS, a firewall, a network policy (DNS and 443 must be let out)."
    )


def judge(name: str, reply: HttpReply, *, unknown: bool) -> Verdict:
    """Say what an answer to the look-up means. unknown: the provider's module reads it as: there is no such task."""
    said, status = _read_words(reply), reply.status
    variable = f"{PREFIX}PROVIDERS__{name.upper()}__API_KEY"
    # A wrong key is 401 at ModelsLab, also as an error with HTTP 200; at Novita 403, and a missing one 400.
    if status == 401 or (said is not None and status < 500 and _BAD_KEY.search(said)):
        found = f"it does not take the key (HTTP {status}{_quote(said)})"
        return Verdict(Status.FAILED, found, f"Put a good key into {variable}.")
    if status == 402 or (said is not None and status < 500 and _NO_MONEY.search(said)):
        found = f"the account has no money left (HTTP {status}{_quote(said)})"
        return Verdict(Status.FAILED, found, "Top it up at the provider.")
    if status in {403, 407} and said is None:
        hint = "Something in front of the provider, or a proxy of yours, lets this machine's address not through."
        return Verdict(Status.FAILED, f"HTTP {status} was answered, not by the provider itself", hint)
    if status == 403:
        return Verdict(
            Status.FAILED, f"it refuses (HTTP 403{_quote(said)})", "Ask the provider what this account may do."
        )
    if status == 429:
        return Verdict(
            Status.WARNING, "it limits requests now (HTTP 429): the key could not be tried", "Try again in a minute."
        )
    if status >= 500:
        hint = "Look at its status page. Jobs wait, and go on by themselves."
        return Verdict(Status.FAILED, f"it is in trouble (HTTP {status})", hint)
    return _judge_the_rest(name, reply, said, unknown=unknown)


def _judge_the_rest(name: str, reply: HttpReply, said: str | None, *, unknown: bool) -> Verdict:
    base = f"{PREFIX}PROVIDERS__{name.upper()}__BASE_URL"
    if said is not None and unknown:
        return Verdict(Status.OK, "answers, and takes the key as far as a free call can tell")
    if said is None and not 200 <= reply.status < 300:
        hint = f"Is {base} right? It must be the origin of the provider's API."
        return Verdict(Status.FAILED, f"HTTP {reply.status} was answered, not by the provider's API", hint)
    hint = f"Is {base} right? `genrelay check-webhook {name}` tries more."
    return Verdict(
        Status.WARNING, f"answers, but not as expected (HTTP {reply.status}): nothing is known of the key", hint
    )


def _read_words(reply: HttpReply) -> str | None:
    """Return what an answer says in the provider's own envelope; None when it is none."""
    try:
        told: Any = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or not any(name in told for name in ("reason", "message", "status", "task")):
        return None
    return " ".join(str(told[name]) for name in ("reason", "message") if told.get(name))


def _quote(said: str | None) -> str:
    words = "".join(c if c.isprintable() else " " for c in said or "")
    return f": {words}" if words else ""
