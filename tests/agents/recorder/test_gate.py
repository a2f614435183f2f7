"""The whole gate over real sockets: clients, relay, dead man's switch; only the fence stands in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from agents.config import Endpoint
from agents.core.events import Event, RelayReport
from agents.core.ngcodec import Encoding, decode
from agents.core.ngframes import Frames
from agents.recorder import operators
from agents.recorder.deadman import DeadManGone
from agents.recorder.fence import FenceError
from agents.recorder.gate import Gate, GateError
from tests.agents.recorder.gatehouse import FenceStandIn, House, free_port, written
from tests.sim.relay_server import SDP, RelayServer, with_calls


@pytest.fixture(autouse=True)
def fences(monkeypatch: pytest.MonkeyPatch) -> list[FenceStandIn]:
    """Let gates put up a fence that keeps nobody away; return those that were made."""
    monkeypatch.setattr(FenceStandIn, "made", [], raising=False)
    monkeypatch.setattr("agents.recorder.gate.Fence", FenceStandIn)
    return FenceStandIn.made


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[RelayServer]:
    with RelayServer() as made:
        yield made


@pytest.fixture
def house(relay: RelayServer) -> House:
    return House(relay.port)


@contextlib.contextmanager
def relay_process(port: int, *calls: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.sim.relay_server", str(port), *calls]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def ended(house: House, do: Callable[[Gate], None]) -> BaseException:
    """Run a gate to its end, which comes from what is done; return why it ended."""
    why: BaseException = AssertionError("it has no end")
    try:
        async with house.running() as gate:
            do(gate)
            await asyncio.Event().wait()
    except BaseExceptionGroup as group:
        why = group
    while isinstance(why, BaseExceptionGroup):
        (why,) = why.exceptions
    return why


# --- call set-up


async def test_calls_are_set_up_and_ended(house: House, relay: RelayServer) -> None:
    """The relay's own answers, from one address, in bencode."""
    async with house.running() as gate:
        with house.proxy() as proxy:
            await proxy.call(b"call")
            assert relay.relay.parties(b"call") == {"a", "b"}
            ended = await proxy.ask(command=b"delete", call_id=b"call", from_tag=b"a")
            assert ended[b"result"] == b"ok"
        assert {client for _, client in relay.asked} == {gate._upstream.source}
    assert relay.commands() == [b"offer", b"answer", b"delete"]
    assert house.failures == []


async def test_json_comes_back_as_json(relay: RelayServer) -> None:
    """While the relay hears bencode."""
    house = House(relay.port, json=True)
    async with house.running():
        with house.proxy() as proxy:
            assert (await proxy.ask(command=b"ping")) == {b"result": b"pong"}
            proxy.send(b"c d7:command4:pinge")
            assert b'"error"' in await proxy.hear()


async def test_every_way_in(relay: RelayServer) -> None:
    """UDP, TCP, HTTP and WebSocket to one relay, at once."""
    udp, tcp, http = free_port(), free_port(socket.SOCK_STREAM), free_port(socket.SOCK_STREAM)
    house = House(
        relay.port,
        (
            Endpoint("udp", "127.0.0.1", udp),
            Endpoint("tcp", "127.0.0.1", tcp),
            Endpoint("http", "127.0.0.1", http),
        ),
    )
    question = written(b"c", {"command": b"ping"})
    async with house.running(), aiohttp.ClientSession() as session:
        with house.proxy() as proxy:
            assert (await proxy.ask(command=b"ping"))[b"result"] == b"pong"
        reader, writer = await asyncio.open_connection("127.0.0.1", tcp)
        writer.write(question)
        assert await reader.readuntil(b"e") == b"c d6:re"
        writer.close()
        headers = {"Content-Type": "application/x-rtpengine-ng"}
        url = f"http://127.0.0.1:{http}/ng"
        async with session.post(url, data=question, headers=headers) as answer:
            assert await answer.read() == b"c d6:result4:ponge"
        async with session.ws_connect(url, protocols=("ng.rtpengine.com",)) as web:
            await web.send_bytes(question)
            assert await web.receive_bytes() == b"c d6:result4:ponge"
        async with session.get(f"http://127.0.0.1:{http}/cli/list+sessions") as answer:
            assert answer.status == 403
        (report,) = house.reports("message_refused")
        assert str(report.details["who"]).startswith("tcp 127.0.0.1:")
        assert str(report.details["who"]).endswith(f" uid {os.geteuid()}")


