"""The deployment's certificate authority: ECDSA P-256, X.509 v3 (RFC 5280), SPIFFE URIs as names.

1. A leaf carries exactly one URI, ``spiffe://callguard/KIND/NAME`` (SPIFFE X.509-SVID), and says
   whether it is a client's or a server's.
2. The guard's certificate carries the DNS name ``guard`` and its addresses: clients verify the DNS
   name, so an address may change without a new certificate.
3. The authority signs leaves only (path length 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["GUARD_NAME", "CertificateAuthority", "KeyPair", "spiffe_id"]

GUARD_NAME = "guard"
"""The DNS name in the guard's certificate; clients name it whatever address they dial."""

_AUTHORITY_LIFE = timedelta(days=3650)
_LEAF_LIFE = timedelta(days=397)
_BACKDATED = timedelta(minutes=5)  # nodes whose clocks are a little behind must not refuse it


def spiffe_id(kind: str, name: str) -> str:
    """Return the SPIFFE ID of a ``person``, ``node`` or ``guard``."""
    return f"spiffe://callguard/{kind}/{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


class CertificateAuthority:
    """Issues the certificates of one deployment."""

    def __init__(self, certificate: x509.Certificate, key: EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, *, now: datetime) -> CertificateAuthority:
        """Make a new authority, valid for ten years from ``now``."""
        key = generate_private_key(SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "callguard CA")])
        usage = _usage(signs_certificates=True)
        certificate = (
            _builder(name, name, key, now, _AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, pair: KeyPair) -> CertificateAuthority:
        """Go on with an authority made earlier; raises ValueError when the files are no such."""
        key = load_pem_private_key(pair.key, password=None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise ValueError("the CA's key is not an elliptic curve key")  # noqa: TRY004 - bad file
        return cls(x509.load_pem_x509_certificate(pair.certificate), key)

    @property
    def pair(self) -> KeyPair:
        """The authority's own certificate and key."""
        return _pair(self._certificate, self._key)

    def client(self, kind: str, name: str, *, now: datetime) -> KeyPair:
        """Issue a certificate for a person or a node."""
        return self._leaf(kind, name, [], ExtendedKeyUsageOID.CLIENT_AUTH, now)

    def server(self, name: str, hosts: Sequence[str], *, now: datetime) -> KeyPair:
        """Issue a certificate for a guard that is dialled at ``hosts`` (rule 2)."""
        names = [_host(host) for host in dict.fromkeys([GUARD_NAME, *hosts])]
        return self._leaf("guard", name, names, ExtendedKeyUsageOID.SERVER_AUTH, now)

    def renewed(self, before: x509.Certificate, *, now: datetime) -> KeyPair:
        """Issue a certificate with a new key for the subject, names and purpose of an old one."""
        names = before.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usage = before.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        return self._issue(before.subject, list(names), usage, now)

    def _leaf(
        self,
        kind: str,
        name: str,
        hosts: Sequence[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
        now: datetime,
    ) -> KeyPair:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = [x509.UniformResourceIdentifier(spiffe_id(kind, name)), *hosts]
        return self._issue(subject, names, x509.ExtendedKeyUsage([purpose]), now)

    def _issue(
        self,
        subject: x509.Name,
        names: Sequence[x509.GeneralName],
        usage: x509.ExtendedKeyUsage,
        now: datetime,
    ) -> KeyPair:
        key = generate_private_key(SECP256R1())
        issuer = self._certificate.subject
        certificate = (
            _builder(subject, issuer, key, now, _LEAF_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(usage, critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, SHA256())
        )
        return _pair(certificate, key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pair(certificate: x509.Certificate, key: EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(
        certificate=certificate.public_bytes(Encoding.PEM),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
