"""``callguard status`` shows what the guard has found open, one line each, and is well all the same."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

from guard.core.receipt import ReceiptKind
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
