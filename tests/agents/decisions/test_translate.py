"""An answer that is not wholly understood is a denial."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from agents.core.decision import Deny, Permit
from agents.decisions.translate import from_node
from guard.api.v1 import decision_service_pb2 as pb
from guard.api.v1.reason_pb2 import Denial
from guard.core.reasons import Reason

WHOLE = {"grant_id": "g", "until": Timestamp(seconds=1), "recipients": ["age1"]}


def permit(level: str = "content", **changes: object) -> pb.CheckResponse:
    kept = {name: value for name, value in (WHOLE | changes).items() if value is not None}
    return pb.CheckResponse(permit=pb.Permit(level=level, obligations=[pb.Obligation(**kept)]))


@pytest.mark.parametrize(
    "response",
    [
        pb.CheckResponse(),
        pb.CheckResponse(permit=pb.Permit(level="content")),
        permit(level=""),
        permit(level="everything"),
        permit(grant_id=""),
        permit(until=None),
        permit(until=Timestamp(seconds=1 << 60)),
        permit(recipients=[]),
    ],
)
def test_half_a_permit_is_none(response: pb.CheckResponse) -> None:
    """Whatever is missing or beyond understanding."""
    assert isinstance(from_node(permit()), Permit)
    answer = from_node(response)
    assert isinstance(answer, Deny)
    assert answer.reason is Reason.NODE_UNABLE


def test_an_unknown_reason_is_still_a_denial() -> None:
    """And its sentence is one line."""
    for number in (0, 9999):
        said = pb.CheckResponse(denial=Denial(reason=number, sentence="two\nlines\x1b"))
        assert from_node(said) == Deny(reason=Reason.NODE_UNABLE, sentence="twolines")
