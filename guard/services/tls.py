"""The listener's certificates, read again when their files change.

1. A client without a certificate of the configured authority gets no connection.
2. The files are looked at for every handshake. New ones are used when certificate and key belong
   together and the authority's certificates can be read; otherwise the old ones stay in use and
   the log says so, once for each thing that is wrong. There is no third possibility: nothing
   falls back to a listener that asks for less.
3. The private key's file is refused when others can read it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from guard.config import TlsFiles

__all__ = ["TlsFilesError", "server_credentials"]

_LOG = structlog.get_logger("callguard.tls")
_State = tuple[tuple[int, int, int], ...]
ReadKey = Callable[[Path], bytes]


class TlsFilesError(Exception):
    """The listener's files cannot be used; the message names the file."""


def server_credentials(files: TlsFiles, read_key: ReadKey) -> grpc.ServerCredentials:
    """Return credentials that follow their files; raises TlsFilesError when they are bad now.

    ``read_key`` reads a private file, or raises TlsFilesError when others can (rule 3).
    """
    reloading = _Reloading(files, read_key)
    return grpc.dynamic_ssl_server_credentials(
        reloading.initial,
        reloading.newer,  # type: ignore[arg-type] # None is for "no change"; the stubs miss it
        require_client_authentication=True,
    )


class _Reloading:
    def __init__(self, files: TlsFiles, read_key: ReadKey) -> None:
        self._files = files
        self._read_key = read_key
        self._lock = threading.Lock()
        self._complaint = ""
        self._seen = _state(files)
        self.initial = _load(files, read_key)

    def newer(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new files' content, or None to go on with what is in use (rule 2)."""
        with self._lock:
            try:
                state = _state(self._files)
                if state == self._seen:
                    return None
                loaded = _load(self._files, self._read_key)
            except TlsFilesError as error:
                if str(error) != self._complaint:
                    _LOG.error("certificates_not_reloaded", why=str(error))
                self._complaint = str(error)
                return None
            self._seen, self._complaint = state, ""
            _LOG.info("certificates_reloaded")
            return loaded


def _state(files: TlsFiles) -> _State:
    try:
        found = [path.stat() for path in (files.certificate, files.key, files.client_ca)]
    except OSError as error:
        raise TlsFilesError(f"cannot read {error.filename}: {error.strerror}") from error
    return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


def _load(files: TlsFiles, read_key: ReadKey) -> grpc.ServerCertificateConfiguration:
    chain, authorities = _read(files.certificate), _read(files.client_ca)
    key = read_key(files.key)
    try:
        private = load_pem_private_key(key, password=None)
        certified = _certificates(chain, files.certificate)[0].public_key()
    except (ValueError, TypeError) as error:
        raise TlsFilesError(f"{files.key} holds no private key") from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != certified.public_bytes(*form):
        raise TlsFilesError(f"{files.certificate} is not the certificate of {files.key}")
    _certificates(authorities, files.client_ca)
    return grpc.ssl_server_certificate_configuration([(key, chain)], authorities)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsFilesError(f"cannot read {path}: {error.strerror}") from error


def _certificates(data: bytes, path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise TlsFilesError(f"{path} holds no certificate") from error
