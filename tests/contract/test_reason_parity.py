"""The contract's words and the rules' words are the same."""

from __future__ import annotations

from enum import StrEnum

import pytest
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from agents.core.decision import Scope
from guard.api.v1 import (
    authority_service_pb2,
    capture_service_pb2,
    decision_service_pb2,
    reason_pb2,
)
from guard.core.lifecycle import AuthorityState, CaptureState
from guard.core.reasons import Reason


@pytest.mark.parametrize(
    ("wire", "words", "prefix"),
    [
        (reason_pb2.Reason, Reason, "REASON_"),
        (authority_service_pb2.AuthorityState, AuthorityState, "AUTHORITY_STATE_"),
        (capture_service_pb2.CaptureState, CaptureState, "CAPTURE_STATE_"),
        (decision_service_pb2.RecordingScope, Scope, "RECORDING_SCOPE_"),
    ],
)
def test_the_contract_names_what_the_rules_name(
    wire: EnumTypeWrapper, words: type[StrEnum], prefix: str
) -> None:
    """Every member is on both sides under one name, and the wire's zero means nothing."""
    names = {name.removeprefix(prefix) for name in wire.keys()}  # noqa: SIM118 - no mapping
    assert names == {word.name for word in words} | {"UNSPECIFIED"}
    assert wire.Value(f"{prefix}UNSPECIFIED") == 0
    assert all(word.value == word.name.lower() for word in words)
