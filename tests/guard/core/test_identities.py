"""Identities: names, certificate names, recipients, vkeys, quorums and thresholds."""

from __future__ import annotations

from dataclasses import replace

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.core.identities import (
    Principal,
    Roots,
    require_recipient,
)
from guard.core.reasons import Reason
from tests.builders.deployment import Deployment
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
