"""Sets up each kind of mirror that a stock kernel has, and has it found and undone.

Of each it tells what was found, and whether packets were copied before and after.
"""

from __future__ import annotations

import contextlib
import os
import struct

from agents.kernel.bpf import call
from agents.sentry.undo import undo
from tests.agents.sentry.wires import (
    Wires,
    bpf_program,
    index_of,
    inside,
    instruction,
    redirecting,
    set_xdp,
)

_SCHED_CLS, _LINK_CREATE = 3, 28
_TCX_EGRESS, _NETKIT_PRIMARY = 47, 54
_MIRROR = "action mirred egress mirror dev t0"
_NETDEV = (
    "add table netdev n; add chain netdev n c { type filter hook ingress device v0 priority 0; }"
)
_OUTPUT = "add table ip n; add chain ip n c { type filter hook output priority 0; }"


def cloning(wires):
    return bpf_program(
        _SCHED_CLS,
        instruction(0xB7, 2, value=index_of(wires, "t0")),
        instruction(0xB7, 3),
        instruction(0x85, value=13),
        instruction(0xB7, 0, value=-1),
        instruction(0x95),
    )


def linked(wires, interface, place):
    asked = struct.pack("<IIII", cloning(wires), index_of(wires, interface), place, 0)
    return inside(wires.a, lambda: call(_LINK_CREATE, asked.ljust(64, b"\0")))


def classifier(words):
    def make(wires):
        wires.run("tc", "qdisc", "add", "dev", "v0", "clsact")
        wires.run("tc", "filter", "add", "dev", "v0", *words.split())

    return make


def link(*words):
    def make(wires):
        wires.run("ip", "link", "add", "m0", *words)
        wires.run("ip", "link", "set", "m0", "up")

    return make


def rules(*lines):
    def make(wires):
        for line in lines:
            wires.run("nft", line)

    return make


def xdp(wires):
    program = redirecting(wires)
    set_xdp(wires, program)
    os.close(program)


def netkit(wires):
    wires.run("ip", "link", "add", "m0", "type", "netkit")
    wires.run("ip", "link", "set", "m0", "up")
    linked(wires, "m0", _NETKIT_PRIMARY)


WAYS = {
    "u32": classifier(f"ingress pref 1 protocol all u32 match u32 0 0 {_MIRROR}"),
    "matchall": classifier(f"egress pref 1 protocol all matchall {_MIRROR}"),
    "flower": classifier(f"ingress pref 1 protocol ip flower ip_proto udp {_MIRROR}"),
    "basic": classifier(f"egress pref 1 protocol all basic {_MIRROR}"),
    "piped": classifier(f"egress pref 1 protocol all matchall action pipe {_MIRROR}"),
    "sample": classifier("egress pref 1 protocol all matchall action sample rate 1 group 5"),
    "macvlan": link("link", "v0", "type", "macvlan"),
    "ipvlan": link("link", "v0", "type", "ipvlan"),
    "ifb": link("type", "ifb"),
    "nlmon": link("type", "nlmon"),
    "gretap": link("type", "gretap", "local", "10.78.0.1", "remote", "10.78.0.2"),
    "erspan": link(
        "type", "erspan", "seq", "key", "7", "local", "10.78.0.1", "remote", "10.78.0.2",
        "erspan_ver", "1", "erspan", "3",
    ),
    "vxlan": link("type", "vxlan", "id", "7", "dev", "t0", "remote", "10.78.0.2", "dstport", "4789"),
    "geneve": link("type", "geneve", "id", "7", "remote", "10.78.0.2"),
    "fallback": lambda wires: wires.run("ip", "link", "set", "gre0", "up"),
    "dup": rules(_NETDEV, "add rule netdev n c dup to t0"),
    "fwd": rules(_NETDEV, "add rule netdev n c fwd to t0"),
    "dup_ip": rules(_OUTPUT, "add rule ip n c dup to 10.78.0.2 device t0"),
    "queue": rules(_OUTPUT, "add rule ip n c queue flags bypass to 3"),
    "log": rules(_OUTPUT, "add rule ip n c log group 5"),
    "tee": lambda wires: wires.run("iptables-legacy", "-A", "OUTPUT", "-j", "TEE", "--gateway", "10.78.0.2"),
    "xdp": xdp,
    "tcx": lambda wires: linked(wires, "v0", _TCX_EGRESS),
    "netkit": netkit,
}  # fmt: skip


COPYING = {
    "u32",
    "matchall",
    "flower",
    "basic",
    "piped",
    "dup",
    "fwd",
    "dup_ip",
    "tee",
    "xdp",
    "tcx",
}
"""Those whose copies come out of the second wire."""


def run(tell):
    with Wires() as wires:
        for way, make in WAYS.items():
            try:
                make(wires)
            except (AssertionError, OSError, IndexError) as error:
                tell(way=way, missing=str(error))
            else:
                tell(way=way, **undone(wires, copying=way in COPYING))
            clean(wires)


def clean(wires):
    """Take away what a mirror hung at, if it is there."""
    for words in (("tc", "qdisc", "del", "dev", "v0", "clsact"), ("nft", "flush", "ruleset")):
        with contextlib.suppress(AssertionError):
            wires.run(*words)


def standing(wires):
    return [each for each in wires.watch.look().standing if each.what != "promiscuous"]


def undone(wires, *, copying):
    found = standing(wires)
    before = wires.copied() if copying else None
    said = [undo(each, wires.namespace) for each in found]
    return {
        "found": sorted({each.what.value for each in found}),
        "undone": bool(said) and all(said) and not standing(wires),
        "before": before,
        "after": wires.copied() if copying else None,
    }
