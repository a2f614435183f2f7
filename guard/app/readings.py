"""Remembers what envelopes say, so that each is taken apart once.

1. The key is the envelope's bytes: a changed envelope is another envelope.
2. What is remembered is what the bytes say, never that they are in force: signatures, windows and
   keys are checked against the policy and the time by whoever decides.
"""

from __future__ import annotations

from functools import lru_cache

from guard.core import envelope as dsse
from guard.core.authority import Authority, parse_authority

__all__ = ["Readings"]

_MOST = 4096


class Readings:
    """A bounded memory of parsed authorities; safe to use from several threads."""

    def __init__(self) -> None:
        self._authority = lru_cache(_MOST)(_read_authority)

    def authority(self, envelope: bytes) -> Authority:
        """Return what an authority's envelope says; raises Refused when it is malformed."""
        return self._authority(envelope)


def _read_authority(envelope: bytes) -> Authority:
    return parse_authority(dsse.parse(envelope, dsse.Kind.AUTHORITY).payload)
