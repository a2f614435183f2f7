"""Instruments: what no trust policy can loosen."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from guard.core.instruments import (
    CEILINGS,
    DEFAULTS,
    STORED_DATA,
    WARRANTS,
    Instrument,
    Role,
    parse_instrument,
    requester,
    require_within_ceiling,
    selectable,
)
from guard.core.level import Level
from guard.core.reasons import Reason
from guard.core.subjects import SubjectKind
from tests.guard.core.refusals import refuses


def test_every_instrument_has_a_ceiling_or_is_refused() -> None:
    """An instrument either has a ceiling or covers only stored data."""
    assert CEILINGS.keys() | STORED_DATA == set(Instrument)
    assert not CEILINGS.keys() & STORED_DATA


@pytest.mark.parametrize("instrument", STORED_DATA)
def test_stored_data(instrument: Instrument) -> None:
    """A subpoena and a search warrant are known, and refused for what they are."""
    with refuses(Reason.STORED_DATA_ONLY):
        parse_instrument(instrument.value)
    with refuses(Reason.STORED_DATA_ONLY):
        requester(instrument)
    with refuses(Reason.STORED_DATA_ONLY):
        require_within_ceiling(instrument, CEILINGS[Instrument.TICKET])


@pytest.mark.parametrize("text", ["", "Ticket", "warrant", "*"])
def test_unknown(text: str) -> None:
    """A word that is no instrument is refused as unknown."""
    with refuses(Reason.INSTRUMENT_UNKNOWN):
        parse_instrument(text)


def test_what_the_design_says() -> None:
    """The ceilings are those of the design: levels, two people, and who they are."""
    every = frozenset(Level)
    levels = {i: rule.levels for i, rule in CEILINGS.items()}
    assert levels == {
        Instrument.INTERCEPTION_ORDER: every,
        Instrument.PEN_REGISTER: {Level.SIGNALLING},
        Instrument.EMERGENCY: every,
        Instrument.TICKET: {Level.SIGNALLING, Level.MEDIA_HEADERS},
        Instrument.TEST: every,
    }
    approvals = {i for i, rule in CEILINGS.items() if rule.approvals < 1}
    assert approvals == {Instrument.EMERGENCY}
    for instrument, rule in CEILINGS.items():
        sides = (rule.registrant, rule.approver)
        legal = instrument in WARRANTS
        assert sides == ((Role.LEGAL, Role.LEGAL) if legal else (Role.OPERATOR, Role.APPROVER))
        assert requester(instrument) is sides[0]
        assert rule.lease == timedelta(seconds=60)
        assert DEFAULTS[instrument] == replace(rule, lease=timedelta(seconds=30))


@pytest.mark.parametrize("instrument", CEILINGS)
def test_ceilings_and_defaults_are_within(instrument: Instrument) -> None:
    """A rule equal to its ceiling, and the default, are permitted."""
    require_within_ceiling(instrument, CEILINGS[instrument])
    require_within_ceiling(instrument, DEFAULTS[instrument])


LOOSER: list[dict[str, Any]] = [
    {"levels": frozenset()},
    {"registrant": Role.AUDITOR},
    {"approver": Role.AUDITOR},
    {"approver": Role.OPERATOR},
    {"approvals": -1},
    {"approvals": 6},
    {"longest": timedelta(days=61)},
    {"longest": timedelta(0)},
    {"lease": timedelta(seconds=61)},
    {"lease": timedelta(0)},
]


@pytest.mark.parametrize("instrument", CEILINGS)
@pytest.mark.parametrize("change", LOOSER, ids=str)
def test_looser_than_the_ceiling(instrument: Instrument, change: dict[str, Any]) -> None:
    """No instrument's rule may be looser than its ceiling in any one respect."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        require_within_ceiling(instrument, replace(CEILINGS[instrument], **change))


@pytest.mark.parametrize(
    ("instrument", "change"),
    [
        (Instrument.TICKET, {"levels": frozenset(Level)}),
        (Instrument.PEN_REGISTER, {"levels": frozenset(Level)}),
        (Instrument.TICKET, {"approvals": 0}),
        (Instrument.TEST, {"approvals": 0}),
        (Instrument.INTERCEPTION_ORDER, {"approvals": 0}),
        (Instrument.TICKET, {"longest": timedelta(hours=24, seconds=1)}),
        (Instrument.TEST, {"longest": timedelta(hours=8, seconds=1)}),
        (Instrument.EMERGENCY, {"longest": timedelta(days=7, seconds=1)}),
        (Instrument.INTERCEPTION_ORDER, {"longest": timedelta(days=30, seconds=1)}),
    ],
)
def test_not_even_the_roots(instrument: Instrument, change: dict[str, Any]) -> None:
    """Not even the root holders make a ticket content, or let one person act alone."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        require_within_ceiling(instrument, replace(CEILINGS[instrument], **change))


def test_stricter_is_permitted() -> None:
    """A policy may ask for more people, less time and fewer levels."""
    strict = replace(
        CEILINGS[Instrument.TICKET],
        levels=frozenset({Level.SIGNALLING}),
        approvals=2,
        longest=timedelta(hours=1),
        lease=timedelta(seconds=5),
    )
    require_within_ceiling(Instrument.TICKET, strict)


@pytest.mark.parametrize("instrument", CEILINGS)
def test_peer_addresses_are_for_tickets(instrument: Instrument) -> None:
    """Only a ticket may select by peer address; everything may select by everything else."""
    kinds = frozenset(SubjectKind)
    ticket = instrument is Instrument.TICKET
    assert selectable(instrument) == (kinds if ticket else kinds - {SubjectKind.PEER_ADDRESS})
