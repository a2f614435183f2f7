"""What holds before, around and after the filters themselves."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agents.core.flow import FlowKey
from agents.kernel import canary
from agents.kernel import filters as module
from agents.kernel.bpf import load_socket_filter
from agents.kernel.errors import KernelError
from agents.kernel.filters import KernelFilters, Rings
from agents.kernel.ring import RingSize
from guard.core.level import Level
from tests.agents.kernel.conftest import KEY
from tests.agents.kernel.wire import DESTINATION, FOREVER, boot_ns, drain, invite, media, sip

pytestmark = pytest.mark.privileged

FLOW = FlowKey.to(DESTINATION, 40000)
SO_DETACH_FILTER, SO_ATTACH_FILTER, SO_LOCK_FILTER, SO_ATTACH_BPF = 27, 26, 44, 50
SMALL = RingSize(block_bytes=1 << 16, blocks=2)
OPTIONS = {
    "sip_ports": [5060],
    "sip_tcp": False,
    "key": KEY,
    "rings": Rings(headers=SMALL, content=SMALL),
}


def descriptors():
    return {each.name for each in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize("name", ["signalling", "headers", "content"])
def test_not_even_root_takes_a_filter_off(filters, name):
    """A locked filter can be neither detached, nor replaced, nor unlocked."""
    descriptor = os.dup(getattr(filters, name).fileno())
    with socket.socket(fileno=descriptor) as held:
        for option in (SO_DETACH_FILTER, SO_LOCK_FILTER):
            with pytest.raises(PermissionError):
                held.setsockopt(socket.SOL_SOCKET, option, 0)
        everything = load_socket_filter(
            name="all", instructions=bytes.fromhex("b700000000000400 9500000000000000"),
            licence=b"GPL", btf=-1, functions=(),
        )  # fmt: skip
        with pytest.raises(PermissionError):
            held.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, everything)
        os.close(everything)


def test_two_interfaces_are_heard_by_one_set_of_filters(wire):
    """Each packet tells where it came in, and one that crosses both is there once."""
    names = [wire.near, wire.far]
    with KernelFilters(interfaces=names, **OPTIONS) as filters:
        filters.set_flow(Level.CONTENT, FLOW, FOREVER)
        wire.send(media())
        wire.send(media(), interface=wire.far)
        packets = drain(filters.content)

    indexes = [socket.if_nametoindex(wire.far), socket.if_nametoindex(wire.near)]
    assert [packet[3] for packet in packets] == indexes


def test_the_sockets_can_be_waited_for(filters, wire):
    """Each descriptor becomes readable when there is something to read, and not before."""
    waiting = [filters.signalling, filters.headers, filters.content]
    assert select.select(waiting, [], [], 0)[0] == []

    each, *_ = filters.identity_hashes("sip_uri", "alice@example.com")
    filters.set_identity(each, FOREVER)
    filters.set_flow(Level.CONTENT, FLOW, FOREVER)
    wire.send(sip(invite()), media())
    assert filters.content.poll(1000)

    assert select.select(waiting, [], [], 0)[0] == [filters.signalling, filters.content]


def test_a_frame_put_by_makes_closing_fail_loudly(wire):
    """A view kept beyond its block is an error, not a crash."""
    made = KernelFilters(interfaces=[wire.far], **OPTIONS)
    made.set_flow(Level.CONTENT, FLOW, FOREVER)
    wire.send(media())
    assert made.content.poll(1000)
    kept = [packet[5] for packet in made.content.read_block()]

    with pytest.raises(KernelError, match="still in use"):
        made.content.close()
    kept.clear()
    made.content.close()
    made.close()


def test_a_block_left_half_read_is_handed_back(filters, wire):
    """A consumer that stops in the middle does not stop the ring."""
    filters.set_flow(Level.CONTENT, FLOW, FOREVER)
    for _ in range(20):
        wire.send(media(), media())
        assert filters.content.poll(1000)
        block = filters.content.read_block()
        next(block)
        block.close()

    assert filters.content.statistics() == (40, 0)


def test_nothing_stays_open_behind(wire):
    """Closing gives back every descriptor, also when closed twice."""
    before = descriptors()
    with KernelFilters(interfaces=[wire.far], **OPTIONS) as filters:
        assert descriptors() > before
    filters.close()

    assert descriptors() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"interfaces": ["absent0"]}, "finding the interface absent0"),
        ({"rings": Rings(content=RingSize(block_bytes=4096, blocks=1 << 22))}, "setting up"),
        ({"max_flows": 1 << 31}, "making the map headers_flows"),
    ],
)
def test_what_the_kernel_refuses_is_said_and_leaves_nothing_open(wire, change, said):
    """A failure on the way names its step and what to do, and closes what was open."""
    before = descriptors()
    with pytest.raises(KernelError, match=said):
        KernelFilters(**({"interfaces": [wire.far]} | OPTIONS | change))

    assert descriptors() == before


@pytest.mark.parametrize(
    "change",
    [
        {"interfaces": []},
        {"sip_ports": []},
        {"key": b"short"},
        {"sip_ports": [0]},
        {"sip_ports": [65536]},
    ],
)
def test_an_empty_list_never_means_all(wire, change):
    """No interface, no port or a short key is refused; none of them widens the capture."""
    before = descriptors()
    with pytest.raises(ValueError, match=r"needed|a SIP port"):
        KernelFilters(**({"interfaces": [wire.far]} | OPTIONS | change))

    assert descriptors() == before


def test_a_full_map_says_so(wire):
    """Arming beyond the map's size is an error, not a silent miss."""
    with KernelFilters(interfaces=[wire.far], max_identities=2, **OPTIONS) as filters:
        filters.set_identity(1, FOREVER)
        filters.set_identity(2, FOREVER)
        with pytest.raises(KernelError, match="raise max_flows or max_identities"):
            filters.set_identity(3, FOREVER)


