"""Reasons: one vocabulary for the rules and the contract."""

from __future__ import annotations

import pickle

from guard.api.v1 import reason_pb2
from guard.core.reasons import Reason, Refused


def test_names_equal_the_contracts() -> None:
    """The reasons in the rules and in the contract are the same, name by name."""
    contract = {name.removeprefix("REASON_") for name, _ in reason_pb2.Reason.items()}
    assert contract - {"UNSPECIFIED"} == {reason.name for reason in Reason}


def test_values_are_the_names() -> None:
    """What is printed is the name in lower case."""
    assert all(reason.value == reason.name.lower() for reason in Reason)


def test_a_refusal_says_why() -> None:
    """A refusal prints reason and detail, and survives the way between processes."""
    refused = Refused(Reason.EXPIRED, "the window ended")
    assert str(refused) == "expired: the window ended"
    copy = pickle.loads(pickle.dumps(refused))
    assert (copy.reason, copy.detail) == (Reason.EXPIRED, "the window ended")
