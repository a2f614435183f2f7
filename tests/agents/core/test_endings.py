"""How a subscription ends: disarmed, told, proved, and only then given up."""

from __future__ import annotations

from itertools import count

import pytest

from agents.core.endings import Endings
from agents.core.flow import FlowKey
from agents.core.instant import NANOSECONDS
from agents.core.owntags import OwnTags, unsubscribe
from agents.core.recordedcall import Subscription
from agents.core.relaycommands import AskRelay, CloseFlows, CloseSinks, Report, Unsubscribed

KEYS = (FlowKey.to("127.0.0.1", 20000),)
GONE = {b"result": b"error"}
OK = {b"result": b"ok"}


def seen(*tags):
    copies = [{b"tag": tag, b"type": b"pub/sub"} for tag in tags]
    return OK | {b"tags": {b"f": {b"tag": b"f", b"subscribers": copies}}}


class Ending:
    def __init__(self, *, pending=False):
        words = count()
        self.tags = OwnTags(lambda: b"word%d" % next(words))
        self.endings = Endings(self.tags)
        self.tag = self.tags.new()
        self.subscription = Subscription(7, self.tag, pending=pending, keys=KEYS)
        self.begun = self.endings.end(b"c", self.subscription, 0)
        self.stop = AskRelay(unsubscribe(b"c", self.tag), ("stop", 7))
        self.over = [CloseSinks(7), Unsubscribed(b"c", self.tag)]

    def told(self, step, reply=OK, now=0):
        return self.endings.told(step, 7, reply, now)


def test_it_is_disarmed_first_and_given_up_when_the_relay_shows_it_gone():
    end = Ending()
    assert end.begun == [CloseFlows(b"c", KEYS), end.stop]
    (query,) = end.told("stop")
    assert query.question == {b"command": b"query", b"call-id": b"c"}
    assert end.tag in end.tags
    assert end.told("query", seen(b"spy")) == end.over
    assert end.tag not in end.tags
    assert end.told("query", seen()) == []
    assert end.endings.next_deadline() is None


@pytest.mark.parametrize("reply", [OK, GONE, None])
def test_what_the_relay_has_not_answered_yet_is_ended_after_its_answer(reply):
    end = Ending(pending=True)
    assert end.begun == [CloseFlows(b"c", KEYS)]
    assert end.endings.next_deadline() is None
    assert end.told("request", reply) == [end.stop]


def test_a_call_that_is_gone_has_no_subscription():
    end = Ending()
    end.told("stop", GONE)
    assert end.told("query", GONE) == end.over


def test_no_answer_proves_nothing_and_it_is_told_again():
    end = Ending()
    assert end.told("stop", None)
    assert end.told("query", None) == []
    assert end.endings.wake_up(NANOSECONDS - 1) == []
    assert end.endings.wake_up(NANOSECONDS) == [end.stop]
    assert end.endings.next_deadline() == 2 * NANOSECONDS


def test_a_relay_that_goes_on_is_told_some_times_at_once_reported_once_and_told_for_ever():
    end = Ending()
    said = [end.told("query", seen(end.tag)) for _ in range(7)]
    assert said[:4] == [[end.stop]] * 4
    (report,) = said[4]
    assert isinstance(report, Report)
    assert report.what == "recording_not_stopped"
    assert said[5:] == [[], []]
    assert end.endings.wake_up(NANOSECONDS) == [end.stop]


def test_with_the_relay_everything_ends():
    end = Ending()
    assert end.endings.relay_gone() == end.over
    assert end.endings.relay_gone() == []
    assert end.told("query", seen(end.tag)) == []
