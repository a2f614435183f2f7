"""Identities: names, certificate names, recipients, vkeys, quorums and thresholds."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.core.identities import (
    LogIdentity,
    Principal,
    Roots,
    Witnesses,
    require_recipient,
)
from guard.core.reasons import Reason
from tests.builders.deployment import Deployment, vkey
from tests.guard.core.refusals import refuses

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()


@pytest.fixture(scope="module")
def principal() -> Principal:
    return Deployment().principal("legal-1")


@pytest.mark.parametrize(
    "name", ["", "Legal", "legal 1", "-legal", "legal-", "légal", "a" * 64, "*", "a/b", "a\n"]
)
def test_names(principal: Principal, name: str) -> None:
    """A name is a lower-case host label or several with dots; anything else is refused."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        replace(principal, name=name)


@pytest.mark.parametrize(
    "spiffe_id",
    [
        "",
        "legal-1",
        "http://callguard.test/legal-1",
        "spiffe://callguard.test",
        "spiffe://callguard.test/",
        "spiffe://callguard.test//a",
        "spiffe://callguard.test/a/",
        "spiffe://callguard.test/../a",
        "spiffe://callguard.test/a/..",
        "spiffe://callguard.test/.",
        "spiffe://Callguard.test/a",
        "spiffe://callguard.test:443/a",
        "spiffe://callguard.test/a?b",
        "spiffe://callguard.test/a%20b",
        "spiffe://callguard.test/a\n",
    ],
)
def test_spiffe_ids(principal: Principal, spiffe_id: str) -> None:
    """What is not a SPIFFE id in its one spelling is refused."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        replace(principal, spiffe_id=spiffe_id)


def test_spiffe_paths_with_dots(principal: Principal) -> None:
    """A segment may begin with dots as long as it is not one of the two that mean a direction."""
    assert replace(principal, spiffe_id="spiffe://callguard.test/..a/.b/c.d").spiffe_id


def test_a_principal_without_role_or_key(principal: Principal) -> None:
    """A principal has at least one role and one key."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        replace(principal, roles=frozenset())
    with refuses(Reason.DOCUMENT_MALFORMED):
        replace(principal, signing_keys=())


def test_recipients() -> None:
    """Only an age X25519 recipient in lower case is one."""
    good = str(pyrage.x25519.Identity.generate().to_public())
    require_recipient(good)
    for bad in ("", "age1", good.upper(), good[:-1], good + "q", "ssh-ed25519 AAAA", "age1ä"):
        with refuses(Reason.RECIPIENT_NOT_PERMITTED):
            require_recipient(bad)


def test_an_identity_is_no_recipient() -> None:
    """A secret key in a recipient's place is refused, and not shown."""
    secret = str(pyrage.x25519.Identity.generate())
    with refuses(Reason.RECIPIENT_NOT_PERMITTED):
        require_recipient(secret)


def test_vkeys() -> None:
    """A vkey reads to its name and key, by the type that its place asks for."""
    log, witness = vkey("log.example/a", 1, KEY), vkey("w", 4, KEY)
    assert LogIdentity(vkey=log).origin == "log.example/a"
    assert LogIdentity(vkey=log).key.public == PUBLIC
    assert Witnesses(quorum=1, vkeys=(witness,)).keys[0].public == PUBLIC
    with refuses(Reason.DOCUMENT_MALFORMED):
        LogIdentity(vkey=witness)
    with refuses(Reason.DOCUMENT_MALFORMED):
        Witnesses(quorum=1, vkeys=(log,))


def spelled(name: str, data: bytes) -> str:
    keyid = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4].hex()
    return f"{name}+{keyid}+{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "log",
        "log+00000000+AAAA",
        vkey("log", 1, KEY).replace("log+", "other+"),
        vkey("log", 1, KEY).upper(),
        vkey("log", 1, KEY) + "\n",
        vkey("log", 1, KEY) + "=",
        spelled("log", b"\x01" + PUBLIC[1:]),
        spelled("log", b"\x02" + PUBLIC),
        spelled("log", b""),
        spelled("a b", b"\x01" + PUBLIC),
        spelled("", b"\x01" + PUBLIC),
    ],
)
def test_what_is_no_vkey(text: str) -> None:
    """A vkey with another id, type, length or spelling is refused."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        LogIdentity(vkey=text)


@pytest.mark.parametrize("quorum", [0, -1, 3])
def test_a_quorum_that_cannot_be_met(quorum: int) -> None:
    """A quorum is at least one and at most all; none at all is not permitted."""
    vkeys = (vkey("w1", 4, KEY), vkey("w2", 4, Ed25519PrivateKey.generate()))
    with refuses(Reason.DOCUMENT_MALFORMED):
        Witnesses(quorum=quorum, vkeys=vkeys)
    with refuses(Reason.DOCUMENT_MALFORMED):
        Witnesses(quorum=0, vkeys=())


@pytest.mark.parametrize("threshold", [0, -1, 4])
def test_a_threshold_that_cannot_be_met(threshold: int) -> None:
    """A threshold of roots is at least one and at most all of them."""
    keys = Deployment().pinned.keys
    with refuses(Reason.DOCUMENT_MALFORMED):
        Roots(threshold=threshold, keys=keys)


def test_a_root_counted_twice() -> None:
    """One root key listed twice is refused."""
    key = Deployment().pinned.keys[0]
    with refuses(Reason.DOCUMENT_MALFORMED):
        Roots(threshold=2, keys=(key, key))
