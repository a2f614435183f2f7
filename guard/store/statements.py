"""Every statement of the store, written once and compiled once per database.

1. A statement is built with SQLAlchemy Core and compiled to the database's text when the store
   opens. The writer then hands the text straight to the driver, which keeps it prepared: a decision
   costs a few microseconds per statement instead of the tens that building it anew would.
2. Only constructs that every database knows are used, except to put a row: adding it or replacing
   the one with its key is spelled alike by the databases we mean, and by no standard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Dialect,
    Select,
    Table,
    bindparam,
    delete,
    false,
    func,
    insert,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ClauseElement, ColumnElement

from guard.app.changes import (
    Change,
    PutAuthority,
    PutCapture,
    PutIncident,
    PutReceipt,
    PutSegment,
)
from guard.core.incidents import Hook
from guard.core.lifecycle import AuthorityState, CaptureState
from guard.core.record import RecordKind
from guard.store.schema import (
    AUTHORITIES,
    CAPTURES,
    ENTRIES,
    HEADS,
    INCIDENTS,
    RECEIPTS,
    SEGMENTS,
    TRUST_POLICIES,
)

LIVE: Final = (CaptureState.GRANTED, CaptureState.ARMED, CaptureState.STOPPING)
OVER: Final = (CaptureState.ENDED, CaptureState.REFUSED)
KEPT_FOR_GOOD: Final = RecordKind.TRUST_POLICY_CHANGED.value
UNFINISHED: Final = (
    AuthorityState.REGISTERED,
    AuthorityState.PROVISIONAL,
    AuthorityState.APPROVED,
)
_TABLES: Final[Mapping[type[Change], Table]] = {
    PutAuthority: AUTHORITIES,
    PutCapture: CAPTURES,
    PutSegment: SEGMENTS,
    PutReceipt: RECEIPTS,
    PutIncident: INCIDENTS,
}
_INSERTS: Final[Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement's text and the values that are part of it."""

    text: str
    fixed: Mapping[str, Any]


def _one_of(column: ColumnElement[str], values: tuple[str, ...]) -> ColumnElement[bool]:
    return or_(*(column == str(value) for value in values))


def _put(table: Table, dialect: Dialect) -> ClauseElement:
    add = _INSERTS[dialect.name](table)
    keys = [column.name for column in table.primary_key]
    others = {c.name: add.excluded[c.name] for c in table.columns if c.name not in keys}
    return add.on_conflict_do_update(index_elements=keys, set_=others)


def _page(table: Table, *where: ColumnElement[bool]) -> Select[Any]:
    return (
        select(table)
        .where(table.c.revision < bindparam("before"), *where)
        .order_by(table.c.revision.desc(), table.c.id)
        .limit(bindparam("limit"))
    )


def _live(*where: ColumnElement[bool]) -> Select[Any]:
    c = CAPTURES.c
    return select(CAPTURES).where(_one_of(c.state, LIVE), *where).order_by(c.revision, c.id)


def _erase() -> Iterator[ClauseElement]:
    """Yield what forgets records and rows before `end`, in this order."""
    a, c, s, e = AUTHORITIES.c, CAPTURES.c, SEGMENTS.c, ENTRIES.c
    end: BindParameter[int] = bindparam("end")
    yield (
        update(ENTRIES)
        .where(e.position < end, e.kind != KEPT_FOR_GOOD, e.body.is_not(None))
        .values(salt=null(), body=null())
    )
    over = (_one_of(c.state, OVER), c.revision < end)
    ended = select(c.id).where(*over)
    yield delete(SEGMENTS).where(s.capture_id.in_(ended), s.deleted == true())
    segments = select(s.capture_id).where(s.capture_id == c.id)
    yield delete(CAPTURES).where(*over, ~segments.exists())
    captures = select(c.id).where(c.authority_id == a.id)
    finished = ~_one_of(a.state, UNFINISHED)
    yield delete(AUTHORITIES).where(finished, a.revision < end, ~captures.exists())
    yield delete(INCIDENTS).where(INCIDENTS.c.open == false(), INCIDENTS.c.revision < end)


