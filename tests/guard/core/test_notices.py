"""A notice, to the byte: what leaves for systems whose people nobody here knows."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from guard.core.incidents import Incident
from guard.core.notices import encode_notice
from guard.core.reporting import Assessment, ClockName, Law, Verdict

NOW = datetime(2026, 11, 23, 22, tzinfo=UTC)
ROW = Incident(
    id=17,
    node="node-1",
    kind="capture_socket",
    first=NOW,
    last=NOW + timedelta(seconds=3),
    last_record=20,
    count=2,
    revision=20,
)


def test_a_notice_says_what_where_how_often_and_until_when() -> None:
    """Nothing else is in it."""
    assert json.loads(encode_notice(ROW, "guard.example/log", [Law.GDPR, Law.CALEA])) == {
        "aware": "2026-11-23T22:00:00Z",
        "clocks": [
            {
                "clock": "gdpr_notification",
                "due": "2026-11-26T22:00:00Z",
                "provision": "GDPR Art. 33(1)",
                "to": "supervisory authority",
            },
            {
                "clock": "calea_report",
                "provision": "47 CFR 1.20003",
                "to": "law-enforcement agencies affected",
            },
        ],
        "count": 2,
        "first": "2026-11-23T22:00:00Z",
        "id": "guard.example/log/17",
        "incident": 17,
        "kind": "capture_socket",
        "last": "2026-11-23T22:00:03Z",
        "node": "node-1",
        "text": "capture_socket on node-1, 2 times; callguard incidents show 17",
        "type": "callguard.incident.v1",
    }


def test_a_later_notice_has_the_same_id() -> None:
    """Whoever has it twice can tell, and clocks that were stopped are not in it."""
    said = Assessment(
        clock=ClockName.GDPR_NOTIFICATION,
        verdict=Verdict.NOT_REPORTABLE,
        by="legal-1",
        at=NOW,
        record=30,
        words="a test",
    )
    later = replace(ROW, count=1, node="", assessments=(said,))
    notice = json.loads(encode_notice(later, "guard.example/log", [Law.GDPR]))
    assert notice["id"] == "guard.example/log/17"
    assert notice["clocks"] == []
    assert notice["text"] == "capture_socket; callguard incidents show 17"
