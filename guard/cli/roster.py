"""The roster: who and what a trust policy is to name, as a TOML file that people write.

1. ``[[people]]`` and ``[[nodes]]`` add, or change those of the same name; ``remove`` names those to
   leave out. Who is not mentioned stays as before.
2. ``signing_key`` (64 hex digits) and ``recipient`` (``age1…``) are the public halves that a holder
   hands over, as ``callguard status`` shows them. Where both are absent, somebody new gets a folder
   with new keys, and somebody known keeps the old.
3. ``sentry`` of a node is `observe` or `enforce`. Where it is absent, a new node observes and a
   known one stays as it is.
4. ``[test_subjects]``, ``[witnesses]`` and ``[roots]`` each replace what they name as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from guard.cli.exits import UsageTroubleError, asking
from guard.cli.folders import PublicHalf
from guard.cli.tables import Table, read_table
from guard.core.enforcement import SentryMode
from guard.core.subjects import Subject, SubjectKind, parse_subject
from guard.core.trust import Role, Roots, make_key, require_recipient

__all__ = [
    "DEMO",
    "NOBODY",
    "NodeEntry",
    "Person",
    "Roster",
    "WitnessList",
    "read_roster",
    "take_subjects",
]

_LIFE = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody to be named, with the public half of the keys where it was handed over."""

    name: str
    roles: frozenset[Role]
    half: PublicHalf | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEntry:
    """A node to be named, likewise; ``sentry`` None: see rule 3."""

    name: str
    half: PublicHalf | None = None
    sentry: SentryMode | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessList:
    """The witnesses' vkeys, and how many witnesses must have cosigned."""

    quorum: int
    vkeys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """What is to change."""

    people: tuple[Person, ...] = ()
    nodes: tuple[NodeEntry, ...] = ()
    remove: frozenset[str] = frozenset()
    test_subjects: tuple[Subject, ...] | None = field(default=None, repr=False)
    witnesses: WitnessList | None = None
    roots: Roots | None = None
    lasts: timedelta = _LIFE


NOBODY = Roster()
"""A new deployment before anybody is named."""

DEMO = Roster(
    people=(
        Person(name="legal-1", roles=frozenset({Role.LEGAL})),
        Person(name="legal-2", roles=frozenset({Role.LEGAL})),
        Person(name="operator-1", roles=frozenset({Role.OPERATOR})),
        Person(name="lead-1", roles=frozenset({Role.APPROVER})),
        Person(name="auditor-1", roles=frozenset({Role.AUDITOR})),
    ),
    nodes=(NodeEntry(name="node-1"),),
    test_subjects=(
        Subject(SubjectKind.TELEPHONE, "+15550001"),
        Subject(SubjectKind.TELEPHONE, "+15550002"),
        Subject(SubjectKind.SIP_URI, "echo-test@callguard.example"),
    ),
)
"""The accounts of a demonstration. The numbers are fictional (NANP 555)."""


def read_roster(path: Path) -> Roster:
    """Read a roster; raises UsageTroubleError or DeniedError."""
    table = read_table(path)
    roster = Roster(
        people=tuple(_person(entry) for entry in table.tables("people")),
        nodes=tuple(_node(entry) for entry in table.tables("nodes")),
        remove=frozenset(table.texts("remove")) if table.has("remove") else frozenset(),
        test_subjects=take_subjects(table.table("test_subjects"))
        if table.has("test_subjects")
        else None,
        witnesses=_witnesses(table.table("witnesses")) if table.has("witnesses") else None,
        roots=_roots(table.table("roots")) if table.has("roots") else None,
        lasts=table.span("lasts") if table.has("lasts") else _LIFE,
    )
    table.finish()
    names = [*(each.name for each in roster.people), *(each.name for each in roster.nodes)]
    if len(set(names)) < len(names) or roster.remove & set(names):
        raise UsageTroubleError(f"{path}: the same name stands in it twice")
    return roster


def take_subjects(table: Table) -> tuple[Subject, ...]:
    """Take subjects listed by kind: ``telephone``, ``sip_uri``, ``call_id``, ``peer_address``."""
    found: list[Subject] = []
    for kind in SubjectKind:
        if table.has(kind.value):
            with asking():
                found += (parse_subject(kind, text) for text in table.texts(kind.value))
    table.finish()
    return tuple(found)


def _person(table: Table) -> Person:
    roles = {role.value: role for role in Role}
    name, wanted = table.text("name"), table.texts("roles")
    if unknown := set(wanted) - set(roles):
        raise UsageTroubleError(f"{name}: no such role: {', '.join(sorted(unknown))}")
    person = Person(
        name=name, roles=frozenset(roles[role] for role in wanted), half=_half(table, name)
    )
    table.finish()
    return person


def _node(table: Table) -> NodeEntry:
    name = table.text("name")
    entry = NodeEntry(name=name, half=_half(table, name), sentry=_sentry(table, name))
    table.finish()
    return entry


def _sentry(table: Table, name: str) -> SentryMode | None:
    text = table.optional_text("sentry")
    if text is not None and text not in set(SentryMode):
        raise UsageTroubleError(f"{name}: sentry must be one of {', '.join(SentryMode)}")
    return None if text is None else SentryMode(text)


def _witnesses(table: Table) -> WitnessList:
    witnesses = WitnessList(quorum=table.integer("quorum"), vkeys=tuple(table.texts("vkeys")))
    table.finish()
    return witnesses


def _roots(table: Table) -> Roots:
    with asking():
        keys = tuple(make_key(public) for public in table.texts("keys"))
        roots = Roots(threshold=table.integer("threshold"), keys=keys)
    table.finish()
    return roots


def _half(table: Table, name: str) -> PublicHalf | None:
    public, recipient = table.optional_text("signing_key"), table.optional_text("recipient")
    if public is None and recipient is None:
        return None
    if public is None or recipient is None:
        raise UsageTroubleError(f"{name}: signing_key and recipient go together")
    with asking():
        require_recipient(recipient)
        return PublicHalf(key=make_key(public), recipient=recipient)
