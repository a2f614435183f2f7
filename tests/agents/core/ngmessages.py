"""NG messages for tests: what a SIP proxy really sends, and strategies that make others."""

from __future__ import annotations

from hypothesis import strategies as st

SDP = (
    b"v=0\r\no=- 1545997027 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
)


def kamailio(command: bytes = b"offer", **more: object) -> dict:
    """Return what Kamailio's rtpengine module sends, with more keys, hyphens for underscores."""
    message = {
        b"supports": [b"load limit"],
        b"sdp": SDP,
        b"direction": [b"a", b"b"],
        b"flags": [b"trust-address", b"loop-protect", b"symmetric"],
        b"replace": [b"origin", b"session-connection"],
        b"codec": {b"strip": [b"G729"], b"transcode": [b"PCMA"]},
        b"transport-protocol": b"RTP/AVP",
        b"rtcp-mux": [b"demux"],
        b"SDES": [b"off"],
        b"T.38": [b"decode"],
        b"ICE": b"remove",
        b"TOS": 184,
        b"received-from": [b"IP4", b"192.0.2.1"],
        b"call-id": b"a84b4c76e66710@192.0.2.1",
        b"via-branch": b"z9hG4bK776asdhds",
        b"from-tag": b"1928301774",
        b"command": command,
        b"sip-message-type": b"request",
    }
    return message | {name.replace("_", "-").encode(): value for name, value in more.items()}


OCTETS = st.binary(max_size=12)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12).map(
    str.encode
)
WHOLE = st.integers(-(2**63), 2**63 - 1)


def values(strings: st.SearchStrategy[bytes]) -> st.SearchStrategy:
    """Make any value that NG has, of the given strings."""
    return st.recursive(
        strings | WHOLE,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=4),
        max_leaves=12,
    )


def messages(strings: st.SearchStrategy[bytes] = OCTETS) -> st.SearchStrategy[dict]:
    """Make any dictionary that NG has, of the given strings."""
    return st.dictionaries(strings, values(strings), max_size=6)
