"""What the signalling filter lets pass: messages about the armed, and nobody else's."""

from __future__ import annotations

import contextlib
import random
import re
import struct
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.core.flow import mapped
from agents.core.matching import Matcher
from agents.core.packet import read_frame
from agents.core.sip import NotSip, read_message
from agents.kernel.bpf import run
from agents.kernel.filters import KernelFilters, Rings
from agents.kernel.identity import LONGEST, siphash13
from agents.kernel.ring import RingSize
from guard.core.reasons import Refused
from guard.core.subjects import SubjectKind, parse_subject
from tests.agents.kernel.conftest import KEY
from tests.agents.kernel.wire import (
    DESTINATION,
    FOREVER,
    SOURCE,
    boot_ns,
    ethernet,
    invite,
    ipv4,
    ipv6,
    sip,
    udp,
)

pytestmark = pytest.mark.privileged

SMALL = RingSize(block_bytes=1 << 16, blocks=2)
CANARY_MESSAGES = 3
TEXT = 16352  # octets of one message that the filter searches


def open_filters(wire, **options):
    settings = {
        "interfaces": [wire.far],
        "sip_ports": [5060, 5062],
        "sip_tcp": False,
        "key": KEY,
        "rings": Rings(headers=SMALL, content=SMALL),
    }
    return KernelFilters(**settings | options)


@pytest.fixture(scope="module")
def shared(wire):
    """Share one set of filters among tests that disarm what they arm."""
    with open_filters(wire) as made:
        yield made


def arm(filters, kind, text, until=FOREVER):
    for each in filters.identity_hashes(kind, parse_subject(SubjectKind(kind), text).value):
        filters.set_identity(each, until)


def disarm(filters, kind, text):
    for each in filters.identity_hashes(kind, parse_subject(SubjectKind(kind), text).value):
        filters.clear_identity(each)


def passes(filters, text, **ports):
    """Ask the program itself, by a test run, about a message that fits into one page."""
    frame = sip(text, **ports)
    interface = next(iter(filters.signalling._interfaces.values()))
    return run(filters._sip.programs["signalling"], frame, interface=interface)[0] >= len(frame)


def received(filters, wire, *frames, interface=None):
    wire.send(*frames, interface=interface)
    time.sleep(0.02)
    return [frame.data for frame in filters.signalling.read()]


NUMBER, PERSON, CALL = "+15551234567", "alice@example.com", "a84b4c76e66710@pc33"


