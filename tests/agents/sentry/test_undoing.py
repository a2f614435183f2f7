"""What is to be undone goes in portions, each kind and namespace in its turn, and none is lost."""

from __future__ import annotations

from agents.core.enforcing import Acted, Result, Undo
from agents.core.sentryevents import Finding, What
from agents.sentry.undoing import PORTION, Undoing


def acts(what, count, netns=1):
    return [Undo(Finding(what, (("handle", number),)), netns) for number in range(count)]


class Hands:
    """Undo all but what is listed in `refused`."""

    def __init__(self, refused=()):
        self.portions = []
        self.refused = set(refused)

    def __call__(self, findings, namespace):
        self.portions.append((namespace, tuple(findings)))
        return set(findings) - self.refused


def stepped(undoing, gone=()):
    return undoing.step(lambda inode: None if inode in gone else f"namespace {inode}")


def test_a_portion_is_of_one_kind_and_namespace_and_each_has_its_turn():
    hands = Hands()
    undoing = Undoing(hands)
    most = PORTION[What.TC_MIRROR]
    for act in acts(What.TC_MIRROR, 2 * most + 1) + acts(What.XDP, 3) + acts(What.XDP, 1, netns=2):
        undoing.add(act)
    told = []
    while undoing:
        told += stepped(undoing)
    sizes = [(where, what[0].what, len(what)) for where, what in hands.portions]
    assert sizes == [
        ("namespace 1", What.TC_MIRROR, most),
        ("namespace 1", What.XDP, 3),
        ("namespace 2", What.XDP, 1),
        ("namespace 1", What.TC_MIRROR, most),
        ("namespace 1", What.TC_MIRROR, 1),
    ]
    assert len(told) == 2 * most + 5
    assert {each.result for each in told} == {Result.DONE}
    assert stepped(undoing) == []


def test_it_is_told_what_came_of_each():
    done, refused = acts(What.NFT_COPY, 2)
    undoing = Undoing(Hands([refused.finding]))
    for each in (done, refused):
        undoing.add(each)
    assert stepped(undoing) == [Acted(done, Result.DONE), Acted(refused, Result.FAILED)]


def test_nothing_is_undone_in_a_namespace_that_has_gone():
    hands = Hands()
    undoing = Undoing(hands)
    (act,) = acts(What.XDP, 1)
    undoing.add(act)
    assert stepped(undoing, gone={1}) == [Acted(act, Result.GONE)]
    assert hands.portions == []


def test_what_is_dropped_has_not_been_undone():
    hands = Hands()
    undoing = Undoing(hands)
    for each in acts(What.XDP, 2):
        undoing.add(each)
    assert [each.result for each in undoing.drop()] == [Result.FAILED, Result.FAILED]
    assert not undoing
    assert stepped(undoing) == []
    assert hands.portions == []


def test_without_hands_nothing_is_undone():
    undoing = Undoing(None)
    (act,) = acts(What.XDP, 1)
    undoing.add(act)
    assert stepped(undoing) == [Acted(act, Result.FAILED)]
