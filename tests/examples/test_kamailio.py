"""The Kamailio example runs: it records on a permit alone, and a call is never the price."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.examples.switchboard import (
    DENY,
    EXAMPLES,
    ROOT,
    Party,
    deciding,
    party,
    permit,
    relay,
    until,
)

CONFIG = EXAMPLES / "kamailio/kamailio.cfg"
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
NASTY = "'\"`touch%20x`$(id);|&"
pytestmark = pytest.mark.skipif(
    shutil.which("kamailio") is None, reason="needs Debian's package kamailio: run make deps"
)


def sip(start: str, headers: list[str], body: str = SDP) -> bytes:
    more = [f"Content-Length: {len(body)}"]
    if body:
        more.append("Content-Type: application/sdp")
    return "\r\n".join([start, *headers, *more, "", body]).encode()


def picking_up(message: bytes) -> list[bytes]:
    """Answer a call as a telephone that is picked up at once."""
    if not message.startswith(b"INVITE"):
        return []
    lines = message.decode().partition("\r\n\r\n")[0].split("\r\n")[1:]
    names = ("via:", "from:", "to:", "call-id:", "cseq:", "record-route:")
    kept = [line for line in lines if line.lower().startswith(names)]
    kept = [f"{line};tag=b" if line.startswith("To:") else line for line in kept]
    return [sip("SIP/2.0 200 OK", [*kept, "Contact: <sip:bob@127.0.0.1>"])]


class Proxy:
    """Kamailio with the example's file, between two telephones, before a relay."""

    def __init__(self, caller: Party, callee: Party, told: list[str], port: int) -> None:
        self.caller, self.callee, self.told, self.port = caller, callee, told, port

    async def call(self, call_id: str) -> bytes:
        """Make a call and return its final answer."""
        invite = sip(
            f"INVITE sip:bob@127.0.0.1:{self.callee.port} SIP/2.0",
            [
                f"Via: SIP/2.0/UDP 127.0.0.1:{self.caller.port};branch=z9hG4bK1;rport",
                "Max-Forwards: 70",
                'From: "$(touch y)" <sip:alice@example.com>;tag=a',
                f"To: <sip:bob@127.0.0.1:{self.callee.port}>",
                "Callid: of-another-call",
                f"Call-ID: {call_id}",
                "CSeq: 1 INVITE",
                f"Contact: <sip:alice@127.0.0.1:{self.caller.port}>",
            ],
        )
        self.caller.send(invite, self.port)
        await until(lambda: bool(self.caller.starting(b"SIP/2.0 2")), "the call to be answered")
        return self.caller.starting(b"SIP/2.0 2")[0]


def free_port() -> int:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def proxy(folder: Path, socket: Path) -> AsyncIterator[Proxy]:
    told: list[str] = []
    text = await asyncio.to_thread(CONFIG.read_text)
    for old, new in (
        ("/opt/callguard/bin/callguard-agent", f"{sys.executable} -m agents"),
        ("/run/callguard-agent/decisions.sock", str(socket)),
        ("children=8", "children=2"),
    ):
        assert old in text
        text = text.replace(old, new)
    file = folder / "kamailio.cfg"
    await asyncio.to_thread(file.write_text, text)
    async with AsyncExitStack() as stack:
        ng = await stack.enter_async_context(party(relay(told)))
        caller = await stack.enter_async_context(party())
        callee = await stack.enter_async_context(party(picking_up))
        port = free_port()
        defines = (f"LISTEN=udp:127.0.0.1:{port}", f'GATE="udp:127.0.0.1:{ng.port}"')
        arguments = ["-DD", "-E", "-f", str(file), "-Y", str(folder), "-m", "32", "-M", "4"]
        arguments += [each for define in defines for each in ("-A", define)]
        process = await asyncio.create_subprocess_exec(
            "kamailio",
            *arguments,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            cwd=folder,
        )
        try:
            await until(lambda: "ping" in told, "Kamailio to find the relay")
            yield Proxy(caller, callee, told, port)
        finally:
            process.terminate()
            await process.wait()


def test_kamailio_takes_the_file() -> None:
    """As it stands, without a change."""
    done = subprocess.run(
        ["kamailio", "-c", "-f", str(CONFIG)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


async def test_a_permit_starts_the_recording(tmp_path: Path) -> None:
    """The question names the call by its SIP message, shell and look-alike headers regardless."""
    socket = tmp_path / "d" / "s"
    async with deciding(socket, permit()) as asked, proxy(tmp_path, socket) as made:
        assert (await made.call(f"{NASTY}@h")).startswith(b"SIP/2.0 200")
        await until(lambda: "answer" in made.told, "the answer to be relayed")

    assert [each for each in made.told if each != "ping"] == ["offer", "start recording", "answer"]
    (question,) = asked
    assert question.call_id == f"{NASTY}@h".encode()
    assert "sip:alice@example.com" in question.identities
    assert (question.recorder, question.node) == ("kamailio", "node-1")
    names = {each.name for each in await asyncio.to_thread(lambda: list(tmp_path.iterdir()))}
    assert not {"x", "y"} & names


async def test_a_denial_records_nothing_and_the_call_goes_on(tmp_path: Path) -> None:
    """The relay hears of the call, never of a recording."""
    socket = tmp_path / "d" / "s"
    async with deciding(socket, DENY) as asked, proxy(tmp_path, socket) as made:
        assert (await made.call("call-1")).startswith(b"SIP/2.0 200")
        await until(lambda: "answer" in made.told, "the answer to be relayed")

    assert [each for each in made.told if each != "ping"] == ["offer", "answer"]
    assert [each.call_id for each in asked] == [b"call-1"]


async def test_without_an_agent_nothing_is_recorded_and_the_call_goes_on(tmp_path: Path) -> None:
    """No answer is no permit, and costs no call."""
    async with proxy(tmp_path, tmp_path / "missing") as made:
        assert (await made.call("call-1")).startswith(b"SIP/2.0 200")
        await until(lambda: "answer" in made.told, "the answer to be relayed")

    assert [each for each in made.told if each != "ping"] == ["offer", "answer"]
