"""Subjects: one value per subject, however spelled, and nothing that means more than one."""

from __future__ import annotations

import os
import re
import traceback
from urllib.parse import quote

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core import canonical
from guard.core.reasons import Reason, Refused
from guard.core.subjects import (
    MAX_SUBJECTS,
    Subject,
    SubjectKind,
    commitment,
    encode_subjects,
    open_subjects,
    parse_subject,
    parse_subjects,
)
from tests.builders.deployment import seal, subject
from tests.guard.core.refusals import refuses

IDENTITY = pyrage.x25519.Identity.generate()
RECIPIENT = str(IDENTITY.to_public())
SALT = bytes(range(32))
NUMBERS = st.from_regex(r"[1-9][0-9]{6,14}", fullmatch=True)
LABEL = r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?"
HOSTS = st.from_regex(rf"({LABEL}\.){{0,3}}[a-z]{{2,8}}", fullmatch=True)
USERS = st.from_regex(r"[A-Za-z0-9_.!~'+&=$,;/é-]{1,20}", fullmatch=True)


@given(NUMBERS, st.data())
def test_every_spelling_of_a_number(digits: str, data: st.DataObject) -> None:
    """A number has one value, with any prefix and any visual separators between its digits."""
    prefix = data.draw(st.sampled_from(["+", "00", "tel:+", "TEL:+", "tel:00", " +"]))
    marks = data.draw(
        st.lists(
            st.sampled_from(["", "", " ", "-", ".", " - ", ") "]),
            min_size=len(digits),
            max_size=len(digits),
        )
    )
    written = prefix + "".join(d + m for d, m in zip(digits, marks, strict=True))
    assert parse_subject(SubjectKind.TELEPHONE, written).value == "+" + digits


@given(USERS, HOSTS, st.data())
def test_every_spelling_of_a_uri(user: str, host: str, data: st.DataObject) -> None:
    """A SIP URI has one value: any scheme, escapes, host in any case, port, parameters, headers."""
    scheme = data.draw(st.sampled_from(["sip:", "SIP:", "sips:", ""]))
    escaped = data.draw(st.booleans())
    name = quote(user, safe="") if escaped else user
    where = data.draw(st.sampled_from([host, host.upper(), host + "."]))
    rest = data.draw(st.sampled_from(["", ":5060", ";transport=tcp", ":5061;lr?x=y", "?Subject=z"]))
    assert parse_subject(SubjectKind.SIP_URI, f"{scheme}{name}@{where}{rest}").value == (
        f"{user}@{host}"
    )


