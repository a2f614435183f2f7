"""The lifecycle: every state against every event, and the laws the tables keep."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.api.v1 import authority_service_pb2, capture_service_pb2
from guard.core.lifecycle import (
    AUTHORITY_TRANSITIONS,
    CAPTURE_TRANSITIONS,
    AuthorityEvent,
    AuthorityState,
    CaptureEvent,
    CaptureState,
    IllegalTransition,
    advance,
)
from guard.core.reasons import Reason, Refused

# Rows are states, columns events, in the order of their enumerations; "" is refused.
AUTHORITY = {
    "registered": ["provisional", "approved", "revoked", "expired"],
    "provisional": ["", "approved", "revoked", "expired"],
    "approved": ["", "", "revoked", "expired"],
    "revoked": ["", "", "revoked", ""],
    "expired": ["", "", "revoked", ""],
}
CAPTURE = {
    "granted": ["armed", "stopping", "ended", "refused"],
    "armed": ["armed", "stopping", "ended", "refused"],
    "stopping": ["stopping", "stopping", "ended", "refused"],
    "ended": ["", "ended", "ended", "ended"],
    "refused": ["", "refused", "refused", "refused"],
}
CASES = [
    (state, event, table[state.value][index])
    for states, events, table in (
        (AuthorityState, AuthorityEvent, AUTHORITY),
        (CaptureState, CaptureEvent, CAPTURE),
    )
    for state in states
    for index, event in enumerate(events)
]


@pytest.mark.parametrize(("state", "event", "after"), CASES)
def test_every_state_and_event(state, event, after: str) -> None:
    """Each pair leads where the table above says, or is refused by name."""
    if after:
        assert advance(state, event) == type(state)(after)
        return
    with pytest.raises(IllegalTransition) as caught:
        advance(state, event)
    assert caught.value.reason is Reason.STATE_NOT_PERMITTED
    assert isinstance(caught.value, Refused)


@pytest.mark.parametrize(
    ("state", "event"),
    [
        *itertools.product(AuthorityState, CaptureEvent),
        *itertools.product(CaptureState, AuthorityEvent),
    ],
)
def test_events_of_the_other_kind(state, event) -> None:
    """An authority admits no event of a capture, and the other way round."""
    with pytest.raises(IllegalTransition):
        advance(state, event)


@given(st.lists(st.sampled_from(CaptureEvent)))
def test_an_ended_capture_never_flows_again(events: list[CaptureEvent]) -> None:
    """From ended or refused, no sequence of events leads to a state in which packets may flow."""
    for state in (CaptureState.ENDED, CaptureState.REFUSED):
        for event in events:
            try:
                after = advance(state, event)
            except IllegalTransition:
                continue
            assert after is state


@given(st.lists(st.sampled_from(AuthorityEvent)))
def test_a_dead_authority_never_lives_again(events: list[AuthorityEvent]) -> None:
    """From revoked or expired, no sequence of events leads back into force."""
    state = AuthorityState.EXPIRED
    for event in events:
        try:
            state = advance(state, event)
        except IllegalTransition:
            continue
        assert state in {AuthorityState.REVOKED, AuthorityState.EXPIRED}


def test_stopping_is_always_obeyed() -> None:
    """In every state a word to stop is admitted and leads out of force."""
    for state in AuthorityState:
        assert advance(state, AuthorityEvent.REVOKE) is AuthorityState.REVOKED
    for capture in CaptureState:
        after = advance(capture, CaptureEvent.STOP)
        assert after not in {CaptureState.GRANTED, CaptureState.ARMED}


def test_stopping_is_never_undone() -> None:
    """A capture told to stop does not go back to armed, whatever the node says late."""
    reached, frontier = set(), [CaptureState.STOPPING]
    while frontier:
        state = frontier.pop()
        reached.add(state)
        frontier += [s for s in CAPTURE_TRANSITIONS[state].values() if s not in reached]
    assert reached == {CaptureState.STOPPING, CaptureState.ENDED, CaptureState.REFUSED}


def test_every_state_has_a_row() -> None:
    """The tables speak of every state."""
    assert set(AUTHORITY_TRANSITIONS) == set(AuthorityState)
    assert set(CAPTURE_TRANSITIONS) == set(CaptureState)


def test_names_equal_the_contracts() -> None:
    """The states in the rules and in the contract are the same, name by name."""
    for states, contract, prefix in (
        (AuthorityState, authority_service_pb2.AuthorityState, "AUTHORITY_STATE_"),
        (CaptureState, capture_service_pb2.CaptureState, "CAPTURE_STATE_"),
    ):
        names = {name.removeprefix(prefix) for name, _ in contract.items()}
        assert names - {"UNSPECIFIED"} == {state.name for state in states}
