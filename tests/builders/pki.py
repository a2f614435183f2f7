"""A certificate authority for tests: any SPIFFE id, any lifetime, also certificates that are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

__all__ = ["Leaf", "TestAuthority"]


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


class TestAuthority:
    """Issues leaves; ``certificate`` is its own, PEM."""

    __test__ = False

    def __init__(self) -> None:
        self._key = generate_private_key(SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, SHA256())
        )
        self.certificate = made.public_bytes(Encoding.PEM)

    def leaf(
        self,
        *uris: str,
        hosts: Sequence[str] = (),
        life: timedelta = timedelta(hours=12),
        begun: timedelta = timedelta(hours=1),
    ) -> Leaf:
        """Issue a certificate with these URIs, that began ``begun`` ago and ends in ``life``."""
        key = generate_private_key(SECP256R1())
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - begun)
            .not_valid_after(now + life)
        )
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        for host in hosts:
            numeric = host[:1].isdigit()
            names.append(x509.IPAddress(ip_address(host)) if numeric else x509.DNSName(host))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return Leaf(
            certificate=builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM),
            key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )
