"""Noting incidents: which rows the records of a plan add to or change (`guard.core.incidents`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from guard.app.changes import PutIncident
from guard.app.ports import Reads
from guard.core.incidents import WINDOW, Incident, grown, seen_in
from guard.core.record import Record

__all__ = ["NOTICES", "noted"]

NOTICES: Final = "notices"
"""The bell that those hear who tell the privacy team."""


def noted(view: Reads, index: int, records: Sequence[Record]) -> list[PutIncident]:
    """Return what to put for records of which the first gets this index."""
    made: dict[int, Incident] = {}
    for number, record in enumerate(records, index):
        seen = seen_in(record)
        if seen is None:
            continue
        found = {row.id: row for row in view.incidents_of(seen.node, record.time - WINDOW)}
        found |= {key: row for key, row in made.items() if row.node == seen.node}
        row = grown(found.values(), seen, number, record.time)
        made[row.id] = row
    return [PutIncident(row) for row in made.values()]
