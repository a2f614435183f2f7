"""The agent's tags: named before the relay knows them, told from all others."""

from __future__ import annotations

from itertools import count

from agents.core.owntags import OwnTags, unsubscribe
from agents.core.relaycommands import AskRelay, Report
from agents.core.relayview import CallView


def tags():
    words = count()
    return OwnTags(lambda: b"word%d" % next(words))


def view(*subscribers):
    return CallView(exists=True, subscribers=frozenset(subscribers))


def test_tags_are_new_marked_and_live_until_they_are_over():
    own = tags()
    first, second = own.new(), own.new()
    assert first != second
    assert first.startswith(own.mark)
    assert first in own
    own.over(first)
    own.over(first)
    assert first not in own
    assert second in own


def test_strangers_are_ended_and_reported_leftovers_are_ended_and_our_own_are_left():
    own = tags()
    live, over = own.new(), own.new()
    own.over(over)
    ended = own.expel(b"c", view(live, over, b"spy"), "token")
    assert ended == [
        Report("foreign_subscription", b"c", {"done": "unsubscribed"}),
        AskRelay(unsubscribe(b"c", b"spy"), "token"),
        AskRelay(unsubscribe(b"c", over), "token"),
    ]
