"""The authority: what each instrument must say, and may not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from guard.core import canonical
from guard.core.authority import (
    MAX_BYTES,
    MAX_CALLS,
    MAX_NODES,
    encode_authority,
    parse_authority,
)
from guard.core.enforcement import Enforcement
from guard.core.instruments import CEILINGS, WARRANTS, Instrument
from guard.core.reasons import Reason
from guard.core.window import Window
from tests.builders.deployment import Deployment, new_keys
from tests.guard.core.refusals import refuses

ORDER = [
    "legal_basis",
    "issuing_authority",
    "issuing_signer",
    "presenting_officer",
    "presenting_agency",
]


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return Deployment()


@pytest.mark.parametrize("instrument", CEILINGS)
def test_round_trip(deployment: Deployment, instrument: Instrument) -> None:
    """An authority reads as it was written, with limits and without."""
    for limits in (
        {},
        {"max_calls": 3, "max_bytes": 10**9},
        {"max_calls": MAX_CALLS},
        *({"enforcement": each} for each in Enforcement),
    ):
        authority = deployment.authority(instrument, **limits)
        payload = encode_authority(authority)
        assert parse_authority(payload) == authority
        assert encode_authority(parse_authority(payload)) == payload
    assert authority.is_warrant == (instrument in WARRANTS)


@pytest.mark.parametrize("field", [*ORDER, "order_sha256"])
@pytest.mark.parametrize("instrument", [Instrument.INTERCEPTION_ORDER, Instrument.PEN_REGISTER])
def test_a_warrant_says_everything(
    deployment: Deployment, instrument: Instrument, field: str
) -> None:
    """A warrant without any one of the order's particulars is refused."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        deployment.authority(instrument, **{field: None})


@pytest.mark.parametrize("field", ORDER)
def test_an_emergency_says_who(deployment: Deployment, field: str) -> None:
    """An emergency names everybody a warrant names; only the written order may still be missing."""
    assert deployment.authority(Instrument.EMERGENCY, order_sha256=None).order_sha256 is None
    with refuses(Reason.DOCUMENT_MALFORMED):
        deployment.authority(Instrument.EMERGENCY, **{field: None})


@pytest.mark.parametrize("instrument", [Instrument.TICKET, Instrument.TEST])
def test_a_ticket_has_a_reason(deployment: Deployment, instrument: Instrument) -> None:
    """A ticket and a test have a reason, may have a legal basis, and pretend to no order."""
    assert deployment.authority(instrument, legal_basis="TDDDG § 12").legal_basis
    with refuses(Reason.DOCUMENT_MALFORMED):
        deployment.authority(instrument, reason=None)
    for field in (*ORDER[1:], "order_sha256"):
        with refuses(Reason.DOCUMENT_MALFORMED):
            deployment.authority(instrument, **{field: "0" * 64})


@pytest.mark.parametrize("instrument", WARRANTS)
def test_a_warrant_has_no_reason(deployment: Deployment, instrument: Instrument) -> None:
    """A warrant rests on its order, not on a reason of ours."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        deployment.authority(instrument, reason="curiosity")


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "1"},
        {"id": "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"},
        {"reference": ""},
        {"reference": "x" * 129},
        {"reference": "a\nb"},
        {"registrant": "Operator 1"},
        {"nodes": ()},
        {"nodes": ("node-1", "node-1")},
        {"nodes": ("*",)},
        {"nodes": tuple(f"node-{number}" for number in range(MAX_NODES + 1))},
        {"recipients": ()},
        {"sealed_subjects": b""},
        {"sealed_subjects": b"x" * 65_537},
        {"subjects_commitment": ""},
        {"subjects_commitment": "A" * 64},
        {"max_calls": 0},
        {"max_calls": MAX_CALLS + 1},
        {"max_bytes": -1},
        {"max_bytes": MAX_BYTES + 1},
        {"reason": "two\nlines"},
        {"reason": "right-to-left \u202e override"},
    ],
    ids=str,
)
def test_bounds(deployment: Deployment, changes: dict[str, Any]) -> None:
    """No field may be empty, too large, doubled or misspelled."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        replace(deployment.authority(), **changes)