@pytest.mark.parametrize("size", [1, 5, 100, 1 << 20])
async def test_however_a_clients_stream_is_cut(relay: RelayServer, size: int) -> None:
    """Over TCP, split and merged reads set up the same calls as whole ones."""
    port = free_port(socket.SOCK_STREAM)
    house = House(relay.port, (Endpoint("tcp", "127.0.0.1", port),))
    calls = [b"call-%d" % number for number in range(20)]
    stream = b"".join(
        written(
            b"%d" % number, {"command": b"offer", "call_id": call, "from_tag": b"a", "sdp": SDP}
        )
        for number, call in enumerate(calls)
    )
    async with house.running():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        frames, answers = Frames(), []
        for at in range(0, len(stream), size):
            writer.write(stream[at : at + size])
            await asyncio.sleep(0)
        while len(answers) < len(calls):
            answers += list(frames.feed(await reader.read(65536)))
        writer.close()
    assert list(relay.relay.calls) == calls
    assert sorted(int(each.partition(b" ")[0]) for each in answers) == list(range(20))
    assert all(decode(each.partition(b" ")[2], Encoding.BENCODE)[b"sdp"] for each in answers)


async def test_a_flood_of_garbage_does_not_keep_a_client_waiting(
    house: House, relay: RelayServer
) -> None:
    """From another socket, without end; it reaches no relay, and the record stays in bounds."""
    async with house.running():
        with house.proxy() as proxy, house.proxy() as flood:
            await proxy.ask(command=b"ping")
            over = asyncio.Event()

            async def pour() -> None:
                number = 0
                while not over.is_set():
                    for _ in range(100):
                        number += 1
                        flood.send(b"%d garbage" % number)
                    await asyncio.sleep(0)

            pouring = asyncio.ensure_future(pour())
            for number in range(100):
                await proxy.call(b"call-%d" % number)
            over.set()
            await pouring
    assert len(relay.relay.calls) == 100
    assert set(relay.commands()) == {b"offer", b"answer"}
    assert house.failures == []


async def test_two_clients_do_not_share_cookies(house: House, relay: RelayServer) -> None:
    """The same cookie is another question when another asks it."""
    async with house.running():
        with house.proxy() as one, house.proxy() as other:
            for proxy, call in ((one, b"one"), (other, b"other")):
                assert (await proxy.offer(call))[b"result"] == b"ok"
            # A retransmission is answered, and reaches nobody.
            asked = len(relay.commands())
            again = written(
                b"1", {"command": b"offer", "call_id": b"one", "from_tag": b"a", "sdp": SDP}
            )
            one.send(again)
            assert b"2:ok" in await one.hear()
    assert len(relay.commands()) == asked
    assert set(relay.relay.calls) == {b"one", b"other"}


# --- what is refused


async def test_a_recording_is_refused_and_the_call_goes_on(
    house: House, relay: RelayServer
) -> None:
    """On record with verb, call and user; the relay hears nothing of it."""
    async with house.running():
        with house.proxy() as proxy:
            await proxy.call(b"call")
            refused = await proxy.ask(command=b"start recording", call_id=b"call")
            assert refused[b"result"] == b"error"
            trimmed = await proxy.ask(
                command=b"offer", call_id=b"call", from_tag=b"a", sdp=SDP, record_call=b"yes"
            )
            assert trimmed[b"result"] == b"ok"
            port = proxy.socket.getsockname()[1]
    who = f"udp 127.0.0.1:{port} uid {os.geteuid()}"
    one, other = house.reports("recording_refused", "recording_trimmed")
    assert (one.call_id, one.details["verb"], one.details["who"]) == (
        "call", "start recording", who
    )  # fmt: skip
    assert (other.call_id, other.details["name"]) == ("call", "record-call")
    assert not relay.relay.calls[b"call"].recording


