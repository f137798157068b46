"""Every form we know of a URL that shall make us connect to a place that is not public.

Material for all tests of the guard: for what it judges by itself, for the copy of an output, and for custom S3 endpoints.
What a test adds to a URL (a path, a query) it may append: none of these ends in a query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from service.net.policy import Reason

# --- Addresses that are not public, in their usual form ---------------------------------------------------------------

ADDRESSES: Mapping[str, Sequence[str]] = {
    "unspecified": ["0.0.0.0", "::"],
    "this network": ["0.0.0.1", "0.1.2.3", "0.255.255.255"],
    "loopback": ["127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.254", "::1"],
    "private": [
        "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255",
        "fc00::1", "fd00::1", "fdff:ffff::1",
    ],
    "CGNAT": ["100.64.0.1", "100.127.255.255"],
    "link-local": ["169.254.0.1", "169.254.255.255", "fe80::1", "febf::1"],
    "metadata": [
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.169.123", "168.63.129.16", "100.100.100.200",
        "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
    ],
    "assigned": [
        "192.0.0.1", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1", "198.18.0.1",
        "198.19.255.255", "198.51.100.7", "203.0.113.9",
        "100::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2620:4f:8000::1", "3ffe::1", "3fff::1",
        "5f00::1",
    ],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff01::1", "ff02::1", "ff05::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "254.255.255.255", "200::1", "4000::1", "e000::1"],
    "broadcast": ["255.255.255.255"],
    "site-local": ["fec0::1", "feff::1"],
    "IPv4-mapped": ["::ffff:7f00:1", "::ffff:a00:1", "::ffff:a9fe:a9fe", "::ffff:808:808", "::ffff:0:7f00:1"],
    "IPv4-compatible": ["::7f00:1", "::a00:1", "::a9fe:a9fe", "::808:808"],
    "NAT64": [
        "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::6440:1", "64:ff9b::",
        "64:ff9b:1::7f00:1", "64:ff9b:1::808:808",
    ],
    "6to4": ["2002:7f00:1::1", "2002:a00:1::1", "2002:a9fe:a9fe::1", "2002:808:808::1"],
    "Teredo": ["2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:0:7f00:1::1"],
    "ISATAP": ["fe80::5efe:7f00:1", "2606:4700::5efe:a00:1", "2606:4700::200:5efe:a00:1", "2a00:1450::5efe:a9fe:a9fe"],
}  # fmt: skip

PUBLIC = ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111"]


def literal(address: str) -> str:
    """Return the address as the host of a URL."""
    return f"[{address}]" if ":" in address else address


def _literals() -> Iterator[tuple[str, Reason]]:
    for addresses in ADDRESSES.values():
        for address in addresses:
            yield f"https://{literal(address)}/", "private_address"


# --- URLs that say enough to be refused before DNS is asked -----------------------------------------------------------

_SPELLINGS: dict[str, Reason] = {
    # decimal, hexadecimal, octal
    "https://2130706433/": "literal_not_canonical",
    "https://2852039166/": "literal_not_canonical",
    "https://6425673729/": "literal_not_canonical",
    "https://0x7f000001/": "literal_not_canonical",
    "https://0X7F000001/": "literal_not_canonical",
    "https://0xa9fea9fe/": "literal_not_canonical",
    "https://0x7f.0x0.0x0.0x1/": "literal_not_canonical",
    "https://0x7f.0.0.1/": "literal_not_canonical",
    "https://127.0.0.0x1/": "literal_not_canonical",
    "https://0x1ff.0.0.1/": "literal_not_canonical",
    "https://017700000001/": "literal_not_canonical",
    "https://0177.0.0.1/": "literal_not_canonical",
    "https://0251.0376.0251.0376/": "literal_not_canonical",
    "https://00000177.0.0.1/": "literal_not_canonical",
    "https://0x7f.1/": "literal_not_canonical",
    "https://0177.0x1/": "literal_not_canonical",
    # short forms, leading zeros, dots
    "https://127.1/": "literal_not_canonical",
    "https://127.0.1/": "literal_not_canonical",
    "https://10.1/": "literal_not_canonical",
    "https://169.254.43518/": "literal_not_canonical",
    "https://0/": "literal_not_canonical",
    "https://0./": "literal_not_canonical",
    "https://0x/": "literal_not_canonical",
    "https://127.0.0.1./": "literal_not_canonical",
    "https://2130706433./": "literal_not_canonical",
    "https://127.0.0.1../": "malformed",
    "https://.127.0.0.1/": "literal_not_canonical",
    "https://127..0.0.1/": "literal_not_canonical",
    "https://127.0.0.01/": "literal_not_canonical",
    "https://127.000.000.001/": "literal_not_canonical",
    "https://010.010.010.010/": "literal_not_canonical",
    "https://1.1.1.1.1/": "literal_not_canonical",
    "https://256.256.256.256/": "literal_not_canonical",
    "https://127.0.0.-1/": "malformed",
    "https://+127.0.0.1/": "literal_not_canonical",
    # percent-encoded
    "https://%31%32%37.0.0.1/": "literal_not_canonical",
    "https://%31%32%37%2e%30%2e%30%2e%31/": "malformed",
    "https://127%2e0%2e0%2e1/": "malformed",
    "https://127.0.0.1%2f.example.com/": "malformed",
    "https://127.0.0.1%00.example.com/": "malformed",
    "https://localhos%74/": "malformed",
    # other digits, other dots
    "https://①②⑦.0.0.1/": "literal_not_canonical",
    "https://①②⑦.①/": "malformed",
    "https://１２７.0.0.1/": "literal_not_canonical",
    "https://１２７.０.０.１/": "malformed",
    "https://١٢٧.٠.٠.١/": "malformed",
    "https://127。0。0。1/": "malformed",
    "https://127．0．0．1/": "malformed",
    "https://127｡0｡0｡1/": "malformed",
    "https://𝟏𝟐𝟕.𝟎.𝟎.𝟏/": "malformed",
    # IPv6
    "https://[0:0:0:0:0:0:0:1]/": "literal_not_canonical",
    "https://[::0001]/": "literal_not_canonical",
    "https://[0::1]/": "literal_not_canonical",
    "https://[::1.]/": "literal_not_canonical",
    "https://[FE80::1]/": "literal_not_canonical",
    "https://[::127.0.0.1]/": "literal_not_canonical",
    "https://[::ffff:127.0.0.1]/": "literal_not_canonical",
    "https://[::FFFF:7F00:1]/": "literal_not_canonical",
    "https://[::ffff:169.254.169.254]/": "literal_not_canonical",
    "https://[64:ff9b::127.0.0.1]/": "literal_not_canonical",
    "https://[fe80::5efe:127.0.0.1]/": "literal_not_canonical",
    "https://[2606:4700:0::1111]/": "literal_not_canonical",
    "https://[::%31]/": "literal_not_canonical",
    "https://[::１]/": "literal_not_canonical",
    "https://[fe80::1%25eth0]/": "literal_not_canonical",
    "https://[fe80::1%eth0]/": "literal_not_canonical",
    "https://[::1%25lo]/": "literal_not_canonical",
    "https://[2606:4700:4700::1111%25]/": "literal_not_canonical",
    "https://[127.0.0.1]/": "literal_not_canonical",
    "https://[v1.127.0.0.1]/": "literal_not_canonical",
    "https://[]/": "literal_not_canonical",
    "https://[[::1]]/": "malformed",
    "https://[::1/": "malformed",
    "https://::1]/": "malformed",
    "https://::1/": "malformed",
    "https://[::1]127.0.0.1/": "malformed",
    "https://127.0.0.1[::1]/": "malformed",
}

_AUTHORITIES: dict[str, Reason] = {
    "https://user@example.com/": "userinfo",
    "https://user:secret@example.com/": "userinfo",
    "https://@example.com/": "userinfo",
    "https://:@127.0.0.1/": "userinfo",
    "https://example.com@127.0.0.1/": "userinfo",
    "https://example.com:443@127.0.0.1/": "userinfo",
    "https://127.0.0.1@example.com/": "userinfo",
    "https://example.com%40127.0.0.1/": "literal_not_canonical",
    "https://a@b@127.0.0.1/": "userinfo",
    "https://example.com\\@127.0.0.1/": "malformed",
    "https://127.0.0.1\\.example.com/": "malformed",
    "https:\\\\127.0.0.1/": "malformed",
    "https:/\\127.0.0.1/": "malformed",
    "https://exam\tple.com/": "malformed",
    "https://127.0.\t0.1/": "malformed",
    "ht\ntps://127.0.0.1/": "malformed",
    "https://example.com\n/": "malformed",
    "https://example.com\r\n/": "malformed",
    "\nhttps://example.com/": "malformed",
    " https://example.com/": "malformed",
    "https://exam ple.com/": "malformed",
    "https://example.com/\r\nHost: evil": "malformed",
    "https://example.com\x00.evil.com/": "malformed",
    "https://example.com\x0b/": "malformed",
    "https://example.com\u2028/": "malformed",
    "https://example.com\u00a0/": "malformed",
    "https://": "malformed",
    "https:///path": "malformed",
    "https:////127.0.0.1/": "malformed",
    "https://?x=127.0.0.1": "malformed",
    "https://#127.0.0.1": "malformed",
    "https:127.0.0.1/": "malformed",
    "https:/127.0.0.1/": "malformed",
    "//127.0.0.1/": "malformed",
    "//example.com/": "malformed",
    "/latest/meta-data/": "malformed",
    "example.com": "malformed",
    "127.0.0.1": "malformed",
    "": "malformed",
    "https://" + "a" * 64 + ".com/": "malformed",
    "https://" + "a." * 130 + "com/": "malformed",
    "https://" + "a" * 9000 + "/": "too_long",
    "https://example.com/" + "a" * 8192: "too_long",
}

_SCHEMES: dict[str, Reason] = {
    "http://example.com/": "scheme",
    "http://127.0.0.1/": "scheme",
    "http://169.254.169.254/latest/meta-data/": "scheme",
    "HTTP://example.com/": "scheme",
    "ftp://example.com/": "scheme",
    "file:///etc/passwd": "scheme",
    "file://127.0.0.1/etc/passwd": "scheme",
    "gopher://127.0.0.1:6379/_INFO": "scheme",
    "dict://127.0.0.1:6379/info": "scheme",
    "ldap://127.0.0.1/": "scheme",
    "ws://example.com/": "scheme",
    "wss://example.com/": "scheme",
    "s3://bucket/key": "scheme",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/": "scheme",
    "httpss://example.com/": "scheme",
    "url:https://example.com/": "malformed",
    "jar:https://example.com!/": "malformed",
    "data:image/png;base64,AAAA": "malformed",
    "javascript:alert(1)": "malformed",
    "ｈttps://example.com/": "malformed",
    "https；//example.com/": "malformed",
}

_PORTS: dict[str, Reason] = {
    **{f"https://example.com:{port}/": "port" for port in (0, 1, 22, 25, 80, 444, 5432, 6379, 8080, 9000, 65535)},
    "https://example.com:99999/": "port",
    "https://example.com:65979/": "port",
    "https://1.1.1.1:22/": "port",
    "https://example.com:443443/": "malformed",
    "https://example.com:-443/": "malformed",
    "https://example.com:+443/": "malformed",
    "https://example.com:4４3/": "malformed",
    "https://example.com:４４３/": "malformed",
    "https://example.com:443:443/": "malformed",
    "https://example.com:0x1bb/": "malformed",
    "https://example.com: 443/": "malformed",
    "https://[::1]:22:443/": "malformed",
}

_NAMES: dict[str, Reason] = {
    "https://example.com./": "malformed",
    "https://localhost./": "malformed",
    "https://.example.com/": "malformed",
    "https://exa..mple.com/": "malformed",
    "https://-example.com/": "malformed",
    "https://example-.com/": "malformed",
    "https://*.example.com/": "malformed",
    "https://exam_ple!.com/": "malformed",
    "https://ⓔxample.com/": "malformed",
    "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/": "malformed",
    "https://ｌocalhost/": "malformed",
    "https://loca\u200blhost/": "malformed",
    "https://exа\u006dple.com/": "malformed",  # a Cyrillic а
    "https://bücher.example/": "malformed",
    # Letters of Punycode that no name is written with; httpx would notice only when it sends.
    "https://xn--a/": "malformed",
    "https://xn--/": "malformed",
    "https://xn--a.example.com/": "malformed",
    "https://exa\u00admple.com/": "malformed",
    "https://example。com/": "malformed",
    "https://example．com/": "malformed",
    "https://example｡com/": "malformed",
    "https://example.com\u2044@127.0.0.1/": "userinfo",
    "https://example.com\uff0f127.0.0.1/": "literal_not_canonical",
    "https://example.com\uff03.evil.com/": "malformed",
    "https://example.com\uff20127.0.0.1/": "literal_not_canonical",
    "https://127.0.0.1\uff0eexample.com/": "malformed",
    "https://\u212a8s.example/": "malformed",  # the Kelvin sign, a small k in lower case
    "https://\u017fecret.example/": "malformed",  # a long s
    "https://lo\u0441alhost/": "malformed",  # a Cyrillic с
}

URLS: Mapping[str, Mapping[str, Reason]] = {
    "literals": dict(_literals()),
    "spellings": _SPELLINGS,
    "authorities": _AUTHORITIES,
    "schemes": _SCHEMES,
    "ports": _PORTS,
    "names": _NAMES,
}
HOSTILE: Mapping[str, Reason] = {url: reason for urls in URLS.values() for url, reason in urls.items()}

# --- URLs of which only DNS tells ---------------------------------------------------------------------------------------

_MANY = [f"1.1.{third}.{fourth}" for third in range(8) for fourth in range(128)]

ANSWERS: Mapping[str, Sequence[str]] = {
    **{f"{kind}: {each}": [each] for kind, addresses in ADDRESSES.items() for each in addresses},
    "private after public": ["1.1.1.1", "127.0.0.1"],
    "public after private": ["127.0.0.1", "1.1.1.1"],
    "private IPv6 after public IPv4": ["1.1.1.1", "::1"],
    "private IPv4 after public IPv6": ["2606:4700:4700::1111", "10.0.0.1"],
    "metadata among public ones": ["1.1.1.1", "8.8.8.8", "169.254.169.254", "9.9.9.9"],
    "one private of a thousand": [*_MANY, "10.0.0.1"],
    "mapped among public ones": ["1.1.1.1", "::ffff:127.0.0.1"],
    "with a zone": ["fe80::1%eth0"],
    "public with a zone": ["2606:4700:4700::1111%1"],
    "no address": ["localhost"],
    "an odd spelling": ["0x7f.1"],
    "empty": [""],
}


def host_of(url: str) -> str | None:
    """Return what Python takes for the URL's host, to look for it in what was asked of DNS; None for none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
