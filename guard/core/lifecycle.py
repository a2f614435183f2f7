"""How authorities and captures live: two tables, every state against every event.

1. An end is final: no event leads from revoked, expired, ended or refused back to a state in which
   packets may flow.
2. A word to stop is always obeyed: ``revoke`` and ``stop`` are admitted in every state and are
   harmless when repeated.
3. What is not in the table is refused (STATE_NOT_PERMITTED).
4. Receipts may cross the guard's own decisions on the wire: a late ``end`` or ``refuse`` of an
   ended capture changes nothing, and a late ``arm`` of a stopping one does not undo the stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, overload

from guard.core.reasons import Reason, Refused


class AuthorityState(StrEnum):
    """Where an authority stands."""

    REGISTERED = "registered"
    PROVISIONAL = "provisional"
    APPROVED = "approved"
    REVOKED = "revoked"
    EXPIRED = "expired"


class AuthorityEvent(StrEnum):
    """What happens to an authority.

    ``admit``: an emergency is in force under one signature; ``approve``: every signature that its
    instrument demands is there; ``revoke``: somebody said stop; ``expire``: its window is over.
    """

    ADMIT = "admit"
    APPROVE = "approve"
    REVOKE = "revoke"
    EXPIRE = "expire"


class CaptureState(StrEnum):
    """Where a capture stands."""

    GRANTED = "granted"
    ARMED = "armed"
    STOPPING = "stopping"
    ENDED = "ended"
    REFUSED = "refused"


class CaptureEvent(StrEnum):
    """What happens to a capture.

    ``arm``: the node has verified and armed it; ``stop``: it was told to stop; ``end``: the node
    has ended it, or its window is over; ``refuse``: the node refused it.
    """

    ARM = "arm"
    STOP = "stop"
    END = "end"
    REFUSE = "refuse"


class IllegalTransition(Refused):
    """The state does not admit the event."""

    def __init__(self, state: StrEnum, event: StrEnum) -> None:
        super().__init__(Reason.STATE_NOT_PERMITTED, f"what is {state} admits no {event}")


AUTHORITY_TRANSITIONS: Final[Mapping[AuthorityState, Mapping[AuthorityEvent, AuthorityState]]] = (
    MappingProxyType(
        {
            AuthorityState.REGISTERED: {
                AuthorityEvent.ADMIT: AuthorityState.PROVISIONAL,
                AuthorityEvent.APPROVE: AuthorityState.APPROVED,
                AuthorityEvent.REVOKE: AuthorityState.REVOKED,
                AuthorityEvent.EXPIRE: AuthorityState.EXPIRED,
            },
            AuthorityState.PROVISIONAL: {
                AuthorityEvent.APPROVE: AuthorityState.APPROVED,
                AuthorityEvent.REVOKE: AuthorityState.REVOKED,
                AuthorityEvent.EXPIRE: AuthorityState.EXPIRED,
            },
            AuthorityState.APPROVED: {
                AuthorityEvent.REVOKE: AuthorityState.REVOKED,
                AuthorityEvent.EXPIRE: AuthorityState.EXPIRED,
            },
            AuthorityState.REVOKED: {AuthorityEvent.REVOKE: AuthorityState.REVOKED},
            AuthorityState.EXPIRED: {AuthorityEvent.REVOKE: AuthorityState.REVOKED},
        }
    )
)

CAPTURE_TRANSITIONS: Final[Mapping[CaptureState, Mapping[CaptureEvent, CaptureState]]] = (
    MappingProxyType(
        {
            CaptureState.GRANTED: {
                CaptureEvent.ARM: CaptureState.ARMED,
                CaptureEvent.STOP: CaptureState.STOPPING,
                CaptureEvent.END: CaptureState.ENDED,
                CaptureEvent.REFUSE: CaptureState.REFUSED,
            },
            # A node that restarts arms again, or refuses what no longer verifies.
            CaptureState.ARMED: {
                CaptureEvent.ARM: CaptureState.ARMED,
                CaptureEvent.STOP: CaptureState.STOPPING,
                CaptureEvent.END: CaptureState.ENDED,
                CaptureEvent.REFUSE: CaptureState.REFUSED,
            },
            CaptureState.STOPPING: {
                CaptureEvent.ARM: CaptureState.STOPPING,
                CaptureEvent.STOP: CaptureState.STOPPING,
                CaptureEvent.END: CaptureState.ENDED,
                CaptureEvent.REFUSE: CaptureState.REFUSED,
            },
            CaptureState.ENDED: {
                CaptureEvent.STOP: CaptureState.ENDED,
                CaptureEvent.END: CaptureState.ENDED,
                CaptureEvent.REFUSE: CaptureState.ENDED,
            },
            CaptureState.REFUSED: {
                CaptureEvent.STOP: CaptureState.REFUSED,
                CaptureEvent.END: CaptureState.REFUSED,
                CaptureEvent.REFUSE: CaptureState.REFUSED,
            },
        }
    )
)


@overload
def advance(state: AuthorityState, event: AuthorityEvent) -> AuthorityState: ...


@overload
def advance(state: CaptureState, event: CaptureEvent) -> CaptureState: ...


def advance(
    state: AuthorityState | CaptureState, event: AuthorityEvent | CaptureEvent
) -> AuthorityState | CaptureState:
    """Return the state after the event; raise ``IllegalTransition`` where the table has none."""
    after: AuthorityState | CaptureState | None = None
    if isinstance(state, AuthorityState) and isinstance(event, AuthorityEvent):
        after = AUTHORITY_TRANSITIONS[state].get(event)
    elif isinstance(state, CaptureState) and isinstance(event, CaptureEvent):
        after = CAPTURE_TRANSITIONS[state].get(event)
    if after is None:
        raise IllegalTransition(state, event)
    return after