async def test_only_some_askers_are_looked_up(house: House) -> None:
    """A look through the kernel's sockets takes its time: a flood does not buy many."""
    async with house.running() as gate:
        with house.proxy() as proxy:
            gate._names = 2
            for _ in range(3):
                await proxy.ask(command=b"start recording", call_id=b"call")
    named = [" uid " in str(each.details["who"]) for each in house.reports("recording_refused")]
    assert named == [True, True, False]


# --- recording


async def test_a_grants_call_is_recorded_until_it_is_released(
    house: House, relay: RelayServer
) -> None:
    """The sinks are bound and armed before the relay is told to send; all of it is given back."""
    async with house.running() as gate:
        gate.record("call", "grant")
        with house.proxy() as proxy:
            await proxy.call(b"call")  # The answer was held until the recording stood.
            ((tag, sources),) = relay.relay.copies(b"call").items()
            assert sources == {"a", "b"}
            assert gate.status()["recordings"] == 1
            opened = [each for each in house.flows() if each.open]
            ports = {port for _, _, bound in gate._sinks.bound() for port in bound}
            assert ports
            assert ports <= {key.port for each in opened for key in each.keys}
            # The proxy's own wish is granted without the relay's doing.
            asked = await proxy.ask(command=b"start recording", call_id=b"call")
            assert asked == {b"result": b"ok"}

            # Nobody else ends it, nor learns of it.
            ending = await proxy.ask(command=b"unsubscribe", call_id=b"call", to_tag=tag)
            assert ending[b"result"] == b"error"
            assert relay.relay.copies(b"call")

            gate.release("call", "grant")
            await house.until(lambda: not relay.relay.copies(b"call"))
            await house.until(lambda: not list(gate._sinks.bound()))
    assert [each.open for each in house.flows()][-1] is False
    assert b"start recording" not in relay.commands()


async def test_what_is_recorded_ends_with_the_gate(house: House, relay: RelayServer) -> None:
    """Though nobody released it: by the dead man's switch, from the agent's own address."""
    async with house.running() as gate:
        gate.record("call", "grant")
        with house.proxy() as proxy:
            await proxy.call(b"call")
        assert relay.relay.copies(b"call")
        source, before = gate._upstream.source, len(relay.asked)
    ((message, client),) = [
        each for each in relay.asked[before:] if each[0][b"command"] == b"unsubscribe"
    ]
    assert (message[b"call-id"], client) == (b"call", source)
    assert not relay.relay.copies(b"call")
    assert gate._dead_man._process.returncode == 0


async def test_operators_do_not_see_the_agents_recordings(
    house: House, relay: RelayServer, tmp_path: Path
) -> None:
    """From the question on the node's own socket to the relay and back, on record."""
    async with house.running() as gate, operators.serving(tmp_path, gate.operator):
        gate.record("call", "grant")
        with house.proxy() as proxy:
            await proxy.call(b"call")
        ((tag, _),) = relay.relay.copies(b"call").items()
        told = await asyncio.to_thread(operators.ask, tmp_path, "query", "call")
        listed = await asyncio.to_thread(operators.ask, tmp_path, "list")
    assert set(told["tags"]) == {"a", "b"}
    assert tag.decode() not in str(told)
    assert "pub/sub" not in str(told)
    assert listed["calls"] == ["call"]
    query, listing = house.reports("operator_asked")
    assert (query.call_id, query.details) == (
        "call", {"verb": "query", "who": f"uid {os.geteuid()}"}
    )  # fmt: skip
    assert (listing.call_id, listing.details["verb"]) == (None, "list")


async def test_operators_are_told_of_no_relay(tmp_path: Path) -> None:
    """They wait no longer than for an answer that was lost."""
    house = House(free_port())
    async with house.make().running(), operators.serving(tmp_path, house.gate.operator):
        with pytest.raises(operators.OperatorError, match="the media relay does not answer"):
            await asyncio.to_thread(operators.ask, tmp_path, "statistics")


# --- the relay comes and goes


