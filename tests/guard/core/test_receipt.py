"""Receipts: their form and what each kind must say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from guard.core import canonical
from guard.core.enforcement import Enforcement
from guard.core.nodehealth import MOST_DOORS
from guard.core.reasons import Reason
from guard.core.receipt import (
    FIRST_PREVIOUS,
    REQUIRED_DETAILS,
    Receipt,
    ReceiptKind,
    encode_receipt,
    parse_receipt,
)
from tests.builders.deployment import NOW, new_id
from tests.builders.healths import OBSERVING, enforcing
from tests.guard.core.refusals import refuses

DETAILS: dict[ReceiptKind, dict[str, str | int]] = {
    ReceiptKind.ARMED: {},
    ReceiptKind.DISARMED: {"reason": "expired"},
    ReceiptKind.SEALED: {
        "number": 1,
        "sha256": "ab" * 32,
        "size": 1000,
        "packets": 7,
        "bytes": 700,
        "drops": 0,
        "first": "2026-11-23T22:00:00Z",
        "last": "2026-11-23T22:00:01.500000Z",
    },
    ReceiptKind.REFUSED: {"reason": "replayed"},
    ReceiptKind.NOTHING_CAPTURED: {},
    ReceiptKind.INCIDENT: {"what": "recording_refused"},
    ReceiptKind.HEARTBEAT: {"every": 180, "armed": 1, "part": 1, "parts": 1},
}
ABOUT_NONE = {ReceiptKind.INCIDENT, ReceiptKind.HEARTBEAT}


def receipt(kind: ReceiptKind = ReceiptKind.ARMED, **changes: Any) -> Receipt:
    fields: dict[str, Any] = {
        "node": "node-1",
        "sequence": 1,
        "previous": FIRST_PREVIOUS,
        "kind": kind,
        "time": NOW,
        "grant_id": None if kind in ABOUT_NONE else new_id(),
        "details": DETAILS[kind],
        "armed": (new_id(),) if kind is ReceiptKind.HEARTBEAT else (),
        "health": OBSERVING if kind is ReceiptKind.HEARTBEAT else None,
    }
    return Receipt(**(fields | changes))


@pytest.mark.parametrize("kind", ReceiptKind)
def test_round_trip(kind: ReceiptKind) -> None:
    """A receipt reads as it was written, further details included."""
    for details in (DETAILS[kind], DETAILS[kind] | {"fragments": 3, "note": "in user space"}):
        made = receipt(kind, details=details)
        assert parse_receipt(encode_receipt(made)) == made


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in REQUIRED_DETAILS.items() for name in names]
)
def test_required_details(kind: ReceiptKind, name: str) -> None:
    """A detail that its kind must have is neither left out nor of another type."""
    left_out = {key: value for key, value in DETAILS[kind].items() if key != name}
    wrong = DETAILS[kind] | {name: 5 if isinstance(DETAILS[kind][name], str) else "5"}
    for details in (left_out, wrong):
        with refuses(Reason.DOCUMENT_MALFORMED):
            receipt(kind, details=details)


@pytest.mark.parametrize(
    "changes",
    [
        {"node": "Node 1"},
        {"sequence": 0},
        {"sequence": 2},
        {"previous": "ab" * 32},
        {"previous": "", "sequence": 2},
        {"grant_id": "1"},
        {"details": {"Bad name": 1}},
        {"details": {"a": ""}},
        {"details": {"a": "two\nlines"}},
        {"details": {"a": True}},
        {"details": {"a": 2**53}},
        {"details": {"a": None}},
        {"details": {"a": {"b": 1}}},
        {"details": {f"a{number}": 1 for number in range(33)}},
    ],
    ids=str,
)
def test_bounds(changes: dict[str, Any]) -> None:
    """A receipt with a field out of its form cannot be made."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        receipt(**changes)


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v.update(more=1),
        lambda v: v.pop("kind"),
        lambda v: v.update(kind="maybe"),
        lambda v: v.update(details=[]),
        lambda v: v.update(sequence="1"),
        lambda v: v.update(details={"a": "x" * 600}),
    ],
)
def test_what_is_no_receipt(edit: Callable[[dict[str, Any]], object]) -> None:
    """A document that breaks one rule of a receipt's form is refused."""
    value = json.loads(encode_receipt(receipt()))
    edit(value)
    with refuses(Reason.DOCUMENT_MALFORMED):
        parse_receipt(canonical.encode(value))


def test_the_chain() -> None:
    """The second receipt names the first by digest; only the first has no predecessor."""
    second = replace(receipt(), sequence=2, previous="ab" * 32)
    assert parse_receipt(encode_receipt(second)) == second


@pytest.mark.parametrize("kind", ReceiptKind)
def test_incidents_and_heartbeats_alone_are_about_no_grant(kind: ReceiptKind) -> None:
    """They name no grant, and everything else names one."""
    wrong = new_id() if kind in ABOUT_NONE else None
    with refuses(Reason.DOCUMENT_MALFORMED):
        receipt(kind, grant_id=wrong)


ONE, TWO = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
BEAT = DETAILS[ReceiptKind.HEARTBEAT]


@pytest.mark.parametrize(
    "changes",
    [
        {"armed": (TWO, ONE)},
        {"armed": (ONE, ONE)},
        {"armed": ("1",)},
        {"armed": tuple(f"00000000-0000-4000-8000-{number:012}" for number in range(501))},
        {"details": BEAT | {"every": 9}},
        {"details": BEAT | {"every": 601}},
        {"details": BEAT | {"part": 0}},
        {"details": BEAT | {"part": 2}},
        {"details": BEAT | {"at": "noon"}},
        {
            "kind": ReceiptKind.ARMED,
            "details": {},
            "armed": (ONE,),
            "grant_id": ONE,
            "health": None,
        },
        {"health": None},
        {
            "kind": ReceiptKind.INCIDENT,
            "details": {"what": "xdp"},
            "armed": (),
            "health": OBSERVING,
        },
    ],
    ids=str,
)
def test_what_a_heartbeat_lists(changes: dict[str, Any]) -> None:
    """List and health are a heartbeat's alone; both are in their form, and its numbers in range."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        receipt(**({"kind": ReceiptKind.HEARTBEAT} | changes))


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v.pop("health"),
        lambda v: v.pop("armed"),
        lambda v: v["health"].update(mode="enforce", enforcement="prevent"),
        lambda v: v["health"].update(more=1),
    ],
)
def test_what_is_no_heartbeat(edit: Callable[[dict[str, Any]], object]) -> None:
    """Without its health, or with one that its doors do not bear out, it is no heartbeat."""
    value = json.loads(encode_receipt(receipt(ReceiptKind.HEARTBEAT)))
    edit(value)
    with refuses(Reason.DOCUMENT_MALFORMED):
        parse_receipt(canonical.encode(value))


def test_a_full_heartbeat_fits() -> None:
    """As many grants and doors as one heartbeat may list are read back, and so are none."""
    doors = {f"{'a' * 37}_{number:02}": "prevent" for number in range(MOST_DOORS)}
    full = replace(enforcing(Enforcement.PREVENT), doors=doors, challenge="ab" * 32)
    for count, health in ((0, replace(OBSERVING, doors={})), (500, full)):
        armed = tuple(f"00000000-0000-4000-8000-{number:012}" for number in range(count))
        made = receipt(ReceiptKind.HEARTBEAT, armed=armed, health=health)
        assert parse_receipt(encode_receipt(made)) == made
