"""Mirrors set up by hand are incidents within a second; enforcing undoes them, observing does not.

Nothing but the namespaces of the test is in the sentries' scope, and neighbours' rules stand.
"""

from __future__ import annotations

import contextlib
import os
import time

import pytest

from agents.core.enforcing import Mode
from agents.core.sentry import What
from agents.sentry.undo import undo_all
from tests.agents.sentry.place import Place
from tests.agents.sentry.wires import Wires, redirecting, set_xdp

pytestmark = pytest.mark.privileged

SECOND = 1.0
MIRROR = "protocol all u32 match u32 0 0 action mirred egress mirror dev t0"
NETDEV = "{ type filter hook ingress device v0 priority 0; }"
OUTPUT = "{ type filter hook output priority 0; }"


@pytest.fixture
def wires():
    with Wires() as made:
        yield made


@contextlib.contextmanager
def watching(wires, mode, **parts):
    with Place(name=wires.a, undo=undo_all, **parts) as place:
        place.watch.set_mode(mode)
        place.swept(2)
        place.told.clear()
        yield place


def macvlan(wires):
    wires.run("ip", "link", "add", "mac0", "link", "v0", "up", "type", "macvlan", "mode", "bridge")


def tunnel(wires):
    wires.run("tc", "qdisc", "add", "dev", "v0", "ingress")
    wires.run("ip", "link", "add", "x0", "type", "vxlan", "id", "7", "dev", "t0",
              "remote", "10.78.0.2", "dstport", "4789")  # fmt: skip
    wires.run("ip", "link", "set", "x0", "up")


def filtering(wires):
    wires.run("tc", "qdisc", "add", "dev", "v0", "ingress")
    wires.run("tc", "filter", "add", "dev", "v0", "parent", "ffff:", "pref", "9", *MIRROR.split())


def dup(wires):
    wires.run("nft", f"add table netdev n; add chain netdev n c {NETDEV}")
    wires.run("nft", "add rule netdev n c counter; add rule netdev n c dup to t0")


def log(wires):
    wires.run("nft", f"add table ip n; add chain ip n c {OUTPUT}")
    wires.run("nft", "add rule ip n c counter; add rule ip n c log group 5")


def tee(wires):
    wires.run("iptables-nft", "-A", "OUTPUT", "-j", "TEE", "--gateway", "10.78.0.2")


def xdp(wires):
    program = redirecting(wires)
    set_xdp(wires, program)
    os.close(program)


def hub(wires):
    wires.run("ip", "link", "add", "br0", "up", "type", "bridge", "ageing_time", "0")


COPIES = {
    "macvlan": (macvlan, What.MIRROR_LINK, lambda w: w.copied(at=w.a, interface="mac0")),
    "tunnel": (tunnel, What.MIRROR_LINK, lambda w: w.standing(What.MIRROR_LINK)),
    "hub": (hub, What.FLOODING, lambda w: w.standing(What.FLOODING)),
    "tc": (filtering, What.TC_MIRROR, Wires.copied),
    "dup": (dup, What.NFT_COPY, Wires.copied),
    "log": (log, What.NFT_COPY, lambda w: w.logged(5)),
    "tee": (tee, What.NFT_COPY, Wires.copied),
    "xdp": (xdp, What.XDP, Wires.copied),
}


def told(place, what):
    """Return what is told of this kind, and hold it to the second."""
    began = time.monotonic()
    (incident, *_) = place.found(what)
    assert time.monotonic() - began < SECOND
    return incident


@pytest.mark.parametrize("way", COPIES)
def test_a_mirror_is_undone_where_the_sentry_enforces(wires, way):
    make, what, copied = COPIES[way]
    with watching(wires, Mode.ENFORCE) as place:
        wires.run("nft", "add table ip kept; add chain ip kept c; add rule ip kept c counter")
        make(wires)
        incident = told(place, what)
        assert (incident["action"], incident["mode"]) == ("undone", "enforce")
        assert not wires.standing(what)
        if way != "macvlan":  # There is no link left to listen at.
            assert not copied(wires)
        assert len(place.found(what)) == 1, "it is told once"
    rules = wires.run("nft", "list", "ruleset")
    assert "table ip kept" in rules
    assert rules.count("counter") == (2 if way in {"dup", "log"} else 1)


@pytest.mark.parametrize("way", COPIES)
def test_a_mirror_is_left_where_the_sentry_observes(wires, way):
    make, what, copied = COPIES[way]
    with watching(wires, Mode.OBSERVE) as place:
        make(wires)
        incident = told(place, what)
        assert (incident["action"], incident["would"]) == ("reported", "undo")
        place.swept(3)
        assert copied(wires)


def test_what_stood_before_is_undone_once_the_mode_turns(wires):
    filtering(wires)
    with watching(wires, Mode.OBSERVE) as place:
        assert wires.copied()
        place.watch.set_mode(Mode.ENFORCE)
        assert told(place, What.TC_MIRROR)["action"] == "undone"
        assert not wires.copied()


def test_promiscuity_is_told_and_left(wires):
    with watching(wires, Mode.ENFORCE) as place:
        wires.run("ip", "link", "set", "v0", "promisc", "on")
        assert told(place, What.PROMISCUOUS)["action"] == "reported"
        place.swept(3)
        assert wires.standing(What.PROMISCUOUS)


def test_what_is_set_up_again_is_undone_again(wires):
    with watching(wires, Mode.ENFORCE) as place:
        for times in (1, 2, 3):
            tee(wires)
            assert [each["action"] for each in place.found(What.NFT_COPY, times)] == (
                ["undone"] * times
            )


def test_the_operators_own_are_left_and_told(wires):
    """A declared link, program or filter stands; the same elsewhere does not."""
    macvlan(wires)
    with Place(name=wires.a, undo=undo_all, mirrors=frozenset(("mac0", "v0/tc"))) as place:
        place.watch.set_mode(Mode.ENFORCE)
        assert place.found(What.MIRROR_ALLOWED)[0]["mirror"] == "mirror_link"
        filtering(wires)
        assert place.found(What.MIRROR_ALLOWED, 2)[1]["mirror"] == "tc_mirror"
        dup(wires)
        assert told(place, What.NFT_COPY)["action"] == "undone"
        wires.run("ip", "link", "add", "mac1", "link", "v0", "up", "type", "macvlan")
        assert told(place, What.MIRROR_LINK)["name"] == "mac1"
        place.swept(3)
        assert wires.copied()
        assert wires.copied(at=wires.a, interface="mac0")
        assert "mac1" not in wires.run("ip", "link")
        assert len(place.found(What.MIRROR_ALLOWED)) == 2, "each is told once"


def test_a_mirror_of_another_namespace_is_out_of_scope(wires):
    with Wires() as other, watching(wires, Mode.ENFORCE) as place:
        filtering(other)
        place.swept(4)
        assert other.copied()
        assert not place.told
