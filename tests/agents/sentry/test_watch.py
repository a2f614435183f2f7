"""The sentry on this kernel, in a namespace of the test's own: it finds, and finds only there."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pyroute2 import netns

from agents.core.sentry import What
from agents.sentry.doors import Doors
from agents.sentry.holders import identify
from agents.sentry.namespaces import Namespaces
from tests.agents.sentry.place import HOLD, Place
from tests.builders.units import service

pytestmark = pytest.mark.privileged


@pytest.fixture(params=[False, True], ids=["kernel", "listing"])
def place(request):
    with Place(portable=request.param) as made:
        yield made


def test_a_socket_that_hears_content_is_found_by_either_sweep(place):
    with place.holding(socket.AF_PACKET, "socket.htons(3)") as pid:
        (told,) = place.found(What.CAPTURE_SOCKET)
        assert (told["pid"], told["uid"], told["kind"]) == (pid, 0, "packet_all")
        assert len(told["command"]) == 64
        place.swept(12)
        assert len(place.found(What.CAPTURE_SOCKET)) == 1, "it is told once"
        assert place.watch.status()["findings"] == 1
    until = time.monotonic() + 15
    while place.watch.status()["findings"] and time.monotonic() < until:
        time.sleep(0.01)
    assert place.watch.status()["findings"] == 0


@pytest.mark.parametrize(
    ("family", "protocol", "kind"),
    [(socket.AF_INET, 17, "raw_udp"), (socket.AF_INET6, 17, "raw_udp"), (44, 0, "xdp")],
)
def test_other_sockets_that_hear_content_are_found(place, family, protocol, kind):
    with place.holding(family, protocol):
        (told,) = place.found(What.CAPTURE_SOCKET)
        assert told["kind"] == kind


@pytest.mark.parametrize(
    ("family", "protocol"),
    [
        (socket.AF_INET, 1),
        (socket.AF_INET6, 58),
        (socket.AF_INET, 255),
        (17, "socket.htons(0x0806)"),
    ],
)
def test_sockets_of_control_are_not_reported(place, family, protocol):
    with place.holding(family, protocol):
        place.swept()
    assert [each.what for each in place.told] == [What.SENTRY_SCOPED]


@pytest.mark.parametrize("portable", [False, True], ids=["kernel", "listing"])
def test_a_unit_that_may_listen_is_not_reported_and_others_are(portable):
    """A DHCP client is known by its cgroup, and nobody else is taken for it."""
    unit = f"cg-{secrets.token_hex(4)}.service"
    with (
        Place(portable=portable, units=(unit,)) as place,
        service(unit) as inside,
        place.holding(17, "socket.htons(0x0800)", *inside),
    ):
        place.swept()
        assert [each.what for each in place.told] == [What.SENTRY_SCOPED]
        with place.holding(17, "socket.htons(0x0800)") as other:
            (told,) = place.found(What.CAPTURE_SOCKET)
            assert told["pid"] == other


def test_a_unit_is_known_where_no_hierarchy_is_mounted(monkeypatch):
    monkeypatch.setattr("agents.sentry.cgroups.mount", lambda: None)
    own = Path("/proc/self/cgroup").read_text().rpartition("0::")[2].strip()
    with Place() as place, place.holding(17, "socket.htons(3)"):
        (told,) = place.found(What.CAPTURE_SOCKET)
        assert told["cgroup"] == own


def test_nothing_outside_of_the_scope_is_judged():
    with Place() as inside, Place() as outside, outside.holding(17, "socket.htons(3)"):
        outside.found(What.CAPTURE_SOCKET)
        inside.swept()
        assert [each.what for each in inside.told] == [What.SENTRY_SCOPED]


def test_our_own_sockets_are_not_reported():
    """The agent may hear: its filters stand before its sockets."""
    with Place() as place:
        opened = []

        def enter():
            netns.setns(place.name)
            opened.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        place.swept(10)
        opened[0].close()
        assert [each.what for each in place.told] == [What.SENTRY_SCOPED]


def test_bridges_and_containers_links_are_no_mirrors(place):
    """What a container engine does to a network is not reported."""
    place.run("ip", "link", "add", "br0", "up", "type", "bridge")
    place.run("ip", "link", "add", "v0", "up", "type", "veth", "peer", "name", "v1")
    place.run("ip", "link", "set", "v0", "master", "br0")
    place.run("ip", "link", "set", "v1", "up")
    place.run("nft", "add table ip n; add chain ip n c; add rule ip n c counter log accept")
    place.swept()
    assert [each.what for each in place.told] == [What.SENTRY_SCOPED]


def test_mirrors_are_found_with_where_they_are(place):
    place.run("ip", "link", "add", "v0", "up", "type", "veth", "peer", "name", "v1")
    place.run("ip", "link", "set", "v1", "up")
    place.run("ip", "link", "add", "mac0", "link", "v1", "up", "type", "macvlan")
    assert place.found(What.MIRROR_LINK)[0]["name"] == "mac0"
    place.run("ip", "link", "set", "v0", "promisc", "on")
    assert "v0" in {each["name"] for each in place.found(What.PROMISCUOUS, 2)}
    place.run("tc", "qdisc", "add", "dev", "v0", "ingress")
    mirror = "protocol all u32 match u32 0 0 action mirred egress mirror dev v1"
    place.run("tc", "filter", "add", "dev", "v0", "parent", "ffff:", *mirror.split())
    assert place.found(What.TC_MIRROR)[0]["way"] == "mirror"
    place.run("nft", "add table ip n; add chain ip n c; add rule ip n c log group 5")
    assert place.found(What.NFT_COPY)[0]["table"] == "n"


def test_a_link_that_came_and_went_is_found(place):
    """The announcement tells it, though nothing stands when the sentry looks."""
    place.swept(1)
    for _ in range(5):
        place.run("sh", "-c", "ip link add x0 up type ifb && ip link del x0")
    assert place.found(What.MIRROR_LINK, 5)


def test_a_namespace_that_ends_is_let_go(place):
    """The sentry's own sockets keep no namespace and no link alive."""
    place.swept(1)
    assert place.watch.status()["namespaces"] == 1
    other = f"cgs-{secrets.token_hex(4)}"
    netns.create(other)
    try:
        place.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", other)
        netns.remove(place.name)
        until = time.monotonic() + 15
        while place.watch.status()["namespaces"]:
            assert time.monotonic() < until
            time.sleep(0.01)
        seen = "v1"
        while seen:
            assert time.monotonic() < until
            command = ["ip", "-n", other, "-o", "link", "show", "type", "veth"]
            seen = subprocess.run(command, check=True, capture_output=True, timeout=20).stdout
    finally:
        netns.remove(other)


