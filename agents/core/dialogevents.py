"""What the dialog tracker asks for. Call-IDs, addresses and frames are kept out of every repr."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from agents.core.flow import FlowKey
from agents.core.sdp import SdpFinding


class CallFinding(StrEnum):
    """Why a call, or a part of it, is not followed."""

    TOO_MANY_CALLS = "too_many_calls"
    TOO_MANY_ADDRESSES = "too_many_addresses"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSeen:
    """A call of a subject has appeared."""

    call_id: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchCall:
    """Messages of this call are wanted even where they name no subject."""

    call_id: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFlow:
    """Media of this call may go to this address. Other calls may open the same one."""

    key: FlowKey = field(repr=False)
    call_id: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseFlow:
    """Media of this call goes there no more. Other calls may still hold the address."""

    key: FlowKey = field(repr=False)
    call_id: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded:
    """The call is over and its addresses are closed."""

    call_id: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnwatchCall:
    """Messages of this call that name no subject are no longer wanted."""

    call_id: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFollowed:
    """Something of this call is not followed; `finding` is a word for receipts and logs."""

    call_id: str = field(repr=False)
    finding: SdpFinding | CallFinding


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """The message belongs to the grant; `frame` is what may be written at its level."""

    frame: bytes = field(repr=False)


DialogEvent = (
    CallSeen | WatchCall | OpenFlow | CloseFlow | CallEnded | UnwatchCall | NotFollowed | Write
)
"""Whatever `DialogTracker.handle` and `expire` return."""
