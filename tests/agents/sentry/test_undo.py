"""What copies packets is undone: a packet was copied before and is not after; neighbours stand."""

from __future__ import annotations

import os
import struct

import pytest

from agents.core.sentry import Finding, What
from agents.kernel.bpf import call
from agents.sentry.namespaces import Namespace
from agents.sentry.netlink import attribute, change, open_socket, request
from agents.sentry.programs import links
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

pytestmark = pytest.mark.privileged

SCHED_CLS, XDP = 3, 6
MIRROR = "action mirred egress mirror dev t0"


@pytest.fixture
def wires():
    with Wires() as made:
        yield made


# -- traffic control -------------------------------------------------------------------------------


def mirror(wires, *, parent="ffff:", preference=10, action=MIRROR):
    words = f"parent {parent} pref {preference} protocol all u32 match u32 0 0 {action}"
    wires.run("tc", "filter", "add", "dev", "v0", *words.split())


@pytest.mark.parametrize("parent", ["ingress", "egress"])
def test_a_mirroring_filter_is_removed_and_its_neighbours_are_not(wires, parent):
    wires.run("tc", "qdisc", "add", "dev", "v0", "clsact")
    side = {"ingress": "ffff:fff2", "egress": "ffff:fff3"}[parent]
    assert not wires.copied()
    mirror(wires, parent=side, preference=10, action="flowid 1:1")
    mirror(wires, parent=side, preference=20)
    mirror(wires, parent=side, preference=30, action="flowid 1:1")
    assert not wires.copied(), "the first filter that matches decides"
    wires.run("tc", "filter", "del", "dev", "v0", "parent", side, "pref", "10")
    assert wires.copied()
    assert undo(wires.found(What.TC_MIRROR), wires.namespace)
    assert not wires.copied()
    left = wires.run("tc", "filter", "show", "dev", "v0", parent)
    assert "pref 30" in left
    assert "mirred" not in left


def test_a_filter_of_the_old_ingress_is_removed_and_is_one_finding(wires):
    wires.run("tc", "qdisc", "add", "dev", "v0", "ingress")
    wires.watch.look()
    mirror(wires)
    told = wires.watch.look()
    assert len({each for each in told.passed | told.standing if each.what is What.TC_MIRROR}) == 1
    assert wires.copied()
    assert undo(wires.found(What.TC_MIRROR), wires.namespace)
    assert not wires.copied()


def test_one_of_two_mirrors_in_one_table_is_removed(wires):
    wires.run("tc", "qdisc", "add", "dev", "v0", "clsact")
    for match in ("at 0", "at 4"):
        words = f"parent ffff:fff3 pref 7 protocol ip u32 match u32 0 0 {match} {MIRROR}"
        wires.run("tc", "filter", "add", "dev", "v0", *words.split())
    first, second = wires.standing(What.TC_MIRROR)
    assert undo(first, wires.namespace)
    assert wires.found(What.TC_MIRROR) == second
    assert undo(first, wires.namespace), "it is gone"
    assert wires.copied()
    assert undo(second, wires.namespace)
    assert not wires.copied()


def test_a_filter_in_a_chain_and_one_of_a_shared_block_are_removed(wires):
    wires.run(
        "tc", "qdisc", "add", "dev", "v0", "egress_block", "22", "ingress_block", "21", "clsact"
    )
    words = f"block 22 pref 5 protocol all u32 match u32 0 0 {MIRROR}"
    wires.run("tc", "filter", "add", *words.split())
    assert wires.copied()
    assert undo(wires.found(What.TC_MIRROR), wires.namespace)
    assert not wires.copied()
    for chain in (4, 5):
        words = f"block 22 chain {chain} pref {chain} protocol all u32 match u32 0 0 {MIRROR}"
        wires.run("tc", "filter", "add", *words.split())
    first, second = wires.standing(What.TC_MIRROR)
    assert undo(first, wires.namespace)
    assert wires.found(What.TC_MIRROR) == second


def test_a_filter_of_an_inner_class_is_found_as_it_stands_and_is_removed(wires):
    for words in (
        "qdisc add dev v0 root handle 1: htb default 10",
        "class add dev v0 parent 1: classid 1:1 htb rate 1gbit",
        "class add dev v0 parent 1:1 classid 1:10 htb rate 1gbit",
        "filter add dev v0 parent 1: pref 1 protocol all u32 match u32 0 0 flowid 1:1",
        f"filter add dev v0 parent 1:1 pref 2 protocol all u32 match u32 0 0 flowid 1:10 {MIRROR}",
    ):
        wires.run("tc", *words.split())
    assert wires.copied()
    found = wires.found(What.TC_MIRROR)
    assert dict(found.where)["parent"] == "1:1"
    assert undo(found, wires.namespace)
    assert not wires.copied()
    assert "flowid 1:1" in wires.run("tc", "filter", "show", "dev", "v0", "parent", "1:")


