"""The folders that `init` lays out, one function for each kind of holder.

1. Folders have mode 0700, secrets 0600; the rest 0644 below folders that are closed anyway. Only
   the folder of the published log is for everybody.
2. Every configuration names its files relative to itself, so that a folder can be carried to the
   machine where it belongs.
3. A private key is made in the folder of its holder and is written nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import Key, SSlibKey

from guard.cli.certificates import KeyPair
from guard.keys import pem, write_secret

__all__ = [
    "PublicHalf",
    "make_folder",
    "make_guard",
    "make_node",
    "make_person",
    "make_public_folder",
    "make_signing_key",
    "make_witness",
    "toml",
    "write_public",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicHalf:
    """What the trust policy needs to know of somebody who signs and opens."""

    key: Key
    recipient: str


def make_folder(path: Path) -> Path:
    """Make a folder for its owner alone."""
    path.mkdir(mode=0o700)
    path.chmod(0o700)
    return path


def make_public_folder(path: Path) -> Path:
    """Make a folder that everybody may read."""
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    return path


def write_public(path: Path, data: bytes) -> None:
    """Write a file that is no secret."""
    path.write_bytes(data)
    path.chmod(0o644)


def make_signing_key(path: Path) -> Ed25519PublicKey:
    """Make an Ed25519 key at ``path`` and return its public half."""
    key = Ed25519PrivateKey.generate()
    write_secret(path, pem(key))
    return key.public_key()


def toml(values: Mapping[str, object]) -> str:
    """Write flat TOML: JSON's texts, numbers and lists of texts are TOML's too."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def make_person(
    folder: Path, name: str, pair: KeyPair, ca: bytes, roots: bytes, *, guard: str
) -> PublicHalf:
    """Lay out the profile of a person."""
    half = _make_holder(folder, pair, ca, roots)
    text = f"# The profile of {name}: callguard --profile {name} …\n" + toml(
        {
            "name": name,
            "guard": guard,
            "ca_cert": "ca.crt",
            "tls_cert": "tls.crt",
            "tls_key": "tls.key",
            "signing_key": "signing.key",
            "sealing_key": "sealing.key",
            "roots": "roots.json",
            "state_dir": "state",
        }
    )
    write_public(folder / "profile.toml", text.encode())
    return half


def make_node(
    folder: Path, name: str, pair: KeyPair, ca: bytes, roots: bytes, *, guard: str
) -> PublicHalf:
    """Lay out the folder of a node's agent."""
    half = _make_holder(folder, pair, ca, roots)
    for sub in ("state", "spool"):
        make_folder(folder / sub)
    top = {
        "node": name,
        "guard": guard,
        "roots": "roots.json",
        "signing_key": "signing.key",
        "sealing_key": "sealing.key",
        "state_dir": "state",
        "spool_dir": "spool",
        "interfaces": ["lo"],
        "sip_ports": [5060],
    }
    tls = {"certificate": "tls.crt", "key": "tls.key", "ca": "ca.crt"}
    text = f"# The agent of {name}: callguard-agent run --config agent.toml\n"
    text += "# Name the interfaces that carry voice; config/agent.toml explains every option.\n"
    text += f"{toml(top)}\n[tls]\n{toml(tls)}"
    write_public(folder / "agent.toml", text.encode())
    return half


def make_guard(
    folder: Path,
    pair: KeyPair,
    ca: bytes,
    roots: bytes,
    *,
    listen: str,
    witnesses: Iterable[tuple[str, str]],
) -> tuple[Ed25519PublicKey, Ed25519PublicKey]:
    """Lay out the guard's folder; return the public halves of its own key and of the log's."""
    make_folder(folder)
    make_folder(folder / "data")
    _write_tls(folder, pair, ca)
    write_public(folder / "roots.json", roots)
    top = {
        "listen": listen,
        "data_dir": "data",
        "log_dir": "../log",
        "roots": "roots.json",
        "trust_policy": "trust.json",
        "signing_key": "signing.key",
        "log_key": "log.key",
    }
    tls = {"certificate": "tls.crt", "key": "tls.key", "client_ca": "ca.crt"}
    text = "# The gatekeeper: callguard serve --config guard.toml\n"
    text += f"{toml(top)}\n[tls]\n{toml(tls)}"
    for name, url in witnesses:
        text += f"\n[[witnesses]]\n{toml({'name': name, 'url': url})}"
    write_public(folder / "guard.toml", text.encode())
    return make_signing_key(folder / "signing.key"), make_signing_key(folder / "log.key")


def make_witness(folder: Path, name: str, *, listen: str, log: str) -> Ed25519PublicKey:
    """Lay out the folder of a witness of the log with the vkey ``log``; return its public key."""
    make_folder(folder)
    make_folder(folder / "state")
    public = make_signing_key(folder / "witness.key")
    top = {"listen": listen, "name": name, "key_file": "witness.key", "state_dir": "state"}
    text = f"# The witness {name}: callguard witness serve --config witness.toml\n"
    text += f"{toml(top)}\n[[logs]]\n{toml({'vkey': log})}"
    write_public(folder / "witness.toml", text.encode())
    return public


def _make_holder(folder: Path, pair: KeyPair, ca: bytes, roots: bytes) -> PublicHalf:
    make_folder(folder)
    _write_tls(folder, pair, ca)
    write_public(folder / "roots.json", roots)
    public = make_signing_key(folder / "signing.key")
    identity = pyrage.x25519.Identity.generate()
    write_secret(folder / "sealing.key", f"{identity}\n".encode())
    return PublicHalf(key=SSlibKey.from_crypto(public), recipient=str(identity.to_public()))


def _write_tls(folder: Path, pair: KeyPair, ca: bytes) -> None:
    write_public(folder / "tls.crt", pair.certificate)
    write_secret(folder / "tls.key", pair.key)
    write_public(folder / "ca.crt", ca)