@pytest.mark.parametrize(
    ("kind", "subject", "text"),
    [
        ("telephone", NUMBER, "To: <tel:+15551234567>"),
        ("telephone", NUMBER, "To: <tel:+1-555-123-4567>"),
        ("telephone", NUMBER, "To: <TEL:+1.555.123.4567;ext=9>"),
        ("telephone", NUMBER, "To: <sip:+15551234567@gw.example>"),
        ("telephone", NUMBER, "To: <sips:%2B15551234567@gw.example>"),
        ("telephone", NUMBER, "To: <sip:%2b1%2D555(123)4567;npdi@gw.example;user=phone>"),
        ("telephone", NUMBER, "To: <sip:0015551234567@gw.example>"),
        ("telephone", NUMBER, "To: <sip:0-0 15551234567@gw.example>".replace(" ", "%20")),
        ("telephone", NUMBER, "To: <sip:15551234567:secret@gw.example>"),
        ("telephone", NUMBER, "INVITE sip:(1)555-123-4567@gw.example SIP/2.0"),
        ("telephone", NUMBER, "P-Asserted-Identity: tel:+15551234567, <sip:x@y>"),
        ("telephone", NUMBER, "Contact: sip:+15551234567"),
        ("telephone", NUMBER, 'From: "<sip:x@y>" <SIP:+15551234567@gw.example>;tag=1'),
        ("sip_uri", PERSON, "To: <sip:alice@example.com>"),
        ("sip_uri", PERSON, "To: <sips:alice@EXAMPLE.com:5061;lr>"),
        ("sip_uri", PERSON, "To: <sIp:%61lic%65@Example.Com.>"),
        ("sip_uri", PERSON, "To: sip:alice:password@example.com;tag=1"),
        ("sip_uri", PERSON, "To: <sip:alice;day=tuesday@example.com?Subject=x>"),
        ("sip_uri", PERSON, "REGISTER sip:alice@example.com SIP/2.0"),
        ("sip_uri", PERSON, "Contact: sip:bob@example.com,sip:alice@example.com"),
        ("sip_uri", PERSON, "To :\r\n sip:alice@example.com ;   tag    = 1918181833n"),
        ("sip_uri", "al;ice@example.com", "To: <sip:al%3Bice@example.com>"),
        ("sip_uri", "al;ice@example.com", "To: <sip:al;ice@example.com>"),
        ("sip_uri", "alice@192.0.2.1", "To: <sip:alice@192.0.2.1:5060>"),
        ("sip_uri", "alice@192.0.2.1", "To: <sip:alice@[::ffff:192.0.2.1]>"),
        ("sip_uri", "alice@[2001:db8::1]", "To: <sip:alice@[2001:DB8:0:0::1]:5060>"),
        ("sip_uri", "jos%C3%A9@example.com", "To: <sip:jos\u00e9@example.com>"),
        ("sip_uri", "jos%C3%A9@example.com", "To: <sip:jos%c3%a9@example.com>"),
        ("call_id", CALL, "Call-ID: a84b4c76e66710@pc33"),
        ("call_id", CALL, "CALL-id:a84b4c76e66710@pc33"),
        ("call_id", CALL, "call-ID \t :   a84b4c76e66710@pc33  "),
        ("call_id", CALL, "Call-ID:\r\n   a84b4c76e66710@pc33"),
        ("call_id", CALL, "i:a84b4c76e66710@pc33"),
        ("call_id", CALL, "I :a84b4c76e66710@pc33"),
        ("call_id", CALL, "i" + " " * 300 + ":" + " " * 300 + CALL),
        ("telephone", NUMBER, "To: <tel:5551234567;phone-context=+1>"),
        ("telephone", NUMBER, "To: <tel:+1 (555) 123 4567>"),
        ("telephone", NUMBER, "To: <tel:+1555\r\n\t1234567 >"),
        ("sip_uri", PERSON, "To: <sip:alice@ example.com>"),
    ],
)
@pytest.mark.parametrize("before", ["", "INFO sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n"])
def test_every_spelling_of_a_subject_matches(shared, kind, subject, text, before):
    """However a message spells a subject, it passes while the subject is armed, and only then."""
    assert not passes(shared, before + text + "\r\n\r\n")

    arm(shared, kind, subject)
    armed = passes(shared, before + text + "\r\n\r\n"), passes(shared, before + text)
    disarm(shared, kind, subject)

    assert armed == (True, True)
    assert not passes(shared, before + text + "\r\n\r\n")


@pytest.mark.parametrize(
    ("kind", "subject", "text"),
    [
        ("telephone", NUMBER, "To: <sip:+155512345678@gw.example>"),
        ("telephone", NUMBER, "To: <sip:+1555123456@gw.example>"),
        ("telephone", NUMBER, "To: <sip:+15551234567a@gw.example>"),
        ("telephone", NUMBER, "To: <sip:++15551234567@gw.example>"),
        ("telephone", NUMBER, "To: <sip:000015551234567@gw.example>"),
        ("telephone", NUMBER, "To: +15551234567"),
        ("telephone", NUMBER, "Call-ID: 15551234567"),
        ("sip_uri", PERSON, "To: <sip:alice@example.org>"),
        ("sip_uri", PERSON, "To: <sip:Alice@example.com>"),
        ("sip_uri", PERSON, "To: <sip:malice@example.com>"),
        ("sip_uri", PERSON, "To: <sip:alice@example.com.evil.example>"),
        ("sip_uri", PERSON, "To: alice@example.com"),
        ("sip_uri", PERSON, "To: <mailto:alice@example.com>"),
        ("sip_uri", PERSON, "Call-ID: alice@example.com"),
        ("call_id", CALL, "Call-ID: A84b4c76e66710@pc33"),
        ("call_id", CALL, "Call-ID: a84b4c76e66710@pc33x"),
        ("call_id", CALL, "Call-ID: a84b4c76e66710"),
        ("call_id", CALL, "Via: a84b4c76e66710@pc33"),
        ("call_id", CALL, "Xi: a84b4c76e66710@pc33"),
    ],
)
def test_what_only_resembles_a_subject_does_not_match(shared, kind, subject, text):
    """A longer number, another domain or another header is somebody or something else."""
    arm(shared, kind, subject)
    passed = passes(shared, text + "\r\n\r\n")
    disarm(shared, kind, subject)

    assert not passed


