"""What the agent says of its sentry: what was proven, and no more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.core.health import Health, unproven
from guard.core.enforcement import Enforcement, SentryMode
from guard.core.reasons import Reason
from tests.guard.core.refusals import refuses

PROGRAMS = (("rogue_enter", 17, "aabbccdd00112233"), ("rogue_exit", 18, "0011223344556677"))
GOOD = Health("enforce", "kill", {"packet_socket": "kill", "xdp_socket": "absent"}, PROGRAMS, "")


def test_it_is_stated_as_it_is():
    """Mode, enforcement, doors and challenge pass as they are."""
    stated = replace(GOOD, challenge="ab" * 32).stated()
    assert (stated.mode, stated.enforcement) == (SentryMode.ENFORCE, Enforcement.KILL)
    assert stated.doors == GOOD.doors
    assert stated.challenge == "ab" * 32
    assert stated.proven


def test_the_inventory_is_a_set():
    """Its order does not count; one more, one less, another number or another tag does."""
    first, second = PROGRAMS
    digest = GOOD.stated().programs
    assert replace(GOOD, programs=(second, first)).stated().programs == digest
    others: list[tuple[tuple[str, int, str], ...]] = [
        (first,),
        (*PROGRAMS, ("rogue_bind", 19, "00" * 8)),
        ((first[0], 99, first[2]), second),
        ((first[0], first[1], "00" * 8), second),
    ]
    told = {replace(GOOD, programs=other).stated().programs for other in others}
    assert len(told | {digest}) == 5


@pytest.mark.parametrize("mode", SentryMode)
def test_before_the_first_proof(mode: SentryMode):
    """Nothing is claimed for doors that nobody has tried."""
    health = unproven(mode)
    assert not health.proven
    assert health.stated().enforcement is Enforcement.DETECT
    assert health.stated().mode is mode


def test_a_claim_above_the_doors_is_not_stated():
    """A health that its own doors do not bear out is a defect, and goes into no receipt."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        replace(GOOD, enforcement="prevent").stated()
    with refuses(Reason.DOCUMENT_MALFORMED):
        replace(GOOD, mode="observe").stated()


def test_an_answer_alone_is_no_change():
    """Another challenge is the same health; anything else is another."""
    assert GOOD.same_as(replace(GOOD, challenge="ab" * 32))
    assert not GOOD.same_as(replace(GOOD, doors={"packet_socket": "detect"}))
    assert not GOOD.same_as(replace(GOOD, mode="observe", enforcement="detect"))
