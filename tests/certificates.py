"""Certificates for servers on this machine: good ones, and ones with something wrong about them."""

from __future__ import annotations

import datetime as dt
import ssl
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def make_certificate(
    folder: Path, host: str = "localhost", *, begins: int = -10, days: int = 2, issuer: Path | None = None
) -> Path:
    """Write a key and a certificate for a host, a name or an address; returns the file with both.

    begins, days: first and last day, counted from now. issuer: another such file whose key signs it, else its own does.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if issuer is None else x509.load_pem_x509_certificate(issuer.read_bytes()).subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=begins))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_name_host(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key if issuer is None else _read_key(issuer), hashes.SHA256())
    )
    path = folder / f"{host}.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


def _name_host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _read_key(certificate: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(certificate.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def server_side(certificate: Path) -> ssl.SSLContext:
    """Return the TLS settings of a server that shows a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def trusting(certificate: Path) -> ssl.SSLContext:
    """Return the TLS settings of a client that trusts a certificate, and nothing else."""
    return ssl.create_default_context(cafile=str(certificate))
