"""From frames to messages, each once."""

from __future__ import annotations

from agents.core.hearing import Hearing
from agents.core.packet import Datagram
from tests.agents.core.wire import at, frame, ipv4_fragments

SAID = b"OPTIONS sip:x SIP/2.0\r\n\r\n" + b"x" * 100


def hear(
    hearing: Hearing, data: bytes, *, interface: int = 1, outgoing: bool = False
) -> list[Datagram]:
    return hearing.hear(
        data,
        at(1),
        timestamp_ns=7,
        interface=interface,
        outgoing=outgoing,
        original_length=len(data),
    )


def test_a_datagram_is_a_message():
    """With all that its frame does not say of itself."""
    (heard,) = hear(Hearing(), frame(SAID), interface=3, outgoing=True)

    assert (heard.payload, heard.interface, heard.outgoing, heard.timestamp_ns) == (
        SAID,
        3,
        True,
        7,
    )


def test_the_twin_on_the_way_out_is_dropped():
    """A forwarded message counts once, a retransmitted one twice."""
    hearing = Hearing()
    heard = [hear(hearing, frame(SAID), interface=n, outgoing=n == 2) for n in (1, 2, 1, 2)]

    assert [len(each) for each in heard] == [1, 0, 1, 0]


def test_fragments_make_one_message():
    """It comes with its last fragment."""
    hearing = Hearing()
    heard = [hear(hearing, each) for each in ipv4_fragments(SAID, 64)]

    assert [len(each) for each in heard] == [0] * (len(heard) - 1) + [1]
    assert heard[-1][0].payload == SAID
    assert hearing.lost == 0


def test_what_cannot_be_read_is_counted():
    """It is dropped, and said so."""
    hearing = Hearing()

    assert hear(hearing, b"\0" * 60) == []
    assert hearing.lost == 1
