"""Receipts: what a node states about its captures, signed with the node's key.

1. A node's receipts form a chain: each names the one before by the digest of its envelope and has
   the next number, so that one left out is seen.
2. Each kind has details that it must have (``REQUIRED_DETAILS``); further ones may stand beside
   them. Details are numbers and single lines, never subjects or content.
3. Every kind is about one grant, but for two: an `incident` is about something that had none, and
   a `heartbeat` lists every grant that is armed, an empty list included.
4. A heartbeat names at most `MOST_ARMED` grants, in ascending order; what is more follows in
   further parts. `every` says after how many seconds at the latest the next one is made.
5. Each part of a heartbeat holds the node's health (`guard.core.nodehealth`), and no other receipt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from guard.core import canonical
from guard.core.fields import (
    DIGEST,
    NAME,
    UUID,
    Fields,
    format_time,
    require,
    require_match,
    require_text,
)
from guard.core.nodehealth import NodeHealth, health_fields, take_health

FIRST_PREVIOUS: Final = "0" * 64
MAX_RECEIPT = 32 * 1024
MOST_ARMED: Final = 500
LEAST_EVERY: Final = 10
MOST_EVERY: Final = 600
MAX_DETAILS = 32
AT_START: Final = "start"
AT_STOP: Final = "stop"
_LARGEST = 2**53 - 1
_DETAIL = re.compile(r"[a-z][a-z0-9_]{0,31}")


class ReceiptKind(StrEnum):
    """What the node states."""

    ARMED = "armed"
    DISARMED = "disarmed"
    SEALED = "sealed"
    REFUSED = "refused"
    NOTHING_CAPTURED = "nothing_captured"
    INCIDENT = "incident"
    HEARTBEAT = "heartbeat"


_ABOUT_NONE: Final = frozenset({ReceiptKind.INCIDENT, ReceiptKind.HEARTBEAT})

REQUIRED_DETAILS: Final[Mapping[ReceiptKind, Mapping[str, type]]] = MappingProxyType(
    {
        ReceiptKind.ARMED: {},
        ReceiptKind.DISARMED: {"reason": str},
        ReceiptKind.SEALED: {
            "number": int,
            "sha256": str,
            "size": int,
            "packets": int,
            "bytes": int,
            "drops": int,
            "first": str,
            "last": str,
        },
        ReceiptKind.REFUSED: {"reason": str},
        ReceiptKind.NOTHING_CAPTURED: {},
        ReceiptKind.INCIDENT: {"what": str},
        ReceiptKind.HEARTBEAT: {"every": int, "armed": int, "part": int, "parts": int},
    }
)
"""``size`` is of the sealed file in bytes, ``bytes`` of the packets in it before sealing; ``first``
and ``last`` are the times of its first and last packet. ``what`` names what was tried or found.
``armed`` of a heartbeat counts the grants of all its parts; ``part`` counts from 1 to ``parts``.
The first heartbeat of an agent has ``at`` `start` beside these, the one with which it stops
`stop`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One receipt. ``sequence`` counts from 1; ``previous`` is ``FIRST_PREVIOUS`` for the first."""

    node: str
    sequence: int
    previous: str
    kind: ReceiptKind
    time: datetime
    grant_id: str | None
    details: Mapping[str, str | int]
    armed: tuple[str, ...] = ()
    health: NodeHealth | None = None

    def __post_init__(self) -> None:
        require_match(self.node, NAME, "the receipt's node")
        require(1 <= self.sequence <= _LARGEST, "the receipt's number is out of range")
        require_match(self.previous, DIGEST, "the receipt's predecessor")
        require(
            (self.sequence == 1) == (self.previous == FIRST_PREVIOUS),
            "only the first receipt has no predecessor",
        )
        about_none = self.kind in _ABOUT_NONE
        require((self.grant_id is None) == about_none, "the receipt's kind does not fit its grant")
        if self.grant_id is not None:
            require_match(self.grant_id, UUID, "the receipt's grant")
        require(len(self.details) <= MAX_DETAILS, "the receipt has too many details")
        for name, value in self.details.items():
            _require_detail(name, value)
        for name, kind in REQUIRED_DETAILS[self.kind].items():
            require(type(self.details.get(name)) is kind, f"the receipt lacks its {name}")
        self._require_armed()

    def _require_armed(self) -> None:
        """Hold list and health of a heartbeat to rules 4 and 5; no other kind has them."""
        heartbeat = self.kind is ReceiptKind.HEARTBEAT
        require((self.health is not None) == heartbeat, "the health is a heartbeat's, and its part")
        if not heartbeat:
            require(not self.armed, "only a heartbeat lists what is armed")
            return
        require(len(self.armed) <= MOST_ARMED, "the heartbeat lists too many grants")
        require(list(self.armed) == sorted(set(self.armed)), "the heartbeat's list is not in order")
        for grant_id in self.armed:
            require_match(grant_id, UUID, "an armed grant")
        every, parts = self.details["every"], self.details["parts"]
        require(LEAST_EVERY <= int(every) <= MOST_EVERY, "the heartbeat's interval is out of range")
        require(
            1 <= int(self.details["part"]) <= int(parts), "the heartbeat's part is out of range"
        )
        at = self.details.get("at", AT_START)
        require(at in {AT_START, AT_STOP}, "the heartbeat is at neither start nor stop")


def _require_detail(name: str, value: object) -> None:
    require_match(name, _DETAIL, "a detail's name")
    if type(value) is int:
        require(-_LARGEST <= value <= _LARGEST, "a detail is out of range")
    else:
        require_text(value, "a detail")


def encode_receipt(receipt: Receipt) -> bytes:
    """Write the payload of a receipt."""
    payload: dict[str, Any] = {
        "details": dict(receipt.details),
        "kind": receipt.kind.value,
        "node": receipt.node,
        "previous": receipt.previous,
        "sequence": receipt.sequence,
        "time": format_time(receipt.time),
    }
    if receipt.grant_id is not None:
        payload["grant_id"] = receipt.grant_id
    if receipt.health is not None:
        payload |= {"armed": list(receipt.armed), "health": health_fields(receipt.health)}
    return canonical.encode(payload)


def parse_receipt(payload: bytes) -> Receipt:
    """Read the payload of a receipt; its signature and place in the chain are not checked here."""
    fields = Fields(canonical.decode(payload, limit=MAX_RECEIPT), "receipt")
    kind = fields.choice("kind", ReceiptKind)
    armed: tuple[str, ...] = ()
    health: NodeHealth | None = None
    if kind is ReceiptKind.HEARTBEAT:
        armed = tuple(fields.text_list("armed", least=0, most=MOST_ARMED))
        health = take_health(fields.child("health"))
    receipt = Receipt(
        node=fields.text("node"),
        sequence=fields.integer("sequence", least=1, most=_LARGEST),
        previous=fields.text("previous"),
        kind=kind,
        time=fields.time("time"),
        grant_id=fields.optional_text("grant_id"),
        details=fields.child("details").rest(),
        armed=armed,
        health=health,
    )
    fields.finish()
    return receipt
