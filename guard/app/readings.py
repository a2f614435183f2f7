"""Remembers what envelopes say, so that each is taken apart and verified once.

1. The key is the envelope's bytes: a changed envelope is another envelope.
2. Signatures are remembered together with the trust policy under which they were verified. Another
   policy forgets them all.
3. What is remembered is what the bytes say and whose keys signed them, never that they are in
   force: states, windows and keys are checked against the time by whoever decides.
"""

from __future__ import annotations

from functools import lru_cache

from guard.core import envelope as dsse
from guard.core.approval import SignedAuthority, read_signed
from guard.core.authority import Authority, parse_authority
from guard.core.trust import TrustPolicy

__all__ = ["Readings"]

_MOST = 4096


class Readings:
    """A bounded memory of authorities; safe to use from several threads."""

    def __init__(self) -> None:
        self._authority = lru_cache(_MOST)(_read_authority)
        self._under: _Under | None = None

    def authority(self, envelope: bytes) -> Authority:
        """Return what an authority's envelope says; raises Refused when it is malformed."""
        return self._authority(envelope)

    def signed(self, envelope: bytes, policy: TrustPolicy) -> SignedAuthority:
        """Return an authority whose signatures were verified; raises Refused."""
        under = self._under
        if under is None or under.policy is not policy:  # Rule 2.
            under = self._under = _Under(policy)
        return under.signed(envelope)


class _Under:
    """What was verified under one trust policy."""

    def __init__(self, policy: TrustPolicy) -> None:
        self.policy = policy
        self.signed = lru_cache(_MOST)(self._read)

    def _read(self, envelope: bytes) -> SignedAuthority:
        return read_signed(envelope, self.policy)


def _read_authority(envelope: bytes) -> Authority:
    return parse_authority(dsse.parse(envelope, dsse.Kind.AUTHORITY).payload)