# --- the program against a second implementation, made of regular expressions ---------


def names(message):
    """Every identity in a message as the filter writes it, with the octet of its kind."""
    found = set()
    for match in re.finditer(rb"(?i)(?:sips?|tel):", message):
        found |= names_in_uri(message[match.end() :])
    for match in re.finditer(rb"(?i)(?:call-id|(?<![^\x00-\x20])i)[ \t\r\n]*:", message):
        value = re.match(rb"[\x00-\x20]*([^\x00-\x20]*)", message[match.end() :])[1]
        if value:
            found.add((b"\x03" + value)[:LONGEST])
    return found


NUMBER_BLANK = rb"[\x01-\x20](?=[\x00-\x40])"
LINE_BLANK = rb"(?:[\x01-\x09\x0b\x0c\x0e-\x20](?!\Z)|\r(?=[ \t\n])|\n(?=[ \t]))"


def names_in_uri(text):
    numeric = re.match(rb"(?:%[0-3][0-9A-Fa-f]|[\x01-\x40])", text)
    blank = rb"|" + NUMBER_BLANK if numeric else b""
    user = rb'(?:(?!%3[AaBb])[^\x00-\x20<>";:@]' + blank + rb")*+"
    between = rb'(?:(?:[;:]|%3[AaBb])(?:[^\x00-\x20<>"@]|' + LINE_BLANK + rb")*+)?"
    written, rest, host = re.match(
        rb"(" + user + rb")(" + between + rb")(?:@[\x01-\x20]*+(.*))?", text, re.DOTALL
    ).groups()
    digits = re.sub(rb"[-.()\x00-\x20]", b"", re.split(rb"[,?]", unescaped(written))[0])
    found = set()
    number = re.fullmatch(rb"(\+|00)?+([0-9]{1,30})", digits)
    if number:
        found.add(b"\x01" + number[2])
        if rest and not number[1]:
            found.add(b"\x04" + number[2])
    if host is not None:
        host = re.match(rb"[\[\]]|[A-Za-z0-9._\x80-\xff-]*", host)[0].lower().replace(b"]", b"[")
        found.add(b"\x02" + unescaped(written) + b"@" + host.removesuffix(b"."))
    return found


def unescaped(text):
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes.fromhex(match[1].decode()), text)


PIECES = (
    b"sip:", b"sips:", b"SIP:", b"tel:", b"Tel:", b"call-id", b"Call-ID:", b"i:", b"\r\ni :", b"I:", b"\r\n", b"\n",
    b" ", b"\t", b":", b";", b"@", b"<", b">", b'"', b",", b"?", b"%", b"%4", b"%40", b"%2B", b"%2b", b"%3B", b"%3a",
    b"%00", b"%20", b"+", b"-", b".", b"(", b")", b"0", b"00", b"1", b"555", b"1234567", b"alice", b"Bob",
    b"Example.COM", b"b.example", b"[2001:db8::1]", b"[", b"]", b"tag=1", b"=", b"/", b"*", b"#", b"\0", b"\xc3\xa9",
    b"sip", b"tel", b"s", b"ip:", b"0" * 31, b"9" * 30,
)  # fmt: skip
messages = st.lists(
    st.one_of(st.sampled_from(PIECES), st.binary(max_size=3), st.sampled_from(PIECES[:10])),
    min_size=1, max_size=40,
).map(b"".join).filter(lambda message: len(message) < LONGEST - 3)  # fmt: skip


