"""What the gate's rules believe of a media relay: held by the simulated one and by the real one."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.core.ngcodec import Encoding, NgDict, decode, encode
from agents.core.relayview import read_list, read_query
from agents.core.subscription import answer_to, streams_of
from tests.sim.relay_simulator import RelaySimulator

Ask = Callable[..., NgDict]
PORT = 2223
SDP = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio %d RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)


def _enter(descriptor: int) -> None:
    assert ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000) == 0
    os.close(descriptor)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[socket.socket]:
    """Return a socket to Debian's rtpengine in a network namespace of its own."""
    if shutil.which("rtpengine") is None:
        pytest.skip("rtpengine is not installed")
    name, home = f"cg-contract-{secrets.token_hex(3)}", os.open("/proc/self/ns/net", os.O_RDONLY)
    subprocess.run(("ip", "netns", "add", name), check=True)
    relay = None
    try:
        subprocess.run(("ip", "-n", name, "link", "set", "lo", "up"), check=True)
        _enter(os.open(f"/run/netns/{name}", os.O_RDONLY))
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        options = (
            "--config-file=none --table=-1 --interface=127.0.0.1 --port-min=30000 --port-max=30999"
            " --num-threads=1 --delete-delay=0 --foreground --log-stderr --log-level=1"
            f" --listen-ng=127.0.0.1:{PORT} --pidfile={tmp_path_factory.mktemp('relay') / 'pid'}"
        )
        relay = subprocess.Popen(
            ("rtpengine", *options.split()), stderr=subprocess.DEVNULL, cwd=Path("/")
        )
        with client:
            client.connect(("127.0.0.1", PORT))
            client.settimeout(1)
            _until_it_answers(client)
            yield client
    finally:
        if relay is not None:
            relay.kill()
            relay.wait()
        _enter(home)
        subprocess.run(("ip", "netns", "del", name), check=True)


def _until_it_answers(client: socket.socket) -> None:
    for _ in range(100):
        try:
            client.send(b"0 d7:command4:pinge")
            client.recv(65535)
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("rtpengine does not answer")


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.privileged)])
def take(request: pytest.FixtureRequest) -> Callable[[bytes], bytes]:
    """Return what gives a datagram to a relay and returns its answer."""
    if request.param == "simulated":
        relay = RelaySimulator()
        return lambda datagram: relay.take(datagram) or b""
    client: socket.socket = request.getfixturevalue("real")

    def exchange(datagram: bytes) -> bytes:
        client.send(datagram)
        return client.recv(65535)

    return exchange


@pytest.fixture
def ask(take: Callable[[bytes], bytes]) -> Ask:
    """Return what asks a relay one question."""

    def asking(command: str, **values: bytes | int | list[bytes]) -> NgDict:
        message: NgDict = {b"command": command.encode()}
        for key, value in values.items():
            message[key.replace("_", "-").encode()] = value
        cookie = secrets.token_hex(8).encode()
        answer = take(cookie + b" " + encode(message, Encoding.BENCODE))
        assert answer.startswith(cookie + b" ")
        return decode(answer[len(cookie) + 1 :], Encoding.BENCODE)

    return asking


@pytest.fixture
def call() -> bytes:
    return secrets.token_hex(8).encode()


def offer(ask: Ask, call: bytes, **more: bytes) -> NgDict:
    return ask("offer", call_id=call, from_tag=b"f", sdp=SDP % 40000, **more)


def answer(ask: Ask, call: bytes, tag: bytes = b"t") -> NgDict:
    return ask("answer", call_id=call, from_tag=b"f", to_tag=tag, sdp=SDP % 50000)


def subscribe(ask: Ask, call: bytes, tag: bytes) -> NgDict:
    return ask("subscribe request", call_id=call, to_tag=tag, flags=[b"all"])


def test_a_call_that_it_does_not_have_is_an_error_and_to_delete_a_warning(ask, call):
    for command in ("query", "answer", "subscribe request", "unsubscribe", "stop recording"):
        told = ask(command, call_id=call, from_tag=b"f", to_tag=b"t", sdp=SDP % 1, flags=[b"all"])
        assert told[b"result"] == b"error", command
        assert told[b"error-reason"].lower() == b"unknown call-id"
    assert read_query(ask("query", call_id=call)).exists is False
    told = ask("delete", call_id=call, from_tag=b"f")
    assert told[b"result"] == b"ok"
    assert b"warning" in told


def test_who_has_not_answered_has_no_tag_and_is_no_party(ask, call):
    assert offer(ask, call)[b"result"] == b"ok"
    asked = ask("query", call_id=call)
    assert set(asked[b"tags"]) == {b"f", b"<untagged 1>"}
    assert read_query(asked).parties == {b"f"}
    answer(ask, call)
    asked = ask("query", call_id=call)
    assert set(asked[b"tags"]) == {b"f", b"t"}
    assert read_query(asked).parties == {b"f", b"t"}


