"""How a node stands, for machines and people: mode, enforcement, each door, why not trusted.

What a node says of itself is said as that; nothing here is trusted by any rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from guard.api.v1.audit_service_pb2 import NodeStanding
from guard.cli.durations import stamp
from guard.cli.output import plain
from guard.cli.translate import moment
from guard.core.fields import format_time

__all__ = ["node_json", "node_lines"]


def node_json(shown: NodeStanding) -> dict[str, object]:
    """Return a node's standing as `--json` has it; None where nothing is known."""
    return {
        "name": plain(shown.node),
        "policy": plain(shown.policy),
        "connected": shown.connected,
        "untrusted": plain(shown.untrusted) or None,
        "untrusted_since": _time(shown, "untrusted_since"),
        "stated_at": _time(shown, "stated"),
        "proven_at": _time(shown, "proven"),
        "mode": plain(shown.mode) or None,
        "enforcement": plain(shown.enforcement) or None,
        "doors": {plain(name): plain(word) for name, word in sorted(shown.doors.items())},
        "programs": plain(shown.programs) or None,
    }


def _time(shown: NodeStanding, name: Literal["untrusted_since", "stated", "proven"]) -> str | None:
    return format_time(moment(getattr(shown, name))) if shown.HasField(name) else None


def node_lines(nodes: Iterable[NodeStanding]) -> list[tuple[str, str]]:
    """Return lines for people: one for each node, and one for each strength of its doors."""
    lines = [line for each in nodes for line in _lines(each)]
    return [("" if at else "Nodes", line) for at, line in enumerate(lines)]


def _lines(shown: NodeStanding) -> Iterable[str]:
    yield f"{shown.node}: {_standing(shown)}"
    by_word: dict[str, list[str]] = {}
    for name, word in sorted(shown.doors.items()):
        by_word.setdefault(word, []).append(name)
    for word, names in sorted(by_word.items()):
        yield f"  {word}: {', '.join(names)}"


def _standing(shown: NodeStanding) -> str:
    words = [] if shown.connected else ["not connected"]
    if shown.untrusted:
        since = stamp(moment(shown.untrusted_since))
        words.append(f"NOT TRUSTED since {since}: it {shown.untrusted}")
    if not shown.HasField("stated"):
        return ", ".join([*words, "has never stated how its sentry does"])
    mode = shown.mode if shown.mode == shown.policy else f"{shown.mode} (policy: {shown.policy})"
    return ", ".join([*words, f"{mode}, {shown.enforcement}, as of {stamp(moment(shown.stated))}"])
