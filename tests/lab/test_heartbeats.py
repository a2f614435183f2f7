"""A real node states what is armed on it, from its start to its end and over a kill."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.lab.deployment import Deployment

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(180)]


def heartbeats(lab: Deployment) -> list[list[str]]:
    """Return the list of every heartbeat receipt in the log."""
    return [each["body"]["armed"] for each in lab.records() if each["kind"] == "node_heartbeat"]


def proven(lab: Deployment) -> list[bool]:
    """Return of every heartbeat receipt whether the sentry's doors had been tried."""
    healths = [each["body"]["health"] for each in lab.records() if each["kind"] == "node_heartbeat"]
    return [bool(each["doors"]) for each in healths]


def findings(lab: Deployment) -> list[Any]:
    """Return what the guard has found open."""
    return list(lab.json("auditor-1", "status")["findings"])


def test_what_is_armed_is_in_the_log(own_lab: Deployment) -> None:
    """An empty list at the start, the grant while it is armed, and a chain that a kill leaves whole."""
    own_lab.wait_for(lambda: proven(own_lab) == [False, True], "the start is stated")
    own_lab.stop("agent")
    own_lab.wait_for(lambda: heartbeats(own_lab) == [[], [], []], "the end is stated")

    own_lab.edit_agent("receipt_seconds = 10")
    own_lab.start_agent()
    capture = own_lab.warranted_capture(number="+15550001")
    own_lab.wait_for(lambda: [capture] in heartbeats(own_lab), "the grant is stated")
    own_lab.kill("agent")
    before = len(heartbeats(own_lab))
    own_lab.start_agent()
    own_lab.wait_for(
        lambda: [capture] in heartbeats(own_lab)[before + 1 :], "it is stated after the kill"
    )
    assert heartbeats(own_lab)[before] == []
    own_lab.json("legal-1", "capture", "stop", capture)
    own_lab.await_state(capture, "ended")
    count = len(heartbeats(own_lab))
    own_lab.wait_for(lambda: heartbeats(own_lab)[count:] == [[]], "nothing is armed any more")

    receipts = [each["body"] for each in own_lab.records() if "receipt" in each["body"]]
    assert [each["sequence"] for each in receipts] == list(range(1, len(receipts) + 1))
    assert all(b["previous"] == a["receipt_digest"] for a, b in pairwise(receipts))
    assert findings(own_lab) == []
    assert not [each for each in own_lab.records() if each["kind"] == "finding"]
