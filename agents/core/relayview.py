"""What the relay says of its calls (`query`, `list`), read without believing more than needed.

Source: rtpengine's docs/ng_control_protocol.md, `query` and `list`; shapes seen on 10.5.3.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.core.ngcodec import Encoding, NgDict, NgMalformed, NgValue, decode, encode

__all__ = ["CallView", "clean", "read_list", "read_query", "text_of", "without"]

_COPIES = b"pub/sub"
_OK = encode({b"result": b"ok"}, Encoding.BENCODE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallView:
    """One call. ``parties``: tags that speak; ``subscribers``: tags that are sent a copy.

    Who was offered a call and has not answered has no tag yet, and is no party.

    ``packets``: media packets that came in from the parties, over the call's life.
    """

    exists: bool
    parties: frozenset[bytes] = field(default=frozenset(), repr=False)
    subscribers: frozenset[bytes] = field(default=frozenset(), repr=False)
    packets: int = 0


def text_of(reply: NgDict | None, key: bytes) -> bytes | None:
    """Return an answer's text, or None where there is none."""
    value = reply.get(key) if reply is not None else None
    return value if isinstance(value, bytes) else None


def read_query(reply: NgDict | None) -> CallView | None:
    """Read the answer to `query`; None when there is none to read."""
    if reply is None:
        return None
    tags = reply.get(b"tags")
    if text_of(reply, b"result") != b"ok" or not isinstance(tags, dict):
        return CallView(exists=False)
    copied: set[bytes] = set()
    for described in tags.values():
        copied |= _copied_to(described)
        # A tag that only receives copies says so itself, whoever it is subscribed to.
    copying = {tag for tag, described in tags.items() if _only_copies(described)}
    untagged = {each for each, described in tags.items() if _tag_of(described) == b""}
    parties = frozenset(tags) - copied - copying - untagged
    return CallView(
        exists=True,
        parties=parties,
        subscribers=frozenset(copied),
        packets=sum(_packets(tags[tag]) for tag in parties),
    )


def clean(reply: NgDict | None, mark: bytes) -> NgDict | None:
    """Return a decoded answer without the tags that begin with the mark."""
    if reply is None:
        return None
    return decode(without(encode(reply, Encoding.BENCODE), mark), Encoding.BENCODE)


def without(body: bytes, mark: bytes) -> bytes:
    """Return an answer of the relay, in bencode, without the tags that begin with the mark."""
    if mark not in body:
        return body
    try:
        reply = decode(body, Encoding.BENCODE)
    except NgMalformed:
        return _OK
    described = reply.get(b"tags")
    if isinstance(described, dict):
        for tag in [tag for tag in described if tag.startswith(mark)]:
            del described[tag]
        for each in described.values():
            _forget(each, mark)
    clean = encode(reply, Encoding.BENCODE)
    return _OK if mark in clean else clean


def _forget(described: NgValue, mark: bytes) -> None:
    if not isinstance(described, dict):
        return
    for key in (b"subscribers", b"subscriptions"):
        listed = described.get(key)
        if isinstance(listed, list):
            described[key] = [each for each in listed if not _tag_of(each).startswith(mark)]


def _tag_of(described: NgValue) -> bytes:
    tag = described.get(b"tag") if isinstance(described, dict) else None
    return tag if isinstance(tag, bytes) else b"?"


def read_list(reply: NgDict | None) -> list[bytes] | None:
    """Read the answer to `list`: Call-IDs; None when there is none to read."""
    calls = reply.get(b"calls") if reply is not None else None
    if not isinstance(calls, list):
        return None
    return [call for call in calls if isinstance(call, bytes)]


def _dicts(value: NgValue | None) -> list[NgDict]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _copied_to(described: NgValue) -> set[bytes]:
    if not isinstance(described, dict):
        return set()
    copies = [
        each for each in _dicts(described.get(b"subscribers")) if each.get(b"type") == _COPIES
    ]
    return {tag for each in copies if isinstance(tag := each.get(b"tag"), bytes)}


def _only_copies(described: NgValue) -> bool:
    if not isinstance(described, dict):
        return False
    sources = _dicts(described.get(b"subscriptions"))
    return not described.get(b"subscribers") and all(
        each.get(b"type") == _COPIES for each in sources
    )


def _packets(described: NgValue) -> int:
    medias = described.get(b"medias") if isinstance(described, dict) else None
    total = 0
    for media in _dicts(medias):
        for stream in _dicts(media.get(b"streams")):
            stats = stream.get(b"stats")
            flags = stream.get(b"flags")
            count = stats.get(b"packets") if isinstance(stats, dict) else None
            if isinstance(count, int) and isinstance(flags, list) and b"RTP" in flags:
                total += count
    return total
