"""How the command ends, for people and for scripts.

| status | meaning |
|---|---|
| 0 | done |
| 2 | wrong usage (click's own errors too) |
| 3 | denied; standard error says ``denied: REASON: sentence`` |
| 3 | what was verified is not as it must be: ``discrepancy: KIND: sentence`` |
| 4 | the other side cannot be reached |
| 5 | it is too early to tell: ``too early: sentence``, which says from when on it can be told |
| 1 | anything else, in one line |

1. Every error is one line that says what is wrong and what to do next; never a traceback.
2. ``REASON`` is a value of `guard.core.reasons.Reason`, whether the guard said it or this side did.
3. `KIND` names what was found wrong in a log or in the records; the first one found ends the run.
4. No error text carries a subject, a key or content.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from guard.core.discrepancies import Discrepant
from guard.core.reasons import Refused

__all__ = [
    "DeniedError",
    "DiscrepancyError",
    "Failure",
    "TooEarlyError",
    "TroubleError",
    "UnreachableError",
    "UsageTroubleError",
]


class Failure(Exception):  # noqa: N818 - the base of the six ways to fail; each is named for itself
    """The base: one line for standard error and an exit status."""

    status = 1

    @property
    def line(self) -> str:
        """The line for standard error."""
        return f"error: {self}"


class TroubleError(Failure):
    """Anything that is neither usage, nor a denial, nor an unreachable guard."""


class UsageTroubleError(Failure):
    """A file or option that the user must correct."""

    status = 2


class UnreachableError(Failure):
    """The guard did not answer."""

    status = 4


class TooEarlyError(Failure):
    """What was asked cannot be told before a moment that the sentence names."""

    status = 5

    @property
    def line(self) -> str:
        """The line for standard error."""
        return f"too early: {self}"


class DeniedError(Failure):
    """The guard said no, or would: `reason` is the value of a `Reason` (rule 2)."""

    status = 3

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason

    @property
    def line(self) -> str:
        """The line for standard error."""
        return f"denied: {self.reason}: {self}"


class DiscrepancyError(Failure):
    """What was verified contradicts itself or its signatures; `kind` names how (rule 3)."""

    status = 3

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind

    @property
    def line(self) -> str:
        """The line for standard error."""
        return f"discrepancy: {self.kind}: {self}"


@contextmanager
def asking() -> Iterator[None]:
    """Within: what this person asks for. A refusal by the rules is what the guard would say too."""
    try:
        yield
    except Refused as refused:
        raise DeniedError(refused.reason.value, refused.detail) from refused


@contextmanager
def checking(what: str) -> Iterator[None]:
    """Within: what somebody sent us. A refusal by the rules means that it is not to be trusted."""
    try:
        yield
    except Refused as refused:
        raise TroubleError(
            f"{what} is not to be trusted: {refused.reason.value}: {refused.detail}"
        ) from refused


@contextmanager
def auditing() -> Iterator[None]:
    """Within: what is verified. What contradicts itself ends the run (rule 3)."""
    try:
        yield
    except Discrepant as found:
        raise DiscrepancyError(found.kind.value, found.sentence) from found
