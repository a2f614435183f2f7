"""Who holds what, and what the kernel is told of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.core.holdings import Holdings, Settled

GRANTS = ("a", "b", "c")
DEADLINES = {"a": 10, "b": 20, "c": 30}


def test_the_latest_deadline_counts_and_falls_back_when_its_holder_lets_go():
    """A thing that two grants hold is watched as long as either wants it."""
    holdings: Holdings[str] = Holdings()
    holdings.hold("flow", "a")
    holdings.hold("flow", "b")
    both = holdings.settle(["flow"], DEADLINES)
    holdings.let_go_all("b")
    one = holdings.settle(["flow"], DEADLINES)
    holdings.let_go("flow", "a")
    none = holdings.settle(["flow"], DEADLINES)

    assert both == [Settled(thing="flow", deadline=20, grants=frozenset("ab"))]
    assert one == [Settled(thing="flow", deadline=10, grants=frozenset("a"))]
    assert none == [Settled(thing="flow", deadline=0, grants=frozenset())]


def test_nothing_is_told_twice():
    """Without a change there is nothing to tell, and what was never watched is not unwatched."""
    holdings: Holdings[str] = Holdings()
    holdings.hold("flow", "a", "call-1")
    holdings.settle(["flow"], DEADLINES)
    holdings.hold("flow", "a", "call-2")
    holdings.let_go("flow", "a", "call-1")

    assert holdings.settle(["flow", "other"], DEADLINES) == []
    assert holdings.held_by("a") == ("flow",)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["hold", "let_go", "let_go_all"]),
            st.sampled_from(GRANTS),
            st.sampled_from(["x", "y"]),
            st.sampled_from(["1", "2"]),
        )
    )
)
def test_the_kernel_always_knows_what_is_so(steps: list[tuple[str, str, str, str]]):
    """After any history, what was told adds up to what is held."""
    holdings: Holdings[str] = Holdings()
    model: set[tuple[str, str, str]] = set()
    told: dict[str, Settled[str]] = {}
    for what, grant, thing, call in steps:
        if what == "hold":
            holdings.hold(thing, grant, call)
            model.add((thing, grant, call))
        elif what == "let_go":
            holdings.let_go(thing, grant, call)
            model.discard((thing, grant, call))
        else:
            holdings.let_go_all(grant)
            model = {held for held in model if held[1] != grant}
        told.update({each.thing: each for each in holdings.settle(["x", "y"], DEADLINES)})

    for thing in ("x", "y"):
        holders = frozenset(grant for held, grant, _ in model if held == thing)
        last = told.get(thing)
        assert (last.grants if last else frozenset()) == holders
        if holders:
            assert last is not None
            assert last.deadline == max(DEADLINES[grant] for grant in holders)
