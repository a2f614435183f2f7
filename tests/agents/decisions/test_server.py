"""The socket that recorders ask at: who may, what comes back, what goes on record."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket as sockets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from grpc import aio

from agents.core.decision import Answered, Deny, Obligation, Permit, Question, Scope
from agents.decisions.client import NobodyAnswersError, ask
from agents.decisions.place import PlaceError
from agents.decisions.server import serving
from guard.api.v1 import decision_service_pb2 as pb
from guard.api.v1.decision_service_pb2_grpc import DecisionServiceStub
from guard.core.level import Level
from guard.core.reasons import Reason

QUESTION = Question(
    recorder="asterisk",
    scope=Scope.WHOLE_CALL,
    node="node-1",
    call_id=b"call-\xff-1",
    identities=("sip:alice@example.com", "tel:+4989999000"),
)
PERMIT = Permit(
    level=Level.CONTENT,
    obligations=(
        Obligation(
            grant_id="3b0d8c9a-5e2f-4d1b-8f6e-2a7c1d9e0f43",
            until=datetime(2026, 11, 23, 22, 0, 30, 500_000, tzinfo=UTC),
            recipients=("age1one", "age1two"),
        ),
    ),
)
DENY = Deny(reason=Reason.CALL_NOT_COVERED, sentence="no grant on this node covers the call")


class Agent:
    """What the rest of the agent does: it answers, and keeps the record."""

    def __init__(self, answer: Permit | Deny = PERMIT) -> None:
        self.answer = answer
        self.asked: list[Question] = []
        self.record: list[Answered] = []

    def decide(self, question: Question) -> Permit | Deny:
        self.asked.append(question)
        return self.answer


async def asked(path: Path, question: Question = QUESTION) -> Permit | Deny:
    return await asyncio.to_thread(ask, path, question, patience=10)


@pytest.mark.parametrize("answer", [PERMIT, DENY])
async def test_question_and_answer_arrive_as_they_were_and_are_on_record(
    tmp_path: Path, answer: Permit | Deny
):
    """Octet by octet, to the microsecond; one record for each answer."""
    agent, path = Agent(answer), tmp_path / "d" / "s"
    async with serving(path, agent.decide, agent.record.append):
        assert await asked(path) == answer

    assert agent.asked == [QUESTION]
    (record,) = agent.record
    assert record.call == hashlib.sha256(QUESTION.call_id).hexdigest()
    assert record.permitted is isinstance(answer, Permit)
    assert record.reason == ("" if answer is PERMIT else "call_not_covered")


async def test_the_folder_and_the_socket_admit_their_group_alone(tmp_path: Path):
    """Whatever the umask; and the socket is gone with the agent, however often it comes back."""
    agent, path = Agent(), tmp_path / ("long-" * 30) / "decisions.sock"
    before = os.umask(0)
    try:
        for _ in range(3):
            async with serving(path, agent.decide, agent.record.append):
                assert path.parent.stat().st_mode & 0o7777 == 0o750
                assert path.stat().st_mode & 0o7777 == 0o660
                assert await asked(path) == PERMIT
            assert not path.exists()
    finally:
        assert os.umask(before) == 0


@pytest.mark.privileged
async def test_the_socket_has_its_folders_group(tmp_path: Path):
    """The folder's group is the one setting of who may ask."""
    folder = tmp_path / "d"
    folder.mkdir(mode=0o750)
    os.chown(folder, -1, 4242)
    agent = Agent()
    async with serving(folder / "s", agent.decide, agent.record.append):
        assert (folder / "s").stat().st_gid == 4242


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o751])
def test_a_folder_open_to_more_than_its_group_is_refused(tmp_path: Path, mode: int):
    """Nobody but the agent makes sockets there, and only the group may enter."""
    tmp_path.chmod(mode)
    with pytest.raises(PlaceError, match="give it mode 0750"):
        asyncio.run(once(tmp_path / "s"))


@pytest.mark.privileged
async def test_a_folder_of_another_user_is_refused(tmp_path: Path):
    """Its owner could put another socket in place of ours."""
    os.chown(tmp_path, 4242, -1)
    with pytest.raises(PlaceError, match="another user"):
        await once(tmp_path / "s")