@given(st.sampled_from(SubjectKind), st.text(max_size=40))
def test_reading_is_idempotent_or_refused(kind: SubjectKind, text: str) -> None:
    """Any text is refused, or reads to a value that reads to itself and hides from the repr."""
    try:
        read = parse_subject(kind, text)
    except Refused as refused:
        assert refused.reason is Reason.SUBJECT_NOT_PERMITTED  # noqa: PT017  either is right
        return
    assert parse_subject(kind, read.value) == read == Subject(kind, read.value)
    assert repr(read) == f"Subject(kind={kind!r})"
    assert "*" not in read.value
    assert "?" not in read.value


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("telephone", "tel:+49-89-123456", "+4989123456"),
        ("telephone", "+1 (555) 010-9999", "+15550109999"),
        ("telephone", "0049 89 123456", "+4989123456"),
        ("sip_uri", "sip:Alice@EXAMPLE.com", "Alice@example.com"),
        ("sip_uri", "sips:%61lice@example.com:5061;transport=tls", "alice@example.com"),
        ("sip_uri", "alice@192.0.2.7:5070", "alice@192.0.2.7"),
        ("sip_uri", "sip:alice@[2001:DB8:0::7]:5060", "alice@[2001:db8::7]"),
        ("sip_uri", "sip:alice@[::ffff:192.0.2.7]", "alice@192.0.2.7"),
        ("sip_uri", "sip:+4989123@example.com;user=phone", "+4989123@example.com"),
        ("call_id", "a84b4c76e66710@pc33.atlanta.com", "a84b4c76e66710@pc33.atlanta.com"),
        ("call_id", "Ab%41", "Ab%41"),
        ("peer_address", "192.0.2.7", "192.0.2.7"),
        ("peer_address", "192.0.2.7:5060", "192.0.2.7:5060"),
        ("peer_address", "2001:DB8:0:0::7", "2001:db8::7"),
        ("peer_address", "[2001:db8::7]", "2001:db8::7"),
        ("peer_address", "[2001:DB8::7]:5060", "[2001:db8::7]:5060"),
        ("peer_address", "::ffff:192.0.2.7", "192.0.2.7"),
        ("peer_address", "[::ffff:192.0.2.7]:5060", "192.0.2.7:5060"),
    ],
)
def test_examples(kind: str, text: str, value: str) -> None:
    """These spellings read to these values."""
    assert parse_subject(SubjectKind(kind), text).value == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *[("telephone", text) for text in (
            "", "+", "00", "*", "+49*", "+4989?23456", "089123456", "4989123456", "+049891234",
            "+123456", "+1234567890123456", "+49 (0) 89 123456", "+49( 0)89123456",
            "++4989123456", "+4989123456;ext=7", "tel:tel:+4989123456", "+49891234x6",
            "+4989123456#", "+٤٩٨٩١٢٣٤٥٦", "+4989123456\n", "+4989\u00a0123456", "000049891234567",
        )],
        *[("sip_uri", text) for text in (
            "", "@", "sip:", "sip:example.com", "sip:@example.com", "*@example.com",
            "sip:a?b@example.com", "sip:%2A@example.com", "sip:%3f@example.com",
            "sip:%25@example.com", "alice@", "alice@*", "alice@*.example.com",
            "sip:alice:secret@example.com", "sip:sip:alice@example.com", "a@b@c", "a b@example.com",
            "a%20b@example.com", "a%00b@example.com", "%ff@example.com", "alice@exam ple.com",
            "alice@example..com", "alice@-example.com", "alice@0.0.0.0", "alice@1.2.3",
            "alice@256.1.1.1", "alice@01.2.3.4", "alice@[::]", "alice@[fe80::1%eth0]",
            "alice@224.0.0.1", "alice@ex\u00e4mple.com", "alice@e\u212aample.com", "alice@host:x",
            "alice@host:", "alice@" + "a" * 64, "x" * 250 + "@example.com", "mailto:alice@example.com",
            "a\u202eb@example.com",
        )],
        *[("call_id", text) for text in (
            "", "*", "a*", "?", "a b", "a@b@c", "a\n", "ä", "x" * 256, "a@", "@a",
        )],
        *[("peer_address", text) for text in (
            "", "*", "0.0.0.0", "::", "0.0.0.0:5060", "[::]:5060", "192.0.2.0/24", "192.0.2.*",
            "192.0.2.7:0", "192.0.2.7:65536", "192.0.2.7:05060", "192.0.2.7:", "192.0.2.7:x",
            "224.0.0.1", "ff02::1", "255.255.255.255", "example.com", "fe80::1%eth0", "192.0.2",
            "[192.0.2.7", "3221225991", "::ffff:0.0.0.0",
        )],
    ],
)  # fmt: skip
def test_refused_spellings(kind: str, text: str) -> None:
    """Wildcards, empties, domains, ambiguous numbers and addresses of many are refused, unshown."""
    with pytest.raises(Refused) as caught:
        parse_subject(SubjectKind(kind), text)
    assert caught.value.reason is Reason.SUBJECT_NOT_PERMITTED
    told = "".join(traceback.TracebackException.from_exception(caught.value).format())
    assert len(text) < 6 or repr(text)[1:-1] not in told


def test_only_normal_values() -> None:
    """A subject cannot be made around its reader."""
    with refuses(Reason.SUBJECT_NOT_PERMITTED):
        Subject(SubjectKind.TELEPHONE, "+49 89 123456")


# --- sealed lists -------------------------------------------------------------------------------

SUBJECTS = st.lists(
    st.one_of(
        NUMBERS.map(lambda n: Subject(SubjectKind.TELEPHONE, "+" + n)),
        HOSTS.map(lambda h: Subject(SubjectKind.SIP_URI, "alice@" + h)),
    ),
    min_size=1,
    max_size=8,
    unique=True,
)


@given(SUBJECTS, st.randoms())
def test_lists_round_trip(subjects: list[Subject], random) -> None:
    """A list has one plaintext, whatever order it was given in, and reads back whole."""
    plaintext = encode_subjects(SALT, subjects)
    shuffled = subjects[:]
    random.shuffle(shuffled)
    assert encode_subjects(SALT, shuffled) == plaintext
    assert set(parse_subjects(plaintext)) == set(subjects)