def test_what_stands_in_a_filters_place_by_now_is_left(wires):
    wires.run("tc", "qdisc", "add", "dev", "v0", "ingress")
    mirror(wires)
    old = wires.found(What.TC_MIRROR)
    replaced = "parent ffff: pref 10 handle 800::800 protocol all u32 match u32 0 0"
    other = "action mirred egress redirect dev t0"
    wires.run("tc", "filter", "replace", "dev", "v0", *replaced.split(), *other.split())
    new = wires.found(What.TC_MIRROR)
    assert dict(new.where)["handle"] == dict(old.where)["handle"]
    assert undo(old, wires.namespace), "the mirror is gone"
    assert wires.found(What.TC_MIRROR) == new
    wires.run("tc", "qdisc", "del", "dev", "v0", "ingress")
    assert undo(new, wires.namespace), "all of it is gone"
    assert undo(Finding(What.TC_MIRROR, (*new.where[1:], ("interface", 999))), wires.namespace)


def cloning(wires):
    """Load a program that sends a copy of every packet out of t0, and lets it go on."""
    return bpf_program(
        SCHED_CLS,
        instruction(0xB7, 2, value=index_of(wires, "t0")),
        instruction(0xB7, 3),
        instruction(0x85, value=13),  # bpf_clone_redirect
        instruction(0xB7, 0, value=-1),  # TC_ACT_UNSPEC
        instruction(0x95),
        name="cloning",
    )


def add_program(wires, descriptor, *, preference, handle=1):
    info = preference << 16 | 0x0300  # ETH_P_ALL in network order
    options = (
        attribute(6, struct.pack("=I", descriptor))
        + attribute(7, b"ours\0")
        + attribute(8, struct.pack("=I", 1))
    )
    body = struct.pack("=BxxxiIII", 0, index_of(wires, "v0"), handle, 0xFFFF_FFF3, info)
    body += attribute(1, b"bpf\0") + attribute(2, options)

    def add():
        with open_socket(0) as kernel:
            octets = bytearray(request(44, body, acknowledge=True))
            struct.pack_into("=H", octets, 6, 0x1 | 0x4 | 0x400)  # create
            change(kernel, bytes(octets))
        return True

    inside(wires.a, add)


def test_a_filter_that_is_a_program_is_removed_and_another_program_is_not(wires):
    wires.run("tc", "qdisc", "add", "dev", "v0", "clsact")
    program = cloning(wires)
    add_program(wires, program, preference=3)
    assert wires.copied()
    first = wires.found(What.BPF_FOREIGN)
    add_program(wires, cloning(wires), preference=4)
    (second,) = {*wires.standing(What.BPF_FOREIGN)} - {first}
    assert undo(first, wires.namespace)
    assert wires.found(What.BPF_FOREIGN) == second
    assert wires.copied()
    assert undo(second, wires.namespace)
    assert not wires.copied()
    add_program(wires, program, preference=3)
    other = Finding(first.what, (*first.where[:-2], ("program", 1), first.where[-1]))
    assert undo(other, wires.namespace)
    assert wires.found(What.BPF_FOREIGN), "another program's number is another filter"
    os.close(program)


# -- programs of XDP -------------------------------------------------------------------------------


def test_a_program_is_taken_off_its_link(wires):
    set_xdp(wires, redirecting(wires))
    set_xdp(wires, bpf_program(XDP, instruction(0xB7, 0, value=2), instruction(0x95)), link="t0")
    assert wires.copied()
    (found,) = [e for e in wires.standing(What.XDP) if dict(e.where)["name"] == "v0"]
    assert dict(found.where)["mode"] == "generic"
    assert undo(found, wires.namespace)
    assert not wires.copied()
    assert dict(wires.found(What.XDP).where)["name"] == "t0", "the neighbour stands"
    assert undo(found, wires.namespace), "it is gone"


