"""Asks the node's agent whether a call may be recorded, and waits for the answer.

1. An answer that does not come in time is not awaited: whoever asks has a call to set up.
2. No answer is never a permit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc

from agents.core.decision import Deny, Permit, Question
from agents.decisions import translate
from agents.decisions.place import folder_of
from guard.api.v1.decision_service_pb2_grpc import DecisionServiceStub

__all__ = ["PATIENCE", "NobodyAnswersError", "ask"]

PATIENCE = 2.0
"""In seconds."""

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 64 << 10),
]


class NobodyAnswersError(Exception):
    """There is no agent, it may not be asked, or it did not answer in time."""


def ask(socket: Path, question: Question, *, patience: float = PATIENCE) -> Permit | Deny:
    """Put a question; raises NobodyAnswersError."""
    try:
        with (
            folder_of(socket) as (_, address),
            grpc.insecure_channel(address, options=_OPTIONS) as channel,
        ):
            stub = DecisionServiceStub(channel)
            response = stub.Check(translate.to_node(question), timeout=patience)
    except OSError as error:
        raise NobodyAnswersError(f"no agent answers at {socket}: {error.strerror}") from error
    except grpc.RpcError as error:
        code = error.code().name.lower()
        raise NobodyAnswersError(f"no agent answers at {socket}: {code}") from error
    return translate.from_node(response)
