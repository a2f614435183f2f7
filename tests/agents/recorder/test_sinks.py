"""The sockets that the relay's copies are sent to."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from agents.recorder import sinks as sinks_module
from agents.recorder.sinks import Sinks

HOST = "127.0.0.1"


@pytest.fixture
def sinks():
    made = Sinks()
    yield made
    made.close_all()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_each_stream_has_an_even_port_and_the_next(sinks: Sinks):
    """RTP and RTCP, and both are taken: nobody else gets them, at this address or at all of them."""
    ports = sinks.open(1, 3, HOST)

    assert ports is not None
    assert len(set(ports)) == 3
    assert all(port % 2 == 0 for port in ports)
    every = [port + more for port in ports for more in (0, 1)]
    assert list(sinks.bound()) == [(1, HOST, every)]
    for port in (*ports, *(port + 1 for port in ports)):
        for address in (HOST, "0.0.0.0"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                with pytest.raises(OSError, match="in use"):
                    other.bind((address, port))


def test_nobody_is_told_and_nothing_is_kept(sinks: Sinks):
    """The relay's packets are dropped at the socket, and it learns of no closed port."""
    (port,) = sinks.open(1, 1, HOST)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
        relay.connect((HOST, port))
        for _ in range(3):
            relay.send(b"media")  # A closed port would raise at the second.
    sink = sinks._open[1][1][0]
    sink.setblocking(False)
    with pytest.raises(BlockingIOError):
        sink.recv(100)


def test_the_filter_cannot_be_taken_off(sinks: Sinks):
    """Not even by the agent itself."""
    sinks.open(1, 1, HOST)
    with pytest.raises(PermissionError):
        sinks._open[1][1][0].setsockopt(socket.SOL_SOCKET, 27, 0)  # SO_DETACH_FILTER


def test_what_is_closed_is_free_again(sinks: Sinks):
    """One subscription at a time, or all; closing what is not there is fine."""
    before = descriptors()
    (port,) = sinks.open(1, 1, HOST)
    sinks.open(2, 2, HOST)
    sinks.close(1)
    sinks.close(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((HOST, port))
    assert [serial for serial, _, _ in sinks.bound()] == [2]
    sinks.close_all()
    assert list(sinks.bound()) == []
    assert descriptors() == before


def test_no_sinks_leave_nothing_behind(sinks: Sinks, monkeypatch: pytest.MonkeyPatch):
    """When the third stream finds no port, the first two are given up."""
    before = descriptors()
    pairs = iter([sinks_module._pair(HOST), sinks_module._pair(HOST)])

    def pair(host: str) -> list[socket.socket]:
        try:
            return next(pairs)
        except StopIteration:
            raise OSError(errno.EADDRINUSE, "no pair") from None

    monkeypatch.setattr(sinks_module, "_pair", pair)
    assert sinks.open(1, 3, HOST) is None
    assert list(sinks.bound()) == []
    assert descriptors() == before


def test_a_port_whose_neighbour_is_taken_is_passed_over(
    sinks: Sinks, monkeypatch: pytest.MonkeyPatch
):
    """It is let go, and another pair is found."""
    bound = sinks_module._bound
    taken: list[int] = []

    def mostly(host: str, port: int) -> socket.socket:
        if port and len(taken) < 5:
            taken.append(port)
            raise OSError(errno.EADDRINUSE, "taken")
        return bound(host, port)

    before = descriptors()
    monkeypatch.setattr(sinks_module, "_bound", mostly)
    assert sinks.open(1, 1, HOST) is not None
    assert len(taken) == 5
    assert descriptors() == before + 2


def test_when_every_neighbour_is_taken_there_is_no_sink(
    sinks: Sinks, monkeypatch: pytest.MonkeyPatch
):
    """It gives up after some tries."""
    bound = sinks_module._bound

    def first_only(host: str, port: int) -> socket.socket:
        if port:
            raise OSError(errno.EADDRINUSE, "taken")
        return bound(host, 0)

    before = descriptors()
    monkeypatch.setattr(sinks_module, "_bound", first_only)
    assert sinks.open(1, 1, HOST) is None
    assert descriptors() == before


def test_a_call_over_ipv6_has_its_sinks_there(sinks: Sinks):
    """The pair stands at ::1."""
    (port,) = sinks.open(1, 1, "::1")
    assert list(sinks.bound()) == [(1, "::1", [port, port + 1])]