@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(message=messages, ahead=st.integers(0, 140))
def test_the_program_finds_what_a_second_implementation_finds(shared, message, ahead):
    """Every identity in a SIP-like text is found where ever it lies, and no other is."""
    message = b"x" * ahead + b"\n" * bool(ahead) + message
    expected = names(message)
    for name in expected:
        number = siphash13(KEY, name)
        shared.set_identity(number, FOREVER)
        found = passes(shared, message)
        shared.clear_identity(number)
        assert found, name
    others = [b"\x01" + b"1555", b"\x02alice@example.com", b"\x02alice@b.example", b"\x03alice"]
    for name in {*others, *(each[:-1] for each in expected)} - expected:
        shared.set_identity(siphash13(KEY, name), FOREVER)
    found = passes(shared, message)
    for name in {*others, *(each[:-1] for each in expected)} - expected:
        shared.clear_identity(siphash13(KEY, name))

    assert not found


# --- on the wire ----------------------------------------------------------------------


def test_other_peoples_messages_do_not_reach_user_space(filters, wire):
    """Of a thousand calls only the subject's comes up, whoever else talks."""
    arm(filters, "telephone", NUMBER)
    arm(filters, "sip_uri", PERSON)
    crowd = [
        sip(invite(f"+1444{n:07d}@gw.example", f"u{n}@h.example", f"{n}@x")) for n in range(1000)
    ]
    subject = sip(invite(caller="0015551234567@gw.example"))

    assert received(filters, wire, *crowd) == []
    assert received(filters, wire, subject) == [subject]
    assert filters.counters().scanned == 1001 + CANARY_MESSAGES


def test_random_messages_never_match(filters, wire):
    """Noise to a SIP port does not pass, however much is armed."""
    dice = random.Random(7)
    for number in range(500):
        filters.set_identity(dice.getrandbits(64) ^ number, FOREVER)
    noise = [sip(dice.randbytes(dice.randrange(1, 1400))) for _ in range(400)]

    assert received(filters, wire, *noise) == []


def test_only_sip_ports_are_searched(filters, wire):
    """A message between other ports does not pass, even about a subject."""
    arm(filters, "sip_uri", PERSON)
    elsewhere = sip(invite(), to=5070, source=5071)
    answer = sip(invite(), to=40000, source=5060)

    assert received(filters, wire, elsewhere, answer) == [answer]


def test_both_directions_are_read(filters, wire):
    """Signalling that the node sends passes too, and says that it is outgoing."""
    arm(filters, "sip_uri", PERSON)
    wire.send(sip(invite()), interface=wire.far)
    wire.send(sip(invite()))
    time.sleep(0.02)
    frames = filters.signalling.read()

    assert [frame.outgoing for frame in frames] == [True, False]
    assert len({frame.interface for frame in frames}) == 1


def test_a_frame_says_when_it_came_and_how_long_it_was(filters, wire):
    """Time, interface and length come from the kernel."""
    arm(filters, "sip_uri", PERSON)
    before = time.clock_gettime_ns(time.CLOCK_REALTIME)
    wire.send(sip(invite()))
    time.sleep(0.02)
    (frame,) = filters.signalling.read()

    assert before <= frame.timestamp_ns <= time.clock_gettime_ns(time.CLOCK_REALTIME)
    assert frame.original_length == len(frame.data) == len(sip(invite()))
    assert "alice" not in repr(frame)


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda data: ethernet(ipv4(data), (0x8100, 5)), id="802.1Q"),
        pytest.param(lambda data: ethernet(ipv4(data), (0x88A8, 9), (0x8100, 5)), id="QinQ"),
        pytest.param(lambda data: ethernet(ipv4(data, options=b"\x01" * 40)), id="IPv4 options"),
        pytest.param(lambda data: ethernet(ipv6(data)), id="IPv6"),
        pytest.param(lambda data: ethernet(ipv6(data, (60, b"\0" * 7))), id="IPv6 extension"),
    ],
)
def test_every_way_to_wrap_a_message(filters, wire, wrap):
    """Tags, options and extension headers hide no message, and tags come back in their place."""
    arm(filters, "sip_uri", PERSON)
    frame = wrap(udp(invite().encode(), to=5060, source=5060))

    assert received(filters, wire, frame) == [frame]


