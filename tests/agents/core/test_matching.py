"""A message involves a subject exactly when it names it, in any usual spelling."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agents.core.matching import Matcher, telephone
from agents.core.sip import NotSip, read_message
from guard.core.subjects import SubjectKind, parse_subject
from tests.agents.core.wire import datagram, torture, torture_names

TELEPHONE = parse_subject(SubjectKind.TELEPHONE, "+15551234567")
URI = parse_subject(SubjectKind.SIP_URI, "sip:alice@example.com")
USERS = st.from_regex(r"[A-Za-z0-9_.!~'+&=$,/-]{1,12}", fullmatch=True)
HOSTS = st.sampled_from(
    ["example.com", "a.b.example", "192.0.2.7", "[2001:db8::7]", "[::ffff:192.0.2.7]"]
)
RESTS = st.sampled_from(["", ":5060", ";transport=tcp", ":5061;lr", ":5060?Subject=z"])


def involves(uri: str, *subjects: object, header: str = "From") -> bool:
    octets = f"INVITE sip:x@y SIP/2.0\r\n{header}: {uri}\r\nCall-ID: c-1\r\n\r\n".encode()
    return Matcher(subjects).involves(read_message(octets), datagram(octets))


@pytest.mark.parametrize(
    "uri",
    [
        "<tel:+15551234567>",
        "tel:+1-555-123-4567",
        "<tel:+1(555)123.4567;isub=1>",
        "<sip:+15551234567@example.com>",
        "sips:+15551234567@h:5061;tag=1",
        "<sip:15551234567@192.0.2.1;user=phone>",
        "<sip:0015551234567@h>",
        "<sip:%2B1555%31234567@h>",
        "<sip:+1-555-123-4567@h>",
        "<sip:+15551234567;npdi;rn=+15550000000@h;user=phone>",
        "<sip:+15551234567:secret@h>",
        "<TEL:+15551234567>",
        "<tel:5551234567;phone-context=+1>",
        '"+1999" <sip:+15551234567@h>',
    ],
)
def test_a_number_matches_in_its_usual_spellings(uri: str) -> None:
    """Plus, 00, nothing, separators, escapes and parameters do not hide a number."""
    assert involves(uri, TELEPHONE)


@pytest.mark.parametrize(
    "uri",
    [
        "<tel:+15551234568>",
        "<tel:+1555123456>",
        "<tel:+155512345678>",
        "<sip:+25551234567@h>",
        "<sip:x15551234567@h>",
        "<sip:alice@15551234567>",
        '"+15551234567" <sip:bob@h>',
        "<sip:bob@h;x=15551234567>",
        "<sip:bob@h?to=%2B15551234567>",
        "<tel:15551234567;phone-context=example.com>",
        "<tel:15551234567;phone-context=+44>",
        "<http://+15551234567@h>",
        "<sip:++15551234567@h>",
        "",
    ],
)
def test_what_only_looks_like_the_number_does_not_match(uri: str) -> None:
    """Other numbers, display names, hosts, parameters and local numbers are other people."""
    assert not involves(uri, TELEPHONE)


@pytest.mark.parametrize(
    ("uri", "match"),
    [
        ("<sip:alice@example.com>", True),
        ("<sips:alice@EXAMPLE.com:5061;transport=tls>", True),
        ("sip:%61lice@example.com.;tag=2", True),
        ("<sip:alice:pw@example.com>", True),
        ("<sip:Alice@example.com>", False),
        ("<sip:alice@example.com.evil.org>", False),
        ("<sip:alice@sub.example.com>", False),
        ("<sip:example.com>", False),
        ("<sip:alice;x=1@example.com>", False),
        ("<sip:bob%40x:alice@example.com>", False),
        ('"<sip:alice@example.com>" <sip:bob@example.com>', False),
    ],
)
def test_a_uri_matches_user_and_host_exactly(uri: str, match: bool) -> None:
    """Scheme, port, escapes and parameters do not matter; user, its case and host do."""
    assert involves(uri, URI) is match


@pytest.mark.parametrize("host", ["[2001:DB8:0::7]", "[2001:db8::7]:5070"])
def test_a_host_that_is_an_ipv6_address_has_one_spelling(host: str) -> None:
    """Upper case, zeros and ports in an address do not hide it."""
    assert involves(f"<sip:bob@{host}>", parse_subject(SubjectKind.SIP_URI, "bob@[2001:db8::7]"))


def test_a_call_is_named_by_its_id_exactly() -> None:
    """A Call-ID matches octet by octet."""
    assert involves("", parse_subject(SubjectKind.CALL_ID, "c-1"))
    assert not involves("", parse_subject(SubjectKind.CALL_ID, "C-1"))
    assert not involves("", parse_subject(SubjectKind.CALL_ID, "c-11"))


@pytest.mark.parametrize(
    ("peer", "match"),
    [
        ("10.0.0.1", True),
        ("10.0.0.2", True),
        ("10.0.0.2:5060", True),
        ("10.0.0.2:5061", False),
        ("10.0.0.3", False),
    ],
)
def test_a_peer_is_either_end_of_the_datagram(peer: str, match: bool) -> None:
    """An address counts at both ends, a port with its address alone."""
    assert involves("", parse_subject(SubjectKind.PEER_ADDRESS, peer)) is match


def test_an_ipv6_peer_with_a_port_matches() -> None:
    """The bracketed spelling of a peer is understood."""
    octets = b"BYE sip:x SIP/2.0\r\n\r\n"
    matcher = Matcher([parse_subject(SubjectKind.PEER_ADDRESS, "[2001:db8::1]:5070")])
    message = read_message(octets)
    assert matcher.involves(message, datagram(octets, "2001:db8::1", "2001:db8::2", sport=5070))
    assert not matcher.involves(message, datagram(octets, "2001:db8::1", "2001:db8::2"))


@pytest.mark.parametrize("name", torture_names())
def test_no_torture_message_matches_who_is_not_named(name: str) -> None:
    """Subjects that RFC 4475 only hints at are in none of its messages."""
    absent = ["user@example.net", "fake@example.com", "u@example.net", "watson@example.org"]
    subjects = [TELEPHONE, *(parse_subject(SubjectKind.SIP_URI, each) for each in absent)]
    octets = torture(name)
    try:
        message = read_message(octets)
    except NotSip:
        return
    assert not Matcher(subjects).involves(message, datagram(octets))
    assert not Matcher([]).involves(message, datagram(octets))


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("esc01", "user@example.com"),
        ("wsinv", "vivekg@chair-dnrc.example.com"),
        ("wsinv", "jdrosen@example.com"),
        ("lwsdisp", "caller@example.com"),
        ("ltgtruri", "user@example.com"),
        ("baddn", "a.g.bell@example.com"),
    ],
)
def test_torture_does_not_hide_who_is_named(name: str, subject: str) -> None:
    """Escapes, folding and bad grammar do not keep a named subject from being found."""
    octets = torture(name)
    matcher = Matcher([parse_subject(SubjectKind.SIP_URI, subject)])
    assert matcher.involves(read_message(octets), datagram(octets))


@given(st.text("0123456789+-.() %;=:?", max_size=30))
@example("00")
def test_a_telephone_number_is_plus_and_digits_or_none(text: str) -> None:
    """Whatever is read as a number has the one spelling of numbers."""
    number = telephone(text)
    assert number is None or (number[0] == "+" and number[1:].isdigit())


@given(USERS, HOSTS, RESTS, st.booleans(), st.booleans())
def test_the_subject_and_the_message_mean_the_same(
    user: str, host: str, rest: str, escaped: bool, upper: bool
) -> None:
    """A subject read from one spelling of an address is found in a message that has another."""
    named = parse_subject(SubjectKind.SIP_URI, f"{user}@{host}")
    name = quote(user, safe="") if escaped else user
    where = host.upper() if upper else host
    assert involves(f"<sip:{name}@{where}{rest}>", named)
