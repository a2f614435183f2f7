"""Bodies in parts: the session description is found wherever it stands, and placed exactly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.core.mime import read_parts
from agents.core.sip import read_message

SDP = b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n"


def multipart(*parts: bytes, boundary: bytes = b"b1") -> bytes:
    inner = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    return inner + b"--" + boundary + b"--\r\n"


def test_a_session_description_among_other_parts_is_found() -> None:
    """The SDP of a multipart body is the one part that counts, at its place in the datagram."""
    body = multipart(
        b"Content-Type: text/plain\r\n\r\nhello",
        b"content-type : application/sdp;x=y\r\n\r\n" + SDP,
    )
    octets = b'INVITE sip:x SIP/2.0\r\nc: Multipart/Mixed; boundary="b1"\r\n\r\n' + body
    message = read_message(octets)
    assert message.sdp() == (SDP + b"\r\n",)
    part = message.parts()[1]
    assert octets[part.offset : part.end] == part.body
    assert octets[part.start :].startswith(b"--b1\r\ncontent-type")


def test_parts_within_parts_are_found() -> None:
    """A multipart body inside another is taken apart too."""
    inner = multipart(b"Content-Type: application/sdp\r\n\r\n" + SDP, boundary=b"b2")
    body = multipart(b"Content-Type: multipart/alternative; boundary=b2\r\n\r\n" + inner)
    parts = read_parts(body, "multipart/mixed;boundary=b1", "", 0)
    assert [part.content_type for part in parts] == ["application/sdp"]
    assert parts[0].body.startswith(SDP)


def test_what_is_encoded_is_not_read() -> None:
    """A compressed body, or a part in base64, is no session description."""
    assert not read_parts(b"v=0", "application/sdp", "gzip", 0)[0].is_sdp
    body = multipart(
        b"Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n\r\ndj0w"
    )
    assert not read_parts(body, "multipart/mixed;boundary=b1", "", 0)[0].is_sdp


def test_an_sdp_body_without_a_type_is_taken_for_one() -> None:
    """A body that starts as a session description is one when nobody says what it is."""
    assert read_message(b"INVITE sip:x SIP/2.0\r\n\r\n" + SDP).sdp() == (SDP,)
    typed = b"INVITE sip:x SIP/2.0\r\nContent-Type: text/plain\r\n\r\n" + SDP
    assert read_message(typed).sdp() == ()


@given(
    st.lists(
        st.sampled_from(
            [
                b"--b1",
                b"--",
                b"\r\n",
                b"\n",
                b"Content-Type: application/sdp",
                b"x",
                b"multipart/mixed; boundary=b1",
                b": ",
            ]
        ),
        max_size=40,
    )
)
def test_no_body_raises_and_parts_lie_inside_in_order(words: list[bytes]) -> None:
    """Parts of any body do not overlap and hold what stands at their place."""
    body = b"".join(words)
    place = 0
    for part in read_parts(body, "multipart/mixed; boundary=b1", "", 0):
        assert place <= part.start <= part.offset <= part.end <= len(body)
        assert body[part.offset : part.end] == part.body
        place = part.end
