"""What nodes of the tests say of their sentries."""

from __future__ import annotations

from guard.core.enforcement import Enforcement, SentryMode
from guard.core.nodehealth import NodeHealth

__all__ = ["OBSERVING", "enforcing"]

OBSERVING = NodeHealth(
    mode=SentryMode.OBSERVE,
    enforcement=Enforcement.DETECT,
    doors={"packet_socket": "kill", "raw_socket": "kill", "xdp_socket": "absent"},
    programs="ab" * 32,
)
"""A new node: its doors are proven, and it stops nobody."""


def enforcing(enforcement: Enforcement = Enforcement.KILL, **doors: str) -> NodeHealth:
    """Make the health of a node that enforces so much at every door but those named."""
    every = dict.fromkeys(("packet_socket", "raw_socket"), enforcement.value)
    return NodeHealth(
        mode=SentryMode.ENFORCE,
        enforcement=min(enforcement, *map(Enforcement, doors.values())) if doors else enforcement,
        doors=every | {"xdp_socket": "absent"} | doors,
        programs="ab" * 32,
    )
