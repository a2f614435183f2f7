"""What is declared as the operator's own is told as that; an entry declares one thing of one link."""

from __future__ import annotations

import pytest

from agents.core.mirrors import declared
from agents.core.sentryevents import Finding, What

NAMES = {2: "eth0", 3: "eth1"}

LINK = Finding(What.MIRROR_LINK, (("interface", 2), ("name", "eth0"), ("kind", "vxlan")))
XDP = Finding(What.XDP, (("interface", 2), ("name", "eth0"), ("program", 7)))
MIRRED = Finding(What.TC_MIRROR, (("interface", 2), ("kind", "u32"), ("target", 3)))
PROGRAM = Finding(What.BPF_FOREIGN, (("interface", 2), ("kind", "bpf"), ("program", 7)))
BLOCK = Finding(What.TC_MIRROR, (("interface", -1), ("kind", "u32"), ("target", 3)))
RULE = Finding(What.NFT_COPY, (("table", "eth0"),))
LISTENER = Finding(What.NFLOG_BIND, (("kind", "log"), ("group", 2)))
PROMISCUOUS = Finding(What.PROMISCUOUS, (("interface", 2), ("name", "eth0")))

EVERYTHING = (LINK, XDP, MIRRED, PROGRAM, BLOCK, RULE, LISTENER, PROMISCUOUS)


def test_nothing_is_declared_by_default():
    assert [declared(each, NAMES, frozenset()) for each in EVERYTHING] == list(EVERYTHING)


@pytest.mark.parametrize(
    ("entry", "covered"),
    [
        ("eth0", {LINK}),
        ("eth0/xdp", {XDP}),
        ("eth0/tc", {MIRRED, PROGRAM}),
        ("eth1", set()),
        ("eth1/tc", set()),  # it is the target; what counts is where the copies are made
        ("*", set()),
    ],
)
def test_an_entry_declares_one_thing_of_one_interface(entry, covered):
    changed = {each for each in EVERYTHING if declared(each, NAMES, frozenset((entry,))) != each}
    assert changed == covered


def test_what_is_declared_says_what_it_would_have_been():
    told = declared(LINK, NAMES, frozenset(("eth0",)))
    assert told == Finding(What.MIRROR_ALLOWED, (("mirror", "mirror_link"), *LINK.where))


def test_an_interface_that_has_no_name_is_not_declared():
    assert declared(MIRRED, {}, frozenset(("eth0/tc", "None/tc", "/tc"))) == MIRRED
