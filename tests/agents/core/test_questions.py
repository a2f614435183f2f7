"""The agent's own questions: asked again with the same cookie, answered once, given up in the end."""

from __future__ import annotations

from itertools import count

from agents.core.questions import Questions


def questions():
    words = count()
    return Questions(lambda: b"word%d" % next(words))


def test_a_question_is_asked_again_in_the_same_words_each_time_later():
    asked = questions()
    data = asked.ask({b"command": b"ping"}, "token", 0)
    assert data == b"word0 d7:command4:pinge"
    times, now = [], 0
    while (due := asked.next_deadline()) is not None:
        again, given_up = asked.wake_up(due)
        assert again == [data] or [each.token for each in given_up] == ["token"]
        times.append(due - now)
        now = due
    assert times == [50_000_000 << tries for tries in range(5)]


def test_an_answer_ends_the_asking():
    asked = questions()
    asked.ask({b"command": b"ping"}, "token", 0)
    assert asked.answered(b"other") is None
    assert asked.answered(b"word0").token == "token"
    assert asked.answered(b"word0") is None
    assert asked.next_deadline() is None


def test_all_can_be_given_up_at_once():
    asked = questions()
    for token in ("a", "b"):
        asked.ask({b"command": b"ping"}, token, 0)
    assert [each.token for each in asked.give_up()] == ["a", "b"]
    assert asked.give_up() == []
    assert asked.wake_up(1 << 60) == ([], [])
