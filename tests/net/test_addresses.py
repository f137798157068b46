"""Which addresses count as public."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.net import GuardPolicy, Refused, check_address
from tests.net.hostile_urls import ADDRESSES

CLOSED = GuardPolicy()

NOT_PUBLIC = [
    *(address for addresses in ADDRESSES.values() for address in addresses),
    "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8",
    "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::8.8.8.8",
    "fe80::1%eth0", "2606:4700::1%1", "not an address", "", "1.1.1", "0x7f.0.0.1", "2130706433",
]  # fmt: skip

PUBLIC = ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.32.0.1", "198.20.0.1", "223.255.255.255",
          "2606:4700:4700::1111", "2606:4700::1:5efe:808:808", "2a00:1450:4001::200e", "64:ff9b::8.8.8.8"]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(Refused) as refused:
        check_address(address, CLOSED)
    assert refused.value.reason == "private_address"


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_passes(address: str) -> None:
    assert check_address(address, CLOSED) == "public"


def test_opened_subnet_opens_its_own_addresses_only() -> None:
    policy = GuardPolicy((ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")))
    assert check_address("10.1.2.3", policy) == "opened"
    assert check_address("fd00:1::5", policy) == "opened"
    for other in ("10.2.0.1", "127.0.0.1", "fd00:2::5", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3"):
        with pytest.raises(Refused):
            check_address(other, policy)


@given(st.integers(0, 2**32 - 1))
def test_no_spelling_makes_a_closed_ipv4_address_public(number: int) -> None:
    plain = IPv4Address(number)
    try:
        check_address(str(plain), CLOSED)
    except Refused:
        pass
    else:
        return
    for spelling in (
        IPv6Address(number),
        IPv6Address((0xFFFF << 32) + number),
        IPv6Address((0x64FF9B << 96) + number),
        IPv6Address((0x2002 << 112) + (number << 80) + 1),
        IPv6Address((0x2606_4700 << 96) + (0x5EFE << 32) + number),
    ):
        with pytest.raises(Refused):
            check_address(str(spelling), CLOSED)


@given(st.integers(0, 2**32 - 1))
def test_whatever_python_calls_private_is_refused(number: int) -> None:
    address = IPv4Address(number)
    if not address.is_global or address.is_multicast or address.is_reserved:
        with pytest.raises(Refused):
            check_address(str(address), CLOSED)


@given(st.text())
def test_no_text_makes_the_check_raise_anything_else(text: str) -> None:
    with suppress(Refused):
        assert check_address(text, CLOSED) == "public"
