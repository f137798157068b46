"""What may be a webhook's URL and its headers; a rule in words for what may not."""

from __future__ import annotations

import re

from service.net import Refused, check_url
from service.net.policy import GuardPolicy

# Bytes: PostgreSQL's index over the URLs of jobs' webhooks takes 2,704.
MAX_URL_BYTES = 2048
MAX_HEADERS = 20
MAX_HEADER_NAME, MAX_HEADER_VALUE = 100, 4096

# https://www.rfc-editor.org/rfc/rfc9110#name-tokens
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Visible ASCII, with spaces and tabs inside. Latin-1 is allowed on the wire, but nobody agrees on how to read it.
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
# Ours, or said by HTTP itself about one connection or one message.
# https://www.rfc-editor.org/rfc/rfc9110#name-connection
_TAKEN = frozenset(
    {
        "host",
        "user-agent",
        "accept-encoding",
        "connection",
        "expect",
        "traceparent",
        "tracestate",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_TAKEN_PREFIXES = ("webhook-", "content-", "proxy-")


def check_webhook_url(url: str, policy: GuardPolicy) -> str | None:
    """Return the rule that a URL breaks, without any part of it; None when deliveries may go there.

    A name's addresses are looked at when something is delivered: they may change any time.
    """
    try:
        if len(url.encode()) > MAX_URL_BYTES:
            return f"must have at most {MAX_URL_BYTES} characters"
        check_url(url, policy)
    except UnicodeEncodeError:
        return "must not contain lone surrogates"
    except Refused as refused:
        return f"must be a public https address: {refused}"
    return None


def check_header_name(name: str) -> str | None:
    """Return the rule that a header's name breaks, None when it may be set."""
    if len(name) > MAX_HEADER_NAME or not _NAME.fullmatch(name):
        return f"must have a name of 1 to {MAX_HEADER_NAME} letters, digits or any of !#$%&'*+.^_`|~-"
    lower = name.lower()
    if lower in _TAKEN or lower.startswith(_TAKEN_PREFIXES):
        return "is set by this service, or by HTTP itself; choose another name"
    return None


def check_header_value(value: object) -> str | None:
    """Return the rule that a header's value breaks, None when it is sound."""
    if not isinstance(value, str):
        return "must be a string"
    if len(value) > MAX_HEADER_VALUE:
        return f"must have at most {MAX_HEADER_VALUE} characters"
    return None if _VALUE.fullmatch(value) else "must be visible ASCII, with spaces or tabs only inside, and not empty"
