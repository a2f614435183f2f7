"""Key files, and nothing else about keys.

1. A secret file is created by us alone (``O_EXCL``), with mode 0600, and never overwritten.
2. A secret file that group or others may read or write is refused, whoever owns it. So is one that
   belongs to a user who is neither root nor us.
3. What is checked is the file that was opened (``fstat``), not the name.
4. No error names a key's content.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyrage
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

__all__ = [
    "KeyFileError",
    "load_ed25519",
    "load_identity",
    "load_mldsa44",
    "load_signer",
    "make_mldsa44",
    "pem",
    "read_secret",
    "write_secret",
]

_LIMIT = 64 * 1024


class KeyFileError(Exception):
    """A key file that cannot be used; the message says what to do about it."""


def write_secret(path: Path, data: bytes) -> None:
    """Create ``path`` with mode 0600 and write ``data`` durably (rule 1).

    Raises FileExistsError when something is there already, OSError when it cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def read_secret(path: Path) -> bytes:
    """Read a secret file of at most 64 KiB (rules 2 and 3); raises KeyFileError."""
    try:
        with path.open("rb") as file:
            _refuse_exposed(path, os.fstat(file.fileno()))
            data = file.read(_LIMIT + 1)
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > _LIMIT:
        raise KeyFileError(f"{path} is too large to be a key file")
    return data


def _refuse_exposed(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"{path} is not a regular file")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise KeyFileError(f"{path} has mode {mode:04o}, others can use it; run: chmod 600 {path}")
    if status.st_uid not in {0, os.geteuid()}:
        raise KeyFileError(f"{path} belongs to another user; run: chown $(id -u) {path}")


def load_ed25519(path: Path) -> Ed25519PrivateKey:
    """Load an Ed25519 private key, unencrypted PKCS8 PEM (RFC 5958); raises KeyFileError."""
    key = _load_pem(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} does not hold an Ed25519 key")
    return key


def load_mldsa44(path: Path) -> MLDSA44PrivateKey:
    """Load an ML-DSA-44 private key, unencrypted PKCS8 PEM (RFC 9881); raises KeyFileError."""
    kind = _mldsa44(path)
    key = _load_pem(path)
    if not isinstance(key, kind):
        raise KeyFileError(f"{path} does not hold an ML-DSA-44 key")
    return key


def make_mldsa44(path: Path) -> None:
    """Make a new ML-DSA-44 key at ``path``.

    Raises KeyFileError where there is no ML-DSA-44, FileExistsError, OSError.
    """
    try:
        key = _mldsa44(path).generate()
    except UnsupportedAlgorithm:
        raise _without_mldsa(path) from None
    write_secret(path, pem(key))


def _mldsa44(path: Path) -> type[MLDSA44PrivateKey]:
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import (  # noqa: PLC0415 - newer than our least version
            MLDSA44PrivateKey,
        )
    except ImportError:
        raise _without_mldsa(path) from None
    return MLDSA44PrivateKey


def _without_mldsa(path: Path) -> KeyFileError:
    return KeyFileError(f"{path}: this installation of the library cryptography has no ML-DSA-44")


def _load_pem(path: Path) -> Any:  # noqa: ANN401 - any kind of key; whoever asked looks at it
    try:
        return load_pem_private_key(read_secret(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFileError(f"{path} does not hold an unencrypted PEM private key") from None


def load_signer(path: Path) -> CryptoSigner:
    """Load the same kind of file as a signer of documents; raises KeyFileError."""
    return CryptoSigner(load_ed25519(path))


def load_identity(path: Path) -> pyrage.x25519.Identity:
    """Load an age X25519 identity file (comments and blank lines allowed); raises KeyFileError."""
    try:
        lines = [line.strip() for line in read_secret(path).decode("ascii").splitlines()]
        (secret,) = [line for line in lines if line and not line.startswith("#")]
        return pyrage.x25519.Identity.from_str(secret)
    except (ValueError, pyrage.IdentityError):
        raise KeyFileError(f"{path} does not hold exactly one age X25519 identity") from None


def pem(key: Ed25519PrivateKey | MLDSA44PrivateKey) -> bytes:
    """Return the key as unencrypted PKCS8 PEM, for `write_secret`."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
