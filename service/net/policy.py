"""Which addresses a request may reach: public ones, and what the operator opened."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Reach = Literal["public", "opened"]
Reason = Literal[
    "too_long",
    "malformed",
    "scheme",
    "userinfo",
    "host_not_allowed",
    "literal_not_canonical",
    "private_address",
    "port",
    "peer_mismatch",
]
_NOT_PUBLIC = "the host has an address that is not public"


class Refused(Exception):  # noqa: N818 - a verdict more than an error
    """The guard does not let this request leave; final, so never tried again.

    reason: a short code. The message names host or port at most, never a path or a query string.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class GuardPolicy:
    """What the operator allows beyond public addresses (`GENRELAY_ALLOWED_PRIVATE_SUBNETS`)."""

    allowed_private_subnets: tuple[Network, ...] = ()


# https://www.iana.org/assignments/iana-ipv4-special-registry (checked 2026-11). `ipaddress.is_global` follows a
# registry that changes with the Python version and calls multicast and some relays global, so the list is ours.
_CLOSED_IPV4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # CGNAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host agent: a public address that answers on every virtual machine
        "169.254.0.0/16",  # link-local, metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)

# Of IPv6 only global unicast is public at all, which closes loopback, link-local, site-local (fec0::/10), ULA,
# multicast, discard (100::/64), IPv4-mapped and IPv4-compatible addresses and local NAT64 (64:ff9b:1::/48) in one go.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_CLOSED_IPV6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # 6bone, given back
        "3fff::/20",  # documentation
    )
)
# ISATAP packs an IPv4 address, mostly a private one, behind any prefix: the last 64 bits are 0000:5efe or 0200:5efe, then
# the address. A router that speaks it would unpack it.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
# On a network that has only IPv6, DNS64 answers with these for every host that has only IPv4.
_NAT64 = IPv6Network("64:ff9b::/96")


def read_address(text: str) -> Address:
    """Read an address as DNS or a socket gives it; raises Refused for what is none, or carries a zone id."""
    try:
        address = ip_address(text)
    except ValueError:
        raise Refused("private_address", _NOT_PUBLIC) from None
    if "%" in text:
        raise Refused("private_address", _NOT_PUBLIC)
    return address


def is_opened(address: Address, policy: GuardPolicy) -> bool:
    """Return whether the operator opened a subnet that holds this address."""
    return any(address in network for network in policy.allowed_private_subnets)


def is_public(address: Address) -> bool:
    """Return whether the address belongs to the public internet, in whichever form it is written."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_IPV4)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
        return False
    return address in _GLOBAL_UNICAST and not any(address in network for network in _CLOSED_IPV6)


def check_address(address: str, policy: GuardPolicy) -> Reach:
    """Return "opened" for an address in an opened subnet, "public" for a public one; raises Refused for the others."""
    read = read_address(address)
    if is_opened(read, policy):
        return "opened"
    if is_public(read):
        return "public"
    raise Refused("private_address", _NOT_PUBLIC)
