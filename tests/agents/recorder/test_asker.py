"""Who is at the other end of a socket, as the kernel knows it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

import pytest

from agents.recorder import localsockets
from agents.recorder.asker import who_asked
from agents.recorder.localsockets import bound_to, read_table
from tests.agents.recorder.premises import SOMEBODY

UID = os.getuid()


@contextlib.contextmanager
def bound(kind, address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as made:
        made.bind((address, 0))
        yield made, made.getsockname()[1]


@pytest.mark.parametrize(
    ("bound_address", "seen", "shown"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1", "127.0.0.1"),
        ("::1", "::1", "[::1]"),
        ("::", "::1", "[::1]"),
        ("::", "::ffff:127.0.0.1", "127.0.0.1"),
    ],
)
@pytest.mark.parametrize("way", [bound_to, localsockets._read])
def test_a_datagram_of_this_host(bound_address, seen, shown, way, monkeypatch):
    """Over either version of IP, bound to one address or all; by either way to ask."""
    monkeypatch.setattr("agents.recorder.asker.bound_to", way)
    with bound(socket.SOCK_DGRAM, bound_address) as (_, port):
        assert who_asked("udp", seen, port) == f"udp {shown}:{port} uid {UID}"


def test_a_connection_of_this_host():
    with bound(socket.SOCK_STREAM, "::1") as (server, _):
        server.listen()
        with socket.create_connection(server.getsockname()[:2]) as client:
            port = client.getsockname()[1]
            assert who_asked("tcp", "::1", port) == f"tcp [::1]:{port} uid {UID}"
        assert who_asked("tcp", "::1", port) == f"tcp [::1]:{port}"


@pytest.mark.privileged
def test_another_user_is_told_apart():
    """Two users hold the same port at two addresses."""
    with bound(socket.SOCK_DGRAM, "127.0.0.1") as (_, port):
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
            other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            other.bind(("127.0.0.2", port))
            os.write(write, b"!")
            time.sleep(20)
            os._exit(0)
        try:
            os.read(read, 1)
            assert who_asked("udp", "127.0.0.2", port).endswith(f"uid {SOMEBODY}")
            assert who_asked("udp", "127.0.0.1", port).endswith(f"uid {UID}")
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
            os.close(read)
            os.close(write)


def test_another_host_is_not_taken_for_a_user_here():
    """Its port is in use here, too."""
    with bound(socket.SOCK_DGRAM, "0.0.0.0") as (_, port):
        assert who_asked("udp", "192.0.2.9", port) == f"udp 192.0.2.9:{port}"
        assert who_asked("udp", "2001:db8::9", port) == f"udp [2001:db8::9]:{port}"


@pytest.mark.parametrize(
    "peer",
    [("udp", "nonsense", 1), ("udp", "127.0.0.1", 0), ("udp", "127.0.0.1", 1 << 20), ("x", "::1", 5),
     ("udp", "fe80::1%nowhere", 9), ("tcp", "127.0.0.1", -3)],
)  # fmt: skip
def test_it_never_raises(peer):
    """And the text is one line that repeats nothing odd."""
    said = who_asked(*peer)
    assert "\n" not in said
    assert "nonsense" not in said


def test_a_kernel_that_tells_nothing(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr("agents.recorder.asker.bound_to", refuse)
    assert who_asked("udp", "127.0.0.1", 5) == "udp 127.0.0.1:5"


def test_without_sock_diag_the_tables_are_read(monkeypatch):
    """Both ways find the same sockets."""
    with bound(socket.SOCK_DGRAM, "::1") as (_, port):
        found = bound_to("udp", port)
        monkeypatch.setattr(localsockets, "_NETLINK_SOCK_DIAG", 31)
        assert bound_to("udp", port) == found != []


def test_a_table_of_the_kernel():
    assert read_table(Path("/proc/net/udp").read_text("ascii"), 0) == []