def test_two_programs_of_one_link_are_two_findings(wires):
    set_xdp(wires, redirecting(wires), mode=4)
    passing = bpf_program(XDP, instruction(0xB7, 0, value=2), instruction(0x95))
    set_xdp(wires, passing, mode=4)  # Replaces it: one of a mode.
    assert dict(wires.found(What.XDP).where)["mode"] == "driver"
    assert undo(wires.found(What.XDP), wires.namespace)
    assert not wires.standing(What.XDP)


def test_another_program_in_its_place_is_left(wires):
    set_xdp(wires, redirecting(wires))
    old = wires.found(What.XDP)
    set_xdp(wires, redirecting(wires))
    new = wires.found(What.XDP)
    assert old != new
    assert undo(old, wires.namespace)
    assert wires.found(What.XDP) == new


def test_a_program_that_a_bpf_link_holds_is_let_go_of(wires):
    program, v0 = redirecting(wires), index_of(wires, "v0")
    asked = struct.pack("<IIII", program, v0, 37, 2)
    held = inside(wires.a, lambda: call(28, asked.ljust(64, b"\0")))
    try:
        assert wires.copied()
        found = wires.found(What.XDP)
        number = dict(found.where)["program"]
        assert number in {each.program for each in links()}
        assert undo(found, wires.namespace)
        assert not wires.copied()
        assert not wires.standing(What.XDP)
    finally:
        os.close(held)


# -- links -----------------------------------------------------------------------------------------


def test_a_macvlan_is_removed_and_the_one_beside_it_is_not(wires):
    for name in ("mac0", "mac1"):
        wires.run(
            "ip", "link", "add", name, "link", "v0", "up", "type", "macvlan", "mode", "bridge"
        )
    assert wires.copied(at=wires.a, interface="mac0")
    first, second = wires.standing(What.MIRROR_LINK)
    assert undo(first, wires.namespace)
    assert "mac0" not in wires.run("ip", "link")
    assert wires.found(What.MIRROR_LINK) == second
    assert wires.copied(at=wires.a, interface="mac1")


def test_a_tunnel_that_carries_copies_away_is_removed(wires):
    remote = "id 7 dev t0 remote 10.78.0.2 dstport 4789"
    wires.run("ip", "link", "add", "x0", "up", "type", "vxlan", *remote.split())
    wires.run("tc", "qdisc", "add", "dev", "v0", "ingress")
    mirror(wires, action="action mirred egress mirror dev x0")
    assert wires.copied(), "in a tunnel, out of t0"
    assert undo(wires.found(What.MIRROR_LINK), wires.namespace)
    assert not wires.copied()
    assert "x0" not in wires.run("ip", "link")


def test_a_link_that_is_no_mirror_by_now_is_left(wires):
    wires.run("ip", "link", "add", "mac0", "link", "v0", "up", "type", "macvlan")
    found = wires.found(What.MIRROR_LINK)
    wires.run("ip", "link", "set", "mac0", "down")
    assert undo(found, wires.namespace)
    assert "mac0" in wires.run("ip", "link"), "down it copies nothing"
    wires.run("ip", "link", "set", "mac0", "name", "other", "up")
    assert undo(found, wires.namespace)
    assert "other" in wires.run("ip", "link"), "it has another name: it is found anew"
    assert undo(wires.found(What.MIRROR_LINK), wires.namespace)
    assert undo(found, wires.namespace), "it is gone"


@pytest.mark.parametrize("way", ["ageing", "learning"])
def test_a_bridge_that_floods_is_made_to_learn_again(wires, way):
    """What goes from one of its ports to another comes out of a third, and then does not."""
    wires.run("ip", "link", "add", "br0", "type", "bridge")
    wires.run("ip", "link", "add", "w0", "type", "veth", "peer", "name", "w1")
    for name in ("v0", "w0", "t0"):
        wires.run("ip", "link", "set", name, "master", "br0")
    for name in ("br0", "w0", "w1"):
        wires.run("ip", "link", "set", name, "up")
    wires.run("sysctl", "-w", "net.ipv4.conf.all.arp_ignore=1")  # The bridge is not asked.
    wires.run("ip", "address", "flush", "dev", "v0")
    wires.run("ip", "address", "add", "10.77.0.1/24", "dev", "w1")

    def one_way():
        """Send as v1 to w1, so that the bridge could have learned where w1 is."""
        wires.run("ping", "-c", "1", "-W", "2", "10.77.0.1", at=wires.b)
        return wires.copied(broadcast=False)

    assert not one_way()
    if way == "ageing":
        wires.run("ip", "link", "set", "br0", "type", "bridge", "ageing_time", "0")
    else:
        wires.run("bridge", "link", "set", "dev", "w0", "learning", "off")
        wires.run("ip", "link", "set", "br0", "type", "bridge", "fdb_flush")
    assert one_way()
    found = wires.found(What.FLOODING)
    assert dict(found.where)["name"] == {"ageing": "br0", "learning": "w0"}[way]
    assert undo(found, wires.namespace)
    assert not one_way()
    assert not wires.standing(What.FLOODING)
    assert "br0" in wires.run("ip", "link", "show", "master", "br0")


