"""Between the contract's messages and the rules' questions and answers.

1. Nothing of a question is believed or refused here: what the contract does not know becomes
   "does not say", and the rules deny that.
2. An answer that is not wholly understood is a denial: an obligation overlooked is one not kept.
"""

from __future__ import annotations

from datetime import UTC

from google.protobuf.timestamp_pb2 import Timestamp

from agents.core.decision import Deny, Obligation, Permit, Question, Scope
from guard.api.v1 import decision_service_pb2 as pb
from guard.api.v1.reason_pb2 import Denial
from guard.api.v1.reason_pb2 import Reason as WireReason
from guard.core.level import Level
from guard.core.reasons import Reason

__all__ = ["from_asker", "from_node", "to_asker", "to_node"]

_SCOPES = {pb.RecordingScope.Value(f"RECORDING_SCOPE_{each.name}"): each for each in Scope}
_WIRE_SCOPES = {scope: wire for wire, scope in _SCOPES.items()}


def from_asker(request: pb.CheckRequest) -> Question:
    """Read a question (rule 1)."""
    return Question(
        recorder=request.recorder,
        scope=_SCOPES.get(request.scope),
        node=request.node,
        call_id=request.call_id,
        identities=tuple(request.identities),
    )


def to_asker(answer: Permit | Deny) -> pb.CheckResponse:
    """Write an answer."""
    if isinstance(answer, Deny):
        reason = WireReason.Value(f"REASON_{answer.reason.name}")
        return pb.CheckResponse(denial=Denial(reason=reason, sentence=answer.sentence))
    obligations = [_obligation(each) for each in answer.obligations]
    return pb.CheckResponse(permit=pb.Permit(level=answer.level.value, obligations=obligations))


def _obligation(obligation: Obligation) -> pb.Obligation:
    until = Timestamp()
    until.FromDatetime(obligation.until)
    return pb.Obligation(
        grant_id=obligation.grant_id, until=until, recipients=obligation.recipients
    )


def to_node(question: Question) -> pb.CheckRequest:
    """Write a question."""
    unsaid = pb.RECORDING_SCOPE_UNSPECIFIED
    return pb.CheckRequest(
        recorder=question.recorder,
        scope=_WIRE_SCOPES[question.scope] if question.scope else unsaid,
        node=question.node,
        call_id=question.call_id,
        identities=question.identities,
    )


def from_node(response: pb.CheckResponse) -> Permit | Deny:
    """Read an answer (rule 2)."""
    if response.WhichOneof("outcome") == "denial":
        return Deny(reason=_reason(response.denial), sentence=_line(response.denial.sentence))
    try:
        permit = Permit(
            level=Level(response.permit.level),
            obligations=tuple(map(_kept, response.permit.obligations)),
        )
    except (ValueError, OverflowError):
        return _NOT_UNDERSTOOD
    return permit if permit.obligations else _NOT_UNDERSTOOD


def _kept(obligation: pb.Obligation) -> Obligation:
    recipients = tuple(obligation.recipients)
    if not recipients or not obligation.grant_id or not obligation.HasField("until"):
        raise ValueError("an obligation that does not say what it demands")
    until = obligation.until.ToDatetime(UTC)
    return Obligation(grant_id=obligation.grant_id, until=until, recipients=recipients)


def _reason(denial: Denial) -> Reason:
    try:
        return Reason[WireReason.Name(denial.reason).removeprefix("REASON_")]
    except (ValueError, KeyError):
        return _NOT_UNDERSTOOD.reason


def _line(text: str) -> str:
    return "".join(each for each in text if each.isprintable())[:200]


_NOT_UNDERSTOOD = Deny(reason=Reason.NODE_UNABLE, sentence="the node's answer is not understood")
