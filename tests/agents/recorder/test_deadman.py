"""The dead man's switch: real processes, a real socket where the relay's would be."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from agents.core.ngcodec import Encoding, NgDict, decode, split
from agents.core.owntags import unsubscribe
from agents.recorder import deadman
from agents.recorder.deadman import DeadMan, DeadManGone, end_all

ROOT = Path(__file__).resolve().parents[3]

_AGENT = r"""
import socket, sys
from agents.recorder.deadman import DeadMan

source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
source.bind(("127.0.0.1", int(sys.argv[2])))  # As the agent's own socket to the relay is.
switch = DeadMan(("127.0.0.1", int(sys.argv[1])), ("127.0.0.1", int(sys.argv[2])))
assert switch.ready()
switch.holds(b"call one", b"tag-1")
switch.holds(b"call \xff two", b"tag-2")
switch.holds(b"over", b"tag-3")
switch.forgets(b"over", b"tag-3")
print(switch.pid, flush=True)
sys.stdin.read()
"""


class Relay:
    """Takes questions at a port; answers as it is told to."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.settimeout(10)
        self.address = (host, self.socket.getsockname()[1])

    def take(self, *, answer: bool = True) -> tuple[NgDict, tuple[str, int]]:
        data, source = self.socket.recvfrom(65536)
        cookie, body = split(data)
        if answer:
            self.socket.sendto(cookie + b" d6:result2:oke", source)
        return decode(body, Encoding.BENCODE), source[:2]

    def nothing_waits(self) -> bool:
        self.socket.setblocking(False)
        try:
            self.socket.recv(65536)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(10)
        return False


@pytest.fixture
def relay():
    made = Relay()
    with made.socket:
        yield made


@pytest.fixture
def source() -> tuple[str, int]:
    return "127.0.0.1", free_port()


@pytest.fixture
def switch(relay: Relay, source: tuple[str, int]):
    made = DeadMan(relay.address, source)
    assert made.ready()
    yield made
    made.close()