def test_a_second_offer_without_tag_makes_no_second_party(ask, call):
    offer(ask, call)
    offer(ask, call)
    answer(ask, call)
    assert read_query(ask("query", call_id=call)).parties == {b"f", b"t"}


def test_every_fork_that_answers_is_a_party(ask, call):
    offer(ask, call)
    answer(ask, call, b"t1")
    answer(ask, call, b"t2")
    assert read_query(ask("query", call_id=call)).parties == {b"f", b"t1", b"t2"}


def test_a_subscription_takes_the_tag_it_is_given_and_every_stream(ask, call):
    offer(ask, call)
    answer(ask, call)
    told = subscribe(ask, call, b"ours")
    assert told[b"to-tag"] == b"ours"
    assert told[b"from-tags"] == [b"f", b"t"]
    assert streams_of(told[b"sdp"]) == 2
    taken = ask(
        "subscribe answer",
        call_id=call,
        to_tag=b"ours",
        sdp=answer_to(told[b"sdp"], (40100, 40102)),
    )
    assert taken[b"result"] == b"ok"
    view = read_query(ask("query", call_id=call))
    assert view.parties == {b"f", b"t"}
    assert view.subscribers == {b"ours"}


def test_an_offered_call_is_subscribed_to_with_one_side_only(ask, call):
    offer(ask, call)
    assert subscribe(ask, call, b"ours")[b"from-tags"] == [b"f"]
    answer(ask, call)
    assert read_query(ask("query", call_id=call)).subscribers == {b"ours"}


def test_a_fork_after_the_subscription_is_not_in_it(ask, call):
    offer(ask, call)
    answer(ask, call, b"t1")
    assert streams_of(subscribe(ask, call, b"ours")[b"sdp"]) == 2
    answer(ask, call, b"t2")
    described = ask("query", call_id=call)[b"tags"][b"ours"]
    assert {each[b"tag"] for each in described[b"subscriptions"]} == {b"f", b"t1"}
    assert streams_of(subscribe(ask, call, b"anew")[b"sdp"]) == 3


def test_unsubscribing_ends_copies_and_leaves_a_tag_that_is_no_party(ask, call):
    offer(ask, call)
    answer(ask, call)
    told = subscribe(ask, call, b"ours")
    assert ask("unsubscribe", call_id=call, to_tag=b"ours")[b"result"] == b"ok"
    asked = ask("query", call_id=call)
    view = read_query(asked)
    assert b"ours" in asked[b"tags"]
    assert view.subscribers == frozenset()
    assert view.parties == {b"f", b"t"}
    late = ask("subscribe answer", call_id=call, to_tag=b"ours", sdp=told[b"sdp"])
    assert late[b"result"] == b"error"
    assert read_query(ask("query", call_id=call)).subscribers == frozenset()


def test_unsubscribing_what_it_does_not_know_brings_no_party(ask, call):
    offer(ask, call)
    answer(ask, call)
    ask("unsubscribe", call_id=call, to_tag=b"nobody")
    assert read_query(ask("query", call_id=call)).parties == {b"f", b"t"}


def test_a_tag_that_has_no_subscription_takes_no_answer(ask, call):
    offer(ask, call)
    told = ask("subscribe answer", call_id=call, to_tag=b"nobody", sdp=SDP % 40100)
    assert told == {b"result": b"error", b"error-reason": b"To-tag not found"}


def test_the_answer_to_delete_tells_of_subscriptions(ask, call):
    offer(ask, call)
    answer(ask, call)
    subscribe(ask, call, b"ours")
    told = ask("delete", call_id=call, from_tag=b"f")
    assert {b"f", b"t"} <= set(told[b"tags"])
    assert b"ours" in encode(told, Encoding.BENCODE)
    assert ask("query", call_id=call)[b"result"] == b"error"


def test_a_delete_that_matches_nobody_leaves_the_call(ask, call):
    offer(ask, call)
    assert b"warning" in ask("delete", call_id=call, from_tag=b"somebody")
    assert ask("query", call_id=call)[b"result"] == b"ok"


def test_one_memory_of_cookies_answers_all(take):
    cookie = secrets.token_hex(8).encode()
    assert take(cookie + b" d7:command4:pinge") == cookie + b" d6:result4:ponge"
    assert take(cookie + b" d7:command4:liste") == cookie + b" d6:result4:ponge"


def test_it_lists_its_calls_up_to_a_limit(ask, call):
    for more in (b"", b"+", b"++"):
        offer(ask, call + more)
    assert {call, call + b"+", call + b"++"} <= set(read_list(ask("list", limit=b"100")))
    assert len(read_list(ask("list", limit=b"2"))) == 2


def test_what_it_does_not_know_is_an_error(ask, call):
    assert ask("dance", call_id=call)[b"error-reason"] == b"Unrecognized command"
    assert ask("offer", call_id=call, from_tag=b"f")[b"error-reason"] == b"No SDP body in message"
    told = ask("offer", call_id=call, from_tag=b"f", sdp=b"garbage")
    assert told[b"error-reason"] == b"Failed to parse SDP"
    assert ask("query", call_id=call)[b"result"] == b"error"