class Statements:
    """The statements, compiled for one database; the attributes say what each is for."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._reads()
        self._incidents()
        self._log()
        self.puts = {kind: self._text(_put(table, dialect)) for kind, table in _TABLES.items()}
        self.add_trust_policy = self._text(insert(TRUST_POLICIES))
        self.erase = tuple(map(self._text, _erase()))

    def _reads(self) -> None:
        a, c, s, p, r = AUTHORITIES.c, CAPTURES.c, SEGMENTS.c, TRUST_POLICIES.c, RECEIPTS.c
        node, authority = c.node == bindparam("node"), c.authority_id == bindparam("authority_id")
        self.authority = self._text(select(AUTHORITIES).where(a.id == bindparam("id")))
        self.authorities = self._text(_page(AUTHORITIES))
        self.unfinished = self._text(
            select(AUTHORITIES).where(_one_of(a.state, UNFINISHED)).order_by(a.id)
        )
        self.capture = self._text(select(CAPTURES).where(c.id == bindparam("id")))
        self.capture_by_request = self._text(
            select(CAPTURES).where(
                c.principal == bindparam("principal"), c.request_id == bindparam("request_id")
            )
        )
        self.captures = self._text(_page(CAPTURES))
        self.captures_of_authority = self._text(_page(CAPTURES, authority))
        self.live = self._text(_live())
        self.live_of_node = self._text(_live(node))
        self.live_of_authority = self._text(_live(authority))
        self.live_of_both = self._text(_live(node, authority))
        self.overdue = self._text(_live(c.not_after <= bindparam("now")))
        changed = select(CAPTURES).where(node, c.revision > bindparam("after"))
        self.changes = self._text(changed.order_by(c.revision, c.id))
        self.segments = self._text(
            select(SEGMENTS).where(s.capture_id == bindparam("capture_id")).order_by(s.number)
        )
        older = select(SEGMENTS).where(s.stored_at < bindparam("before"), s.deleted == false())
        self.segments_older = self._text(older.order_by(s.stored_at, s.capture_id, s.number))
        policies = select(p.envelope).where(p.version > bindparam("after"))
        self.trust_policies = self._text(policies.order_by(p.version))
        self.last_receipt = self._text(
            select(r.sequence, r.digest).where(r.node == bindparam("node"))
        )

    def _incidents(self) -> None:
        i = INCIDENTS.c
        self.incident = self._text(select(INCIDENTS).where(i.id == bindparam("id")))
        page = select(INCIDENTS).where(i.id < bindparam("before")).order_by(i.id.desc())
        self.incidents = self._text(page.limit(bindparam("limit")))
        running = page.where(i.open == true())
        self.open_incidents = self._text(running.limit(bindparam("limit")))
        recent = (i.node == bindparam("node"), i.first > bindparam("since"))
        self.incidents_of = self._text(select(INCIDENTS).where(*recent).order_by(i.id))
        over = or_(i.closed == true(), i.first <= bindparam("since"))
        self.untold = {
            hook: self._text(
                select(INCIDENTS)
                .where(told < i["count"], or_(told == 0, over))
                .order_by(i.id)
                .limit(bindparam("limit"))
            )
            for hook, told in ((Hook.COMMAND, i.told_command), (Hook.WEBHOOK, i.told_webhook))
        }

    def _log(self) -> None:
        e, h = ENTRIES.c, HEADS.c
        parts = (e.kind, e.time, e.digest, e.salt, e.body)
        page = select(*parts).where(e.position >= bindparam("start")).order_by(e.position)
        self.entries = self._text(page.limit(bindparam("limit")))
        self.all_entries = self._text(select(e.position, *parts).order_by(e.position))
        kept = select(e.position).where(e.body.is_not(None), e.kind != KEPT_FOR_GOOD)
        self.first_kept = self._text(kept.order_by(e.position).limit(1))
        self.size = self._text(select(func.coalesce(func.max(e.position) + 1, 0)))
        self.add_entry = self._text(insert(ENTRIES))
        self.head = self._text(select(h.size, h.checkpoint).where(h.kind == bindparam("kind")))
        self.add_head = self._text(insert(HEADS))
        self.move_head = self._text(
            update(HEADS)
            .where(h.kind == bindparam("kind"), h.checkpoint == bindparam("previous"))
            .values(size=bindparam("new_size"), checkpoint=bindparam("checkpoint"))
        )

    def _text(self, statement: ClauseElement) -> Statement:
        compiled = statement.compile(dialect=self._dialect)
        fixed = {k: v for k, v in (compiled.params or {}).items() if v is not None}
        return Statement(str(compiled), fixed)
