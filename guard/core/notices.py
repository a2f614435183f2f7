"""Notices: what the privacy team's hook is told of an incident.

1. A notice has an `id` that never changes: the log's name and the incident's number. It may come
   more than once. Of two with one id the later one holds; its `count` is never lower.
2. It holds what happened where, how often, when, and which clocks run until when. It holds no
   grant, no authority, no subject and nothing that a node said beside the kind: a hook hands it to
   systems whose people are not in the trust policy. `callguard incidents show` tells the rest, to
   auditor and legal, on record.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from guard.core import canonical
from guard.core.fields import format_time
from guard.core.incidents import Incident
from guard.core.reporting import Law, Reading, read_clocks

__all__ = ["encode_notice"]

_TYPE: Final = "callguard.incident.v1"


def encode_notice(incident: Incident, log: str, laws: Iterable[Law]) -> bytes:
    """Write the notice of an incident as canonical JSON; `log` is the log's name."""
    where = f" on {incident.node}" if incident.node else ""
    often = f", {incident.count} times" if incident.count > 1 else ""
    return canonical.encode(
        {
            "aware": format_time(incident.first),
            "clocks": [
                _clock(each)
                for each in read_clocks(incident.first, incident.assessments, laws)
                if each.stopped is None
            ],
            "count": incident.count,
            "first": format_time(incident.first),
            "id": f"{log}/{incident.id}",
            "incident": incident.id,
            "kind": incident.kind,
            "last": format_time(incident.last),
            "node": incident.node,
            "text": f"{incident.kind}{where}{often}; callguard incidents show {incident.id}",
            "type": _TYPE,
        }
    )


def _clock(reading: Reading) -> dict[str, Any]:
    clock = reading.clock
    made = {"clock": clock.name.value, "provision": clock.provision, "to": clock.to}
    return made | ({"due": format_time(reading.due)} if reading.due else {})