# -- rules of nftables -----------------------------------------------------------------------------

NETDEV = (
    "add table netdev n; add chain netdev n c {{ type filter hook ingress device v0 priority 0; }}"
)
OUTPUT = "add table ip n; add chain ip n c {{ type filter hook output priority 0; }}"


@pytest.mark.parametrize(
    ("base", "rule"),
    [
        (NETDEV, "dup to t0"),
        (NETDEV, "fwd to t0"),
        (OUTPUT, "ip daddr 10.77.0.2 dup to 10.78.0.2 device t0"),
    ],
    ids=["dup", "fwd", "dup_ip"],
)
def test_a_rule_that_copies_is_removed_and_those_around_it_are_not(wires, base, rule):
    family = base.split()[2]
    wires.run("nft", base.format())
    for each in ("counter", rule, "meta mark 7 counter"):
        wires.run("nft", f"add rule {family} n c {each}")
    assert wires.copied()
    assert undo(wires.found(What.NFT_COPY), wires.namespace)
    assert not wires.copied()
    left = wires.run("nft", "-s", "list", "table", family, "n")
    assert left.count("counter") == 2
    assert "t0" not in left


def test_a_rule_that_hands_packets_to_a_listener_is_removed(wires):
    wires.run("nft", OUTPUT.format())
    wires.run("nft", 'add rule ip n c log group 5; add rule ip n c log prefix "kept"')
    assert wires.logged(5)
    assert not wires.logged(6)
    assert undo(wires.found(What.NFT_COPY), wires.namespace)
    assert not wires.logged(5)
    assert "kept" in wires.run("nft", "list", "ruleset")


@pytest.mark.parametrize("tool", ["iptables-nft", "ip6tables-nft"])
def test_targets_of_iptables_nft_are_removed(wires, tool):
    gateway = "fd00::2" if "6" in tool else "10.78.0.2"
    for target in (f"TEE --gateway {gateway}", "NFLOG --nflog-group 5", "NFQUEUE --queue-bypass"):
        wires.run(tool, "-A", "OUTPUT", "-j", *target.split())
    wires.run(tool, "-A", "OUTPUT", "-j", "ACCEPT")
    if tool == "iptables-nft":
        assert wires.copied()
        assert wires.logged(5)
    found = wires.standing(What.NFT_COPY)
    names = {dict(each.where)["expression"] for each in found}
    assert names == {"TEE", "log", "NFQUEUE"}
    for each in found:
        assert undo(each, wires.namespace)
    assert not wires.standing(What.NFT_COPY)
    assert not wires.copied()
    assert not wires.logged(5)
    assert wires.run(tool, "-S", "OUTPUT").splitlines() == [
        "-P OUTPUT ACCEPT",
        "-A OUTPUT -j ACCEPT",
    ]


def test_a_rule_of_the_same_number_in_another_table_is_left(wires):
    wires.run("nft", "add table ip n; add chain ip n c; add rule ip n c log group 5")
    old = wires.found(What.NFT_COPY)
    wires.run("nft", "delete table ip n")
    assert undo(old, wires.namespace), "it is gone"
    wires.run("nft", "add table ip n; add chain ip n c; add rule ip n c counter")
    assert undo(old, wires.namespace)
    assert "counter" in wires.run("nft", "list", "ruleset")


def test_what_is_not_undone_here_is_said_to_stand(wires):
    wires.run("ip", "link", "set", "t0", "promisc", "on")
    assert not undo(wires.found(What.PROMISCUOUS), wires.namespace)
    wires.run("nft", "add table ip n; add chain ip n c; add rule ip n c log group 5")
    found = wires.found(What.NFT_COPY)
    closed = Namespace(wires.namespace.inode, os.open(f"/run/netns/{wires.a}", os.O_RDONLY))
    closed.close()
    assert not undo(found, closed)
    assert wires.found(What.NFT_COPY) == found
