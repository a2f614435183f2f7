"""What is written below content: headers and descriptions in their places, and no word or key."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.fragments import Reassembler
from agents.core.packet import Datagram
from agents.core.redact import redact
from agents.core.sip import read_message
from guard.core.level import Level
from tests.agents.core.wire import (
    at,
    datagram,
    fragment,
    ipv4_fragments,
    torture,
    torture_names,
)

BELOW = [Level.SIGNALLING, Level.MEDIA_HEADERS]
SECRET = b"5EcReT"
HEAD = b"%s sip:b@h SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 X\r\nSubject: 5EcReT\r\n and 5EcReT\r\nContent-Type: %s\r\n\r\n"
SDP = b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/SAVP 0\r\na=rtpmap:0 PCMU/8000\r\n"


def written(payload: bytes, level: Level = Level.SIGNALLING) -> bytes:
    packet = datagram(payload)
    frame = redact(packet, read_message(payload), level)
    assert frame[: packet.payload_offset] == packet.frame[: packet.payload_offset]
    return frame[packet.payload_offset :]


@pytest.mark.parametrize("name", sorted(set(torture_names()) - {"test", "bigcode"}))
def test_content_is_written_as_it_came(name: str) -> None:
    """At content every frame, whatever it holds, is written octet for octet."""
    packet = datagram(torture(name))
    assert redact(packet, read_message(packet.payload), Level.CONTENT) == packet.frame


@pytest.mark.parametrize("level", BELOW)
@pytest.mark.parametrize(
    ("method", "kind", "body"),
    [
        (b"MESSAGE", b"text/plain", b"5EcReT"),
        (b"INFO", b"application/dtmf-relay", b"Signal=5EcReT\r\nDuration=160\r\n"),
        (b"INFO", b"application/dtmf", b"5EcReT"),
        (b"NOTIFY", b"application/kpml-response+xml", b'<kpml-response digits="5EcReT"/>'),
        (b"NOTIFY", b"message/sipfrag", b"SIP/2.0 200 5EcReT"),
        (b"INVITE", b"application/pkcs7-mime", b"5EcReT"),
        (b"INVITE", b"application/sdp\r\nContent-Encoding: gzip", b"5EcReT"),
        (b"INVITE", b"multipart/mixed", b"--x\r\n\r\n5EcReT"),
        (
            b"INVITE",
            b"multipart/mixed; boundary=x",
            b"--x\r\nContent-Type: text/plain\r\n\r\n5EcReT\r\n--x--\r\n",
        ),
    ],
)
def test_bodies_that_are_no_description_are_cut(
    level: Level, method: bytes, kind: bytes, body: bytes
) -> None:
    """Texts, digits, fragments of messages and unreadable bodies end with the headers."""
    octets = HEAD % (method, kind) + body
    frame = written(octets, level)
    assert SECRET not in frame
    assert len(frame) == octets.index(b"\r\n\r\n") + 4
    assert b"CSeq: 1 X\r\nSubject: xxxxxx\r\n xxxxxxxxxx\r\nContent-Type: " in frame


def test_a_description_stays_with_its_keys_overwritten() -> None:
    """Keys are overwritten in place, in every spelling an endpoint may take; the rest stays."""
    keys = [
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:5EcReT",
        b"A = Crypto :5EcReT",
        b"k=base64:5EcReT",
        b" k =5EcReT",
        b"a=key-mgmt:mikey 5EcReT",
    ]
    for line in keys:
        for end in (b"\r\n", b"\n", b"\r"):
            octets = HEAD % (b"INVITE", b"application/sdp") + SDP + line + end + b"a=sendrecv\r\n"
            frame = written(octets)
            assert SECRET not in frame
            assert len(frame) == len(octets)
            assert SDP in frame
            assert frame.endswith(end + b"a=sendrecv\r\n")


def test_of_a_body_in_parts_the_description_alone_stays() -> None:
    """Parts before the description are overwritten, parts behind it cut, its place is kept."""
    body = (
        b"5EcReT\r\n--x\r\nContent-Type: text/plain\r\n\r\n5EcReT\r\n--x\r\nContent-Type: application/sdp\r\n\r\n"
        + SDP
        + b"k=5EcReT\r\n--x\r\n\r\n5EcReT\r\n--x--"
    )
    octets = HEAD % (b"INVITE", b"multipart/mixed; boundary=x") + body
    frame = written(octets)
    assert SECRET not in frame
    assert frame.index(SDP) == octets.index(SDP)
    assert frame.endswith(b"k=xxxxxx\r\n")


def test_what_follows_the_body_is_cut() -> None:
    """Octets beyond Content-Length are no part of the message and are not written."""
    octets = (
        b"INVITE sip:x SIP/2.0\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n"
        % len(SDP)
        + SDP
    )
    assert written(octets + SECRET) == octets


def test_words_among_the_headers_are_overwritten() -> None:
    """Headers that carry words, and lines that are no header, hold none afterwards."""
    octets = b"BYE sip:x SIP/2.0\r\ns : 5EcReT\r\n\t5EcReT\r\nUser-to-User:5EcReT\r\n5EcReT\r\nCall-ID: 1\r\n5EcReT"
    frame = written(octets)
    assert SECRET not in frame
    assert len(frame) == len(octets)
    assert b"\r\nCall-ID: 1\r\n" in frame


def test_padding_of_the_frame_is_not_written() -> None:
    """Octets behind the datagram in its frame are not part of what is written."""
    packet = datagram(b"BYE sip:x SIP/2.0\r\n\r\n")
    padded = replace(packet, frame=packet.frame + SECRET)
    assert redact(padded, read_message(packet.payload), Level.SIGNALLING) == packet.frame


def test_a_message_in_fragments_is_written_as_one_cut_frame() -> None:
    """The rebuilt frame holds the headers and nothing of the text, whichever fragment held it."""
    octets = HEAD % (b"MESSAGE", b"text/plain") + SECRET * 300
    reassembler = Reassembler()
    wholes = [reassembler.add(fragment(each), at(0)) for each in ipv4_fragments(octets, 512)]
    whole = wholes[-1]
    assert whole is not None
    assert isinstance(whole.datagram, Datagram)
    frame = redact(whole.datagram, read_message(whole.datagram.payload), Level.MEDIA_HEADERS)
    assert SECRET not in frame
    assert frame.endswith(b"\r\n\r\n")


PIECES = [
    b"--x\r\n",
    b"--x--",
    b"\r\n",
    b"\n",
    b"Content-Type: application/sdp\r\n\r\n",
    b"Content-Type: text/plain\r\n\r\n",
    b"v=0\r\n",
    b"a=crypto:1 x inline:5EcReT\r\n",
    b"k=5EcReT\r",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.booleans())
def test_no_key_survives_in_any_arrangement(pieces: list[bytes], multipart: bool) -> None:
    """However parts, line ends and descriptions are arranged, keys are gone and places kept."""
    kind = b"multipart/mixed; boundary=x" if multipart else b"application/sdp"
    octets = HEAD % (b"INVITE", kind) + b"\r\n" + b"".join(pieces)
    frame = written(octets)
    assert SECRET not in frame
    assert len(frame) <= len(octets)
    assert all(left in {right, ord("x")} for left, right in zip(frame, octets, strict=False))
