"""Incidents: what of the log the privacy team is told, and the clocks run for.

1. An incident is a node's statement that something captured, tried to or could have without a
   grant, the guard's own word that a node's chain of receipts is broken, or a finding of the
   reconciliation that means capture or silence (`_FINDINGS`). What a node says of its regular work,
   or of a lawful capture that yielded less than it should, is none (`_REGULAR`): a notice of the
   latter would tell people whom nobody has named that there is such a capture.
2. A denied request is none: it is on record, nothing came of it, and people mistype every day.
3. Records of one kind on one node within an hour of the first are one incident with a count, which
   is named by the index of the first record. Once it has been assessed no more joins it: what comes
   then was not known to whoever assessed.
4. A node names at most `MOST_KINDS` kinds within an hour; what is of further kinds is `other`. Who
   has a node's key cannot flood anybody by inventing kinds. None of this touches the records.
5. A hook is told of an incident at once, and once more when the hour is over and more has come.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from guard.core.findings import FindingKind
from guard.core.record import Record, RecordKind
from guard.core.reporting import Assessment

__all__ = ["MOST_KINDS", "WINDOW", "Hook", "Incident", "Seen", "grown", "seen_in"]

WINDOW: Final = timedelta(hours=1)
MOST_KINDS: Final = 20
OTHER: Final = "other"
_MOST: Final = 2**53 - 1
_WORD: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_FINDINGS: Final = frozenset(
    (
        FindingKind.ARMED_NOT_GRANTED.value,
        FindingKind.CHAIN_BROKEN.value,
        FindingKind.NODE_SILENT.value,
        FindingKind.RECORD_UNREADABLE.value,
        FindingKind.NODE_UNTRUSTED.value,
    )
)
_REGULAR: Final = frozenset(
    (
        "message_refused",
        "operator_asked",
        "recording_failed",
        "recording_lost",
        "recording_partial",
        "recording_permitted",
        "recording_trimmed",
    )
)
# One event in two words: the reconciliation finds the same break, and a silent node is not trusted.
_SAME: Final[Mapping[str, str]] = MappingProxyType(
    {
        "receipts_broken": FindingKind.CHAIN_BROKEN.value,
        "receipts_lost": FindingKind.CHAIN_BROKEN.value,
        FindingKind.NODE_SILENT.value: FindingKind.NODE_UNTRUSTED.value,
    }
)


class Hook(StrEnum):
    """The ways in which the privacy team can be told; each is told everything."""

    COMMAND = "command"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one record says: `weight` is how many it stands for, `node` "" where it names none."""

    node: str
    kind: str
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One incident (rule 3). ``told``: of how many records each hook has been told.

    ``open``: a clock of the guard's runs; ``assessments``: what legal said last of each clock;
    ``revision``: the index of the record of the last change.
    """

    id: int
    node: str
    kind: str
    first: datetime
    last: datetime
    last_record: int
    count: int
    revision: int
    told: Mapping[Hook, int] = field(default_factory=lambda: dict.fromkeys(Hook, 0))
    open: bool = True
    assessments: tuple[Assessment, ...] = ()

    @property
    def closed(self) -> bool:
        """Whether no more joins it, by an assessment (rule 3)."""
        return bool(self.assessments)

    def takes(self, time: datetime) -> bool:
        """Say whether what happens at `time` may join it."""
        return not self.closed and time < self.first + WINDOW

    def due(self, hook: Hook, now: datetime) -> bool:
        """Say whether the hook is to be told now (rule 5)."""
        told = self.told.get(hook, 0)
        return told < self.count and (told == 0 or not self.takes(now))


def seen_in(record: Record) -> Seen | None:
    """Return what a record says of an incident; None when it is about none (rules 1 and 2)."""
    body = record.body
    if record.kind is RecordKind.FINDING:
        found = _word(body.get("what"))
        return _seen(body, found, 1) if found in _FINDINGS else None
    if record.kind is not RecordKind.INCIDENT:
        return None
    stated = body.get("details")
    details = stated if isinstance(stated, Mapping) else body
    what, more = _word(details.get("what")), details.get("more")
    weight = more if type(more) is int and 0 < more <= _MOST else 1
    return None if what in _REGULAR else _seen(body, what, weight)


def grown(found: Iterable[Incident], seen: Seen, index: int, time: datetime) -> Incident:
    """Return the incident that a record at `index` begins or joins (rules 3 and 4).

    ``found`` are the node's incidents of the last hour.
    """
    taking = {each.kind: each for each in found if each.takes(time)}
    kind = seen.kind if seen.kind in taking or len(taking) < MOST_KINDS else OTHER
    known = taking.get(kind)
    if known is None:
        return Incident(
            id=index,
            node=seen.node,
            kind=kind,
            first=time,
            last=time,
            last_record=index,
            count=seen.weight,
            revision=index,
        )
    count = min(known.count + seen.weight, _MOST)
    last = max(known.last, time)
    return replace(known, last=last, last_record=index, count=count, revision=index)


def _seen(body: Mapping[str, object], word: str, weight: int) -> Seen:
    node = body.get("node")
    kind = _SAME.get(word, word)
    return Seen(node=node if isinstance(node, str) else "", kind=kind, weight=weight)


def _word(what: object) -> str:
    """Return the kind, if it is a word of a vocabulary: a notice carries it to strangers."""
    return what if isinstance(what, str) and _WORD.fullmatch(what) else OTHER