async def test_before_the_relay_is_there(relay: RelayServer) -> None:
    """What would set up a call waits; the relay is found when it comes, and looked through."""
    port = relay.port
    relay.close()
    house = House(port)
    async with house.make().running():
        with house.proxy() as proxy:
            offer = {"command": b"offer", "call_id": b"new", "from_tag": b"a", "sdp": SDP}
            proxy.send(written(b"1", offer))
            refused = await proxy.ask(command=b"start recording", call_id=b"call")
            assert refused[b"result"] == b"error"
            assert not house.gate.status()["ready"]
            with RelayServer(port, with_calls(b"old")) as later:
                await house.until(lambda: house.gate.status()["ready"])
                assert not later.relay.calls[b"old"].recording
                assert b"new" not in later.relay.calls
                proxy.send(written(b"1", offer))
                assert b"2:ok" in await proxy.hear()


async def test_a_restarted_relay_is_noticed(relay: RelayServer, house: House) -> None:
    """What it brings with it is stopped before it gets a new call; recordings are made anew."""
    async with house.running() as gate:
        gate.record("call", "grant")
        with house.proxy() as proxy:
            await proxy.call(b"call")
            relay.close()
            proxy.send(written(b"x", {"command": b"ping"}))
            await house.until(lambda: not gate.status()["ready"])
            assert [each.what for each in house.reports("relay_ended")] == ["relay_ended"]
            with RelayServer(relay.port, with_calls(b"old", b"older")) as again:
                await house.until(lambda: gate.status()["ready"])
                assert not any(call.recording for call in again.relay.calls.values())
                await proxy.call(b"call")
                assert again.commands()[:3] == [b"stop recording", b"stop recording", b"offer"]
                await house.until(lambda: again.relay.copies(b"call"))
    assert house.failures == []


