"""Answers recorders that ask before they record: `DecisionService`, on a unix socket of the node.

1. Who may open the socket may ask (`place`); there is no other way in, and nothing of the network.
2. Every answer is handed over for the record before it is given. What cannot be put on record is
   not permitted.
3. What fails inside is a denial, and says nothing of what failed. No question ends the agent.
4. Questions are bounded in size and number; what is over the bound is refused by gRPC.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from grpc import aio

from agents.core.decision import Answered, Deny, Permit, Question, answered
from agents.decisions import translate
from agents.decisions.place import standing
from guard.api.v1 import decision_service_pb2 as pb
from guard.api.v1.decision_service_pb2_grpc import (
    DecisionServiceServicer,
    add_DecisionServiceServicer_to_server,
)
from guard.core.reasons import Reason

__all__ = ["serving"]

MOST_AT_ONCE = 64
_FAREWELL = 0.5
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", 32 << 10),
    ("grpc.max_metadata_size", 4 << 10),
    ("grpc.max_concurrent_streams", MOST_AT_ONCE),
    ("grpc.max_connection_idle_ms", 60_000),
]

Decide = Callable[[Question], Permit | Deny]
OnRecord = Callable[[Answered], None]


@asynccontextmanager
async def serving(socket: Path, decide: Decide, on_record: OnRecord) -> AsyncIterator[None]:
    """Answer as long as the block runs; raises PlaceError when the socket cannot stand there.

    ``decide`` and ``on_record`` are called on the event loop and must not block.
    """
    server = aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MOST_AT_ONCE)
    add_DecisionServiceServicer_to_server(_Desk(decide, on_record), server)
    with standing(socket, server.add_insecure_port):
        await server.start()
        try:
            yield
        finally:
            await server.stop(_FAREWELL)


class _Desk(DecisionServiceServicer):
    def __init__(self, decide: Decide, on_record: OnRecord) -> None:
        self._decide = decide
        self._on_record = on_record
        self._log = structlog.get_logger("callguard.agent")

    async def Check(  # noqa: N802 - gRPC's name
        self,
        request: pb.CheckRequest,
        context: object,  # noqa: ARG002 - gRPC's signature
    ) -> pb.CheckResponse:
        question = translate.from_asker(request)
        try:
            answer = self._decide(question)
        except Exception as error:  # noqa: BLE001 - rule 3
            answer = self._unable("decision_failed", error)
        try:
            self._on_record(answered(question, answer))
        except Exception as error:  # noqa: BLE001 - rules 2 and 3
            answer = self._unable("decision_not_recorded", error)
        return translate.to_asker(answer)

    def _unable(self, event: str, error: Exception) -> Deny:
        self._log.error(event, kind=type(error).__name__)
        return Deny(reason=Reason.NODE_UNABLE, sentence="the node cannot decide now")
