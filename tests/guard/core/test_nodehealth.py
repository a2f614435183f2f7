"""A node's stated health: strict, bounded, and never above what its own doors bear out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core import canonical
from guard.core.enforcement import ABSENT, Enforcement, SentryMode, effective
from guard.core.fields import Fields
from guard.core.nodehealth import MOST_DOORS, NodeHealth, health_fields, take_health
from guard.core.reasons import Reason
from tests.guard.core.refusals import refuses

PROGRAMS = "ab" * 32
CHALLENGE = "cd" * 32
WORDS = [*(each.value for each in Enforcement), ABSENT]


def fields(**changed: Any) -> dict[str, Any]:
    good = {
        "challenge": CHALLENGE,
        "doors": {"packet_socket": "kill", "xdp_socket": "absent"},
        "enforcement": "kill",
        "mode": "enforce",
        "programs": PROGRAMS,
    }
    return {name: value for name, value in (good | changed).items() if value is not ...}


def read(**changed: Any) -> NodeHealth:
    return take_health(Fields(fields(**changed), "health"))


@st.composite
def healths(draw: st.DrawFn) -> NodeHealth:
    """Any health that is well formed."""
    names = st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True)
    doors = draw(st.dictionaries(names, st.sampled_from(WORDS), max_size=MOST_DOORS))
    mode = draw(st.sampled_from(SentryMode))
    there = [Enforcement(word) for word in doors.values() if word != ABSENT]
    most = effective(mode, max(there, default=Enforcement.DETECT))
    return NodeHealth(
        mode=mode,
        enforcement=draw(st.sampled_from([each for each in Enforcement if each <= most])),
        doors=doors,
        programs=PROGRAMS,
        challenge=draw(st.sampled_from(["", CHALLENGE])),
    )


@given(healths())
def test_what_is_written_is_read(health: NodeHealth) -> None:
    """Written into a document and read again, it is the same."""
    document = canonical.encode({"health": health_fields(health)})
    found = Fields(canonical.decode(document, limit=len(document)), "receipt").child("health")
    assert take_health(found) == health


def test_without_a_challenge() -> None:
    """A node that was not challenged yet answers none, and has tried its doors all the same."""
    health = read(challenge=...)
    assert health.challenge == ""
    assert health.proven
    assert not read(doors={}, enforcement="detect").proven


@pytest.mark.parametrize(
    "changed",
    [
        {"mode": ...},
        {"mode": "learn"},
        {"enforcement": "absent"},
        {"enforcement": 2},
        {"doors": ...},
        {"doors": ["packet_socket"]},
        {"doors": {"packet_socket": "maybe"}},
        {"doors": {"packet_socket": 1}},
        {"doors": {"Packet Socket": "kill"}},
        {"doors": {f"door_{number}": "kill" for number in range(MOST_DOORS + 1)}},
        {"programs": ...},
        {"programs": "AB" * 32},
        {"challenge": ""},
        {"challenge": "no challenge"},
        {"more": "kill"},
        {"enforcement": "prevent"},  # no door bears it out
        {"enforcement": "kill", "doors": {}},
        {"enforcement": "kill", "doors": {"packet_socket": "absent"}},
        {"enforcement": "kill", "mode": "observe"},
    ],
)
def test_what_is_refused(changed: dict[str, Any]) -> None:
    """A field too few, too many or of another kind, and a claim that the rest does not bear out."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        read(**changed)