async def test_a_socket_left_behind_is_replaced_and_nothing_else_is(tmp_path: Path):
    """A killed agent does not keep the next one from starting; a file is not ours to remove."""
    with sockets.socket(sockets.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    await once(tmp_path / "s")

    (tmp_path / "file").write_text("mine")
    with pytest.raises(PlaceError, match="is no socket"):
        await once(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(PlaceError, match="No such file"):
        await once(tmp_path / "missing" / "twice" / "s")


async def test_what_fails_while_it_runs_is_not_the_sockets_fault(tmp_path: Path):
    """An error of the block comes out as it was."""
    with pytest.raises(OSError, match="disk"):
        async with serving(tmp_path / "d" / "s", Agent().decide, print):
            raise OSError("disk")


async def once(path: Path) -> None:
    agent = Agent()
    async with serving(path, agent.decide, agent.record.append):
        assert await asked(path) == PERMIT


def broken(_: object) -> Permit | Deny:
    raise ValueError("a secret")


@pytest.mark.parametrize("failing", ["decide", "on_record"])
async def test_what_fails_inside_is_a_denial_that_tells_nothing(tmp_path: Path, failing: str):
    """A permit that cannot be put on record is none; what failed is not said; others still ask."""
    agent, path = Agent(), tmp_path / "d" / "s"
    decide: Callable[[Question], Permit | Deny] = broken if failing == "decide" else agent.decide
    record: Callable[[Answered], object] = broken if failing == "on_record" else agent.record.append
    async with serving(path, decide, record):
        for _ in range(2):
            answer = await asked(path)
            assert isinstance(answer, Deny)
            assert answer.reason is Reason.NODE_UNABLE
            assert "secret" not in answer.sentence
    if failing == "decide":
        assert [each.reason for each in agent.record] == ["node_unable"] * 2


@pytest.fixture
async def stub(tmp_path: Path):
    """Yield a stub at an agent that would permit everything, and the agent."""
    agent, path = Agent(), tmp_path / "d" / "s"
    async with (
        serving(path, agent.decide, agent.record.append),
        aio.insecure_channel(f"unix:{path}") as channel,
    ):
        yield DecisionServiceStub(channel), agent


async def test_a_question_of_any_size_is_bounded(stub):
    """Too large a message never becomes a question."""
    desk, agent = stub
    with pytest.raises(aio.AioRpcError) as caught:
        await desk.Check(pb.CheckRequest(call_id=b"x" * (1 << 20)), timeout=10)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not agent.asked
    assert not agent.record


async def test_what_is_not_said_is_handed_on_as_not_said(stub):
    """No scope, an unknown one: the rules deny both, and see them as the same."""
    desk, agent = stub
    for scope in (0, 99):
        await desk.Check(pb.CheckRequest(scope=scope), timeout=10)
    assert [each.scope for each in agent.asked] == [None, None]


async def test_many_may_ask_at_once(stub):
    """Every one of them gets an answer or a refusal, and none hangs."""
    desk, agent = stub

    async def one() -> str:
        try:
            return str((await desk.Check(pb.CheckRequest(), timeout=30)).WhichOneof("outcome"))
        except aio.AioRpcError as error:
            return error.code().name

    ends = await asyncio.gather(*(one() for _ in range(500)))
    assert set(ends) <= {"permit", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
    assert ends.count("permit") == len(agent.record) > 0


async def test_an_identity_that_is_too_much_is_the_rules_business(tmp_path: Path):
    """What is long but within the bound of a message arrives whole."""
    agent, path = Agent(DENY), tmp_path / "d" / "s"
    question = replace(QUESTION, identities=("x" * 1025,) * 17)
    async with serving(path, agent.decide, agent.record.append):
        assert await asked(path, question) == DENY
    assert agent.asked == [question]


def test_nobody_there_is_no_permit(tmp_path: Path):
    """No folder, no socket, nobody behind it."""
    with pytest.raises(NobodyAnswersError, match="No such file"):
        ask(tmp_path / "missing" / "s", QUESTION)
    with pytest.raises(NobodyAnswersError, match="unavailable"):
        ask(tmp_path / "s", QUESTION)


def test_an_agent_that_does_not_answer_is_not_awaited(tmp_path: Path):
    """Whoever asks has a call to set up."""
    with sockets.socket(sockets.AF_UNIX) as frozen:
        frozen.bind(str(tmp_path / "s"))
        frozen.listen()
        with pytest.raises(NobodyAnswersError, match=r"deadline_exceeded|unavailable"):
            ask(tmp_path / "s", QUESTION, patience=0.2)