def test_a_deadline_out_of_range_is_refused(filters):
    """A negative time does not wrap round to a far one."""
    with pytest.raises(ValueError, match="boot clock"):
        filters.set_flow(Level.CONTENT, FLOW, -1)
    with pytest.raises(ValueError, match="boot clock"):
        filters.set_identity(1, 2**64)


ALWAYS = bytes.fromhex("b700000000000400 9500000000000000")  # r0 = 0x40000; exit
NEVER = bytes.fromhex("b700000000000000 9500000000000000")  # r0 = 0; exit


@pytest.mark.parametrize("body", [ALWAYS, NEVER])
@pytest.mark.parametrize("place", ["headers", "content", "signalling"])
def test_a_filter_that_does_something_else_is_not_used(wire, monkeypatch, place, body):
    """The canary refuses a program that passes everything, or nothing, in any of the three places."""
    loading = module.load

    def tampered(data, *, entries):
        loaded = loading(data, entries=entries)
        if place in loaded.programs:
            os.close(loaded.programs[place])
            loaded.programs[place] = load_socket_filter(
                name=place, instructions=body, licence=b"GPL", btf=-1, functions=()
            )
        return loaded

    monkeypatch.setattr(module, "load", tampered)
    before = descriptors()
    with pytest.raises(KernelError, match="failed its test"):
        KernelFilters(interfaces=[wire.far], **OPTIONS)

    assert descriptors() == before


def test_a_headers_filter_that_returns_more_is_not_used(wire, monkeypatch):
    """The canary compares the length that is kept, not only whether something is."""
    monkeypatch.setattr(canary, "HEADERS_KEPT", canary.HEADERS_KEPT - 1)

    with pytest.raises(KernelError, match="a live flow"):
        KernelFilters(interfaces=[wire.far], **OPTIONS)


def test_many_flows_are_armed_and_each_ends_alone(filters, wire):
    """Of a thousand flows the expired half is silent and the other half is complete."""
    now = boot_ns()
    for port in range(30000, 31000):
        filters.set_flow(Level.CONTENT, FlowKey.to(DESTINATION, port), FOREVER if port % 2 else now)
    wire.send(*(media(to=port) for port in range(30000, 31000)))

    expected = [media(to=port) for port in range(30001, 31000, 2)]
    assert [packet[0] for packet in drain(filters.content)] == expected


LOADS = """
from agents.kernel.filters import KernelFilters
with KernelFilters(interfaces=["lo"], sip_ports=[5060], sip_tcp=False, key=bytes(16)):
    print("open")
"""


def run_with(capabilities, program):
    """Run a program in this namespace with so many capabilities and none besides."""
    only = ",".join(("-all", *(f"+{each}" for each in capabilities)))
    return subprocess.run(
        ("setpriv", f"--inh-caps={only}", f"--ambient-caps={only}", f"--bounding-set={only}",
         "--securebits=+noroot", sys.executable, "-c", program),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_two_capabilities_are_enough(wire):
    """CAP_BPF and CAP_NET_RAW open everything; CAP_PERFMON, which reads all memory, is not needed."""
    done = run_with(("bpf", "net_raw"), LOADS)

    assert (done.stdout, done.returncode) == ("open\n", 0), done.stderr


@pytest.mark.parametrize("capabilities", [("bpf",), ("net_raw",)])
def test_a_missing_capability_is_named(wire, capabilities):
    """Without one of them the error says which two are needed."""
    done = run_with(capabilities, LOADS)

    assert done.returncode == 1
    assert "KernelError" in done.stderr
    assert "CAP_BPF and CAP_NET_RAW" in done.stderr