async def test_a_silent_relay_is_noticed(
    relay: RelayServer, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its port is there and its process too, and yet it does not answer."""
    monkeypatch.setattr("agents.recorder.gate._PULSE", 0.01)
    async with house.running() as gate:
        relay.relay.silent = True
        await house.until(lambda: not gate.status()["ready"])
        relay.relay.silent = False
        await house.until(lambda: gate.status()["ready"])


async def test_a_killed_relay_is_known_by_its_process() -> None:
    """At once, though nobody asks it anything; the next one on the port is met."""
    port = free_port()
    house = House(port)
    with relay_process(port, "old") as process:
        async with house.running() as gate:
            assert house.reports("relay_unseen") == []
            gate._gone.set = lambda: None  # type: ignore[method-assign]  # not by its port
            process.kill()
            await house.until(lambda: house.reports("relay_ended"))
            with relay_process(port, "old"):
                await house.until(lambda: gate.status()["ready"])
                answer = await gate.ask({b"command": b"query", b"call-id": b"old"})
                assert answer is not None
                assert answer[b"result"] == b"ok"


# --- what ends the agent


async def test_a_dead_switch_is_the_gates_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the agent was doing is cancelled, and why is said."""
    monkeypatch.setattr("agents.recorder.gate._PULSE", 0.01)
    why = await ended(house, lambda gate: os.kill(gate._dead_man.pid, signal.SIGKILL))
    assert isinstance(why, DeadManGone)
    assert "dead man's switch has died" in str(why)


async def test_nothing_is_recorded_without_a_switch(house: House, relay: RelayServer) -> None:
    """Also before its death was noticed: the relay is not told to send."""
    async with house.running() as gate:
        os.kill(gate._dead_man.pid, signal.SIGKILL)
        gate._dead_man._process.wait()
        gate.record("call", "grant")
        with house.proxy() as proxy:
            await proxy.offer(b"call")
            answer = {
                "command": b"answer", "call_id": b"call", "from_tag": b"a", "to_tag": b"b",
                "sdp": SDP,
            }  # fmt: skip
            proxy.send(written(b"9", answer))
            await house.until(lambda: house.failures)
        assert isinstance(house.failures[0], DeadManGone)
        assert not relay.relay.copies(b"call")
        gate._dead_man._process.returncode = None  # The watch would end the test, too.
        gate._dead_man.alive = lambda: True  # type: ignore[method-assign]


async def test_a_fence_that_cannot_be_kept_is_the_gates_end(
    house: House, fences: list[FenceStandIn]
) -> None:
    """No relay is guarded without it."""
    lost = FenceError("it does not hold")
    assert await ended(house, lambda _: fences[0].breaches.put_nowait(lost)) is lost


async def test_a_breach_is_put_on_record(house: House, fences: list[FenceStandIn]) -> None:
    """With what was found."""
    async with house.running():
        fences[0].breaches.put_nowait("its table was gone")
        await house.until(lambda: house.reports("fence_breached"))
    (report,) = house.reports("fence_breached")
    assert report.details == {"found": "its table was gone", "done": "restored"}


async def test_a_failure_within_ends_the_agent(house: House, relay: RelayServer) -> None:
    """A gate that does not know what it does lets nothing through (rule 4)."""
    failure = RuntimeError("the node cannot take it")

    def refuse(event: Event) -> None:
        if isinstance(event, RelayReport) and event.what == "recording_refused":
            raise failure

    async with house.make(refuse).running():
        with house.proxy() as proxy:
            proxy.send(written(b"1", {"command": b"start recording", "call_id": b"call"}))
            await house.until(lambda: house.failures)
    assert house.failures[0] is failure
    assert b"start recording" not in relay.commands()


# --- setting up


async def test_the_fence_knows_the_agents_own_address(
    house: House, fences: list[FenceStandIn]
) -> None:
    """Nobody else, and every port that the configuration names."""
    house.closed = (2224, 2225)
    async with house.running() as gate:
        (fence,) = fences
        assert fence.stands
        host, port = gate._upstream.source
        assert (fence.fenced.address, fence.fenced.port) == (host, port)
        assert (fence.fenced.ng, fence.fenced.owner) == (house.control, os.geteuid())
        assert fence.fenced.tcp == fence.fenced.udp == (2224, 2225)


async def test_without_a_fence_nothing_is_taken(
    house: House, relay: RelayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate does not start; the relay was asked nothing, and no port was opened."""

    async def install(_: FenceStandIn) -> None:
        with house.proxy() as proxy:
            proxy.send(b"1 d7:command4:pinge")
            with pytest.raises(ConnectionRefusedError):
                await proxy.hear()
        raise FenceError("the agent needs CAP_NET_ADMIN")

    monkeypatch.setattr(FenceStandIn, "install", install)
    gate = house.make()
    with pytest.raises(GateError, match=r"^the agent needs CAP_NET_ADMIN$"):
        async with gate.running():
            pass
    assert relay.asked == []
    assert gate._dead_man._process.returncode == 0


async def test_a_switch_that_does_not_start(
    house: House, fences: list[FenceStandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate does not, either."""
    monkeypatch.setattr("agents.recorder.deadman.sys.executable", "/bin/false")
    with pytest.raises(GateError, match=r"^the dead man's switch does not start$"):
        async with house.make().running():
            pass
    assert not fences[0].stands


@pytest.mark.parametrize("transport", ["udp", "tcp", "http"])
async def test_a_taken_port(relay: RelayServer, transport: str) -> None:
    """It is named, with what is likely; what was opened before it is closed again."""
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        before = Endpoint("udp", "127.0.0.1", free_port())
        house = House(relay.port, (before, Endpoint(transport, "127.0.0.1", port)))
        gate = house.make()
        with pytest.raises(GateError) as refused:
            async with gate.running():
                pass
    assert str(refused.value) == (
        f"cannot listen at {transport}:127.0.0.1:{port}: the port is taken;"
        " if the relay has it, let that listen at relay.control instead"
    )
    assert gate._dead_man._process.returncode == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind((before.host, before.port))


@pytest.mark.parametrize("transport", ["udp", "tcp", "http"])
async def test_an_address_of_another_host(relay: RelayServer, transport: str) -> None:
    """It is named, in the kernel's words."""
    house = House(relay.port, (Endpoint(transport, "192.0.2.1", free_port()),))
    with pytest.raises(GateError, match=rf"^cannot listen at {transport}:192.0.2.1:[0-9]+: Cannot"):
        async with house.make().running():
            pass
