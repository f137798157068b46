"""A certificate for the tests' TLS servers."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import make_certificate, server_side

HOST = "files.example.com"


@dataclass
class Tls:
    """A server's TLS settings, a client that trusts it, and the names that clients asked for."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    asked_for: list[str | None]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a self-signed certificate for HOST."""
    return make_certificate(tmp_path_factory.mktemp("tls"), HOST)


@pytest.fixture
def tls(certificate: Path) -> Tls:
    server = server_side(certificate)
    made = Tls(server, ssl.create_default_context(cafile=str(certificate)), [])
    server.sni_callback = lambda _socket, name, _context: made.asked_for.append(name)
    return made