def test_the_scope_is_told_and_never_widens():
    with Place() as place:
        assert place.found(What.SENTRY_SCOPED) == [{}]
        assert place.watch.status()["scope"] == "some namespaces"
        assert place.watch.status()["namespaces"] <= 1
    nowhere = Namespaces(("no-such-namespace",))
    assert nowhere.refresh() == ([], [])
    assert Namespaces(()).refresh() == ([], []), "no name is no namespace"


def test_the_whole_node_is_every_namespace():
    with Place() as place:
        everywhere = Namespaces(None)
        try:
            came, gone = everywhere.refresh()
            scoped = Namespaces((place.name,))
            ((one,), _) = scoped.refresh()
            assert one.inode in {each.inode for each in came}
            assert len(came) > 1
            assert gone == []
            scoped.close()
        finally:
            everywhere.close()


def test_the_death_of_the_sentry_is_told():
    place = Place()
    place.watch._sockets._sweeper = "no sweeper"
    place.watch.start()
    until = time.monotonic() + 15
    while not place.failures:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert isinstance(place.failures[0], AttributeError)
    place.watch._sockets._sweeper = None
    place.watch.close()
    netns.remove(place.name)


def test_what_is_tried_and_gone_is_told_with_what_was_proven(arena):
    """Where the second tier is: nobody but the canaries is killed, and no sweep is waited for."""

    def doors():
        return Doors(identify, within=arena.inside.number)

    with Place(doors=doors) as place:
        place.proven()
        assert place.watch.status()["tier"] == "kill"
        assert place.watch.status()["doors"]["packet_socket"] == "kill"
        script = HOLD.format(family=17, protocol="socket.htons(3)").replace("sys.stdin.read()", "")
        command = ["ip", "netns", "exec", place.name, sys.executable, "-c", script]
        subprocess.run(arena.inside.command(*command), check=True, capture_output=True, timeout=20)
        (told,) = place.found(What.CAPTURE_SOCKET)
        assert (told["way"], told["action"], told["would"]) == ("call", "reported", "kill")
        place.swept(6)
        assert len(place.found(What.CAPTURE_SOCKET)) == 1


def test_a_sentry_that_never_began_closes():
    place = Place()
    place.watch.close()
    place.watch.close()
    netns.remove(place.name)
