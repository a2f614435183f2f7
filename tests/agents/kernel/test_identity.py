"""How identities are hashed."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.kernel.identity import identity_hashes, siphash13
from guard.core.subjects import SubjectKind, parse_subject

KEY = bytes(range(16))


def test_siphash_agrees_with_an_implementation_of_somebody_else():
    """CPython hashes bytes with SipHash-1-3; with its seed off the key is zero."""
    if sys.hash_info.algorithm != "siphash13":
        pytest.skip("this Python hashes bytes in another way")
    samples = [bytes(range(length)) for length in range(1, 70)]
    program = f"print([hash(sample) & (2**64 - 1) for sample in {samples!r}])"
    answer = subprocess.run(
        (sys.executable, "-c", program),
        check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": "0"},
    )  # fmt: skip

    assert [siphash13(bytes(16), sample) for sample in samples] == eval(answer.stdout)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_another_key_gives_another_hash(data, other):
    """Who does not know the key cannot tell what an entry stands for."""
    assert siphash13(KEY, data) != siphash13(KEY[::-1], data)


def test_kinds_do_not_mix():
    """A Call-ID that looks like a number or a URI is neither."""
    assert identity_hashes(KEY, "telephone", "+15551234567") != identity_hashes(
        KEY, "call_id", "15551234567"
    )
    assert identity_hashes(KEY, "sip_uri", "a@b.example") != identity_hashes(
        KEY, "call_id", "a@b.example"
    )


@pytest.mark.parametrize(
    ("kind", "text", "count"),
    [
        (SubjectKind.TELEPHONE, "tel:+1-555-123-4567", 11),
        (SubjectKind.SIP_URI, "sip:alice@example.com", 2),
        (SubjectKind.SIP_URI, "sip:alice;day=tuesday@example.com", 2),
        (SubjectKind.SIP_URI, "sip:alice@192.0.2.1", 2),
        (SubjectKind.SIP_URI, "sip:alice@[2001:db8::1]", 1),
        (SubjectKind.CALL_ID, "a84b4c76e66710@pc33", 1),
    ],
)
def test_every_subject_that_may_be_named_has_a_hash(kind, text, count):
    """What the rules accept as a subject of a message can be armed."""
    hashes = identity_hashes(KEY, kind, parse_subject(kind, text).value)

    assert len(set(hashes)) == count
    assert all(0 <= each < 2**64 for each in hashes)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("telephone", ""),
        ("telephone", "alice"),
        ("telephone", "+"),
        ("sip_uri", "example.com"),
        ("sip_uri", "@example.com"),
        ("sip_uri", "alice@"),
        ("call_id", ""),
        ("call_id", " \t"),
        ("peer_address", "192.0.2.1"),
        ("*", "*"),
    ],
)
def test_what_is_no_identity_is_refused_without_repeating_it(kind, value):
    """Nothing that means nobody or everybody becomes a hash, and errors name no subject."""
    with pytest.raises(ValueError, match=r"not looked for|has a user and a host") as refusal:
        identity_hashes(KEY, kind, value)

    assert len(value) < 2 or value not in str(refusal.value)


def test_a_short_key_is_refused():
    """Sixteen octets of key, no fewer."""
    with pytest.raises(ValueError, match="16 octets"):
        identity_hashes(b"short", "call_id", "x")


@given(st.binary(max_size=40))
def test_whatever_call_id_a_call_has_it_can_be_followed(value):
    """Octets that are no text, as user space reads them, and white space inside break nothing."""
    text = value.decode("utf-8", "surrogateescape")
    words = re.split(rb"[\x00-\x20]+", value)
    first = next((word for word in words if word), None)
    if first is None:
        return

    assert identity_hashes(KEY, "call_id", text) == (siphash13(KEY, b"\x03" + first),)
