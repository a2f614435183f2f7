"""How many connections a listener has, and which gives way."""

from __future__ import annotations

import pytest

from agents.recorder import connections
from agents.recorder.connections import Connections


def test_the_one_that_was_silent_for_longest_gives_way(monkeypatch: pytest.MonkeyPatch):
    """Who is heard stays."""
    monkeypatch.setattr(connections, "MOST", 3)
    ended: list[str] = []
    open_now = Connections()
    for name in ("a", "b", "c"):
        open_now.opened(name, lambda name=name: ended.append(name))
    open_now.heard("a")
    open_now.opened("d", lambda: ended.append("d"))

    assert ended == ["b"]
    assert len(open_now) == 3


@pytest.mark.parametrize(
    ("served", "gone"),
    [("", "a"), ("a", "b"), ("ab", "c"), ("abc", "a"), ("cab", "c")],
)
def test_who_never_came_to_the_relay_gives_way_first(
    monkeypatch: pytest.MonkeyPatch, served: str, gone: str
):
    """Unless that is the new one alone: then it is the served one that was silent for longest."""
    monkeypatch.setattr(connections, "MOST", 3)
    ended: list[str] = []
    open_now = Connections()
    for name in ("a", "b", "c"):
        open_now.opened(name, lambda name=name: ended.append(name))
    for name in served:
        open_now.served(name)
    open_now.opened("d", lambda: ended.append("d"))

    assert ended == [gone]
    open_now.close()
    assert sorted(ended) == ["a", "b", "c", "d"]


def test_a_closed_one_is_not_ended_again():
    """Those that went by themselves are forgotten; all others are ended at the close."""
    ended: list[str] = []
    open_now = Connections()
    for name in ("a", "b"):
        open_now.opened(name, lambda name=name: ended.append(name))
    open_now.closed("a")
    open_now.heard("a")
    open_now.close()
    open_now.closed("b")

    assert ended == ["b"]
    assert len(open_now) == 0