def free_port(host: str = "127.0.0.1") -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def agent(relay: Relay, port: int):
    """Run a process that holds two subscriptions, and has let go of a third."""
    process = subprocess.Popen(
        [sys.executable, "-c", _AGENT, str(relay.address[1]), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        pid = int(process.stdout.readline())
        yield process, pid
    finally:
        process.kill()
        process.communicate()


def wait_for_end(pid: int) -> None:
    """Wait until a process that is not a child of ours has ended."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            assert select.select([descriptor], [], [], 10)[0]
        finally:
            os.close(descriptor)


def test_a_killed_agents_subscriptions_end(relay: Relay, source: tuple[str, int]):
    """Killed with -9: the relay is asked to end what was held, from the address that is let through."""
    with agent(relay, source[1]) as (process, pid):
        assert relay.nothing_waits()
        process.send_signal(signal.SIGKILL)
        process.wait()
        asked = [relay.take() for _ in range(2)]
        wait_for_end(pid)

    assert [message for message, _ in asked] == [
        unsubscribe(b"call one", b"tag-1"),
        unsubscribe(b"call \xff two", b"tag-2"),
    ]
    assert {where for _, where in asked} == {source}
    assert relay.nothing_waits()


def test_it_outlives_what_ends_the_agents_session(relay: Relay, source: tuple[str, int]):
    """Signals to the agent's whole process group, or to the switch, do not keep it from its duty."""
    with agent(relay, source[1]) as (process, pid):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert {relay.take()[0][b"to-tag"] for _ in range(2)} == {b"tag-1", b"tag-2"}
        wait_for_end(pid)


def test_the_switch_ends_with_nothing_to_do(switch: DeadMan, relay: Relay):
    """What was held and let go of is nobody's business any more."""
    switch.holds(b"c", b"t")
    switch.forgets(b"c", b"t")
    switch.close()
    assert switch._process.returncode == 0
    assert relay.nothing_waits()


def test_an_agent_that_stops_leaves_nothing_to_the_relay(
    relay: Relay, source: tuple[str, int], monkeypatch: pytest.MonkeyPatch
):
    """Closing the switch ends what it still holds."""
    switch = DeadMan(relay.address, source)
    assert switch.ready()
    switch.holds(b"c", b"t")
    switch._pipe.close()
    assert relay.take() == (unsubscribe(b"c", b"t"), source)
    switch.close()
    assert switch._process.returncode == 0


def test_a_dead_switch_is_noticed(switch: DeadMan):
    """It says so, and takes nothing more."""
    assert switch.alive()
    os.kill(switch.pid, signal.SIGKILL)
    switch._process.wait()
    assert not switch.alive()
    with pytest.raises(DeadManGone, match="has died"):
        switch.holds(b"c", b"t")


def test_a_switch_that_does_not_start_is_not_ready(
    relay: Relay, source: tuple[str, int], monkeypatch: pytest.MonkeyPatch
):
    """Whatever it is that runs, it does not say the word."""
    monkeypatch.setattr(deadman.sys, "executable", "/bin/false")
    switch = DeadMan(relay.address, source)
    assert not switch.ready()
    switch.close()


def test_a_lost_question_is_asked_again(relay: Relay, source: tuple[str, int]):
    """Under the same cookie, until it is answered."""
    with agent(relay, source[1]) as (process, pid):
        process.kill()
        process.wait()
        for _ in range(2):
            relay.take(answer=False)
        answered = {relay.take()[0][b"to-tag"] for _ in range(2)}
        wait_for_end(pid)
    assert answered == {b"tag-1", b"tag-2"}


def test_it_waits_for_the_address(relay: Relay, source: tuple[str, int]):
    """The dead agent's socket may be there a moment longer."""
    with ThreadPoolExecutor() as pool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as still:
            still.bind(source)
            left = pool.submit(end_all, [(b"c", b"t")], relay.address, source)
            assert not select.select([relay.socket], [], [], 0.3)[0]
        assert relay.take() == (unsubscribe(b"c", b"t"), source)
        assert left.result() == 0


def test_it_waits_for_the_relay(relay: Relay, source: tuple[str, int]):
    """One that is started anew listens again in a moment."""
    relay.socket.close()
    with ThreadPoolExecutor() as pool:
        left = pool.submit(end_all, [(b"c", b"t")], relay.address, source)
        assert not wait([left], 0.3).done
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay.socket:
            relay.socket.settimeout(10)
            relay.socket.bind(relay.address)
            assert relay.take() == (unsubscribe(b"c", b"t"), source)
            assert left.result() == 0


def test_a_relay_that_is_not_there_is_given_up(
    relay: Relay, source: tuple[str, int], monkeypatch: pytest.MonkeyPatch
):
    """In the end it says how many are left."""
    monkeypatch.setattr(deadman, "_PATIENCE", 0.01)
    relay.socket.close()
    assert end_all([(b"c", b"t"), (b"d", b"t")], relay.address, source) == 2


def test_a_line_that_the_agent_died_in(switch: DeadMan, relay: Relay):
    """What was told before it still ends; half a line is nothing."""
    switch.holds(b"c", b"t")
    switch._pipe.write(b"+ 6f74686572 6f")
    switch._pipe.close()
    assert relay.take()[0] == unsubscribe(b"c", b"t")
    assert switch._process.wait(10) == 0
    assert relay.nothing_waits()


def test_any_octets_are_held(switch: DeadMan, relay: Relay):
    """Also a Call-ID that is longer than a pipe takes at once, or none at all."""
    held = [(b"", b"\n \0"), (b"c" * 30000, b"t")]
    for each in held:
        switch.holds(*each)
    switch._pipe.close()
    assert [relay.take()[0] for _ in held] == [unsubscribe(*each) for each in held]
    assert switch._process.wait(10) == 0


def test_ipv6():
    """As over IPv4."""
    relay = Relay("::1")
    source = "::1", free_port("::1")
    with relay.socket:
        switch = DeadMan(relay.address, source)
        assert switch.ready()
        switch.holds(b"c", b"t")
        switch._pipe.close()
        assert relay.take() == (unsubscribe(b"c", b"t"), source)
        switch.close()
