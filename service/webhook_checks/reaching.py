"""How the public URL looks from this machine: does its name resolve, does somebody listen, is the certificate good?

The URL is the operator's own, so the guard has no say here; nothing is sent to it but a TLS handshake.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from service.net.policy import GuardPolicy, is_opened, is_public, read_address
from service.net.resolver import NameNotFound, ask_dns
from service.webhook_checks.report import Step, skipped

_SECONDS = 4.0  # for each step


@dataclass(frozen=True, slots=True)
class Origin:
    """The public URL's scheme, host and port."""

    secure: bool
    host: str
    port: int


def read_origin(url: str) -> Origin:
    """Read a URL that the settings have checked."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    return Origin(secure, parts.hostname or "", parts.port or (443 if secure else 80))


async def reach(
    url: str, policy: GuardPolicy, trusted: ssl.SSLContext | None = None, *, seconds: float = _SECONDS
) -> list[Step]:
    """Return the steps public_url_resolves, public_url_reachable and tls_valid.

    policy: private addresses that the operator opened are as good as public ones. trusted: the authorities; without it
    those that calls to providers trust. seconds: how long each step may take.
    """
    origin = read_origin(url)
    resolves, addresses = await _resolve(origin, policy, seconds)
    if not addresses:
        return [resolves, skipped("public_url_reachable"), skipped("tls_valid")]
    reachable = await _connect(origin, seconds)
    if not reachable.ok:
        return [resolves, reachable, skipped("tls_valid")]
    tls = await _check_tls(origin, trusted, seconds) if origin.secure else _plain(addresses)
    return [resolves, reachable, tls]


async def _resolve(origin: Origin, policy: GuardPolicy, seconds: float) -> tuple[Step, Sequence[str]]:
    name, began = "public_url_resolves", time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            addresses = await ask_dns(origin.host, origin.port)
    except NameNotFound:
        hint = "Look for a typing error in GENRELAY_PUBLIC_URL, and for the name's record in DNS."
        message = f"the host name {origin.host} can't be resolved"
        return Step(name, False, "name_not_found", message, hint, _since(began)), ()
    except TimeoutError:
        message = f"DNS did not answer for {origin.host} within {seconds:g} s"
        return Step(name, False, "dns_timeout", message, "Look at this machine's resolver.", _since(began)), ()
    private = [address for address in addresses if not _is_outside(address, policy)]
    if private:
        message = f"{origin.host} is {', '.join(private[:4])} here, which nobody outside of this network reaches"
        hint = (
            "Set GENRELAY_PUBLIC_URL to an address that the provider reaches. If the provider is on this network (a "
            "sandbox), GENRELAY_ALLOWED_PRIVATE_SUBNETS says so."
        )
        return Step(name, False, "private_address", message, hint, _since(began)), addresses
    return Step(name, True, None, f"{origin.host} is {', '.join(addresses[:4])}", None, _since(began)), addresses


def _is_outside(address: str, policy: GuardPolicy) -> bool:
    read = read_address(address.partition("%")[0])
    return is_public(read) or is_opened(read, policy)


async def _connect(origin: Origin, seconds: float) -> Step:
    name, began, place = "public_url_reachable", time.monotonic(), f"{origin.host}, port {origin.port},"
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(origin.host, origin.port)
    except ConnectionRefusedError:
        hint = "Start what stands in front of genrelay (load balancer, ingress, tunnel), or correct the port."
        return Step(name, False, "connection_refused", f"{place} refuses connections", hint, _since(began))
    except TimeoutError:
        hint = "A firewall or a security group that drops packets looks like this; open the port."
        message = f"{place} did not answer within {seconds:g} s"
        return Step(name, False, "connect_timeout", message, hint, _since(began))
    except OSError as error:
        hint = "Look at the routes and firewalls between this machine and its public URL."
        message = f"{place} can't be connected to ({type(error).__name__})"
        return Step(name, False, "connect_failed", message, hint, _since(began))
    writer.close()
    return Step(name, True, None, f"{place} accepts connections", None, _since(began))


async def _check_tls(origin: Origin, trusted: ssl.SSLContext | None, seconds: float) -> Step:
    trusted = trusted or await asyncio.to_thread(httpx.create_ssl_context, trust_env=False)
    name, began = "tls_valid", time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(
                origin.host, origin.port, ssl=trusted, server_hostname=origin.host
            )
    except ssl.SSLCertVerificationError as error:
        code, hint = _CERTIFICATES.get(error.verify_code, ("certificate_invalid", _RENEW))
        message = f"the certificate of {origin.host} is not good: {error.verify_message}"
        return Step(name, False, code, message, hint, _since(began))
    except ssl.SSLError as error:
        hint = "Does this port speak TLS at all, and TLS 1.2 or later?"
        return Step(name, False, "tls_failed", f"TLS failed: {error.reason or 'no reason'}", hint, _since(began))
    except (OSError, EOFError) as error:
        message = f"the TLS handshake was not finished ({type(error).__name__})"
        hint = "Does this port speak TLS at all?"
        return Step(name, False, "tls_failed", message, hint, _since(began))
    until = (writer.get_extra_info("peercert") or {}).get("notAfter")
    with suppress(OSError, RuntimeError):
        writer.transport.abort()
    return Step(name, True, None, f"the certificate is good until {until}", None, _since(began))


_RENEW = "Providers that check certificates will not call back; put a good certificate in front of genrelay."
_INCOMPLETE = "Serve the whole chain, intermediate certificates included, of an authority that everybody trusts."
# OpenSSL's X509_V_ERR_…: https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/ (checked 2026-11)
_CERTIFICATES = {
    9: ("certificate_not_yet_valid", "Look at this machine's clock, and at the certificate's first day."),
    10: ("certificate_expired", "Renew the certificate, and let whoever serves it load the new one."),
    18: ("certificate_self_signed", _INCOMPLETE),
    19: ("certificate_self_signed", _INCOMPLETE),
    20: ("certificate_chain_incomplete", _INCOMPLETE),
    21: ("certificate_chain_incomplete", _INCOMPLETE),
    62: ("certificate_wrong_host", "Get a certificate for this host name, or set GENRELAY_PUBLIC_URL to one it has."),
    64: ("certificate_wrong_host", "Get a certificate for this address, or give GENRELAY_PUBLIC_URL a host name."),
}


def _plain(addresses: Sequence[str]) -> Step:
    if not any(is_public(read_address(address.partition("%")[0])) for address in addresses):
        return Step("tls_valid", True, "not_https", "plain http, on a network that is not public")
    message = "the public URL is plain http: everybody on the way can read callbacks and their tokens"
    # https://docs.modelslab.com/webhooks (checked 2026-09)
    hint = "Put TLS in front, and give GENRELAY_PUBLIC_URL as https; ModelsLab demands it."
    return Step("tls_valid", False, "not_https", message, hint)


def _since(began: float) -> float:
    return time.monotonic() - began
