"""What copies packets is read from the kernel's messages; what only looks like it is not."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.sentry import Finding, What
from agents.sentry.copies import RULE_ADDED, found_in, passed
from tests.agents.sentry.test_netlink import attribute

UP = 1


def link(*, kind="", flags=UP, **told):
    body = struct.pack("=BxHiII", 0, 1, 2, flags, 0) + attribute(3, b"eth0\0")
    if kind:
        body += attribute(18, attribute(1, kind.encode() + b"\0"))
    for number in ("promiscuity", "master"):
        if number in told:
            body += attribute(
                {"promiscuity": 30, "master": 10}[number], struct.pack("=I", told[number])
            )
    if "xdp" in told:
        body += attribute(43, attribute(2, b"\x02") + attribute(4, struct.pack("=I", told["xdp"])))
    return 16, body


def mirred(way, target):
    parms = attribute(2, bytes(20) + struct.pack("=iI", way, target))
    return attribute(1, b"mirred\0") + attribute(2, parms)


def tc(kind, options):
    head = struct.pack("=BxxxiIII", 0, 2, 1, 0xFFFFFFF2, 0)
    return 44, head + attribute(1, kind + b"\0") + attribute(2, options)


def rule(name, data=b""):
    expression = attribute(1, attribute(1, name + b"\0") + attribute(2, data))
    body = bytes((2, 0, 0, 0)) + attribute(1, b"filter\0") + attribute(2, b"INPUT\0")
    return RULE_ADDED, body + attribute(3, (7).to_bytes(8, "big")) + attribute(4, expression)


def verdict(code):
    return attribute(2, attribute(2, attribute(1, code.to_bytes(4, "big"))))


def whats(*messages):
    return sorted(each.what for each in found_in(messages))


@pytest.mark.parametrize("kind", ["macvlan", "ipvlan", "vxlan", "gretap", "erspan", "ifb", "nlmon"])
def test_a_link_that_copies_or_carries_elsewhere_is_found_while_it_is_up(kind):
    (found,) = found_in([link(kind=kind)])
    assert found == Finding(What.MIRROR_LINK, (("interface", 2), ("name", "eth0"), ("kind", kind)))
    assert whats(link(kind=kind, flags=0)) == [], (
        "the kernel makes some by itself, and leaves them down"
    )


@pytest.mark.parametrize("kind", ["", "veth", "bridge", "bond", "dummy", "vlan", "tun"])
def test_ordinary_links_are_not_found(kind):
    assert whats(link(kind=kind)) == []


def test_promiscuity_is_found_unless_a_bridge_explains_it():
    assert whats(link(promiscuity=1)) == [What.PROMISCUOUS]
    assert whats(link(promiscuity=1, master=4)) == []
    assert whats(link(promiscuity=0)) == []
    assert passed([link(promiscuity=1)]) == frozenset(), "a bridge takes its ports in that order"
    assert passed([link(kind="macvlan")]) == found_in([link(kind="macvlan")])


def bridged(*, ageing=None, kind="bridge", learning=None, flood=1):
    info = attribute(1, kind.encode() + b"\0")
    if ageing is not None:
        info += attribute(2, attribute(4, struct.pack("=I", ageing)))
    if learning is not None:
        port = attribute(8, bytes((learning,))) + attribute(9, bytes((flood,)))
        info += attribute(4, b"bridge\0") + attribute(5, port)
    head = struct.pack("=BxHiII", 0, 1, 2, UP, 0) + attribute(3, b"br0\0")
    return 16, head + attribute(18, info)


def test_a_bridge_that_floods_is_found_and_others_are_not():
    assert whats(bridged(ageing=0)) == [What.FLOODING]
    assert whats(bridged(kind="veth", learning=0)) == [What.FLOODING]
    assert whats(bridged(ageing=30000)) == []
    assert whats(bridged()) == []
    assert whats(bridged(kind="veth", learning=1)) == []
    assert whats(bridged(kind="tun", learning=0, flood=0)) == [], "who manages them by himself"
    assert whats(bridged(kind="vxlan", learning=0)) == [What.MIRROR_LINK]


def test_a_program_of_xdp_is_found():
    (found,) = found_in([link(xdp=12)])
    assert dict(found.where)["program"] == 12


@pytest.mark.parametrize(
    ("kind", "actions"), [(b"u32", 7), (b"matchall", 2), (b"flower", 3), (b"basic", 3), (b"fw", 4)]
)
@pytest.mark.parametrize(("way", "word"), [(1, "redirect"), (2, "mirror"), (4, "mirror_in")])
def test_a_mirror_is_found_in_every_classifier(kind, actions, way, word):
    options = attribute(1, b"\1\0\0\0") + attribute(actions, attribute(1, mirred(way, 9)))
    (found,) = found_in([tc(kind, options)])
    where = dict(found.where)
    assert (found.what, where["way"], where["target"]) == (What.TC_MIRROR, word, 9)
    assert where["parent"] == "ffff:fff2"


def test_a_filter_without_a_mirror_is_not_found():
    drop = attribute(7, attribute(1, attribute(1, b"gact\0") + attribute(2, b"")))
    assert whats(tc(b"u32", drop)) == []
    assert whats(tc(b"bpf", attribute(5, bytes(8)))) == [], "a classic program"


def test_an_action_that_samples_and_one_that_is_a_program_are_found():
    sample = attribute(1, b"sample\0") + attribute(2, attribute(5, struct.pack("=I", 8)))
    (found,) = found_in([tc(b"matchall", attribute(2, attribute(1, sample)))])
    assert (found.what, dict(found.where)["way"]) == (What.TC_MIRROR, "sample")
    assert dict(found.where)["target"] == 8
    told = attribute(6, b"act\0") + attribute(9, struct.pack("=I", 33))
    program = attribute(1, b"bpf\0") + attribute(2, told)
    (found,) = found_in([tc(b"u32", attribute(7, attribute(1, program)))])
    assert (found.what, dict(found.where)["program"]) == (What.BPF_FOREIGN, 33)
    classic = attribute(1, b"bpf\0") + attribute(2, attribute(4, bytes(8)))
    assert whats(tc(b"u32", attribute(7, attribute(1, classic)))) == []


def test_a_filter_that_is_a_program_is_found():
    options = attribute(7, b"x.o:[tc]\0") + attribute(11, struct.pack("=I", 33))
    (found,) = found_in([tc(b"bpf", options)])
    assert (found.what, dict(found.where)["program"]) == (What.BPF_FOREIGN, 33)


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        (b"dup", b"", "dup"),
        (b"fwd", b"", "fwd"),
        (b"queue", b"", "queue"),
        (b"log", attribute(1, b"\0\5"), "log"),
        (b"immediate", verdict(3), "queue"),
        (b"immediate", verdict(7 << 16 | 3), "queue"),
        (b"target", attribute(1, b"TEE\0"), "TEE"),
        (b"target", attribute(1, b"NFLOG\0"), "NFLOG"),
        (b"target", attribute(1, b"NFQUEUE\0"), "NFQUEUE"),
    ],
)
def test_a_rule_that_copies_is_found(name, data, word):
    (found,) = found_in([rule(name, data)])
    assert found.what is What.NFT_COPY
    assert dict(found.where) == {
        "family": 2, "table": "filter", "chain": "INPUT", "handle": 7, "expression": word,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (b"log", attribute(2, b"\0\0\0\1")),  # to the kernel's log
        (b"counter", b""),
        (b"immediate", b""),
        (b"immediate", verdict(1)),
        (b"immediate", attribute(2, attribute(1, (3).to_bytes(4, "big")))),  # a value, no verdict
        (b"target", attribute(1, b"RTPENGINE\0")),
        (b"target", attribute(1, b"MASQUERADE\0")),
    ],
)
def test_other_rules_are_not_found(name, data):
    assert whats(rule(name, data)) == []


@given(st.sampled_from((16, 44, RULE_ADDED, 1)), st.binary(max_size=120))
def test_any_octets_are_no_error(kind, payload):
    assert isinstance(found_in([(kind, payload)]), frozenset)


@given(
    st.sampled_from(
        (
            link(kind="macvlan", promiscuity=1, xdp=3),
            tc(b"u32", attribute(7, attribute(1, mirred(2, 9)))),
            rule(b"log", attribute(1, b"\0\5")),
        )
    ),
    st.data(),
)
def test_no_cut_and_no_changed_octet_is_an_error(message, data):
    kind, payload = message
    cut = data.draw(st.integers(0, len(payload)))
    at = data.draw(st.integers(0, len(payload) - 1))
    changed = payload[:at] + data.draw(st.binary(min_size=1, max_size=1)) + payload[at + 1 :]
    for each in found_in([(kind, payload[:cut]), (kind, changed)]):
        assert isinstance(each, Finding)
