"""Coverage-guided fuzzing of what the sentry reads from the kernel about mirrors.

    python -m tests.fuzz.fuzz_mirrors -max_total_time=60 [CORPUS_DIR …]

The first octet says what the rest is: a datagram of netlink, a table of legacy iptables, or a list
of listeners. The invariants: nothing is raised; a finding's places are plain names and numbers; a
table is written within its own octets, and what is left out of it is found in it no more.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["agents.sentry", "agents.core"]):
    from agents.core.mirrors import declared
    from agents.core.sentryevents import Finding
    from agents.sentry.copies import found_in, interfaces, passed
    from agents.sentry.listeners import groups, ports
    from agents.sentry.netlink import messages
    from agents.sentry.xtables import FAMILIES, INFO, copying, entries, read_info, without

MIRRORS = frozenset(("eth0", "eth0/tc", "a/xdp"))


def one_input(octets: bytes) -> None:
    """Run one input through the reader that it is for; any error escapes."""
    kind, rest = octets[:1], octets[1:]
    if kind < b"\x60":
        check_messages(rest)
    elif kind < b"\xc0":
        check_tables(rest)
    else:
        table = rest.decode("utf-8", "replace")
        assert all(0 <= port < 1 << 32 for _, port in groups("nflog", table))
        assert all(0 <= each < 1 << 32 for each in ports(table))


def check_messages(octets: bytes) -> None:
    """Hold what netlink tells, as of what stands and as of what passed."""
    told = list(messages(octets))
    found = found_in(told)
    check_findings(found)
    assert passed(told) <= found
    names = {each: link.name for each, link in interfaces(told).items()}
    for each in found:
        assert declared(each, names, frozenset()) is each
        declared(each, names, MIRRORS)


def check_tables(octets: bytes) -> None:
    """Take a table apart in either layout, and write it without what copies."""
    if len(octets) < INFO.size:
        return
    table, rules = read_info(octets[: INFO.size]), octets[INFO.size :]
    for layout in FAMILIES.values():
        found = list(copying(rules, layout, table))
        check_findings(frozenset(finding for finding, _ in found))
        gone = {entry.at for _, entry in found}
        new, written, kept = without(rules, layout, table, gone)
        assert kept.count(True) == new.count
        assert len(written) == new.size <= len(rules)
        assert len(list(entries(written, layout, new))) == new.count
        assert not list(copying(written, layout, new))


def check_findings(found: frozenset[Finding]) -> None:
    """Hold findings to what can be put on record: text that can be written, and numbers."""
    for each in found:
        assert all(type(value) in {str, int} for _, value in each.where)
        for _, value in each.where:
            str(value).encode()


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
