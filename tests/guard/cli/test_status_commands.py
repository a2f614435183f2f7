"""``callguard status`` shows what the guard has found open, one line each, and is well all the same."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from guard.core.receipt import ReceiptKind
from tests.builders.healths import OBSERVING
from tests.guard.cli.node import Node
from tests.guard.cli.running import Answer, Running


def test_status_shows_what_is_open(live: Running, callguard: Callable[..., Answer]) -> None:
    """For people and for machines; the exit status says that the guard answers."""
    ghost = str(uuid.uuid4())
    auditor = ("--profile", live.person("auditor-1"), "status")

    def open_() -> list[dict[str, Any]]:
        found = callguard(*auditor, "--json").json()["findings"]
        return [each for each in found if each["grant_id"] == ghost]

    with Node(live.folder / "nodes/node-1") as node:
        node.state(ReceiptKind.ARMED, ghost)
        (found,) = live.wait(open_, "the grant that nobody made is found")
        assert (found["kind"], found["node"]) == ("armed_not_granted", "node-1")
        assert (found["number"], found["authority_id"]) == (None, "")
        assert found["since"].endswith("Z")

        shown = callguard(*auditor)
        assert shown.code == 0
        words = " ".join(shown.out.split())
        assert re.search(r"Findings \d+ open ", words)
        assert re.search(
            rf"armed_not_granted since [-0-9: ]+ UTC: node-1 says that grant {ghost}", words
        )

        seen = callguard("--profile", live.person("operator-1"), "status")
        assert "armed_not_granted since" in seen.out
        assert ghost not in seen.out
        node.state(ReceiptKind.DISARMED, ghost, reason="stopped")
        live.wait(lambda: not open_(), "it is over")


def test_status_shows_the_rest_while_the_quorum_is_lost(
    live: Running, callguard: Callable[..., Answer]
) -> None:
    """Who looks because something is wrong is told of nodes, captures and findings all the same."""
    auditor = ("--profile", live.person("auditor-1"), "status")
    assert callguard(*auditor, "--json").json()["log_discrepancy"] is None
    live.stop("witness")
    try:
        assert callguard("--profile", live.person("lead-1"), "log", "entries").code == 3  # a record
        told = callguard(*auditor, "--json")
        shown = callguard(*auditor)
    finally:
        live.start_witness()
    assert told.code == shown.code == 3, (told, shown)
    assert told.err.startswith("discrepancy: quorum_missing: "), told
    said = told.json()
    assert (said["log_discrepancy"], said["log_size"]) == ("quorum_missing", None)
    assert (said["name"], said["live_captures"] >= 0) == ("auditor-1", True)
    words = " ".join(shown.out.split())
    assert "Log not cosigned: " in words
    assert "Captures " in words
    assert "Findings " in words
    live.wait(lambda: callguard(*auditor).code == 0, "the witness is back")


def test_status_shows_how_each_node_stands(live: Running, callguard: Callable[..., Answer]) -> None:
    """Per node and per door, for people and for machines; a doubt about a node is in both."""
    auditor = ("--profile", live.person("auditor-1"), "status")

    def standing() -> dict[str, Any]:
        (node,) = callguard(*auditor, "--json").json()["nodes"]
        return dict(node)

    with Node(live.folder / "nodes/node-1") as node:
        numbers = {"every": 180, "part": 1, "parts": 1}
        node.state(ReceiptKind.HEARTBEAT, None, armed=(), **numbers)
        live.wait(lambda: standing()["stated_at"], "the health is known")
        shown = standing()
        assert (shown["name"], shown["policy"], shown["connected"]) == ("node-1", "observe", True)
        assert (shown["mode"], shown["enforcement"]) == ("observe", "detect")
        assert shown["doors"] == OBSERVING.doors
        assert (shown["untrusted"], shown["programs"]) == (None, OBSERVING.programs)
        words = callguard(*auditor).out
        assert re.search(r"Nodes +node-1: observe, detect, as of ", words)
        assert re.search(r" absent: xdp_socket *\n", words)
        assert re.search(r" kill: packet_socket, raw_socket *\n", words)

        node.health = replace(OBSERVING, programs="cd" * 32)
        node.state(ReceiptKind.HEARTBEAT, None, armed=(), **numbers)
        live.wait(lambda: standing()["untrusted"], "the change is found")
        assert standing()["untrusted"] == "has other programs in its kernel than at its start"
        words = " ".join(callguard(*auditor).out.split())
        assert re.search(r"node-1: NOT TRUSTED since .*: it has other programs", words)
        node.health = replace(OBSERVING, challenge=node.challenge)
        node.state(ReceiptKind.HEARTBEAT, None, armed=(), **numbers)
        live.wait(lambda: standing()["untrusted"] is None, "it is well again")
    live.wait(lambda: not standing()["connected"], "its session is over")
    assert re.search(r"node-1: not connected, observe, ", callguard(*auditor).out)
