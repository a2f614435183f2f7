"""What an authority demands of a node's sentry, on a real kernel from the first proof to the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.deployment import Deployment
from tests.lab.forgery import forge_approval
from tests.lab.network import Network
from tests.lab.slice import Slice

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def lab(tmp_path: Any) -> Iterator[Deployment]:
    """Yield a deployment whose node lives in a slice of its own, and states what it does often."""
    with (
        Slice() as made,
        Network(slice=made) as network,
        Deployment(tmp_path / "d", network) as lab,
    ):
        lab.edit_agent("receipt_seconds = 10")
        yield lab.start()


def node(lab: Deployment) -> dict[str, Any]:
    """Return how the node stands, as the auditor sees it."""
    (shown,) = lab.json("auditor-1", "status")["nodes"]
    return dict(shown)


def denial(lab: Deployment, ticket: str) -> str:
    """Return how a capture under the ticket is denied."""
    answer = lab.as_("operator-1", "capture", "start", ticket, "--node", "node-1")
    assert answer.code == 3, answer
    return answer.err.split(":")[1].strip()


def test_a_ticket_that_demands_a_sentry_that_kills(lab: Deployment) -> None:
    """Denied while the node observes, armed once it enforces, and ended when it does no more."""
    lab.wait_for(lambda: node(lab)["proven_at"], "the node has answered a challenge")
    shown = node(lab)
    assert (shown["policy"], shown["mode"], shown["enforcement"]) == (
        "observe",
        "observe",
        "detect",
    )
    assert (shown["connected"], shown["untrusted"]) == (True, None)
    proven = set(shown["doors"].values()) - {"absent"}
    assert shown["doors"]["packet_socket"] in {"kill", "prevent"}, proven
    ticket = lab.ticket(demand="kill")
    assert denial(lab, ticket) == "node_not_enforcing"

    lab.let_sentry_enforce()
    lab.wait_for(lambda: node(lab)["enforcement"] in {"kill", "prevent"}, "it states that it does")
    capture = lab.capture("operator-1", ticket)
    if node(lab)["enforcement"] == "kill":
        assert denial(lab, lab.ticket(demand="prevent")) == "node_not_enforcing"

    lab.set_sentry("observe")
    ended = lab.await_state(capture, "ended")
    assert ended["why"] == "node_not_enforcing"
    assert denial(lab, ticket) == "node_not_enforcing"
    assert node(lab)["untrusted"] is None
    assert not [each for each in lab.records() if each["kind"] == "finding"]


def test_a_stolen_guard_lies_about_the_node(lab: Deployment) -> None:
    """It grants, signs and logs as if the node prevented; the agent knows what it has proven."""
    lab.wait_for(lambda: node(lab)["proven_at"], "the node has answered a challenge")
    ticket = lab.ticket(demand="prevent")
    lab.stop("guard")
    grant = forge_approval(lab.folder, ticket)
    lab.start_guard()
    refused = lab.await_state(grant, "refused", seconds=40)
    assert refused["why"] == "node_not_enforcing"
    assert lab.count_armed() == 0
