"""How a use case says no.

1. `Denied` is a decision: it is in the log before it is raised.
2. `UnknownError` and `MalformedError` are not decisions: nothing was asked that could be decided.
3. No text here holds a subject, a key or content.
"""

from __future__ import annotations

from guard.core.decision import Deny

__all__ = ["Denied", "ErasedMeanwhileError", "MalformedError", "UnknownError"]


class Denied(Exception):  # noqa: N818 - the word of the design
    """The request was denied and the denial is on the record (rule 1)."""

    def __init__(self, deny: Deny) -> None:
        super().__init__(f"{deny.reason}: {deny.sentence}")
        self.deny = deny


class UnknownError(Exception):
    """What was asked for does not exist."""


class MalformedError(Exception):
    """The request cannot be understood, or repeats a request id with another request."""


class ErasedMeanwhileError(Exception):
    """Records were erased that the reading shows, and the reading ends before their erasure."""