def test_an_identity_ends_at_its_deadline(filters, wire):
    """An expired identity selects nothing."""
    arm(filters, "sip_uri", PERSON, until=boot_ns() - 1)
    assert received(filters, wire, sip(invite())) == []

    arm(filters, "sip_uri", PERSON, until=boot_ns() + 10**10)
    assert received(filters, wire, sip(invite())) == [sip(invite())]


@pytest.mark.parametrize("port", [0, 5060])
@pytest.mark.parametrize("address", [SOURCE, DESTINATION])
def test_a_peer_is_matched_on_either_side(filters, wire, address, port):
    """A peer's signalling passes whoever it is about, from it and to it."""
    filters.set_peer(mapped(address), port, FOREVER)
    other = sip("x")
    apart = ipv4(udp(b"x", to=5060, source=5060), source="203.0.113.1", to="203.0.113.2")
    stranger = ethernet(apart)

    assert received(filters, wire, other, stranger) == [other]

    filters.clear_peer(mapped(address), port)
    assert received(filters, wire, other) == []


def test_a_peers_port_counts(filters, wire):
    """A peer named with a port is not matched on another."""
    filters.set_peer(mapped(SOURCE), 5062, FOREVER)

    assert received(filters, wire, sip("x"), sip("y", source=5062)) == [sip("y", source=5062)]


def test_a_peer_ends_at_its_deadline(filters, wire):
    """An expired peer selects nothing."""
    filters.set_peer(mapped(SOURCE), 0, boot_ns() - 1)

    assert received(filters, wire, sip("x")) == []


def test_a_long_message_is_searched_to_its_end(filters, wire):
    """The identity may be the last thing in the longest message that can be searched."""
    arm(filters, "sip_uri", PERSON)
    tail = b"\r\nTo: <sip:alice@example.com"
    armed, other = b"x" * (TEXT - len(tail)) + tail, b"x" * (TEXT - 1) + b":"

    assert received(filters, wire, sip(armed), sip(other)) == [sip(armed)]


def test_a_message_too_long_to_search_is_passed_while_something_is_armed(filters, wire):
    """What cannot be decided is user space's to decide, but not when nothing is armed."""
    long = sip(b"x" * (TEXT + 1))
    assert received(filters, wire, long) == []

    arm(filters, "sip_uri", PERSON, until=boot_ns() + 10**10)
    assert received(filters, wire, long) == [long]

    disarm(filters, "sip_uri", PERSON)
    assert received(filters, wire, long) == []
    assert filters.counters().undecided == 3


def test_a_uri_too_long_to_follow_is_undecided(filters, wire):
    """A number behind three hundred dashes hides behind no limit."""
    arm(filters, "sip_uri", PERSON)
    dashes = sip("To: <sip:+" + "-" * 300 + "15551234567@gw.example>")
    letters = sip("To: <sip:" + "a" * 300 + "@gw.example>")

    assert received(filters, wire, dashes, letters) == [dashes]


def test_long_parameters_hide_nobody(filters, wire):
    """Between user and host there may stand as much as fits."""
    arm(filters, "sip_uri", PERSON)
    close, apart = ("To: <sip:alice;" + "x;" * 4000 + f"@{host}>" for host in ("example.com", "y"))

    assert received(filters, wire, sip(close), sip(apart)) == [sip(close)]


@pytest.mark.parametrize("piece", ["sip:;", "sip:+", "tel:%31"])
def test_no_message_keeps_the_kernel_long(filters, wire, piece):
    """A message made to be searched again and again is given up, counted, and left to user space."""
    crafted = sip((piece * TEXT)[:TEXT])
    assert received(filters, wire, crafted) == []
    arm(filters, "sip_uri", PERSON)

    assert received(filters, wire, crafted) == [crafted]
    assert filters.counters().undecided == 2


