"""Permits are those of the units' own groups, follow them as they come and go, and end."""

from __future__ import annotations

import secrets
import select
from contextlib import ExitStack

import pytest

from agents.sentry import cgroups, permits
from agents.sentry.permits import LIFE, RENEWED, Permits

pytestmark = pytest.mark.privileged

UNIT = f"cg-{secrets.token_hex(4)}.service"


class Kernel:
    def __init__(self):
        self.allowed, self.stamps = {}, []

    def allow(self, cgroup_id, until_ns):
        self.allowed[cgroup_id] = until_ns

    def disallow(self, cgroup_id):
        del self.allowed[cgroup_id]

    def beat(self, now_ns):
        self.stamps.append(now_ns)


@pytest.fixture
def slice_():
    """Make a slice, in which groups can be made; all go when the test ends."""
    top = cgroups.mount() / f"cg{secrets.token_hex(4)}.slice"
    top.mkdir()
    yield top
    for each in sorted(top.rglob("*"), reverse=True):
        if each.is_dir():
            each.rmdir()
    top.rmdir()


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def made(kernel):
    made = Permits(kernel, frozenset({UNIT}))
    yield made
    made.close()


def number(path):
    return path.stat().st_ino


def test_a_unit_and_what_it_has_made_below_itself_is_permitted(slice_, kernel, made):
    (slice_ / UNIT / "a" / "b").mkdir(parents=True)
    (slice_ / "deeper.slice" / UNIT).mkdir(parents=True)
    made.renew(7)
    of = [UNIT, f"{UNIT}/a", f"{UNIT}/a/b", f"deeper.slice/{UNIT}"]
    assert kernel.allowed == {number(slice_ / each): 7 + LIFE for each in of}
    assert kernel.stamps == [7]


def test_no_other_unit_and_no_name_in_another_place_is_permitted(slice_, kernel, made):
    for each in ("other.service", f"other.service/{UNIT}", f"x.scope/{UNIT}", f"x{UNIT}"):
        (slice_ / each).mkdir(parents=True)
    with ExitStack() as undo:
        top = cgroups.mount() / UNIT
        top.mkdir()
        undo.callback(top.rmdir)
        made.renew(0)
    assert kernel.allowed == {}


def test_a_unit_that_comes_is_announced_and_permitted_and_one_that_goes_is_not(
    slice_, kernel, made
):
    poll = select.poll()
    (descriptor,) = made.filenos
    poll.register(descriptor, select.POLLIN)
    made.renew(0)
    assert poll.poll(0) == []
    (slice_ / UNIT).mkdir()
    assert poll.poll(1000)
    made.renew(1)
    assert set(kernel.allowed) == {number(slice_ / UNIT)}
    assert poll.poll(0) == []
    (slice_ / UNIT / "later").mkdir()
    assert poll.poll(1000)
    made.renew(2)
    assert len(kernel.allowed) == 2
    (slice_ / UNIT / "later").rmdir()
    (slice_ / UNIT).rmdir()
    made.renew(3)
    assert kernel.allowed == {}


def test_a_group_made_anew_under_its_name_is_followed_as_well(slice_, kernel, made):
    (slice_ / UNIT).mkdir()
    made.renew(0)
    (slice_ / UNIT).rmdir()
    (slice_ / UNIT).mkdir()
    made.renew(1)
    (slice_ / UNIT / "below").mkdir()
    made.renew(2)
    assert set(kernel.allowed) == {number(slice_ / UNIT), number(slice_ / UNIT / "below")}


def test_permits_are_renewed_in_time_and_the_stamp_is_put_every_time(slice_, kernel, made):
    (slice_ / UNIT).mkdir()
    for now in (0, 1, RENEWED - 1, RENEWED):
        made.renew(now)
    assert kernel.stamps == [0, 1, RENEWED - 1, RENEWED]
    assert list(kernel.allowed.values()) == [RENEWED + LIFE]
    assert LIFE > 2 * RENEWED


def test_what_is_beyond_the_bound_is_counted(slice_, kernel, made, monkeypatch):
    monkeypatch.setattr(permits, "MOST", 2)
    for each in ("a", "b", "c"):
        (slice_ / f"{each}.slice" / UNIT).mkdir(parents=True)
    made.renew(0)
    assert (len(kernel.allowed), made.missing) == (2, 1)


def test_all_is_taken_back_at_the_end(slice_, kernel):
    (slice_ / UNIT).mkdir()
    made = Permits(kernel, frozenset({UNIT}))
    made.renew(0)
    assert kernel.allowed
    made.close()
    assert kernel.allowed == {}
    assert made.filenos == ()
    made.close()


def test_without_units_or_a_hierarchy_nobody_is_permitted(kernel, monkeypatch):
    none = Permits(kernel, frozenset())
    none.renew(0)
    none.close()
    monkeypatch.setattr(cgroups, "mount", lambda: None)
    nowhere = Permits(kernel, frozenset({UNIT}))
    nowhere.renew(0)
    nowhere.close()
    assert kernel.allowed == {}
