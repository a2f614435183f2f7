"""The statutory records of real calls: refused requests, a warrant, a ticket and a test."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from guard.core.fields import parse_time
from guard.core.statutes import CERTIFIED, LOGGED
from tests.lab.calls import Call
from tests.lab.deployment import Deployment

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(180)]

SUBJECT, TESTED = "+15550009", "+15550001"  # The second is on the trust policy's test list.


def stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def trial(lab: Deployment, folder: Path) -> str:
    """Have a test authority approved, and return its id."""
    draft = folder / "trial.toml"
    draft.write_text(
        'instrument = "test"\nreference = "TEST-1"\nreason = "quarterly trial"\n'
        'level = "content"\nnodes = ["node-1"]\nlasts = "10m"\nrecipients = ["operator-1"]\n'
        f'[subjects]\ntelephone = ["{TESTED}"]\n'
    )
    opened = lab.json("operator-1", "warrant", "register", str(draft))
    lab.json("lead-1", "authority", "approve", opened["id"], "--yes")
    return str(opened["id"])


def report(lab: Deployment, *words: str) -> Any:
    """Make a report as the auditor."""
    answer = lab.as_("auditor-1", "report", *words)
    assert answer.code == 0, answer
    return json.loads(answer.out)


def test_reports_say_what_the_calls_were(own_lab: Deployment, tmp_path: Path) -> None:
    """Each field of both statutes, from calls that were made, requests refused and a test."""
    # Longer than others because it is one story, and each step needs those before it.
    lab = own_lab
    began = datetime.now(UTC).replace(microsecond=0)
    nobody = "00000000-0000-4000-8000-000000000000"
    denied = lab.as_("operator-1", "capture", "start", nobody, "--node", "node-1")
    assert denied.code == 3
    warrant = lab.warranted_capture(number=SUBJECT)
    test = lab.capture("operator-1", trial(lab, tmp_path))
    ticket = lab.capture("operator-1", lab.ticket(number=SUBJECT))
    first = Call(lab.network, tmp_path / "first", caller=SUBJECT).start()
    second = Call(lab.network, tmp_path / "second", caller=TESTED, callee="+15558888").start()
    first.wait()
    second.wait()
    for person, capture in (("legal-1", warrant), ("operator-1", test), ("operator-1", ticket)):
        lab.json(person, "capture", "stop", capture)
        lab.await_state(capture, "ended")
    ended = datetime.now(UTC) + timedelta(seconds=1)
    period = ("--from", stamp(began), "--to", stamp(ended))
    lab.wait_for(lambda: datetime.now(UTC) > ended, "the period is over")

    log = report(lab, "tkuev", *period, "--with-persons")
    entries = {each["grant_id"]: each for each in log["entries"] if each["outcome"] == "ran"}
    assert set(entries) == {warrant, test, ticket}
    for each in entries.values():
        assert set(LOGGED) <= each.keys()
        (times,) = each["times"]
        assert began <= parse_time(times["from"]) < parse_time(times["to"]) <= ended
        assert began <= parse_time(each["entered_at"]) <= parse_time(times["from"])
        assert (each["calls"], each["drops"]) == (1, 0)
        assert each["packets"] > 0
        assert each["delivered_to"][0].startswith("age1")
        assert each["identifier"].startswith("sealed, SHA-256 ")
    assert entries[warrant]["entered_by"] == "legal-1"
    assert entries[ticket]["approved_by"] == ["lead-1"]
    assert entries[test]["test"] is True
    assert "test" in entries[test]["examine"]
    (refused,) = [each for each in log["entries"] if each["outcome"] == "denied"]
    assert (refused["reason"], refused["entered_by"]) == ("authority_unknown", "operator-1")
    assert "suspicion" in refused["examine"]
    sampled = [each for each in log["entries"] if "sample" in each["examine"]]
    assert len(sampled) == len(log["sample"]["indices"]) == 1
    assert log["discrepancies"] == []

    made = report(lab, "calea", warrant)
    assert set(CERTIFIED) <= made.keys()
    assert made["started"] == entries[warrant]["times"][0]["from"]
    assert made["officer"] == "KHK Beispiel, LKA Musterland"
    assert made["authorized_by"] == "RiAG Muster, Amtsgericht Musterstadt"
    assert made["type"].startswith("interception order")
    numbers = report(lab, "counts", *period, "--exact")
    assert numbers["interceptions"] == {"interception_order": 1, "test": 1, "ticket": 1}
    assert numbers["calls"] == 3
    assert numbers["denied"] == {"authority_unknown": 1}
    told = json.dumps([log, made, numbers])
    assert SUBJECT not in told
    assert TESTED not in told
