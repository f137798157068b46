"""Posting to a callback URL of ours through the public URL: does it come in, and what is in the way if it does not?"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from urllib.parse import urlsplit

from service.db.sql import queries
from service.engine.context import Context
from service.ids import new_uuid
from service.net.calls import AnswerLostError, NotSentError, send
from service.providers.contract import HttpCall, HttpReply
from service.webhook_checks.report import Step

NAME = "token_accepted"
_SECONDS = 8.0
_MOST_BYTES = 2**20  # of an answer
_HEADERS = {"content-type": "application/json", "user-agent": "genrelay-webhook-check"}
_PADDING = 16 * 1024  # about what a callback with a few images has


async def probe(context: Context, provider: str) -> Step:
    """Return the step token_accepted.

    The token is good, and names a job that never was: so the probe can't get into the way of a real callback. That it
    came in is not believed for its 200, which any server may answer, but seen in the inbox, from where it is taken back.
    """
    job_id, body, began = new_uuid(), _make_body(), time.monotonic()
    url = context.callback_url(provider, job_id, 1)
    assert url is not None
    try:
        reply = await send(
            context.provider_client, HttpCall("POST", url, _HEADERS, body), timeout=_SECONDS, max_bytes=_MOST_BYTES
        )
    except (NotSentError, AnswerLostError) as error:
        return _lost(str(error), time.monotonic() - began)
    came = await queries().take_back_probe(context.pool, job_id=job_id, digest=hashlib.sha256(body).digest())
    if came:
        return Step(
            NAME, True, None, "a callback URL takes posts through the public URL", None, time.monotonic() - began
        )
    code, message, hint = explain(reply)
    return Step(NAME, False, code, message, hint, time.monotonic() - began)


def _make_body() -> bytes:
    return json.dumps({"genrelay": "webhook-check", "nonce": secrets.token_hex(8), "padding": "x" * _PADDING}).encode()


def _lost(kind: str, seconds: float) -> Step:
    if "Timeout" in kind:
        message = f"no answer within {_SECONDS:g} s; providers wait for five seconds or less"
        hint = (
            "Something in front of genrelay accepts connections and does not pass requests on, or its database hangs."
        )
        return Step(NAME, False, "timeout", message, hint, seconds)
    message = f"the connection broke before an answer came ({kind})"
    hint = "Look at what stands in front of genrelay: it hangs up, or does not speak HTTP on this port."
    return Step(NAME, False, "connection_lost", message, hint, seconds)


def explain(reply: HttpReply) -> tuple[str, str, str]:
    """Explain an answer to a post that did not come in: code, message and hint."""
    match reply.status:
        case status if 200 <= status < 300:
            return (
                "not_ours",
                f"HTTP {status} was answered, but the post did not come in here",
                "Another service answers at the public URL, or another genrelay with the same secret key and another "
                "database. Let GENRELAY_PUBLIC_URL lead to this one.",
            )
        case status if 300 <= status < 400:
            return (
                "redirect",
                f"HTTP {status} redirects to {_origin_of(reply.headers.get('location', ''))}",
                "Providers don't follow redirects: set GENRELAY_PUBLIC_URL to where it ends (scheme, `www.` and all).",
            )
        case 404 if _is_our_problem(reply, "not_found"):
            return (
                "other_secret_key",
                "a genrelay answered, and does not know the token",
                "Its GENRELAY_SECRET_KEY is another one than here, or something in front of it changes paths.",
            )
        case 503 if _is_our_problem(reply, "unavailable"):
            return "unavailable", "a genrelay answered that it can't store callbacks now", "Look at its database."
    return _explain_others(reply.status)


def _explain_others(status: int) -> tuple[str, str, str]:
    code, said = f"http_{status}", f"HTTP {status} was answered by something in front of genrelay"
    match status:
        case 401 | 403 | 407:
            return code, f"{said}, which asks for credentials", (
                "Providers have none: let POST /v1/callbacks/ through without a login, a client certificate or a "
                "web application firewall's challenge. The token in the path is the key."
            )  # fmt: skip
        case 404 | 405 | 410:
            return code, f"HTTP {status} was answered, and not by a genrelay", (
                "Another service answers at the public URL, or something in front rewrites or drops the path: "
                "POST /v1/callbacks/… must get through as it is."
            )  # fmt: skip
        case 413:
            return code, f"{said}: it takes no body of {_PADDING // 1024} KiB", (
                "Allow bodies of 1 MiB at least (nginx: client_max_body_size)."
            )  # fmt: skip
        case 429:
            return code, f"{said}, which limits requests", "Take POST /v1/callbacks/ out of its rate limit."
        case 502 | 503 | 504:
            return code, said, "It can't reach genrelay: look at its upstream's address, port and health check."
        case _ if status >= 500:
            return code, f"HTTP {status} was answered", "Look at the log of what stands in front, and at ours."
    return code, said, "Let POST /v1/callbacks/… get through as it is."


def _is_our_problem(reply: HttpReply, code: str) -> bool:
    try:
        said = json.loads(reply.body)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("type") == f"/problems/{code}"


def _origin_of(location: str) -> str:
    """Name where a redirect leads without its path, which repeats the token."""
    try:
        parts = urlsplit(location)
        host = parts.hostname
    except ValueError:
        return "an address that can't be read"
    return f"{parts.scheme}://{host}" if host and host.isprintable() else "another path"
