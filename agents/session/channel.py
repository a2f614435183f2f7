"""The TLS channel to the guard: mutual, pinned, rebuilt when its files change.

1. The channel trusts the CA of the configuration alone and demands that the certificate it is shown
   carries the DNS name ``guard``, whatever address was dialled. Only a guard's certificate carries
   it: the certificates of people and nodes of the same CA are for clients and name no host. The
   SPIFFE ids of the trust policy need not be looked at in addition: a guard is believed nothing
   that it has not signed with the key that the policy names.
2. No way without TLS exists, and no proxy of the environment is used.
3. A client's certificate is read when a channel is built. Files that changed are noticed, and used
   if they fit together; otherwise the last good ones stay in use.
4. A channel that hears nothing is given up: the far end is asked for a sign of life.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

__all__ = ["GUARD_NAME", "Credentials", "CredentialsError", "TlsPaths", "open_channel"]

GUARD_NAME = "guard"

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.ssl_target_name_override", GUARD_NAME),  # Rule 1.
    ("grpc.enable_http_proxy", 0),  # Rule 2.
    # Rule 4. A guard allows half of this; anything below its minimum is answered with a goodbye.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.enable_retries", 0),
    # Channels to one address must not share a connection: it would keep the old certificate.
    ("grpc.use_local_subchannel_pool", 1),
]


class CredentialsError(Exception):
    """The TLS files cannot be used; the message says why, never what is in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsPaths:
    """PEM files: our certificate and key, and the CA that the guard's certificate is of."""

    certificate: Path
    key: Path
    ca: Path

    def seen(self) -> str:
        """Return a digest that changes when a file is replaced."""
        digest = hashlib.sha256()
        for path in (self.certificate, self.key, self.ca):
            try:
                status = path.stat()
                digest.update(f"{status.st_mtime_ns} {status.st_ino} {status.st_size};".encode())
            except OSError:
                digest.update(b"-;")
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What the files held when they fitted together; ``seen``: `TlsPaths.seen` at that time."""

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    ca: bytes = field(repr=False)
    seen: str

    @classmethod
    def load(cls, paths: TlsPaths) -> Credentials:
        """Read the files; raises CredentialsError when they do not fit together."""
        seen = paths.seen()
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_cert_chain(paths.certificate, paths.key, password=_no_password)
            context.load_verify_locations(paths.ca)
            return cls(
                certificate=paths.certificate.read_bytes(),
                key=paths.key.read_bytes(),
                ca=paths.ca.read_bytes(),
                seen=seen,
            )
        except OSError as error:  # ssl.SSLError is one
            raise CredentialsError(
                f"{paths.certificate}, {paths.key.name} and {paths.ca.name}"
                f" do not make a TLS identity: {error.strerror or error}"
            ) from error


def _no_password() -> bytes:
    return b""  # An encrypted key is an error, not a question to a terminal that is not there.


def open_channel(address: str, credentials: Credentials) -> aio.Channel:
    """Build a channel; the caller closes it."""
    tls = grpc.ssl_channel_credentials(
        root_certificates=credentials.ca,
        private_key=credentials.key,
        certificate_chain=credentials.certificate,
    )
    return aio.secure_channel(address, tls, options=_OPTIONS)
