"""Leases: a machine that tries everything, and the rules one by one."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.core.leases import Lapse, LeaseTable

GRANTS = st.sampled_from(["a", "b", "c"])
SPAN = st.integers(1, 100)


class Leases(RuleBasedStateMachine):
    """Arms, renews, ends and lets time pass, with a plain model beside the table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = LeaseTable()
        self.now = 1000
        self.ends: dict[str, int] = {}
        self.length: dict[str, int] = {}
        self.latest: dict[str, int] = {}
        self.over: set[str] = set()

    @rule(grant=GRANTS, ends=SPAN, length=SPAN)
    def arm(self, grant: str, ends: int, length: int) -> None:
        """Arm; only a new grant can be."""
        if grant in self.over or grant in self.ends:
            with pytest.raises(ValueError, match="armed"):
                self.table.arm(grant, ends=self.now + ends, length=length, now=self.now)
        else:
            self.table.arm(grant, ends=self.now + ends, length=length, now=self.now)
            self.ends[grant], self.length[grant] = self.now + ends, length
            self.latest[grant] = self.now

    @rule(grant=GRANTS, age=st.integers(-50, 150))
    def renew(self, grant: str, age: int) -> None:
        """Renew; it counts only while the lease is in force, and from when the guard spoke."""
        in_force = grant in self.ends and self.table[grant].deadline > self.now
        before = self.table[grant].deadline if in_force else None
        lease = self.table.renew(grant, heard=self.now - age, now=self.now)
        assert (lease is not None) == in_force
        if lease is not None:
            assert before is not None
            assert lease.deadline >= before
            self.latest[grant] = max(self.latest[grant], min(self.now, self.now - age))

    @rule(grant=GRANTS)
    def end(self, grant: str) -> None:
        """End for good, also what was never armed."""
        self.table.end(grant)
        self.over.add(grant)
        self.ends.pop(grant, None)

    @rule(span=st.integers(0, 60))
    def wait(self, span: int) -> None:
        """Let time pass; the boot clock only goes forward."""
        self.now += span

    @precondition(lambda self: self.table.lapsed(self.now))
    @rule()
    def sweep(self) -> None:
        """End what has lapsed, as the caller does."""
        for lease in self.table.lapsed(self.now):
            self.end(lease.grant_id)

    @invariant()
    def no_deadline_is_beyond_its_bounds(self) -> None:
        """No deadline lies beyond the own end or one lease after the guard's last word."""
        assert {lease.grant_id for lease in self.table} == set(self.ends)
        for lease in self.table:
            name = lease.grant_id
            assert lease.deadline <= self.ends[name]
            assert lease.deadline <= self.latest[name] + self.length[name]

    @invariant()
    def what_has_ended_stays_ended(self) -> None:
        """No ended id is in the table."""
        assert self.table.ended == self.over
        assert not self.over & {lease.grant_id for lease in self.table}

    @invariant()
    def the_next_deadline_is_the_first(self) -> None:
        """`next_deadline` misses none."""
        assert self.table.next_deadline() == min((le.deadline for le in self.table), default=None)


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_renewal_moves_the_deadline_up_to_the_own_end():
    """Each renewal gives one lease length; the last stops at the end."""
    table = LeaseTable()
    table.arm("g", ends=100, length=30, now=0)

    deadlines = []
    for now in (10, 35, 60, 80):
        lease = table.renew("g", heard=now, now=now)
        assert lease is not None
        deadlines.append((lease.deadline, lease.lapse))

    assert deadlines == [
        (40, Lapse.LEASE_ENDED),
        (65, Lapse.LEASE_ENDED),
        (90, Lapse.LEASE_ENDED),
        (100, Lapse.EXPIRED),
    ]


def test_a_renewal_at_the_deadline_is_too_late():
    """The deadline is the first moment without the right, noticed or not."""
    table = LeaseTable()
    table.arm("g", ends=100, length=30, now=0)

    assert table.renew("g", heard=30, now=30) is None
    assert table["g"].deadline == 30


def test_a_grant_without_time_is_not_armed():
    """A grant whose end has come, or whose lease has no length, is the caller's mistake."""
    for ends, length in ((10, 30), (9, 30), (100, 0), (100, -1)):
        with pytest.raises(ValueError, match="no time left"):
            LeaseTable().arm("g", ends=ends, length=length, now=10)


def test_what_ended_before_the_start_is_known():
    """A table takes up the ended ids of earlier starts; an agent's own end is not the grant's."""
    table = LeaseTable(["old"])
    table.arm("g", ends=100, length=30, now=0)
    table.put_down("g")

    assert table.ended == {"old"}
    assert table.arm("g", ends=100, length=30, now=1).deadline == 31