def test_recipients(deployment: Deployment) -> None:
    """A recipient that is none refuses by its own name, one named twice as malformed."""
    with refuses(Reason.RECIPIENT_NOT_PERMITTED):
        deployment.authority(recipients=("age1",))
    twice = (new_keys("agency").recipient,) * 2
    with refuses(Reason.DOCUMENT_MALFORMED):
        deployment.authority(recipients=twice)


@pytest.mark.parametrize("instrument", [Instrument.SUBPOENA, Instrument.SEARCH_WARRANT])
def test_stored_data(deployment: Deployment, instrument: Instrument) -> None:
    """An authority of an instrument for stored data cannot be made."""
    with refuses(Reason.STORED_DATA_ONLY):
        replace(deployment.authority(), instrument=instrument)


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], Reason]] = {
    "unknown field": (lambda v: v.update(more=1), Reason.DOCUMENT_MALFORMED),
    "no id": (lambda v: v.pop("id"), Reason.DOCUMENT_MALFORMED),
    "no end": (lambda v: v.pop("not_after"), Reason.DOCUMENT_MALFORMED),
    "no nodes": (lambda v: v.update(nodes=[]), Reason.DOCUMENT_MALFORMED),
    "all nodes": (lambda v: v.update(nodes="*"), Reason.DOCUMENT_MALFORMED),
    "null limit": (lambda v: v.update(max_calls=None), Reason.DOCUMENT_MALFORMED),
    "no limit": (lambda v: v.update(max_calls=0), Reason.DOCUMENT_MALFORMED),
    "null demand": (lambda v: v.update(enforcement=None), Reason.DOCUMENT_MALFORMED),
    "unknown demand": (lambda v: v.update(enforcement="absent"), Reason.DOCUMENT_MALFORMED),
    "a demand by number": (lambda v: v.update(enforcement=2), Reason.DOCUMENT_MALFORMED),
    "null basis": (lambda v: v.update(legal_basis=None), Reason.DOCUMENT_MALFORMED),
    "unknown level": (lambda v: v.update(level="all"), Reason.DOCUMENT_MALFORMED),
    "a level list": (lambda v: v.update(level=["content"]), Reason.DOCUMENT_MALFORMED),
    "not base64": (lambda v: v.update(sealed_subjects="AB=="), Reason.DOCUMENT_MALFORMED),
    "subpoena": (lambda v: v.update(instrument="subpoena"), Reason.STORED_DATA_ONLY),
    "search": (lambda v: v.update(instrument="search_warrant"), Reason.STORED_DATA_ONLY),
    "whim": (lambda v: v.update(instrument="whim"), Reason.INSTRUMENT_UNKNOWN),
    "empty window": (lambda v: v.update(not_after=v["not_before"]), Reason.WINDOW_TOO_LONG),
    "turned window": (
        lambda v: v.update(not_after="2026-01-01T00:00:00Z"),
        Reason.WINDOW_TOO_LONG,
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_is_no_authority(deployment: Deployment, edit: str) -> None:
    """A document that breaks one rule of an authority's form is refused by name."""
    change, reason = EDITS[edit]
    value = json.loads(encode_authority(deployment.authority()))
    change(value)
    with refuses(reason):
        parse_authority(canonical.encode(value))


@pytest.mark.parametrize("demanded", [None, *Enforcement])
@pytest.mark.parametrize("enforced", Enforcement)
def test_what_is_demanded_of_a_node(
    deployment: Deployment, demanded: Enforcement | None, enforced: Enforcement
) -> None:
    """As much or more will do; less is refused by name; where nothing is demanded anything will."""
    authority = deployment.authority(enforcement=demanded)
    if demanded is None or enforced.rank >= demanded.rank:
        authority.require_enforced(enforced, "node-1")
        return
    with refuses(Reason.NODE_NOT_ENFORCING):
        authority.require_enforced(enforced, "node-1")


def test_the_far_future(deployment: Deployment) -> None:
    """A window beyond the years a document may name is not written."""
    window = Window(not_before=deployment.now, not_after=deployment.now + timedelta(days=200 * 365))
    with refuses(Reason.DOCUMENT_MALFORMED):
        encode_authority(deployment.authority(window=window))


def test_the_repr_hides_the_sealed_subjects(deployment: Deployment) -> None:
    """What is sealed does not show in the repr."""
    authority = deployment.authority()
    assert "sealed_subjects" not in repr(authority)
