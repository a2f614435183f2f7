"""The media descriptions of a subscription: what the relay offers, and what the agent answers.

1. Every stream of plain RTP that the relay offers is taken, each to a sink of its own, up to
   `_MOST_STREAMS`. What else there is (T.38, BFCP, MSRP) is declined, and `left_out` counts it: one
   odd line must not keep the voice beside it from being recorded.
2. The answer is the offer with the sinks' address and ports in it: no codec is chosen, so nothing
   is transcoded and packets come as they were sent.
3. The shape of a description is what decides whether a subscription must be made anew: kinds,
   codecs and which streams are in use, not addresses.

Source: RFC 4566, RFC 3264; rtpengine's docs/ng_control_protocol.md, `subscribe request`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["Unanswerable", "answer_to", "left_out", "shape_of", "sink_for", "streams_of"]

_LOOPBACK = {False: "127.0.0.1", True: "::1"}
_MEDIA_FIELDS = 4
_MOST_STREAMS = 64
_LEFT_OUT = (b"a=rtcp:", b"a=rtcp-mux", b"a=candidate:", b"a=ice-", b"a=end-of-candidates")
_SHAPING = (b"a=rtpmap:", b"a=fmtp:", b"a=crypto:", b"a=fingerprint:")


class Unanswerable(Exception):  # noqa: N818  the state of an offer, named as such
    """The relay's offer cannot be taken as a whole; the message says why."""


def _lines(description: bytes) -> list[bytes]:
    return [line.rstrip(b"\r") for line in description.split(b"\n") if line.strip()]


def streams_of(offer: bytes) -> int:
    """Return how many streams are taken; raises Unanswerable when there is none to take."""
    streams = sum(map(_is_rtp, _lines(offer)))
    if not streams:
        raise Unanswerable("the relay offers no stream of plain RTP")
    return min(streams, _MOST_STREAMS)


def left_out(offer: bytes) -> int:
    """Return how many of the streams that are offered are not taken."""
    return sum(line.startswith(b"m=") for line in _lines(offer)) - streams_of(offer)


def _is_rtp(line: bytes) -> bool:
    fields = line.split(b" ")
    plain = len(fields) >= _MEDIA_FIELDS and fields[2] in {b"RTP/AVP", b"RTP/AVPF"}
    return plain and line.startswith(b"m=") and fields[1] != b"0"


def sink_for(offer: bytes) -> str:
    """Return where the streams are taken: loopback, of the family that the relay offers from."""
    return _LOOPBACK[any(line.startswith(b"c=IN IP6 ") for line in _lines(offer))]


def answer_to(offer: bytes, ports: Sequence[int]) -> bytes:
    """Return the answer that takes the streams at `sink_for`, in order, at these ports.

    Raises Unanswerable where there is not a port for each (rule 1).
    """
    if len(ports) != streams_of(offer):
        raise Unanswerable("there are more or fewer sinks than streams")
    left, host = iter(ports), sink_for(offer)
    address = f"IN IP{6 if ':' in host else 4} {host}".encode()
    answer = [_answered(line, left, address) for line in _lines(offer)]
    return b"".join(line + b"\r\n" for line in answer if line)


def _answered(line: bytes, ports: Iterator[int], address: bytes) -> bytes:
    if line.startswith(b"m="):
        return _stream(line, ports)
    if line.startswith(b"c="):
        return b"c=" + address
    if line.startswith(b"o="):
        return b"o=- 1 1 " + address
    if line == b"a=sendonly":
        return b"a=recvonly"
    if line.startswith(b"a=rtpmap:") and b" /" in line:
        # The relay's word for a codec that the call never named; it does not read it back.
        return b""
    return b"" if line.startswith(_LEFT_OUT) else line


def _stream(line: bytes, ports: Iterator[int]) -> bytes:
    """Take a stream, or decline it with port 0 (RFC 3264, 6)."""
    kind, _, rest = line.partition(b" ")
    port = next(ports, 0) if _is_rtp(line) else 0
    return b"%b %d %b" % (kind, port, rest.partition(b" ")[2])


def shape_of(description: bytes) -> bytes:
    """Return what of a description decides whether to subscribe anew (rule 3)."""
    shape = []
    for line in _lines(description):
        if line.startswith(b"m="):
            fields = line.split(b" ")
            in_use = fields[1:2] != [b"0"]
            shape.append(b" ".join([fields[0], b"1" if in_use else b"0", *fields[2:]]))
        elif line.startswith(_SHAPING):
            shape.append(line)
    return b"\n".join(shape)
