"""A wire between two interfaces in a network namespace of its own, and frames to send over it.

What is sent on `near` comes in on `far`, where the filters listen. Frames are built here octet
by octet, so that they share nothing with the programs under test.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import secrets
import socket
import struct
import subprocess
import time

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

SOURCE, DESTINATION = "198.51.100.1", "198.51.100.2"
SOURCE6, DESTINATION6 = "2001:db8::1", "2001:db8::2"
FOREVER = 2**64 - 1


class Wire:
    """Puts the calling thread into a new namespace with the two interfaces, and back again."""

    near, far = "near", "far"

    def __init__(self):
        self.name = f"cg-kernel-{secrets.token_hex(3)}"
        self._sockets = {}

    def __enter__(self):
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY)
        _ip("netns", "add", self.name)
        try:
            _ip("-n", self.name, "link", "add", self.near, "type", "veth", "peer", "name", self.far)
            for each in ("lo", self.near, self.far):
                quiet = f"echo 1 >/proc/sys/net/ipv6/conf/{each}/disable_ipv6"
                _ip("netns", "exec", self.name, "sh", "-c", quiet)
                _ip("-n", self.name, "link", "set", each, "up", "arp", "off", "mtu", "65000")
            _enter(os.open(f"/run/netns/{self.name}", os.O_RDONLY))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        _enter(self._home)
        for each in self._sockets.values():
            each.close()
        _ip("netns", "del", self.name)

    def send(self, *frames, interface=None):
        """Send frames as they are; on the near interface they come in on the far one."""
        name = interface or self.near
        if name not in self._sockets:
            self._sockets[name] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._sockets[name].bind((name, 0))
        for frame in frames:
            self._sockets[name].send(frame)


def _enter(descriptor):
    result = _libc.setns(descriptor, _CLONE_NEWNET)
    os.close(descriptor)
    assert result == 0, os.strerror(ctypes.get_errno())


def _ip(*arguments):
    subprocess.run(("ip", *arguments), check=True, capture_output=True)


def boot_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def drain(ring, *, wait_ms=100):
    """Read a ring until nothing has come for a while: (frame, captured, original, interface) each."""
    packets = []
    while ring.poll(wait_ms):
        packets.extend(
            (bytes(frame), kept, length, interface)
            for _, _, kept, length, interface, frame in ring.read_block()
        )
    return packets


def ethernet(payload, *tags, kind=None):
    """`tags` are (type, VLAN number) from the outermost; the type is told from the IP version."""
    inner = kind or (0x86DD if payload[0] >> 4 == 6 else 0x0800)
    header = b"\x02\0\0\0\0\x02" + b"\x02\0\0\0\0\x01"
    for tag, number in tags:
        header += struct.pack("!HH", tag, number)
    return header + struct.pack("!H", inner) + payload


def ipv4(payload, *, protocol=17, options=b"", fragment=0, number=1, source=SOURCE, to=DESTINATION):
    """`fragment` is the whole field: flags and offset in units of 8 octets."""
    length = 20 + len(options)
    header = struct.pack(
        "!BBHHHBBH", 0x40 | length // 4, 0, length + len(payload), number, fragment, 64, protocol, 0
    )
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(to).packed
    return header + addresses + options + payload


def ipv6(payload, *extensions, protocol=17, source=SOURCE6, to=DESTINATION6):
    """`extensions` are (number, octets without the first, which says what comes next)."""
    body, following = payload, protocol
    for number, octets in reversed(extensions):
        body, following = bytes((following,)) + octets + body, number
    header = struct.pack("!IHBB", 6 << 28, len(body), following, 64)
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(to).packed
    return header + addresses + body


def udp(payload, *, to=40000, source=5004):
    return struct.pack("!HHHH", source, to, 8 + len(payload), 0) + payload


def rtp(payload=b"V" * 160, *, csrcs=0, extension=None, kind=0):
    first = 0x80 | csrcs | (0x10 if extension is not None else 0)
    header = struct.pack("!BBHII", first, kind, 7, 160, 0xCA11) + b"CSRC" * csrcs
    if extension is not None:
        header += struct.pack("!HH", 0xBEDE, len(extension) // 4) + extension
    return header + payload


def media(payload=None, **ports):
    """One RTP packet of 20 ms of G.711 over IPv4, whose voice is the letter V."""
    return ethernet(ipv4(udp(rtp() if payload is None else payload, **ports)))


def sip(text, *, to=5060, source=5060, **addresses):
    """One SIP message over UDP and IPv4."""
    data = text if isinstance(text, bytes) else text.encode()
    return ethernet(ipv4(udp(data, to=to, source=source), **addresses))


def invite(caller="alice@example.com", callee="bob@example.net", call_id="a84b4c76e66710@pc33"):
    """Write an ordinary INVITE with SDP."""
    return (
        f"INVITE sip:{callee} SIP/2.0\r\n"
        "Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK776asdhds\r\n"
        "Max-Forwards: 70\r\n"
        f"To: Bob <sip:{callee}>\r\n"
        f"From: Alice <sip:{caller}>;tag=1928301774\r\n"
        f"Call-ID: {call_id}\r\n"
        "CSeq: 314159 INVITE\r\n"
        f"Contact: <sip:{caller.split('@')[0]}@198.51.100.1:5060;transport=udp>\r\n"
        "Content-Type: application/sdp\r\n"
        "Content-Length: 142\r\n"
        "\r\n"
        "v=0\r\no=- 2890844526 2890844526 IN IP4 198.51.100.1\r\ns=-\r\n"
        "c=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 49172 RTP/AVP 0 101\r\n"
        "a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
