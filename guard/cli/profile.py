"""A profile: one person's folder, named by ``--profile`` or ``CALLGUARD_PROFILE``.

1. ``profile.toml`` names the person, the guard's address and the files; relative names are relative
   to the folder. An unknown or missing key is an error.
2. Private files are loaded when they are needed, through `guard.keys`, which refuses loose modes.
3. ``state/`` keeps what this person has seen and verified: trust policies and the last checkpoint.
   It is written whole, to a temporary name first, so that a crash leaves the old or the new.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
from cryptography import x509
from securesystemslib.signer import CryptoSigner

from guard.cli.exits import TroubleError, UsageTroubleError
from guard.core.trust import PinnedRoots, parse_roots
from guard.keys import KeyFileError, load_identity, load_signer, read_secret

__all__ = ["Profile", "load_profile", "read_certificate", "write_whole"]

_FILES = ("ca_cert", "tls_cert", "tls_key", "signing_key", "sealing_key", "roots", "state_dir")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Whose folder it is and where everything lies (rule 1)."""

    folder: Path
    name: str
    guard: str
    ca_cert: Path
    tls_cert: Path
    tls_key: Path
    signing_key: Path
    sealing_key: Path
    roots: Path
    state_dir: Path

    def signer(self) -> CryptoSigner:
        """Load the key that signs for this person; raises TroubleError."""
        try:
            return load_signer(self.signing_key)
        except KeyFileError as error:
            raise TroubleError(str(error)) from error

    def identity(self) -> pyrage.x25519.Identity:
        """Load the key that opens what is sealed to this person; raises TroubleError."""
        try:
            return load_identity(self.sealing_key)
        except KeyFileError as error:
            raise TroubleError(str(error)) from error

    def private_tls_key(self) -> bytes:
        """Load the private key of the client certificate; raises TroubleError."""
        try:
            return read_secret(self.tls_key)
        except KeyFileError as error:
            raise TroubleError(str(error)) from error

    def public(self, path: Path) -> bytes:
        """Read a file of this profile that is no secret; raises TroubleError."""
        try:
            return path.read_bytes()
        except OSError as error:
            raise TroubleError(
                f"cannot read {path}: {error.strerror}; is the profile complete?"
            ) from error

    def pinned_roots(self) -> PinnedRoots:
        """Return the roots that this person trusts to sign trust policies."""
        return parse_roots(self.public(self.roots))


def load_profile(folder: Path) -> Profile:
    """Read ``folder/profile.toml``; raises UsageTroubleError."""
    path = folder / "profile.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageTroubleError(
            f"cannot read {path}: {error.strerror}; name your folder with --profile or "
            "CALLGUARD_PROFILE"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageTroubleError(f"{path} is not TOML: {error}") from error
    wanted = {"name", "guard", *_FILES}
    if wrong := wanted.symmetric_difference(table):
        raise UsageTroubleError(f"{path}: missing or unknown: {', '.join(sorted(wrong))}")
    if not all(isinstance(value, str) and value for value in table.values()):
        raise UsageTroubleError(f"{path}: every value is a text that is not empty")
    return _profile(folder, table)


def _profile(folder: Path, table: dict[str, Any]) -> Profile:
    files = {name: folder / table[name] for name in _FILES}
    return Profile(folder=folder, name=table["name"], guard=table["guard"], **files)


def read_certificate(path: Path) -> x509.Certificate:
    """Read a PEM certificate; raises TroubleError."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise TroubleError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise TroubleError(f"{path} is not a certificate") from error


def write_whole(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put ``data`` at ``path`` durably, all or nothing (rule 3); raises TroubleError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TroubleError(f"cannot write {path}: {error.strerror}") from error