def test_what_is_undecided_can_be_refused(wire):
    """With the setting off a message that cannot be searched does not pass."""
    with open_filters(wire, pass_undecided=False) as filters:
        arm(filters, "sip_uri", PERSON)

        assert received(filters, wire, sip(b"x" * (TEXT + 1)), sip(invite())) == [sip(invite())]


def test_the_time_for_the_undecided_is_that_of_the_last_to_end(filters, wire):
    """Clearing the longest deadline shortens it to the next; clearing all ends it."""
    long = sip(b"x" * (TEXT + 1))
    filters.set_identity(1, FOREVER)
    filters.set_identity(2, boot_ns() - 1)
    filters.set_peer(mapped("203.0.113.9"), 0, boot_ns() + 10**10)
    filters.clear_identity(1)
    assert received(filters, wire, long) == [long]

    filters.set_peer(mapped("203.0.113.9"), 0, boot_ns() - 1)
    assert received(filters, wire, long) == []


def fragments_of(data, wrap):
    """Cut a UDP datagram into three; `wrap` gets (part, offset in octets, more to come)."""
    cuts = (0, 400, 800, len(data))
    return [
        ethernet(wrap(data[start:end], start, end < len(data))) for start, end in pairwise(cuts)
    ]


def v4(part, offset, more, *, number=77):
    return ipv4(part, fragment=offset // 8 | 0x2000 * more, number=number)


def v6(part, offset, more):
    return ipv6(part, (44, b"\0" + struct.pack("!HI", offset | more, 0xABCD)))


@pytest.mark.parametrize("wrap", [v4, v6])
def test_fragments_of_signalling_pass_while_something_is_armed(filters, wire, wrap):
    """All fragments of a message to a SIP port come up, to be put together and decided there."""
    parts = fragments_of(udp((invite() * 2).encode(), to=5060, source=5060), wrap)
    assert received(filters, wire, *parts) == []

    arm(filters, "sip_uri", "somebody@else.example")
    assert received(filters, wire, *parts) == parts

    disarm(filters, "sip_uri", "somebody@else.example")
    assert received(filters, wire, *parts) == []


def test_fragments_of_something_else_do_not_pass(filters, wire):
    """A later fragment passes only behind a first one to a SIP port with its own number."""
    arm(filters, "sip_uri", PERSON)
    media = fragments_of(udp((invite() * 2).encode(), to=40000, source=40000), v4)
    first, *_ = fragments_of(udp((invite() * 2).encode(), to=5060, source=5060), v4)
    stray = ethernet(v4(b"sip:alice@example.com" * 10, 800, False, number=78))

    assert received(filters, wire, *media, stray) == []
    assert received(filters, wire, first, stray) == [first]


def tcp(payload, *, to=5060):
    return ethernet(
        ipv4(
            struct.pack("!HHIIBBHHH", 40000, to, 1, 1, 0x50, 0x18, 500, 0, 0) + payload, protocol=6
        )
    )


def test_sip_over_tcp_passes_only_where_it_is_switched_on(filters, wire):
    """TCP is not searched: it passes whole when configured and something is armed, else never."""
    arm(filters, "sip_uri", PERSON)
    assert received(filters, wire, tcp(invite().encode())) == []

    with open_filters(wire, sip_tcp=True) as other:
        assert received(other, wire, tcp(b"x")) == []
        arm(other, "sip_uri", PERSON)
        assert received(other, wire, tcp(b"x"), tcp(b"x", to=80)) == [tcp(b"x")]


# --- the program against the exact reader in user space --------------------------------

# No quotes and angle brackets: inside a URI the filter takes them for its end, user space does
# not always; no endpoint reads such a URI.
NOISE = (
    " ", "\t", "\r\n ", "-", ".", "(", ")", "%20", "%2D", "%2B", "%3B", "%3A", "%09", "%", ";", ":", "?", "[", "]",
    "00", "+", ";x=y", ";phone-context=+1", ":pw", ",", ":5060", "%61", "A", "_", "@",
)  # fmt: skip
SPELLINGS = (
    "tel:+15551234567", "sip:+15551234567@gw.example", "sips:0015551234567@gw.example", "tel:5551234567;phone-context=+1",
    "sip:5551234567;phone-context=+1@gw.example;user=phone", "sip:15551234567@gw.example", "sip:alice@example.com",
    "SIP:alice:pw@EXAMPLE.com:5060;lr", "sip:%61lice@example.com.", "sip:al%3Bice@example.com", "sip:v6@[2001:DB8::1]",
    "sip:v4@192.0.2.1", "sip:v4@[::ffff:192.0.2.1]:5060", "sip:+15551234567;npdi@example.com",
)  # fmt: skip
SUBJECTS = (
    parse_subject(SubjectKind.TELEPHONE, NUMBER),
    parse_subject(SubjectKind.CALL_ID, CALL),
    *(
        parse_subject(SubjectKind.SIP_URI, each)
        for each in (
            PERSON,
            "al;ice@example.com",
            "v6@[2001:db8::1]",
            "v4@192.0.2.1",
            "+15551234567@example.com",
        )
    ),
)
HEADERS = ("To: {}", "From: <{}>;tag=1", "t:{}", 'f : "A <sip:x@y>" <{}>', "P-Asserted-Identity: {}, <tel:+1>", "History-Info: <{}>;index=1")  # fmt: skip
CALLS = ("Call-ID: {}", "i:{}", " I \t : {} ", "CALL-ID:\r\n\t{}")


@st.composite
def noisy_messages(draw):
    uri = draw(st.sampled_from(SPELLINGS))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(uri)))
        uri = uri[:at] + draw(st.sampled_from(NOISE)) + uri[at:]
    start = draw(
        st.sampled_from(("INVITE sip:x@y SIP/2.0", "SIP/2.0 200 OK", f"ACK {uri} SIP/2.0"))
    )
    who = draw(st.sampled_from(HEADERS)).format(uri)
    call = draw(st.sampled_from(CALLS)).format(draw(st.sampled_from((CALL, "other", CALL[:-1]))))
    ends = draw(st.sampled_from(("\r\n", "\n")))
    return ends.join((start, *draw(st.permutations((call, who, "Via: SIP/2.0/UDP h"))), "", ""))


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(text=noisy_messages())
def test_what_user_space_would_match_always_passes(shared, text):
    """The filter is never narrower than the exact comparison behind it."""
    check_never_narrower(shared, text.encode(), SUBJECTS)


