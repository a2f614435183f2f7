"""The whole gate with the kernel's own fence, in the relay's network namespace."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agents.config import Endpoint
from agents.recorder.fence import TABLE
from tests.agents.recorder.gatehouse import PATIENCE, House
from tests.agents.recorder.premises import OURS, SOMEBODY
from tests.sim.relay_server import RelayServer

pytestmark = pytest.mark.privileged

GATE, CLI = 22222, 2224
REFUSED = {"ECONNREFUSED", "EPERM"}
ROOT = Path(__file__).parents[3]
_AGENT = textwrap.dedent("""
    import asyncio, sys
    from agents.config import Endpoint
    from tests.agents.recorder.gatehouse import House
    from tests.sim.relay_server import SDP

    async def main():
        house = House(int(sys.argv[1]), (Endpoint("udp", "127.0.0.1", int(sys.argv[2])),))
        async with house.running() as gate:
            gate.record("call", "grant")
            with house.proxy() as proxy:
                await proxy.call(b"call")
            print(*gate._upstream.source, flush=True)
            await asyncio.Event().wait()

    asyncio.run(main())
""")


@pytest.fixture
async def relay(premises):
    with RelayServer() as made:
        yield made


@pytest.fixture
async def house(relay):
    """Make a gate's node; the fence, which outlives the gate, is taken down."""
    made = House(relay.port, (Endpoint("udp", "127.0.0.1", GATE),), closed=(CLI,))
    yield made
    await made.gate._fence.remove()


async def ask(premises, port, **more):
    return await asyncio.to_thread(premises.ask, "DGRAM", "127.0.0.1", port, **more)


async def test_only_the_gate_comes_to_the_relay(premises, house, relay):
    """Its clients are answered through it; straight to the relay nobody is, root or not."""
    async with house.running() as gate:
        with house.proxy() as proxy:
            await proxy.call(b"call")
        for user in (0, SOMEBODY):
            assert await ask(premises, relay.port, user=user) in REFUSED
        far = await asyncio.to_thread(premises.ask, "DGRAM", OURS, relay.port, other_host=True)
        assert far in REFUSED
        assert {client for _, client in relay.asked} == {gate._upstream.source}
    assert house.failures == []


async def test_the_fence_outlives_the_gate(premises, house, relay):
    """A relay whose agent has gone is still out of reach; the next gate has its own way in."""
    async with house.running():
        pass
    assert await ask(premises, relay.port) in REFUSED
    async with house.running():
        with house.proxy() as proxy:
            await proxy.call(b"call")


async def test_a_fence_taken_down_is_up_again_and_on_record(premises, house, relay):
    """While calls go on."""
    async with house.running():
        await asyncio.to_thread(premises.nft, "delete", "table", "inet", TABLE)
        await house.until(lambda: house.reports("fence_breached"))
        (report,) = house.reports("fence_breached")
        assert report.details == {"found": "its table was gone", "done": "restored"}
        assert await ask(premises, relay.port) in REFUSED
        with house.proxy() as proxy:
            await proxy.call(b"call")


async def test_a_killed_agents_recording_ends(premises, relay):
    """The dead man's switch comes through the fence that the agent left: nobody else does."""
    async with asyncio.timeout(PATIENCE):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _AGENT, str(relay.port), str(GATE),
            stdout=subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            host, port = (await process.stdout.readline()).split()
            assert relay.relay.copies(b"call")
            process.kill()
            while relay.relay.copies(b"call"):  # noqa: ASYNC110 - processes end in their time
                await asyncio.sleep(0.005)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    message, client = relay.asked[-1]
    assert message[b"command"] == b"unsubscribe"
    assert client == (host.decode(), int(port))
    assert await ask(premises, relay.port) in REFUSED
    premises.nft("delete", "table", "inet", TABLE)


async def test_an_agent_without_the_right_does_not_start(premises, relay):
    """It says what it needs in one sentence, and asks the relay nothing."""
    bare = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")
    process = await asyncio.create_subprocess_exec(
        *bare, sys.executable, "-c", _AGENT, str(relay.port), str(GATE),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        out, words = await process.communicate()
    assert out == b""
    assert words.decode().splitlines()[-1].startswith("agents.recorder.gate.GateError: ")
    assert b"CAP_NET_ADMIN" in words.splitlines()[-1]
    assert relay.asked == []
