"""What names a call, without a shell in between."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.decisions.naming import Named, NotNamedError, named, named_in_json, named_in_sip

NASTY = "'; rm -rf / #`id`$(id)\"\\"
INVITE = (
    "INVITE sip:bob@example.org SIP/2.0\r\n"
    "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n"
    "CallID: of-another-call\r\n"
    'From: "sip:victim@example.com" <sip:alice@example.com>;tag=a\r\n'
    "To: <sip:bob@example.org>\r\n"
    "Call-ID: call-1\r\n"
    "CSeq: 1 INVITE\r\n"
)


def test_a_sip_message_names_its_call_as_the_agent_reads_it() -> None:
    """A header that only looks like Call-ID, and a display name, name nothing."""
    found = named_in_sip(f"{INVITE}\r\n".encode())
    assert found.call_id == b"call-1"
    assert set(found.identities) == {"sip:bob@example.org", "sip:alice@example.com"}
    assert named_in_sip(INVITE.replace("Call-ID", "i").encode() + b"\r\n").call_id == b"call-1"


def test_a_caller_cannot_bring_so_many_identities_that_the_question_is_denied() -> None:
    """The first ones count; what is longer than a question may say is left out."""
    more = "".join(f"P-Asserted-Identity: <sip:{n}@h>\r\n" for n in range(40))
    found = named_in_sip(f"{INVITE}Diversion: <sip:{'x' * 2000}@h>\r\n{more}\r\n".encode())
    assert len(found.identities) == 16
    assert "sip:alice@example.com" in found.identities


def test_json_names_a_call_whatever_is_in_it() -> None:
    """Quotes and blanks are text like any other."""
    found = named_in_json(json.dumps({"call_id": NASTY, "from": f"sip:{NASTY}@h"}).encode())
    assert found == Named(call_id=NASTY.encode(), identities=(f"sip:{NASTY}@h",))
    assert named_in_json(b"{}") == Named(call_id=b"", identities=())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'"call-1"',
        b'{"call_id": 1}',
        b'{"call": "x"}',
        b'{"to": null}',
        b'{"call_id": "a", "call_id": "b"}',
        b'{"call_id": "\\ud800"}',
        b"[" * 60_000,
    ],
)
def test_other_json_is_refused(data: bytes) -> None:
    """Unknown keys, other types and repeated keys are no question."""
    with pytest.raises(NotNamedError):
        named_in_json(data)


def test_a_call_id_of_the_environment_keeps_its_octets() -> None:
    """As Python reads octets that are no text; an identity has a mark in their place."""
    odd = b"call-\xff".decode("utf-8", "surrogateescape")
    assert named(odd, None, "", f"sip:{odd}@h") == Named(
        call_id=b"call-\xff", identities=("sip:call-?@h",)
    )


@given(st.binary(max_size=400))
def test_any_octets_are_named_or_refused(data: bytes) -> None:
    """Nothing else comes out."""
    for read in (named_in_json, named_in_sip):
        with contextlib.suppress(NotNamedError):
            for each in read(data).identities:
                each.encode()
