"""The chain of a node's receipts: none can be taken out, put in or changed unseen.

1. Receipts are numbered without a gap, and each holds the digest of the envelope before it.
2. A receipt is sent, oldest first and again after every reconnect, until the guard says that it
   is in the log. The guard takes one it has already as accepted.
3. The newest receipt is kept even when it was accepted: the next one holds its digest. After a
   restart it may therefore be sent once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from guard.core import envelope
from guard.core.nodehealth import NodeHealth
from guard.core.receipt import FIRST_PREVIOUS, Receipt, ReceiptKind

__all__ = ["Chain", "Draft", "Link"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a receipt will say, before it is numbered and signed.

    ``grant_id`` None: an incident, or a heartbeat, which names the ``armed`` grants and tells the
    node's ``health``.
    """

    kind: ReceiptKind
    time: datetime
    grant_id: str | None
    details: Mapping[str, str | int] = field(default_factory=dict)
    armed: tuple[str, ...] = ()
    health: NodeHealth | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A signed receipt and its number."""

    sequence: int
    envelope: bytes = field(repr=False)


class Chain:
    """Where the chain stands, and what of it the guard has not accepted."""

    def __init__(self, node: str, *, sequence: int = 0, previous: str = FIRST_PREVIOUS) -> None:
        self._node = node
        self._sequence = sequence
        self._previous = previous
        self._unaccepted: list[Link] = []

    @classmethod
    def restore(cls, node: str, links: list[Link]) -> Chain:
        """Take up the chain from the kept links, oldest first (rules 2 and 3)."""
        if not links:
            return cls(node)
        newest = links[-1]
        chain = cls(node, sequence=newest.sequence, previous=envelope.digest(newest.envelope))
        chain._unaccepted = list(links)
        return chain

    @property
    def sequence(self) -> int:
        """The number of the newest receipt; 0 for none."""
        return self._sequence

    @property
    def unaccepted(self) -> tuple[Link, ...]:
        """What to send, oldest first (rule 2)."""
        return tuple(self._unaccepted)

    def next(self, draft: Draft) -> Receipt:
        """Return the receipt to sign for a draft; nothing is chained until `add`."""
        return Receipt(
            node=self._node,
            sequence=self._sequence + 1,
            previous=self._previous,
            kind=draft.kind,
            time=draft.time,
            grant_id=draft.grant_id,
            details=draft.details,
            armed=draft.armed,
            health=draft.health,
        )

    def add(self, signed: bytes) -> Link:
        """Chain the envelope of the receipt that `next` returned."""
        link = Link(sequence=self._sequence + 1, envelope=signed)
        self._sequence = link.sequence
        self._previous = envelope.digest(signed)
        self._unaccepted.append(link)
        return link

    def accepted(self, sequence: int) -> None:
        """Drop what the guard has in its log: everything up to this number."""
        self._unaccepted = [link for link in self._unaccepted if link.sequence > sequence]