def test_a_list_of_none_many_or_twins() -> None:
    """An empty list, one too long, a subject named twice and a short salt are refused."""
    many = [subject(f"+4989{number:07}") for number in range(MAX_SUBJECTS + 1)]
    assert len(parse_subjects(encode_subjects(SALT, many[:-1]))) == MAX_SUBJECTS
    for salt, subjects in ((SALT, []), (SALT, many), (SALT, many[:1] * 2), (SALT[1:], many[:1])):
        with refuses(Reason.DOCUMENT_MALFORMED):
            encode_subjects(salt, subjects)


def test_the_salt_hides() -> None:
    """Two commitments to the same subjects differ by their salts."""
    one, other = (commitment(encode_subjects(os.urandom(32), [subject()])) for _ in range(2))
    assert one != other
    assert re.fullmatch("[0-9a-f]{64}", one)


def test_opening() -> None:
    """What was sealed opens with the right key to what was committed to."""
    plaintext = encode_subjects(SALT, [subject()])
    sealed = seal(plaintext, [RECIPIENT])
    assert open_subjects(sealed, commitment(plaintext), [IDENTITY]) == (subject(),)


def test_what_does_not_open() -> None:
    """Another key, no key, a broken file and one too large are unreadable."""
    plaintext = encode_subjects(SALT, [subject()])
    sealed = seal(plaintext, [RECIPIENT])
    broken = sealed[:-1] + bytes([sealed[-1] ^ 1])
    large = seal(b"x" * 70_000, [RECIPIENT])
    for data, identities in (
        (sealed, [pyrage.x25519.Identity.generate()]),
        (sealed, []),
        (sealed[:-1], [IDENTITY]),
        (broken, [IDENTITY]),
        (b"", [IDENTITY]),
        (plaintext, [IDENTITY]),
        (large, [IDENTITY]),
    ):
        with refuses(Reason.SUBJECTS_UNREADABLE):
            open_subjects(data, commitment(plaintext), identities)


def test_what_was_not_committed_to() -> None:
    """Subjects other than those committed to are a mismatch."""
    sealed = seal(encode_subjects(SALT, [subject()]), [RECIPIENT])
    for expected in ("", "0" * 64, commitment(encode_subjects(SALT, [subject("+4989000111")]))):
        with refuses(Reason.SUBJECTS_MISMATCH):
            open_subjects(sealed, expected, [IDENTITY])


@given(st.binary(max_size=300))
def test_arbitrary_sealed_bytes(data: bytes) -> None:
    """Arbitrary bytes in the place of a sealed list are unreadable, and nothing else happens."""
    with refuses(Reason.SUBJECTS_UNREADABLE):
        open_subjects(data, "0" * 64, [IDENTITY])


ENTRY = {"kind": "telephone", "value": "+4989123456"}
LATER = {"kind": "telephone", "value": "+4989123457"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"salt": SALT.hex(), "subjects": []}, Reason.DOCUMENT_MALFORMED),
        ({"salt": SALT.hex(), "subjects": [LATER, ENTRY]}, Reason.DOCUMENT_MALFORMED),
        ({"salt": SALT.hex(), "subjects": [ENTRY, ENTRY]}, Reason.DOCUMENT_MALFORMED),
        ({"salt": SALT.hex()[2:], "subjects": [ENTRY]}, Reason.DOCUMENT_MALFORMED),
        ({"salt": SALT.hex().upper(), "subjects": [ENTRY]}, Reason.DOCUMENT_MALFORMED),
        ({"salt": SALT.hex(), "subjects": [ENTRY], "more": 1}, Reason.DOCUMENT_MALFORMED),
        ({"salt": SALT.hex(), "subjects": [{**ENTRY, "more": 1}]}, Reason.DOCUMENT_MALFORMED),
        ({"salt": SALT.hex(), "subjects": [{**ENTRY, "kind": "all"}]}, Reason.DOCUMENT_MALFORMED),
        ({"salt": SALT.hex(), "subjects": [{**ENTRY, "value": "*"}]}, Reason.SUBJECT_NOT_PERMITTED),
        ({"salt": SALT.hex(), "subjects": [{**ENTRY, "value": ""}]}, Reason.DOCUMENT_MALFORMED),
        ({"subjects": [ENTRY]}, Reason.DOCUMENT_MALFORMED),
    ],
)
def test_lists_that_are_none(value: dict, reason: Reason) -> None:
    """A sealed list that breaks one rule of its form is refused by name."""
    with refuses(reason):
        parse_subjects(canonical.encode(value))
