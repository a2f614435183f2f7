"""Whether a recorder on this node may record a call: permit or deny, from what is armed.

Denied is everything that no rule permits. The rules, in the order of the reasons they give:

1. The question is well formed and says who asks, for this node.
2. What is asked for can be recorded just so: one leg alone cannot, and is not approximated.
3. The question names a call, by Call-ID, by identities or both. What names none is not "all".
4. A grant covers the call: its tracker follows the Call-ID now, the Call-ID is a subject, or an
   identity is a subject's by the rules of `matching`.
5. Such a grant has not run out: lease, grant and trust policy.
6. Such a grant's level is not below what is asked for.

Every grant that passes has its own obligations; they know nothing of each other.

What goes on record about an answer names the call by the digest of its Call-ID alone: identities
are few enough to be guessed from a digest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from agents.core.instant import Instant
from agents.core.matching import Matcher
from agents.core.sip import address
from agents.core.verifier import VerifiedGrant
from guard.core.level import Level
from guard.core.reasons import Reason, Refused

__all__ = [
    "Answered",
    "Cover",
    "Deny",
    "Obligation",
    "Permit",
    "Question",
    "Scope",
    "answered",
    "decide",
]

MAX_CALL_ID = 1024
MAX_IDENTITIES = 16
MAX_IDENTITY = 1024

_RECORDER = re.compile(r"[A-Za-z0-9._@:/-]{1,64}")


class Scope(StrEnum):
    """What of a call is to be recorded."""

    SIGNALLING = "signalling"
    MEDIA_HEADERS = "media_headers"
    WHOLE_CALL = "whole_call"
    ONE_LEG = "one_leg"


_LEVELS = {
    Scope.SIGNALLING: Level.SIGNALLING,
    Scope.MEDIA_HEADERS: Level.MEDIA_HEADERS,
    Scope.WHOLE_CALL: Level.CONTENT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a recorder asks. ``scope`` None: it does not say; ``call_id`` as in a message."""

    recorder: str
    scope: Scope | None
    node: str
    call_id: bytes = field(default=b"", repr=False)
    identities: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """An armed grant: ``deadline`` on the boot clock, ``follows`` whether a Call-ID is of it."""

    grant: VerifiedGrant = field(repr=False)
    deadline: int
    follows: Callable[[str], bool] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligation:
    """What one grant demands of the recording under it."""

    grant_id: str
    until: datetime
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """The call may be recorded at this level; there is at least one obligation."""

    level: Level
    obligations: tuple[Obligation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """The call may not be recorded. ``sentence`` is for people."""

    reason: Reason
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What goes on record: empty texts where the question or the answer has nothing to say."""

    recorder: str
    scope: str
    call: str
    permitted: bool
    reason: str
    grant_ids: tuple[str, ...]

    def details(self) -> dict[str, str]:
        """Return what there is to say, as the details of an incident."""
        said = {
            "who": self.recorder,
            "scope": self.scope,
            "call": self.call,
            "reason": self.reason,
            "grants": ",".join(self.grant_ids),
        }
        return {name: value for name, value in said.items() if value}


def decide(
    question: Question, covers: Iterable[Cover], *, node: str, now: Instant
) -> Permit | Deny:
    """Answer a question put to ``node``; never raises `Refused`."""
    try:
        return _permit(question, covers, node, now)
    except Refused as refused:
        return Deny(reason=refused.reason, sentence=refused.detail)


def answered(question: Question, answer: Permit | Deny) -> Answered:
    """Say what goes on record about an answer."""
    grants = answer.obligations if isinstance(answer, Permit) else ()
    return Answered(
        recorder=question.recorder if _RECORDER.fullmatch(question.recorder) else "",
        scope=question.scope.value if question.scope else "",
        call=hashlib.sha256(question.call_id).hexdigest() if question.call_id else "",
        permitted=isinstance(answer, Permit),
        reason=answer.reason.value if isinstance(answer, Deny) else "",
        grant_ids=tuple(each.grant_id for each in grants),
    )


def _permit(question: Question, covers: Iterable[Cover], node: str, now: Instant) -> Permit:
    level = _level(question, node)
    covering = _named(question, covers)
    if not covering:
        raise Refused(Reason.CALL_NOT_COVERED, "no grant on this node covers the call")
    live = [each for each in covering if each.deadline > now.boot_ns]
    if not live:
        raise Refused(Reason.EXPIRED, "the grant that covered the call has run out")
    enough = [each for each in live if each.grant.level >= level]
    if not enough:
        raise Refused(Reason.LEVEL_NOT_PERMITTED, f"no grant on the call reaches up to {level}")
    return Permit(level=level, obligations=tuple(_obligation(each, now) for each in enough))


def _level(question: Question, node: str) -> Level:
    """Return the level that is asked for (rules 1 and 2)."""
    if not _RECORDER.fullmatch(question.recorder):
        raise Refused(Reason.DOCUMENT_MALFORMED, "the question does not say who would record")
    identities = question.identities
    if (
        len(question.call_id) > MAX_CALL_ID
        or len(identities) > MAX_IDENTITIES
        or any(len(each) > MAX_IDENTITY for each in identities)
    ):
        raise Refused(Reason.DOCUMENT_MALFORMED, "the question names more than a call")
    if question.node != node:
        raise Refused(Reason.NODE_UNKNOWN, f"the question is for another node than {node}")
    if question.scope is None:
        raise Refused(Reason.SCOPE_NOT_PERMITTED, "the question does not say what to record")
    if question.scope not in _LEVELS:
        raise Refused(Reason.SCOPE_NOT_PERMITTED, "one leg cannot be recorded without the other")
    return _LEVELS[question.scope]


def _named(question: Question, covers: Iterable[Cover]) -> list[Cover]:
    """Return the grants that cover the call (rules 3 and 4)."""
    call_id = question.call_id.decode("utf-8", "surrogateescape")  # As `sip` reads it.
    uris = [address(each)[0] for each in question.identities]
    if not call_id and not any(uris):
        raise Refused(Reason.CALL_NOT_COVERED, "the question names no call")
    return [each for each in covers if _is_covered(call_id, uris, each)]


def _is_covered(call_id: str, uris: list[str], cover: Cover) -> bool:
    if call_id and cover.follows(call_id):
        return True
    matcher = Matcher(cover.grant.subjects)
    return bool(call_id and matcher.names_call(call_id)) or any(map(matcher.names, uris))


def _obligation(cover: Cover, now: Instant) -> Obligation:
    return Obligation(
        grant_id=cover.grant.grant.id,
        until=now.wall_of(cover.deadline),
        recipients=cover.grant.authority.recipients,
    )
