"""Which addresses count as public."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.net import GuardPolicy, Refused, check_address

CLOSED = GuardPolicy()

NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "100.127.255.255", "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16", "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192",
    "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8",
    "::ffff:0:8.8.8.8",
    "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::8.8.8.8",
    "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1",
    "2002:7f00:1::", "2002:808:808::1", "3fff::1", "3ffe::1", "4000::1", "5f00::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1",
    "fe80::1%eth0", "2606:4700::1%1", "not an address", "", "1.1.1", "0x7f.0.0.1", "2130706433",
]  # fmt: skip

PUBLIC = ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.32.0.1", "198.20.0.1", "223.255.255.255",
          "2606:4700:4700::1111", "2a00:1450:4001::200e", "64:ff9b::8.8.8.8"]  # fmt: skip


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
