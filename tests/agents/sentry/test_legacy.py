"""Rules of legacy iptables that copy are found without an announcement, and removed alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agents.core.enforcing import Mode
from agents.core.sentry import What
from agents.sentry.legacy import copies, names
from agents.sentry.undo import undo
from tests.agents.sentry.test_mirrors import watching
from tests.agents.sentry.wires import Wires, inside

pytestmark = pytest.mark.privileged

IPTABLES, IP6TABLES = "iptables-legacy", "ip6tables-legacy"
TEE = ("-j", "TEE", "--gateway", "10.78.0.2")
NFLOG = ("-j", "NFLOG", "--nflog-group", "5")
NFQUEUE = ("-j", "NFQUEUE", "--queue-num", "3", "--queue-bypass")


@pytest.fixture
def wires():
    with Wires() as made:
        if not Path("/proc/net/ip_tables_names").exists():
            pytest.skip(
                "LEGACY IPTABLES IS NOT IN THIS KERNEL: only test_xtables.py tests its reading, on "
                "tables made from the documented layout"
            )
        yield made


def rules(wires, tool=IPTABLES, table="filter"):
    return wires.run(tool, "-t", table, "-S").splitlines()


def counted(wires, chain="OUTPUT"):
    """Return what each rule of a chain has counted: its packets."""
    told = wires.run(IPTABLES, "-L", chain, "-v", "-x", "-n").splitlines()[2:]
    return [int(line.split()[0]) for line in told]


def test_a_namespace_that_nobody_used_it_in_has_no_tables():
    with Wires() as made:
        assert inside(made.a, lambda: names("ip")) == []
        assert inside(made.a, copies) == frozenset()
        assert inside(made.a, lambda: names("ip")) == [], "looking makes none"


def test_a_copying_rule_is_removed_and_those_around_it_are_not(wires):
    wires.run(
        IPTABLES, "-A", "OUTPUT", "-p", "udp", "--dport", "9", "-m", "comment", "--comment", "1"
    )
    before = rules(wires)
    wires.run(IPTABLES, "-A", "OUTPUT", "-p", "udp", *TEE)
    wires.run(IPTABLES, "-A", "OUTPUT", "-s", "10.0.0.1", "-j", "DROP")
    assert wires.copied()
    first, *_ = counted(wires)
    assert first > 0
    found = wires.found(What.XT_COPY)
    assert dict(found.where)["chain"] == "OUTPUT"
    assert undo(found, wires.namespace)
    assert not wires.copied()
    assert rules(wires) == [*before, "-A OUTPUT -s 10.0.0.1/32 -j DROP"]
    assert counted(wires)[0] > first, "what was counted is not lost"
    assert undo(found, wires.namespace), "it is gone"


def test_what_jumps_over_and_into_the_place_still_does(wires):
    for each in ("first", "second"):
        wires.run(IPTABLES, "-N", each)
    wires.run(IPTABLES, "-A", "OUTPUT", "-p", "udp", "-j", "first")
    wires.run(IPTABLES, "-A", "OUTPUT", "-p", "udp", "-g", "second")
    wires.run(IPTABLES, "-A", "second", "-p", "udp", "-j", "ACCEPT")
    wires.run(IPTABLES, "-P", "OUTPUT", "DROP")
    before = rules(wires)
    wires.run(IPTABLES, "-I", "first", *TEE)
    wires.run(IPTABLES, "-I", "second", *NFLOG)
    assert wires.copied()
    assert wires.logged(5)
    for each in wires.standing(What.XT_COPY):
        assert undo(each, wires.namespace)
    assert not wires.copied()
    assert not wires.logged(5)
    assert rules(wires) == before
    wires.send()
    assert counted(wires, "second")[0] > 0, "packets still come here"


@pytest.mark.parametrize("target", [NFLOG, NFQUEUE], ids=["NFLOG", "NFQUEUE"])
@pytest.mark.parametrize("tool", [IPTABLES, IP6TABLES])
@pytest.mark.parametrize("table", ["mangle", "raw", "filter"])
def test_each_target_is_removed_from_each_table(wires, tool, table, target):
    wires.run(tool, "-t", table, "-A", "OUTPUT", "-m", "mark", "--mark", "7", "-j", "ACCEPT")
    before = rules(wires, tool, table)
    wires.run(tool, "-t", table, "-I", "OUTPUT", *target)
    found = wires.found(What.XT_COPY)
    assert dict(found.where)["expression"] == target[1]
    assert undo(found, wires.namespace)
    assert rules(wires, tool, table) == before
    assert not wires.standing(What.XT_COPY)


def test_equal_rules_go_together_and_others_stay(wires):
    for _ in range(2):
        wires.run(IPTABLES, "-A", "OUTPUT", *NFLOG)
    wires.run(IPTABLES, "-A", "OUTPUT", "-j", "NFLOG", "--nflog-group", "6")
    first, second = wires.standing(What.XT_COPY)
    assert undo(first, wires.namespace)
    assert wires.found(What.XT_COPY) == second


def test_it_is_undone_within_a_second_where_the_sentry_enforces(wires):
    with watching(wires, Mode.ENFORCE) as sentry:
        wires.run(IPTABLES, "-A", "OUTPUT", *TEE)
        (told,) = sentry.found(What.XT_COPY, within=1)
        assert told["action"] == "undone"
        assert not wires.copied()


def test_it_is_left_where_the_sentry_observes(wires):
    with watching(wires, Mode.OBSERVE) as sentry:
        wires.run(IPTABLES, "-A", "OUTPUT", *TEE)
        (told,) = sentry.found(What.XT_COPY, within=1)
        assert (told["action"], told["would"]) == ("reported", "undo")
        sentry.swept(3)
        assert wires.copied()


def test_an_address_is_not_told(wires):
    wires.run(IPTABLES, "-A", "OUTPUT", *TEE)
    assert not re.search(r"10\.78|0a4e", repr(wires.found(What.XT_COPY)))
