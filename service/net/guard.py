"""The guard's first half: what a URL alone says about where a request would go, before DNS is asked.

The second half (`service/net/transport.py`, `service/aws/http_session.py`) judges the addresses that DNS answers, and
the one that is connected to. Everything that goes out for a customer passes both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address

import httpx

from service.net.policy import GuardPolicy, Reach, Refused, check_address

MAX_URL_LENGTH = 8192
PUBLIC_PORTS = frozenset({443, 8443})
_LAST_PORT = 65_535

_AUTHORITY = re.compile(r"\A([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)")
_HOST_AND_PORT = re.compile(r"\A(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{0,5}))?\Z")
_LABEL = re.compile(r"\A[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")
# The last label of 2130706433, 0x7f.1 and 127.1, which are all ways to write 127.0.0.1.
_NUMBER = re.compile(r"\A(0x[0-9a-f]*|[0-9]+)\Z")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")


def check_url(url: str, policy: GuardPolicy, *, hosts: Sequence[str] | None = None) -> httpx.URL:
    """Check what a URL says before DNS is asked, and return it parsed; raises Refused.

    hosts: host names this request may go to (`name`, `*.name` for what is below it, `*` for any); None checks none.
    Plain http and ports other than 443 and 8443 pass here only if subnets are opened; for a name, the connection then
    decides whether it resolves into one of them.
    """
    scheme, host, port = _read_parts(url, policy)
    _check_host_list(host, hosts)
    reach = _check_literal(host, policy)
    check_reach(scheme, port, [reach or ("opened" if policy.allowed_private_subnets else "public")])
    return _parse(url, scheme, host.strip("[]"), port)


def check_reach(scheme: str, port: int, reaches: Iterable[Reach]) -> None:
    """Refuse plain http and unusual ports unless every address lies in a subnet that the operator opened."""
    if all(reach == "opened" for reach in reaches):
        return
    if scheme != "https":
        raise Refused("scheme", "only https URLs are allowed")
    if port not in PUBLIC_PORTS:
        raise Refused("port", f"port {port} is not allowed; 443 and 8443 are")


def _read_parts(url: str, policy: GuardPolicy) -> tuple[str, str, int]:
    """Return scheme, host (lower case, an IPv6 address in its brackets) and port."""
    if len(url) > MAX_URL_LENGTH:
        raise Refused("too_long", f"the URL is longer than {MAX_URL_LENGTH} characters")
    match = _AUTHORITY.match(url)
    if match is None or _FORBIDDEN.search(url):
        raise Refused("malformed", "the URL can't be read")
    scheme = match[1].lower()
    if scheme not in ({"https", "http"} if policy.allowed_private_subnets else {"https"}):
        raise Refused("scheme", "only https URLs are allowed")
    if "@" in match[2]:
        raise Refused("userinfo", "a URL must not carry user information before its host")
    return scheme, *_read_host_and_port(match[2], 443 if scheme == "https" else 80)


def _read_host_and_port(authority: str, default_port: int) -> tuple[str, int]:
    match = _HOST_AND_PORT.match(authority)
    if match is None or not match[1]:
        raise Refused("malformed", "the URL has no host that can be read")
    # Not all of Unicode: the lower case of the Kelvin sign is an ASCII k.
    host = match[1].lower() if match[1].isascii() and not match[1].startswith("[") else match[1]
    if not host.startswith("[") and not _is_number(host):
        _check_name(host)
    port = int(match[2]) if match[2] else default_port
    if port > _LAST_PORT:
        raise Refused("port", f"port {port} is not one: the last is {_LAST_PORT}")
    return host, port


def _check_name(host: str) -> None:
    if len(host) > 253 or not all(_LABEL.match(label) for label in host.split(".")):
        raise Refused("malformed", "the host must be a name in ASCII (xn--… for others), without a dot at its end")


def _is_number(host: str) -> bool:
    """Return whether browsers or inet_aton would take the host for an IPv4 address, in whatever spelling."""
    return _NUMBER.match(host.removesuffix(".").rsplit(".", 1)[-1]) is not None


def _check_literal(host: str, policy: GuardPolicy) -> Reach | None:
    """Return how far a literal address reaches, which must be in its one canonical spelling; None for a name."""
    if host.startswith("["):
        return check_address(_canonical(host[1:-1], IPv6Address), policy)
    if _is_number(host):
        return check_address(_canonical(host, IPv4Address), policy)
    return None


def _canonical(text: str, kind: type[IPv4Address] | type[IPv6Address]) -> str:
    try:
        canonical = str(kind(text))
    except ValueError:
        canonical = None
    if canonical != text or "%" in text:
        raise Refused("literal_not_canonical", "an IP address must be written in its usual, shortest form")
    return text


def _parse(url: str, scheme: str, host: str, port: int) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
        # Decodes xn--…, which fails for some names only when httpx is about to send: as an `idna` error, a ValueError.
        _ = parsed.host
    except (httpx.InvalidURL, ValueError):
        raise Refused("malformed", "the URL can't be read") from None
    # The URL that was checked and the one that will be requested are read by two parsers; they must agree.
    default_port = 443 if scheme == "https" else 80
    if (parsed.scheme, parsed.raw_host, parsed.port or default_port) != (scheme, host.encode("ascii"), port):
        raise Refused("malformed", "the URL can't be read")
    return parsed


def _check_host_list(host: str, hosts: Sequence[str] | None) -> None:
    if hosts is None or any(_matches(host, pattern.lower()) for pattern in hosts):
        return
    raise Refused("host_not_allowed", f"the host {host} is not one of those allowed here")


def _matches(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return pattern in ("*", host)
