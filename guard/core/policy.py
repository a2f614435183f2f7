"""The trust policy: the one document that an agent pins, and everything it says.

1. Every name, SPIFFE id, public key and age recipient stands for one of the policy's people,
   nodes, guards, roots, log and witnesses, and for no other: nobody is two people, and no key of a
   guard or a node counts as a person's.
2. No list means "all" by being empty: an instrument without a rule is not permitted, a subject that
   is not on the test list is not a test subject.
3. No rule is looser than its ceiling (``guard.core.instruments``).
4. A policy lasts at most 366 days, a checkpoint at most a day, and clocks may differ by at most
   a minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain

from securesystemslib.signer import Key

from guard.core.fields import require
from guard.core.identities import (
    GuardIdentity,
    NodeIdentity,
    Principal,
    Roots,
)
from guard.core.instruments import Instrument, InstrumentRule, require_within_ceiling
from guard.core.logpolicy import LogPolicy
from guard.core.reasons import Reason, Refused
from guard.core.signingkey import SigningKey, public_part
from guard.core.subjects import Subject

LONGEST_LIFE = timedelta(days=366)
LONGEST_CHECKPOINT_AGE = timedelta(days=1)
LARGEST_CLOCK_TOLERANCE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """One version of the trust policy. Well formed by construction; trusted only when signed."""

    version: int
    issued_at: datetime
    expires_at: datetime
    roots: Roots
    principals: tuple[Principal, ...]
    nodes: tuple[NodeIdentity, ...]
    guards: tuple[GuardIdentity, ...]
    log: LogPolicy
    instruments: Mapping[Instrument, InstrumentRule]
    test_subjects: tuple[Subject, ...]
    checkpoint_max_age: timedelta
    clock_tolerance: timedelta
    _people: dict[str, tuple[Principal, SigningKey]] = field(init=False, repr=False, compare=False)
    _people_keys: dict[str, Key] = field(init=False, repr=False, compare=False)
    _guard_keys: dict[str, Key] = field(init=False, repr=False, compare=False)
    _by_name: dict[str, Principal | NodeIdentity | GuardIdentity] = field(
        init=False, repr=False, compare=False
    )
    _by_spiffe: dict[str, Principal | NodeIdentity | GuardIdentity] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        self._require_bounds()
        self._require_distinct()
        for instrument, rule in self.instruments.items():
            require_within_ceiling(instrument, rule)
        signing = [(each, person) for person in self.principals for each in person.signing_keys]
        put = object.__setattr__  # The look-ups of a frozen object, filled in once.
        put(self, "_people", {each.key.keyid: (who, each) for each, who in signing})
        put(self, "_people_keys", {each.key.keyid: each.key for each, _ in signing})
        put(self, "_guard_keys", {each.key.keyid: each.key for each in self.guards})
        put(self, "_by_name", {each.name: each for each in self._identities()})
        put(self, "_by_spiffe", {each.spiffe_id: each for each in self._identities()})

    def principal(self, name: str) -> Principal | None:
        """Return the principal of that name."""
        found = self._by_name.get(name)
        return found if isinstance(found, Principal) else None

    def principal_by_spiffe(self, spiffe_id: str) -> Principal | None:
        """Return the principal whose certificate carries that SPIFFE id."""
        found = self._by_spiffe.get(spiffe_id)
        return found if isinstance(found, Principal) else None

    def principal_by_keyid(self, keyid: str) -> Principal | None:
        """Return who signs with that key, valid now or not."""
        found = self._people.get(keyid)
        return None if found is None else found[0]

    def signing_key(self, keyid: str) -> SigningKey | None:
        """Return the person's key of that id, with its window."""
        found = self._people.get(keyid)
        return None if found is None else found[1]

    def node(self, name: str) -> NodeIdentity | None:
        """Return the node of that name."""
        found = self._by_name.get(name)
        return found if isinstance(found, NodeIdentity) else None

    def node_by_spiffe(self, spiffe_id: str) -> NodeIdentity | None:
        """Return the node whose certificate carries that SPIFFE id."""
        found = self._by_spiffe.get(spiffe_id)
        return found if isinstance(found, NodeIdentity) else None

    def guard_by_spiffe(self, spiffe_id: str) -> GuardIdentity | None:
        """Return the guard whose certificate carries that SPIFFE id."""
        found = self._by_spiffe.get(spiffe_id)
        return found if isinstance(found, GuardIdentity) else None

    @property
    def people_keys(self) -> Mapping[str, Key]:
        """The keys that may sign an authority, by key id: people's, whatever their windows."""
        return self._people_keys

    @property
    def guard_keys(self) -> Mapping[str, Key]:
        """The keys that may sign a grant, by key id."""
        return self._guard_keys

    def rule(self, instrument: Instrument) -> InstrumentRule:
        """Return the instrument's rule; INSTRUMENT_UNKNOWN where this deployment has none (2)."""
        rule = self.instruments.get(instrument)
        if rule is None:
            raise Refused(
                Reason.INSTRUMENT_UNKNOWN, f"the trust policy has no rule for {instrument}"
            )
        return rule

    def require_unexpired(self, now: datetime) -> None:
        """Refuse as TRUST_POLICY_EXPIRED from ``expires_at`` on."""
        if now >= self.expires_at:
            raise Refused(
                Reason.TRUST_POLICY_EXPIRED, f"version {self.version} of the policy has expired"
            )

    def _require_bounds(self) -> None:
        for moment in (self.issued_at, self.expires_at):
            if moment.utcoffset() != timedelta(0):
                raise ValueError("the times of a trust policy are in UTC")
        require(self.version >= 1, "the policy's version is not a positive number")
        life = self.expires_at - self.issued_at
        require(timedelta(0) < life <= LONGEST_LIFE, "the policy lasts too long or not at all")
        require(
            timedelta(seconds=1) <= self.checkpoint_max_age <= LONGEST_CHECKPOINT_AGE,
            "the policy lets a checkpoint grow too old",
        )
        require(
            timedelta(seconds=1) <= self.clock_tolerance <= LARGEST_CLOCK_TOLERANCE,
            "the policy lets clocks differ by too much",
        )

    def _require_distinct(self) -> None:
        _distinct((each.name for each in self._identities()), "name")
        _distinct((each.spiffe_id for each in self._identities()), "SPIFFE id")
        _distinct(self._public_keys(), "public key")
        recipients = [each.recipient for each in self.principals]
        _distinct((*recipients, *(each.recipient for each in self.nodes)), "recipient")
        _distinct(self.test_subjects, "test subject")

    def _identities(self) -> Iterator[Principal | NodeIdentity | GuardIdentity]:
        return chain(self.principals, self.nodes, self.guards)

    def _public_keys(self) -> Iterator[str]:
        people = (each.key for person in self.principals for each in person.signing_keys)
        nodes = (each.key for each in self.nodes)
        guards = (each.key for each in self.guards)
        yield from (public_part(key) for key in chain(people, nodes, guards, self.roots.keys))
        yield self.log.key.public.hex()
        yield from (each.key.public.hex() for each in self.log.witnesses)


def _distinct(values: Iterable[object], what: str) -> None:
    listed = list(values)
    require(len(set(listed)) == len(listed), f"the policy gives one {what} to two")
