"""Key files: how they are made and which are refused."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from guard import keys


@pytest.fixture
def signing(tmp_path: Path) -> Path:
    path = tmp_path / "signing.key"
    keys.write_secret(path, keys.pem(Ed25519PrivateKey.generate()))
    return path


def test_a_secret_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """A secret has mode 0600 even under an umask that would leave more or less."""
    for number, mask in enumerate((0o000, 0o277)):
        path = tmp_path / str(number)
        before = os.umask(mask)
        try:
            keys.write_secret(path, b"x")
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_secret_is_never_overwritten(signing: Path) -> None:
    """Writing where a file is raises and leaves the file."""
    before = signing.read_bytes()
    with pytest.raises(FileExistsError):
        keys.write_secret(signing, b"other")
    assert signing.read_bytes() == before


def test_a_secret_does_not_follow_a_link(tmp_path: Path) -> None:
    """A dangling link is not written through."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        keys.write_secret(tmp_path / "link", b"x")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o620])
def test_loose_modes_are_refused_with_the_command_that_helps(signing: Path, mode: int) -> None:
    """Any bit for group or others refuses the file and says which command mends it."""
    signing.chmod(mode)
    with pytest.raises(keys.KeyFileError, match=f"chmod 600 {signing}"):
        keys.load_ed25519(signing)


def test_a_signer_signs_with_the_key_of_the_file(signing: Path) -> None:
    """The signer's signature verifies under the public key of the file."""
    signature = keys.load_signer(signing).sign(b"message")
    keys.load_ed25519(signing).public_key().verify(bytes.fromhex(signature.signature), b"message")


def test_other_kinds_of_key_are_refused(tmp_path: Path) -> None:
    """A P-256 key, text that is no key, a directory and nothing at all are KeyFileErrors."""
    p256 = generate_private_key(SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    for name, data in (("p256", p256), ("text", b"no key"), ("large", b"x" * 70_000)):
        keys.write_secret(tmp_path / name, data)
        with pytest.raises(keys.KeyFileError) as raised:
            keys.load_ed25519(tmp_path / name)
        assert data[:20].decode() not in str(raised.value)
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(keys.KeyFileError):
            keys.load_ed25519(path)


def test_an_identity_file_may_carry_comments(tmp_path: Path) -> None:
    """A file as age-keygen writes it loads, two identities in one file do not."""
    identity = pyrage.x25519.Identity.generate()
    text = f"# created: 2026-11-23\n# public key: {identity.to_public()}\n{identity}\n"
    keys.write_secret(tmp_path / "one", text.encode())
    loaded = keys.load_identity(tmp_path / "one")
    assert str(loaded.to_public()) == str(identity.to_public())
    keys.write_secret(tmp_path / "two", f"{identity}\n{identity}\n".encode())
    with pytest.raises(keys.KeyFileError) as raised:
        keys.load_identity(tmp_path / "two")
    assert str(identity) not in str(raised.value)


def test_an_mldsa_key_is_made_and_loaded(signing: Path, tmp_path: Path) -> None:
    """The made key is private, loads as the same key, and is no Ed25519 key, nor that one of it."""
    pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    path = tmp_path / "mldsa.key"
    keys.make_mldsa44(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first, second = keys.load_mldsa44(path), keys.load_mldsa44(path)
    second.public_key().verify(first.sign(b"x"), b"x")
    with pytest.raises(FileExistsError):
        keys.make_mldsa44(path)
    with pytest.raises(keys.KeyFileError, match="Ed25519"):
        keys.load_ed25519(path)
    with pytest.raises(keys.KeyFileError, match="ML-DSA-44"):
        keys.load_mldsa44(signing)


def test_a_library_without_mldsa_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the module cannot be imported neither making nor loading goes on, and both say why."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mldsa", None)
    for use in (keys.make_mldsa44, keys.load_mldsa44):
        with pytest.raises(keys.KeyFileError, match="has no ML-DSA-44"):
            use(tmp_path / "mldsa.key")
