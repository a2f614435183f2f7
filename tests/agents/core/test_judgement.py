"""The sentry's table: what hears content is content, what control needs is free, others answer."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.judgement import (
    AF_PACKET,
    AF_XDP,
    SOCK_RAW,
    Allowances,
    SocketSeen,
    Verdict,
    judge,
    unit_of,
)

NOBODY = Allowances()


def seen(**changed):
    plain = {
        "pid": 100,
        "uid": 0,
        "cgroup": "/system.slice/ssh.service",
        "cgroup_id": 7,
        "inode": 4711,
        "netns": 1,
        "family": AF_PACKET,
        "type": SOCK_RAW,
        "protocol": 0,
        "ethertype": 3,
        "ifindex": 0,
        "comm": "x",
    }
    return SocketSeen(**(plain | changed))


@pytest.mark.parametrize(
    ("ethertype", "kind"),
    [
        (0x0003, "packet_all"),
        (0x0800, "packet_ip"),
        (0x86DD, "packet_ipv6"),
        (0x8100, "packet_vlan"),
        (0x88A8, "packet_vlan"),
        (0x8864, "packet_other"),  # PPPoE session: carries IP
        (0x8847, "packet_other"),  # MPLS
    ],
)
def test_packet_sockets_that_hear_ip_are_content(ethertype, kind):
    for way in (socket.SOCK_RAW, socket.SOCK_DGRAM):
        judged = judge(seen(ethertype=ethertype, type=int(way)), NOBODY)
        assert (judged.verdict, judged.reason) == (Verdict.CONTENT, kind)


@pytest.mark.parametrize("ethertype", [0, 0x0806, 0x88CC, 0x888E, 0x8809])
def test_packet_sockets_of_control_are_free(ethertype):
    assert judge(seen(ethertype=ethertype), NOBODY).verdict is Verdict.FREE


@pytest.mark.parametrize("protocol", [4, 6, 17, 41, 47, 50, 132, 136, 33, 51, 98, 115])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_raw_sockets_that_carry_voice_or_ip_are_content(family, protocol):
    one = seen(family=int(family), protocol=protocol, ethertype=0)
    assert judge(one, NOBODY).verdict is Verdict.CONTENT


@pytest.mark.parametrize("protocol", [1, 2, 58, 89, 112, 255])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_raw_sockets_of_control_are_free(family, protocol):
    one = seen(family=int(family), protocol=protocol, ethertype=0)
    assert judge(one, NOBODY).verdict is Verdict.FREE


def test_xdp_sockets_are_content_whatever_they_are_bound_to():
    judged = judge(seen(family=AF_XDP, ethertype=0), NOBODY)
    assert (judged.verdict, judged.reason) == (Verdict.CONTENT, "xdp")


@pytest.mark.parametrize(
    ("family", "kind", "protocol"),
    [
        (socket.AF_INET, socket.SOCK_DGRAM, 17),
        (socket.AF_INET, socket.SOCK_STREAM, 6),
        (socket.AF_INET, socket.SOCK_DGRAM, 1),  # unprivileged ping
        (socket.AF_UNIX, socket.SOCK_STREAM, 0),
        (socket.AF_NETLINK, socket.SOCK_RAW, 12),  # nft, conntrack; NFLOG is watched by itself
    ],
)
def test_other_sockets_are_free(family, kind, protocol):
    one = seen(family=int(family), type=int(kind), protocol=protocol, ethertype=0)
    assert judge(one, NOBODY).verdict is Verdict.FREE


def test_the_agent_itself_is_allowed_and_its_neighbours_are_not():
    own = Allowances(pids=frozenset({100}))
    assert judge(seen(), own).verdict is Verdict.ALLOWED
    assert judge(seen(pid=101), own).verdict is Verdict.CONTENT


def test_a_unit_is_allowed_by_its_whole_name_where_the_manager_puts_it():
    allowed = Allowances(units=frozenset({"dhcpcd.service"}))
    for cgroup, verdict in {
        "/system.slice/dhcpcd.service": Verdict.ALLOWED,
        "/system.slice/dhcpcd.service/worker": Verdict.ALLOWED,
        "/net.slice/net-wan.slice/dhcpcd.service": Verdict.ALLOWED,
        "/dhcpcd.service": Verdict.CONTENT,
        "/mine/dhcpcd.service": Verdict.CONTENT,
        "/system.slice/xdhcpcd.service": Verdict.CONTENT,
        "/system.slice/ssh.service/dhcpcd.service": Verdict.CONTENT,
        "/user.slice/user-7.slice/user@7.service/app.slice/dhcpcd.service": Verdict.CONTENT,
        "/../system.slice/dhcpcd.service": Verdict.CONTENT,  # outside of our own cgroup namespace
        "system.slice/dhcpcd.service": Verdict.CONTENT,
        "": Verdict.CONTENT,
        "/": Verdict.CONTENT,
    }.items():
        assert judge(seen(cgroup=cgroup), allowed).verdict is verdict, cgroup


def test_a_socket_without_a_unit_is_not_allowed_by_having_none():
    assert unit_of("/") is None
    assert judge(seen(cgroup="/"), Allowances()).verdict is Verdict.CONTENT


@given(
    family=st.integers(0, 46),
    kind=st.integers(0, 10),
    protocol=st.integers(0, 262),
    ethertype=st.integers(0, 0xFFFF),
    pid=st.integers(1, 1 << 22),
    cgroup=st.text(max_size=60),
)
def test_allowances_only_ever_turn_content_into_allowed(
    family, kind, protocol, ethertype, pid, cgroup
):
    one = seen(
        family=family, type=kind, protocol=protocol, ethertype=ethertype, pid=pid, cgroup=cgroup
    )
    bare = judge(one, NOBODY)
    assert bare.verdict is not Verdict.ALLOWED
    wide = judge(one, Allowances(pids=frozenset({pid})))
    assert wide.reason == bare.reason
    assert wide.verdict is (Verdict.ALLOWED if bare.verdict is Verdict.CONTENT else Verdict.FREE)


@given(st.text(max_size=100))
def test_a_unit_is_named_for_no_path_that_does_not_hold_it_whole(cgroup):
    unit = unit_of(cgroup)
    assert unit is None or unit in cgroup.split("/")
