"""The trust policy in force on a node, and what must be kept so that it can never be an older one.

1. Every policy leads back to the pinned roots, through every rotation (`guard.core.trust.advance`).
2. Versions only rise, across restarts too: what is kept is the shortest chain that still leads
   from the pinned roots to the policy in force.
3. A policy that has expired stays known, so that its successor can be told from a forgery; the
   verifier arms nothing under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from guard.core import envelope
from guard.core.reasons import Refused
from guard.core.trust import PinnedRoots, TrustedPolicy, advance, parse_policy

__all__ = ["TrustChain"]


class TrustChain:
    """Pinned roots and the policies that follow from them."""

    def __init__(self, pinned: PinnedRoots, kept: Sequence[bytes] = ()) -> None:
        """Take up the kept chain; raises `Refused` when it does not lead back to the roots."""
        self._pinned = pinned
        self._chain = tuple(kept)
        self._trusted: TrustedPolicy | None = None
        if kept:
            # Rule 3: by its own date of issue, so that an expired one can be taken up.
            last = parse_policy(envelope.parse(kept[-1], envelope.Kind.TRUST_POLICY).payload)
            self._trusted = advance(pinned, self._chain, now=last.issued_at)

    @property
    def trusted(self) -> TrustedPolicy | None:
        """The newest policy; None while nothing but roots is known."""
        return self._trusted

    @property
    def version(self) -> int:
        """The newest policy's version; 0 while nothing but roots is known."""
        return 0 if self._trusted is None else self._trusted.policy.version

    @property
    def envelopes(self) -> tuple[bytes, ...]:
        """What to keep (rule 2)."""
        return self._chain

    def arrive(self, envelopes: Sequence[bytes], *, now: datetime) -> bool:
        """Take newer policies, oldest first; say whether there was one.

        Raises `Refused` and changes nothing when one of them is not to be trusted, is older than
        the one in force, or the last has expired.
        """
        before = self.version
        trusted = advance(self._trusted or self._pinned, envelopes, now=now)
        if trusted.policy.version == before:
            return False
        self._chain = self._shortest((*self._chain, *envelopes), trusted, now=now)
        self._trusted = trusted
        return True

    def _shortest(
        self, chain: tuple[bytes, ...], trusted: TrustedPolicy, *, now: datetime
    ) -> tuple[bytes, ...]:
        try:
            advance(self._pinned, [trusted.envelope], now=now)
        except Refused:
            return chain
        return (trusted.envelope,)
