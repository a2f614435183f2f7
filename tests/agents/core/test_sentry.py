"""The sentry tells each finding once, misses none, and asks for a sweep in time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agents.core.judgement import AF_INET, AF_PACKET, SOCK_RAW, Allowances, SocketSeen, judge
from agents.core.sentry import (
    BURST,
    EVERY,
    REMEMBERED,
    Attempt,
    Attempted,
    Finding,
    Holder,
    Incident,
    NamespaceGone,
    NetworkChanged,
    Sentry,
    Sweep,
    SweepDone,
    WakeUp,
    What,
)

OWN = 1
ALLOWED = Allowances(pids=frozenset({OWN}), units=frozenset({"dhcpcd.service"}))
MIRROR = Finding(What.TC_MIRROR, (("interface", 2), ("way", "mirror")))
LINK = Finding(What.MIRROR_LINK, (("interface", 3),))


def seen(pid=100, inode=5, **changed):
    plain = {
        "uid": 0, "cgroup": "/user.slice", "cgroup_id": 1, "netns": 9, "family": AF_PACKET,
        "type": SOCK_RAW, "protocol": 0, "ethertype": 3, "ifindex": 0, "comm": "secret",
        "started": 77,
    }  # fmt: skip
    return SocketSeen(pid=pid, inode=inode, **(plain | changed))


def swept(*sockets, holders=None, within=None):
    return SweepDone(sockets=sockets, holders=holders or {}, within=within)


def test_a_capture_socket_is_told_with_who_holds_it_and_what_was_done():
    sentry = Sentry(ALLOWED)
    holder = Holder(login_uid=1000, command="ab" * 32)
    (told,) = sentry.handle(swept(seen(ifindex=4), holders={100: holder}), 0)
    assert told == Incident(
        what=What.CAPTURE_SOCKET,
        details={
            "kind": "packet_all", "pid": 100, "uid": 0, "login_uid": 1000, "netns": 9,
            "interface": 4, "protocol": 3, "cgroup": "/user.slice", "command": "ab" * 32,
            "action": "reported", "mode": "observe", "would": "kill",
        },
    )  # fmt: skip


def test_a_process_that_is_gone_or_has_no_login_is_told_all_the_same():
    sentry = Sentry(ALLOWED)
    gone, silent = sentry.handle(
        swept(seen(pid=7), seen(pid=8), holders={8: Holder(login_uid=None, command=None)}), 0
    )
    assert gone.details.keys() == silent.details.keys()
    assert not {"login_uid", "command"} & set(gone.details)


def test_a_socket_without_a_process_is_told_and_nobody_would_be_killed():
    (told,) = Sentry(ALLOWED).handle(swept(seen(pid=0, cgroup="")), 0)
    assert (told.details["pid"], told.details["would"]) == (0, "report")


def test_a_raw_socket_is_told_with_its_protocol():
    (told,) = Sentry(ALLOWED).handle(swept(seen(family=AF_INET, protocol=17, ethertype=0)), 0)
    assert (told.details["kind"], told.details["protocol"]) == ("raw_udp", 17)


def test_a_finding_is_told_once_until_it_is_gone():
    sentry = Sentry(ALLOWED)
    assert len(sentry.handle(swept(seen()), 0)) == 1
    assert sentry.handle(swept(seen()), 1) == []
    assert sentry.standing == 1
    assert sentry.handle(swept(), 2) == []
    assert sentry.standing == 0
    assert len(sentry.handle(swept(seen()), 3)) == 1


def test_a_socket_that_is_bound_anew_or_passed_on_is_a_new_finding():
    sentry = Sentry(ALLOWED)
    sentry.handle(swept(seen(ethertype=0x0800)), 0)
    assert len(sentry.handle(swept(seen(ethertype=3)), 1)) == 1
    assert len(sentry.handle(swept(seen(ethertype=3), seen(pid=101, ethertype=3)), 2)) == 1


def test_what_is_free_or_allowed_is_not_told():
    free = seen(family=AF_INET, protocol=255, ethertype=0)
    dhcp = seen(cgroup="/system.slice/dhcpcd.service")
    assert Sentry(ALLOWED).handle(swept(seen(pid=OWN), dhcp, free), 0) == []


def test_a_scope_takes_away_and_never_adds():
    sentry = Sentry(ALLOWED)
    assert sentry.handle(swept(seen(netns=9), within=frozenset({8})), 0) == []
    assert sentry.handle(swept(seen(netns=9), within=frozenset()), 0) == []
    assert len(sentry.handle(swept(seen(netns=9), within=frozenset({8, 9})), 0)) == 1
    assert sentry.handle(swept(seen(pid=OWN), within=frozenset({9})), 0) == []


def tried(*pids, killed=False, holder=None, within=None, **changed):
    attempts = tuple(
        Attempt(seen=seen(pid=pid, inode=0, **changed), way="call", killed=killed, holder=holder)
        for pid in pids
    )
    return Attempted(attempts=attempts, within=within)


def test_an_attempt_is_told_at_once_and_asks_for_a_sweep():
    sentry = Sentry(ALLOWED)
    holder = Holder(login_uid=1000, command="ab" * 32)
    told, sweep = sentry.handle(tried(100, holder=holder), 5)
    assert (told.what, sweep) == (What.CAPTURE_SOCKET, Sweep(quick=True))
    assert told.details == {
        "kind": "packet_all", "pid": 100, "uid": 0, "login_uid": 1000, "netns": 9, "interface": 0,
        "protocol": 3, "cgroup": "/user.slice", "command": "ab" * 32, "way": "call",
        "action": "reported", "mode": "observe", "would": "kill",
    }  # fmt: skip
    sentry.handle(WakeUp(), 6)
    sentry.handle(tried(101), 7)
    for after in BURST:
        assert sentry.next_deadline() == 7 + after
        assert sentry.handle(WakeUp(), 6 + after) == []
        assert sentry.handle(WakeUp(), 7 + after) == [Sweep(quick=True, unheld=BURST[after])]
    assert sentry.next_deadline() == 6 + EVERY
    assert max(BURST) < EVERY


def test_what_was_killed_is_told_as_killed():
    told, _ = Sentry(ALLOWED).handle(tried(100, killed=True), 0)
    assert told.details["action"] == "killed"
    assert "would" not in told.details


def test_an_attempt_and_what_a_sweep_finds_of_it_are_one_finding():
    sentry = Sentry(ALLOWED)
    assert len(sentry.handle(tried(100), 0)) == 2
    assert sentry.handle(swept(seen(pid=100)), 1) == []
    assert sentry.handle(tried(100), 2) == [Sweep(quick=True)]
    assert sentry.handle(swept(seen(pid=100)), REMEMBERED + 5) == []
    assert sentry.standing == 1
    assert sentry.handle(tried(100), 2 * REMEMBERED) == [Sweep(quick=True)]


def test_an_attempt_that_a_sweep_has_found_first_is_not_told_again():
    sentry = Sentry(ALLOWED)
    assert len(sentry.handle(swept(seen(pid=100)), 0)) == 1
    assert sentry.handle(tried(100), 1) == [Sweep(quick=True)]


def test_who_else_has_what_was_tried_is_told():
    sentry = Sentry(ALLOWED)
    sentry.handle(tried(100, killed=True), 0)
    (accomplice,) = sentry.handle(swept(seen(pid=101)), 1)
    assert accomplice.details["pid"] == 101


def test_an_attempt_by_another_process_of_another_kind_or_much_later_is_told():
    sentry = Sentry(ALLOWED)
    assert len(sentry.handle(tried(100, 101, 100), 0)) == 3
    assert len(sentry.handle(tried(100, ethertype=0x0800), 1)) == 2
    sentry.handle(swept(), REMEMBERED + 1)
    assert len(sentry.handle(tried(100), REMEMBERED + 2)) == 2


def test_what_may_have_been_an_attempt_asks_for_a_sweep():
    unseen = Attempted(attempts=(), unseen=True)
    assert Sentry(ALLOWED).handle(unseen, 0) == [Sweep(quick=True)]
    assert Sentry(ALLOWED).handle(Attempted(attempts=()), 0) == []


def test_attempts_at_what_is_free_by_who_may_or_out_of_scope_are_nothing():
    sentry = Sentry(ALLOWED)
    assert sentry.handle(tried(OWN), 0) == []
    assert sentry.handle(tried(100, ethertype=0x0806), 0) == []
    assert sentry.handle(tried(100, cgroup="/system.slice/dhcpcd.service"), 0) == []
    assert sentry.handle(tried(100, within=frozenset({8})), 0) == []
    assert sentry.next_deadline() == 0
    assert len(sentry.handle(tried(100, within=frozenset({9})), 0)) == 2


def test_a_mirror_is_told_once_and_makes_a_sweep_due_at_once():
    sentry = Sentry(ALLOWED)
    changed = NetworkChanged(netns=9, standing=frozenset({MIRROR}))
    told, sweep = sentry.handle(changed, 50)
    assert told.what is What.TC_MIRROR
    assert told.details == {
        "netns": 9, "interface": 2, "way": "mirror",
        "action": "reported", "mode": "observe", "would": "undo",
    }  # fmt: skip
    assert sweep == Sweep()
    assert sentry.next_deadline() == 50 + EVERY
    assert sentry.handle(changed, 60) == []


def test_what_passed_between_two_looks_is_told_and_may_come_again():
    sentry = Sentry(ALLOWED)
    passing = NetworkChanged(netns=9, standing=frozenset(), passed=frozenset({MIRROR}))
    for now in (0, 1):
        told, _ = sentry.handle(passing, now)
        assert told.what is What.TC_MIRROR
    assert sentry.standing == 0


def test_a_namespace_that_ends_takes_its_findings_along():
    sentry = Sentry(ALLOWED)
    sentry.handle(swept(seen(), seen(inode=6, netns=8)), 0)
    sentry.handle(NetworkChanged(netns=9, standing=frozenset({MIRROR})), 0)
    assert sentry.handle(NamespaceGone(netns=9), 1) == []
    assert sentry.standing == 1
    sentry.handle(NamespaceGone(netns=77), 1)  # never seen
    assert len(sentry.handle(NetworkChanged(netns=9, standing=frozenset({MIRROR})), 2)) == 2


def test_what_cannot_be_seen_claims_no_action():
    blind = Finding(What.SENTRY_BLIND, (("missing", "links"),))
    told, _ = Sentry(ALLOWED).handle(NetworkChanged(netns=9, standing=frozenset({blind})), 0)
    assert told.details == {"netns": 9, "missing": "links"}


def test_sweeps_are_due_from_the_start_and_again_and_again():
    sentry = Sentry(ALLOWED)
    assert sentry.next_deadline() <= 1000
    assert sentry.handle(WakeUp(), 1000) == [Sweep()]
    assert sentry.handle(WakeUp(), 1000 + EVERY - 1) == []
    assert sentry.handle(WakeUp(), sentry.next_deadline()) == [Sweep()]


def test_no_event_is_forgotten():
    with pytest.raises(AssertionError):
        Sentry(ALLOWED).handle(object(), 0)  # type: ignore[arg-type]


@given(st.text(max_size=20))
def test_no_name_of_a_process_is_told(comm):
    (told,) = Sentry(ALLOWED).handle(swept(seen(comm=f"-{comm}-")), 0)
    assert f"-{comm}-" not in map(str, told.details.values())
    assert "comm=" not in repr(seen(comm=comm))


class Told(RuleBasedStateMachine):
    """Against a plain model: told is exactly what is there now and was not there just before."""

    def __init__(self):
        super().__init__()
        self.sentry = Sentry(ALLOWED)
        self.sockets = set()
        self.networks = {}
        self.now = 0

    @rule(
        sockets=st.sets(
            st.tuples(
                st.integers(1, 3), st.integers(5, 7), st.sampled_from((3, 0x0806)),
                st.integers(8, 9),
            ),
            max_size=6,
        )
    )  # fmt: skip
    def sweep(self, sockets):
        rows = [seen(pid=p, inode=i, ethertype=e, netns=n) for p, i, e, n in sockets]
        told = self.sentry.handle(swept(*rows), self.now)
        there = {(r.netns, r.inode, r.pid) for r in rows if judge(r, ALLOWED).verdict == "content"}
        names = {(t.details["netns"], 0, t.details["pid"]) for t in told}
        assert len(told) == len(there - self.sockets)
        assert names == {(n, 0, p) for n, _, p in there - self.sockets}
        self.sockets = there

    @rule(
        netns=st.integers(8, 9),
        standing=st.frozensets(st.sampled_from((MIRROR, LINK))),
        passed=st.frozensets(st.sampled_from((MIRROR, LINK))),
    )
    def change(self, netns, standing, passed):
        told = self.sentry.handle(
            NetworkChanged(netns=netns, standing=standing, passed=passed), self.now
        )
        new = (standing | passed) - self.networks.get(netns, frozenset())
        assert [t.what for t in told if isinstance(t, Incident)] == sorted(f.what for f in new)
        assert (Sweep() in told) == bool(new)
        self.networks[netns] = standing

    @rule(netns=st.integers(8, 9))
    def end(self, netns):
        assert self.sentry.handle(NamespaceGone(netns=netns), self.now) == []
        self.networks.pop(netns, None)
        self.sockets = {each for each in self.sockets if each[0] != netns}

    @rule(passes=st.integers(0, 2 * EVERY))
    def wait(self, passes):
        self.now += passes
        assert bool(self.sentry.handle(WakeUp(), self.now)) or self.now < (
            self.sentry.next_deadline()
        )

    @invariant()
    def stands(self):
        assert self.sentry.standing == len(self.sockets) + sum(map(len, self.networks.values()))

    @invariant()
    def is_due(self):
        assert self.sentry.next_deadline() <= self.now + EVERY


TestTold = Told.TestCase