@pytest.mark.parametrize(
    "path", sorted(Path("tests/data/rfc4475").glob("*.dat")), ids=lambda path: path.stem
)
def test_torture_messages_hide_nobody(shared, path):
    """Whom a message of RFC 4475 names in the eyes of user space, the filter finds too."""
    message = path.read_bytes()
    subjects = []
    for kind, text in (
        *(
            ("sip_uri", uri)
            for uri in re.findall(r"(?i)sips?:([^\s<>;?]+@[^\s<>;?,]+)", message.decode("latin-1"))
        ),
        *(
            ("call_id", found)
            for found in re.findall(r"(?im)^(?:call-id|i)\s*:\s*(\S+)", message.decode("latin-1"))
        ),
    ):
        with contextlib.suppress(Refused):
            subjects.append(parse_subject(SubjectKind(kind), text))
    for subject in subjects:
        check_never_narrower(shared, message, (subject,))


def check_never_narrower(filters, payload, subjects):
    for subject in subjects:
        try:
            datagram = read_frame(sip(payload), outgoing=False, timestamp_ns=0, interface=1)
            expected = Matcher((subject,)).involves(read_message(payload), datagram)
        except NotSip:
            continue
        if expected:
            arm(filters, subject.kind, subject.value)
            found = passes(filters, payload)
            disarm(filters, subject.kind, subject.value)
            assert found, subject.kind
