"""The socket that operators ask the media relay at."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agents.config import Endpoint, RelayConfig
from agents.core.events import RelayReport
from agents.core.ngcodec import Encoding, NgDict, encode
from agents.recorder.gate import Gate
from agents.recorder.operators import NAME, OperatorError, ask, serving

CONFIG = RelayConfig(
    listen=(),
    control=Endpoint("udp", "127.0.0.1", 2223),
    closed_ports=(),
    json=False,
    through=True,
    recording_folders=(),
)


class UpstreamStandIn:
    """Takes what would go to the relay."""

    def __init__(self, happened: list[object]) -> None:
        self.happened = happened
        self.sent = asyncio.Event()
        self.data = b""

    def send(self, data: bytes) -> None:
        self.data = data
        self.happened.append("sent")
        self.sent.set()


class RelayStandIn:
    """Answers like a relay; remembers what it was asked, and by whom."""

    def __init__(self) -> None:
        self.asked: list[tuple[NgDict, str]] = []
        self.reply: NgDict | None = {b"result": b"ok", b"calls": [b"one", b"two"]}

    async def __call__(self, question: NgDict, who: str) -> NgDict | None:
        self.asked.append((question, who))
        return self.reply


@pytest_asyncio.fixture
async def relay(tmp_path: Path) -> AsyncIterator[RelayStandIn]:
    stand_in = RelayStandIn()
    async with serving(tmp_path, stand_in):
        yield stand_in


async def test_an_answer_and_who_asked(relay: RelayStandIn, tmp_path: Path) -> None:
    """The relay's answer comes back as JSON; the question carries the user who asked."""
    told = await asyncio.to_thread(ask, tmp_path, "list")

    assert told == {"result": "ok", "calls": ["one", "two"]}
    assert relay.asked == [({b"command": b"list", b"limit": b"1000"}, f"uid {os.geteuid()}")]
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


async def test_a_call_is_named_exactly(relay: RelayStandIn, tmp_path: Path) -> None:
    """A query names its call and carries nothing else."""
    await asyncio.to_thread(ask, tmp_path, "query", "a call@host")

    assert relay.asked[0][0] == {b"command": b"query", b"call-id": b"a call@host"}


@pytest.mark.parametrize("verb", ["start recording", "cli", "delete", ""])
async def test_nothing_else_is_asked(relay: RelayStandIn, tmp_path: Path, verb: str) -> None:
    """What is none of the three questions does not reach the relay."""
    told = await asyncio.to_thread(ask, tmp_path, verb)

    assert told["result"] == "error"
    assert relay.asked == []


@pytest.mark.parametrize("line", [b"{}\n", b"list\n", b'{"command":"query"}\n', b"\xff\n"])
async def test_what_is_no_question_is_an_error(
    relay: RelayStandIn, tmp_path: Path, line: bytes
) -> None:
    """A line that cannot be read, or names no call to query, is answered with an error."""

    def say() -> bytes:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(tmp_path / NAME))
            asking.sendall(line)
            return asking.recv(65536)

    assert b'"result": "error"' in await asyncio.to_thread(say)
    assert relay.asked == []


async def test_a_question_that_is_too_long_is_an_error(relay: RelayStandIn, tmp_path: Path) -> None:
    """It is answered, not dropped, and the relay does not get it."""
    told = await asyncio.to_thread(ask, tmp_path, "query", "c" * 5000)

    assert told["result"] == "error"
    assert relay.asked == []


async def test_a_relay_that_does_not_answer(relay: RelayStandIn, tmp_path: Path) -> None:
    """It is said so, and is no answer of the relay's."""
    relay.reply = None
    with pytest.raises(OperatorError, match="the media relay does not answer"):
        await asyncio.to_thread(ask, tmp_path, "statistics")


async def test_the_relays_own_error_comes_back(relay: RelayStandIn, tmp_path: Path) -> None:
    """Word for word."""
    relay.reply = {b"result": b"error", b"error-reason": b"Unknown call-id"}
    told = await asyncio.to_thread(ask, tmp_path, "query", "c")

    assert told == {"result": "error", "error-reason": "Unknown call-id"}


async def test_who_asked_goes_on_record_before_the_relay_is_asked() -> None:
    """Verb, call and user, as the node is told them; the answer hides the agent's own tags."""
    happened: list[object] = []
    gate = Gate(
        CONFIG, now=lambda: 0, deliver=happened.append, packets=lambda _: 0, fail=happened.append
    )
    upstream = UpstreamStandIn(happened)
    gate._upstream = upstream
    asking = asyncio.ensure_future(
        gate.operator({b"command": b"query", b"call-id": b"c"}, "uid 1234")
    )
    await upstream.sent.wait()
    cookie = upstream.data.partition(b" ")[0]
    own = gate._relay._mark + b"-1"
    tags: NgDict = {b"a": {b"subscribers": [{b"tag": own, b"type": b"pub/sub"}]}, own: {}}
    reply: NgDict = {b"result": b"ok", b"tags": tags}
    gate._answered(cookie + b" " + encode(reply, Encoding.BENCODE))

    details = {"verb": "query", "who": "uid 1234"}
    assert happened == [RelayReport(what="operator_asked", call_id="c", details=details), "sent"]
    assert await asking == {b"result": b"ok", b"tags": {b"a": {b"subscribers": []}}}
    gate._timer.cancel()


async def test_an_answer_that_is_no_text(relay: RelayStandIn, tmp_path: Path) -> None:
    """Octets that JSON cannot hold are not passed off as something else."""
    relay.reply = {b"result": b"ok", b"calls": [b"\xff"]}
    told = await asyncio.to_thread(ask, tmp_path, "list")

    assert told["result"] == "error"


def test_no_agent(tmp_path: Path) -> None:
    """Where no agent runs, or none with a relay, the error says so."""
    with pytest.raises(OperatorError, match="no agent with a media relay answers"):
        ask(tmp_path, "list")


async def test_a_socket_that_was_left_is_replaced(tmp_path: Path) -> None:
    """A killed agent's socket is no obstacle, and none is left behind."""
    (tmp_path / NAME).touch()
    async with serving(tmp_path, RelayStandIn()):
        assert (await asyncio.to_thread(ask, tmp_path, "list"))["result"] == "ok"
    assert not (tmp_path / NAME).exists()
