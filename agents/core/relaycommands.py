"""What the rules about the relay ask of their adapter, in the order given.

Call-IDs, tags, addresses and messages are kept out of every repr.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from agents.core.flow import FlowKey
from agents.core.ngcodec import NgDict
from agents.core.nggate import ToAsker, ToRelay

__all__ = [
    "AskRelay",
    "CloseFlows",
    "CloseSinks",
    "OpenFlows",
    "OpenSinks",
    "OperatorTold",
    "RelayCommand",
    "Report",
    "Subscribed",
    "Unsubscribed",
]


@dataclass(frozen=True, slots=True)
class AskRelay:
    """Ask the relay for the agent itself; the answer comes back under the token."""

    question: NgDict = field(repr=False)
    token: Hashable = field(repr=False)


@dataclass(frozen=True, slots=True)
class OpenSinks:
    """Bind this many sinks at a loopback address, each a pair of ports of which one is even."""

    serial: int
    streams: int
    host: str


@dataclass(frozen=True, slots=True)
class CloseSinks:
    """Give the sinks of a subscription up."""

    serial: int


@dataclass(frozen=True, slots=True)
class OpenFlows:
    """Media of this call arrives here, for every grant that wants the call."""

    call_id: bytes = field(repr=False)
    keys: tuple[FlowKey, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CloseFlows:
    """Media of this call arrives here no more."""

    call_id: bytes = field(repr=False)
    keys: tuple[FlowKey, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The relay is about to be asked for a subscription of this tag: it ends with the agent."""

    call_id: bytes = field(repr=False)
    tag: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """The tag is over."""

    call_id: bytes = field(repr=False)
    tag: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Report:
    """Put on record what was tried or found; ``call_id`` None: it is about no one call."""

    what: str
    call_id: bytes | None = field(default=None, repr=False)
    details: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OperatorTold:
    """The relay's answer to an operator's question; None: it gave none."""

    token: Hashable = field(repr=False)
    reply: NgDict | None = field(repr=False)


RelayCommand = (
    AskRelay
    | OperatorTold
    | OpenSinks
    | CloseSinks
    | OpenFlows
    | CloseFlows
    | Subscribed
    | Unsubscribed
    | Report
    | ToAsker
    | ToRelay
)
"""Whatever the rules about the relay return."""
