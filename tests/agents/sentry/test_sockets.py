"""What nobody has is told once that has settled, and at once where somebody has it."""

from __future__ import annotations

from dataclasses import replace

from agents.core.judgement import AF_PACKET, SOCK_RAW, SocketSeen
from agents.sentry.sockets import Sockets

SECOND = 10**9
NOBODYS = SocketSeen(
    pid=0, uid=0, cgroup="", cgroup_id=0, inode=5, netns=9, family=AF_PACKET, type=SOCK_RAW,
    protocol=0, ethertype=3, ifindex=0, comm="",
)  # fmt: skip
THOROUGH, PLAIN = (True, False), (False, False)
MAPPED = replace(NOBODYS, pid=9, inode=8)
HELD, HIDDEN = replace(NOBODYS, pid=7, inode=6), replace(NOBODYS, pid=8, inode=7)


class Sweeper:
    """What the kernel would tell."""

    def __init__(self):
        self.unheld, self.asked = [NOBODYS, HIDDEN], []
        self.searches, self.hiding = [], set()

    def sweep(self, *, thorough, mapped):
        self.asked.append((thorough, mapped))
        return [HELD]

    def searched(self, nobodys):
        self.searches.append([each.inode for each in nobodys])
        return [replace(each, pid=1) for each in nobodys if each.inode in self.hiding]


class Place:
    def __init__(self):
        self.now = 10 * SECOND
        self.sockets = Sockets(lambda: self.now, portable=True)
        self.sweeper = self.sockets._sweeper = Sweeper()

    def seen(self, *, after=0, quick=False, unheld=False):
        self.now += after
        return self.sockets.seen((), quick=quick, unheld=unheld)


def test_what_nobody_has_is_told_when_it_has_settled_and_stands_until_it_is_gone():
    place = Place()
    assert place.seen() == [HIDDEN, HELD]
    assert place.seen(after=SECOND // 2) == [NOBODYS, HIDDEN, HELD]
    assert place.sweeper.asked == [THOROUGH, THOROUGH], "it looks again soon"
    assert place.seen(after=SECOND) == [NOBODYS, HIDDEN, HELD]
    assert place.sweeper.asked[-1] == PLAIN
    place.sweeper.unheld = []
    assert place.seen(after=2 * SECOND) == [HELD]


def test_what_is_gone_when_it_is_looked_for_again_is_never_told():
    place = Place()
    place.seen()
    place.sweeper.unheld = []
    assert place.seen(after=SECOND) == [HELD]
    place.sweeper.unheld = [NOBODYS]
    assert place.seen(after=3 * SECOND) == [HELD], "its time begins anew"


def test_what_nobody_has_is_searched_for_once_when_it_has_settled():
    place = Place()
    place.sweeper.hiding = {NOBODYS.inode}
    place.seen()
    found = replace(NOBODYS, pid=1)
    for after in (SECOND // 2, 3 * SECOND, 3 * SECOND):
        assert place.seen(after=after) == [found, HIDDEN, HELD]
    assert [each for each in place.sweeper.searches if each] == [[NOBODYS.inode]]


def test_what_is_mapped_is_looked_for_when_it_is_asked_for_and_stands_beside_what_nobody_has():
    place = Place()
    place.seen()
    place.seen(after=SECOND // 2)
    place.sweeper.unheld = [MAPPED]
    assert place.seen(quick=True, unheld=True) == [NOBODYS, MAPPED, HELD]
    assert place.seen(quick=True) == [NOBODYS, MAPPED, HELD]
    place.sweeper.unheld = []
    assert place.seen(quick=True, unheld=True) == [NOBODYS, HELD]


def test_quick_looks_are_never_thorough():
    place = Place()
    place.seen(quick=True)
    place.seen(quick=True, unheld=True)
    place.seen(after=10 * SECOND, quick=True)
    assert place.sweeper.asked == [PLAIN, (False, True), PLAIN]
