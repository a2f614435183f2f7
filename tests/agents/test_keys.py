"""The node's key files: what is exposed or wrong is refused, and nothing of it is repeated."""

from __future__ import annotations

from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from securesystemslib.signer import CryptoSigner

from agents.keys import KeyFileError, load_identity, load_signer, read_secret


def secret(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_good_files_load(tmp_path: Path):
    """An Ed25519 PEM signs; an age identity file with its comments opens."""
    signer = CryptoSigner.generate_ed25519()
    identity = pyrage.x25519.Identity.generate()
    pem = secret(tmp_path / "signing.pem", signer.private_bytes)
    age = secret(tmp_path / "sealing.key", f"# made today\n\n{identity}\n".encode())

    assert load_signer(pem).public_key.keyid == signer.public_key.keyid
    assert str(load_identity(age).to_public()) == str(identity.to_public())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_what_others_can_use_is_refused(tmp_path: Path, mode: int):
    """The complaint says what to run."""
    path = secret(tmp_path / "signing.pem", b"x", mode)

    with pytest.raises(KeyFileError, match=f"chmod 600 {path}"):
        read_secret(path)


def test_what_is_no_key_is_refused_without_repeating_it(tmp_path: Path):
    """Other kinds of keys, other formats, folders, missing and enormous files."""
    curve = generate_private_key(SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    cases = [
        (load_signer, curve, "Ed25519"),
        (load_signer, b"SECRET", "PEM"),
        (load_identity, b"SECRET", "age"),
        (load_identity, b"", "age"),
        (load_identity, b"\xff", "age"),
        (read_secret, b"x" * 70_000, "too large"),
    ]
    for number, (load, data, complaint) in enumerate(cases):
        with pytest.raises(KeyFileError, match=complaint) as refused:
            load(secret(tmp_path / str(number), data))
        assert "SECRET" not in str(refused.value)
    with pytest.raises(KeyFileError, match="No such file"):
        read_secret(tmp_path / "missing")
    with pytest.raises(KeyFileError):
        read_secret(tmp_path)
