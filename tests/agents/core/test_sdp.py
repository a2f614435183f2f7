"""Where a session description asks media to be sent."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.core.sdp import MOST_FLOWS, MediaFlow, SdpFinding, media_flows, read_description
from tests.agents.core.wire import key

HEAD = "v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"


def flows(text: str, *, answer: bool = False) -> list[tuple[str, int, int | None]]:
    found = media_flows((HEAD + text).encode(), answer=answer)
    assert all(flow.rtcp is None or flow.rtcp.address == flow.rtp.address for flow in found)
    name = {
        key(address, 1).address: address for address in ("192.0.2.1", "192.0.2.2", "2001:db8::5")
    }
    return [
        (name[flow.rtp.address], flow.rtp.port, flow.rtcp.port if flow.rtcp else None)
        for flow in found
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m=audio 4000 RTP/AVP 0\r\n", [("192.0.2.1", 4000, 4001)]),
        (
            "m=audio 4000 RTP/AVP 0\nm=video 5000 RTP/SAVPF 99\n",
            [("192.0.2.1", 4000, 4001), ("192.0.2.1", 5000, 5001)],
        ),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.2\r\n", [("192.0.2.2", 4000, 4001)]),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP6 2001:db8::5\r\n", [("2001:db8::5", 4000, 4001)]),
        ("m=audio 0 RTP/AVP 0\r\nm=video 5000 RTP/AVP 99\r\n", [("192.0.2.1", 5000, 5001)]),
        ("m=audio 0 RTP/AVP 0\r\na=candidate:1 1 UDP 1 192.0.2.2 7000 typ host\r\n", []),
        ("m=audio 4000 RTP/AVP 0\r\na=rtcp:4500\r\n", [("192.0.2.1", 4000, 4500)]),
        ("m=audio 4000 RTP/AVP 0\r\na=rtcp:4500 IN IP4 192.0.2.1\r\n", [("192.0.2.1", 4000, 4500)]),
        ("m=audio 4000 RTP/AVP 0\r\na=rtcp-mux\r\n", [("192.0.2.1", 4000, 4001)]),
        ("m=audio 4000 RTP/AVP 0\r\na=rtcp-mux-only\r\n", [("192.0.2.1", 4000, None)]),
        ("m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n", [("192.0.2.1", 4000, 4001)]),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n", []),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP6 ::\r\n", []),
        ("m=audio 4000/2 RTP/AVP 0\r\n", [("192.0.2.1", 4000, 4001), ("192.0.2.1", 4002, 4003)]),
        ("m=image 4000 udptl t38\r\n", [("192.0.2.1", 4000, None)]),
        ("m=message 4000 TCP/MSRP *\r\n", []),
        ("m=audio 65535 RTP/AVP 0\r\n", [("192.0.2.1", 65535, None)]),
        (
            (
                "m=audio 4000 RTP/AVP 0\r\na=rtcp-mux-only\r\na=candidate:1 1 UDP 1 192.0.2.2 7000 typ host\r\n"
                "a=candidate:1 2 udp 1 192.0.2.2 7001 typ host\r\na=candidate:2 1 TCP 1 192.0.2.2 9 typ host\r\n"
            ),
            [("192.0.2.1", 4000, None), ("192.0.2.2", 7000, None), ("192.0.2.2", 7001, None)],
        ),
        (" m= audio  4000  RTP/AVP 0\r\n", [("192.0.2.1", 4000, 4001)]),
    ],
)
def test_streams_and_their_control_go_where_the_description_says(
    text: str, expected: list[object]
) -> None:
    """Each kind of stream, rejection, hold, and place of RTCP is read as its RFC has it."""
    assert flows(text) == expected


def test_an_answer_that_muxes_has_no_port_for_control() -> None:
    """In an answer a=rtcp-mux is agreed, so the next port is somebody else's."""
    assert flows("m=audio 4000 RTP/AVP 0\r\na=rtcp-mux\r\n", answer=True) == [
        ("192.0.2.1", 4000, None)
    ]


def test_control_may_go_to_another_host() -> None:
    """The address in a=rtcp counts for the control packets alone."""
    assert media_flows(
        (HEAD + "m=audio 4000 RTP/AVP 0\na=rtcp:9 IN IP6 2001:db8::5\n").encode()
    ) == (MediaFlow(rtp=key("192.0.2.1", 4000), rtcp=key("2001:db8::5", 9)),)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 media.example.com\r\n", SdpFinding.HOST_NAME),
        ("m=audio 99999 RTP/AVP 0\r\n", SdpFinding.MALFORMED_MEDIA),
        ("m=audio\r\nc=IN IP4 192.0.2.2\r\n", SdpFinding.MALFORMED_MEDIA),
    ],
)
def test_what_cannot_be_followed_is_a_finding(text: str, finding: SdpFinding) -> None:
    """Host names and broken media lines open nothing and say so."""
    read = read_description((HEAD + text).encode())
    assert (read.flows, read.findings) == ((), {finding})


def test_media_without_any_address_is_a_finding() -> None:
    """Without a c= line for a stream there is nothing to follow."""
    read = read_description(b"v=0\r\nm=audio 4000 RTP/AVP 0\r\n")
    assert (read.flows, read.findings) == ((), {SdpFinding.NO_ADDRESS})


def test_flows_are_bounded() -> None:
    """A description with a thousand streams opens the first ones and says so."""
    read = read_description(
        (HEAD + "m=audio 4000 RTP/AVP 0\r\nm=audio 4002/16 RTP/AVP 0\r\n" * 500).encode()
    )
    assert len(read.flows) <= MOST_FLOWS
    many = "".join(f"m=audio {port} RTP/AVP 0\r\n" for port in range(2000, 4000, 2))
    read = read_description((HEAD + many).encode())
    assert (len(read.flows), read.findings) == (MOST_FLOWS, {SdpFinding.TOO_MANY_FLOWS})


@given(
    st.lists(
        st.sampled_from(
            [
                "v=0",
                "c=",
                "IN IP4 ",
                "192.0.2.1",
                "\r\n",
                "m=audio ",
                "4000",
                "/",
                "999999",
                " RTP/AVP 0",
                "a=rtcp:",
                "a=candidate:",
                "1 1 UDP 1 ",
                "::1",
                "%",
                " 0 ",
                "\r",
                "é",
            ]
        ),
        max_size=40,
    )
)
@settings(max_examples=300)
def test_no_description_raises(words: list[str]) -> None:
    """Any mixture of the pieces of descriptions gives flows and findings."""
    assert len(media_flows("".join(words).encode())) <= MOST_FLOWS
