"""The node's two private keys, from files that nobody else may read.

1. A key file that group or others may read or write is refused, and so is one that belongs to a
   user who is neither root nor us. What is checked is the file that was opened, not its name.
2. No error names a key's content.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pyrage
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

__all__ = ["KeyFileError", "load_identity", "load_signer", "read_secret"]

_LIMIT = 64 * 1024


class KeyFileError(Exception):
    """A key file that cannot be used; the message says what to do about it."""


def read_secret(path: Path) -> bytes:
    """Read a secret file of at most 64 KiB (rule 1); raises KeyFileError."""
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


def load_signer(path: Path) -> CryptoSigner:
    """Load an Ed25519 private key (unencrypted PKCS8 PEM) as a signer; raises KeyFileError."""
    try:
        key = load_pem_private_key(read_secret(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFileError(f"{path} does not hold an unencrypted PEM private key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} does not hold an Ed25519 key")
    return CryptoSigner(key)


def load_identity(path: Path) -> pyrage.x25519.Identity:
    """Load an age X25519 identity file (comments and blank lines allowed); raises KeyFileError."""
    try:
        lines = [line.strip() for line in read_secret(path).decode("ascii").splitlines()]
        (secret,) = [line for line in lines if line and not line.startswith("#")]
        return pyrage.x25519.Identity.from_str(secret)
    except (ValueError, pyrage.IdentityError):
        raise KeyFileError(f"{path} does not hold exactly one age X25519 identity") from None
