"""A deleted call is not kept for the sake of the agent's own tags, nor one deleted that goes on."""

from __future__ import annotations

from agents.core import leftovers as module
from agents.core.leftovers import Leftovers


def asked(commands):
    return [(each.question[b"call-id"], each.question[b"from-tag"]) for each in commands]


def test_a_tag_is_deleted_when_the_proxy_has_deleted_its_call():
    left = Leftovers()
    assert left.ended(b"c", b"one") == left.ended(b"c", b"two") == left.ended(b"d", b"x") == []
    assert asked(left.deleted(b"c", recorded=False)) == [(b"c", b"one"), (b"c", b"two")]
    assert left.deleted(b"c", recorded=False) == []


def test_a_tag_that_ends_after_its_call_was_deleted_follows_it():
    left = Leftovers()
    assert left.deleted(b"c", recorded=True) == []
    assert asked(left.ended(b"c", b"one")) == [(b"c", b"one")]
    left.begun(b"c")  # The Call-ID is used for another call.
    assert left.ended(b"c", b"two") == []


def test_a_relay_that_ended_keeps_nothing():
    left = Leftovers()
    left.ended(b"c", b"one")
    left.deleted(b"d", recorded=True)
    left.clear()
    assert left.deleted(b"c", recorded=False) == left.ended(b"d", b"two") == []


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 2)
    left = Leftovers()
    for call in (b"a", b"b", b"c"):
        left.ended(call, b"t")
        left.deleted(call + b"2", recorded=True)
    assert left.deleted(b"a", recorded=False) == left.ended(b"a2", b"t") == []
    assert left.deleted(b"c", recorded=False)
