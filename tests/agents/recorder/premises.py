"""Two hosts in network namespaces of their own: the relay's, which the test enters, and another.

Ports answer with the octet ``A`` to whatever they are told, so that a client's fate is one word.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import socket
import subprocess
import sys
import threading

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

OURS, OURS6 = "10.78.0.1", "fd78::1"
LOCAL = ("127.0.0.1", "::1", OURS, OURS6)
SOMEBODY = 12345

_CLIENT = r"""
import errno, os, socket, sys
os.setresuid(*[int(sys.argv[6])] * 3)  # The interpreter itself may be root's alone.
kind, address, port, source, source_port = sys.argv[1], sys.argv[2], *sys.argv[3:6]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
client = socket.socket(family, getattr(socket, kind))
client.settimeout(3)
try:
    if source:
        client.bind((source, int(source_port)))
    client.connect((address, int(port)))
    client.send(b"Q")
    print("answered" if client.recv(1) == b"A" else "closed")
except TimeoutError:
    print("silence")
except OSError as error:
    print(errno.errorcode[error.errno])
"""


class Premises:
    """Puts the calling thread into the relay's host, and back again."""

    def __init__(self):
        token = secrets.token_hex(3)
        self.name, self.other = f"cg-relay-{token}", f"cg-other-{token}"
        self._open = []

    def __enter__(self):
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            for name in (self.name, self.other):
                _ip("netns", "add", name)
                _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", self.name, "link", "add", "voice", "type", "veth",
                "peer", "name", "voice", "netns", self.other)  # fmt: skip
            for name, end in ((self.name, "1"), (self.other, "2")):
                for address in (f"10.78.0.{end}/24", f"fd78::{end}/64"):
                    _ip("-n", name, "addr", "add", address, "dev", "voice",
                        *(("nodad",) if ":" in address else ()))  # fmt: skip
                _ip("-n", name, "link", "set", "voice", "up")
            _enter(os.open(f"/run/netns/{self.name}", os.O_RDONLY))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        _enter(self._home)
        for each in self._open:
            with each, contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # Wakes the thread that waits on it.
        for name in (self.name, self.other):
            subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)

    def udp(self, port):
        """Answer datagrams to a port, over both versions of IP."""
        for address in LOCAL:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            self._serve(family, socket.SOCK_DGRAM, address, port)

    def tcp(self, *ports):
        """Accept connections to ports, over both versions of IP."""
        for port in ports:
            self._serve(socket.AF_INET, socket.SOCK_STREAM, "0.0.0.0", port)
            self._serve(socket.AF_INET6, socket.SOCK_STREAM, "::", port)

    def _serve(self, family, kind, address, port):
        server = socket.socket(family, kind)
        self._open.append(server)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((address, port))
        if kind == socket.SOCK_STREAM:
            server.listen()
        answer = _answer_tcp if kind == socket.SOCK_STREAM else _answer_udp
        threading.Thread(target=answer, args=(server,), daemon=True).start()

    def ask(self, kind, address, port, *, user=0, source=("", 0), other_host=False):
        """Return what becomes of a client: answered, silence, or the name of its error."""
        command = [sys.executable, "-c", _CLIENT, f"SOCK_{kind}", address, str(port),
                   source[0], str(source[1]), str(user)]  # fmt: skip
        if other_host:
            command = ["ip", "netns", "exec", self.other, *command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return done.stdout.strip()

    def nft(self, *command):
        """Do what an operator's hand does to the rules of the relay's host."""
        done = subprocess.run(("nft", *command), check=True, capture_output=True, text=True)
        return done.stdout


def _answer_udp(server):
    try:
        while True:
            _, client = server.recvfrom(100)
            if client is None:  # It was shut down.
                return
            server.sendto(b"A", client)
    except OSError:
        return


def _answer_tcp(server):
    try:
        while True:
            client, _ = server.accept()
            with client:
                try:
                    client.recv(1)
                    client.send(b"A")
                except OSError:
                    pass
    except OSError:
        return


def _enter(descriptor):
    result = _libc.setns(descriptor, _CLONE_NEWNET)
    os.close(descriptor)
    assert result == 0, os.strerror(ctypes.get_errno())


def _ip(*arguments):
    subprocess.run(("ip", *arguments), check=True, capture_output=True)
