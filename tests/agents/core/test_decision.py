"""Whether a recorder on this node may record this call, and until when."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agents.core import events as on
from agents.core.decision import Deny, Obligation, Permit, Question, Scope, answered, decide
from guard.core.instruments import Instrument
from guard.core.level import Level
from guard.core.reasons import Reason
from guard.core.window import Window
from tests.agents.core.calls import message, sdp
from tests.builders.deployment import TEST_SUBJECT as SUBJECT
from tests.sim.playbook import Playbook, grant_id

NAMES = (f"{SUBJECT}@voip.example", "bob@example.org")
QUESTION = Question(
    recorder="asterisk", scope=Scope.WHOLE_CALL, node="node-1", identities=(f"tel:{SUBJECT}",)
)


@pytest.fixture
def play() -> Playbook:
    return Playbook()


def ask(play: Playbook, **changes: Any) -> Permit | Deny:
    question = replace(QUESTION, **changes)
    return decide(question, play.node.covers(), node="node-1", now=play.now)


def reason(answer: Permit | Deny) -> Reason | None:
    return answer.reason if isinstance(answer, Deny) else None


def call(play: Playbook, start: str = "INVITE", call: str = "call-1", **more: Any) -> None:
    more.setdefault("body", sdp("192.0.2.1", 20000))
    said = message(start, call=call, names=NAMES, **more)
    play.tell(on.SignallingSeen(message=said))


def test_a_covered_call_may_be_recorded_under_its_grants_obligations(play: Playbook):
    """Grant, level, end and recipients are those of what is armed."""
    evidence = play.armed(Instrument.TEST, level=Level.CONTENT)
    (cover,) = play.node.covers()

    assert ask(play) == Permit(
        level=Level.CONTENT,
        obligations=(
            Obligation(
                grant_id=grant_id(evidence),
                until=play.now.wall + cover.grant.lease,
                recipients=cover.grant.authority.recipients,
            ),
        ),
    )


def test_a_renewed_lease_moves_the_end_and_the_grants_own_end_bounds_it(play: Playbook):
    """The earlier of the two is the answer's end, as time passes and renewals come."""
    end = play.made.now + timedelta(seconds=40)
    window = Window(not_before=play.made.now - timedelta(hours=1), not_after=end)
    evidence = play.armed(Instrument.TEST, level=Level.CONTENT, window=window)
    lease = play.node.covers()[0].grant.lease

    def until() -> object:
        answer = ask(play)
        assert isinstance(answer, Permit)
        return answer.obligations[0].until

    assert until() == play.made.now + lease
    play.wait(5)
    play.renew(evidence)
    assert until() == play.made.now + timedelta(seconds=5) + lease
    play.wait(20)
    play.renew(evidence)
    assert until() == end


def test_a_call_is_covered_by_call_id_while_it_is_followed(play: Playbook):
    """From its INVITE to its end, and no other call with it."""
    play.armed(Instrument.TEST, level=Level.CONTENT)
    by_call = {"call_id": b"call-1", "identities": ()}

    assert reason(ask(play, **by_call)) is Reason.CALL_NOT_COVERED
    call(play)
    assert isinstance(ask(play, **by_call), Permit)
    assert reason(ask(play, call_id=b"call-2", identities=())) is Reason.CALL_NOT_COVERED
    call(play, "486 Busy", ends=("a", "b"), body="")
    play.wait(2)
    assert reason(ask(play, **by_call)) is Reason.CALL_NOT_COVERED


def test_a_message_that_is_no_call_gives_no_call(play: Playbook):
    """A subject's MESSAGE has a Call-ID, but nobody is on a call."""
    play.armed(Instrument.TEST, level=Level.CONTENT)
    call(play, "MESSAGE", cseq="1 MESSAGE", body="")

    asked = ask(play, call_id=b"call-1", identities=())
    assert reason(asked) is Reason.CALL_NOT_COVERED


@pytest.mark.parametrize(
    "spelling",
    [
        f"tel:{SUBJECT}",
        f"sip:{SUBJECT}@anywhere.example;user=phone",
        f'"sip:bob@example.org" <sip:{SUBJECT}@voip.example:5060>;tag=x',
        f"sip:00{SUBJECT[1:]}@h",
    ],
)
def test_identities_are_compared_as_those_of_messages(play: Playbook, spelling: str):
    """Usual spellings and whole header values match."""
    play.armed(Instrument.TEST, level=Level.CONTENT)
    assert isinstance(ask(play, identities=("sip:carol@example.org", spelling)), Permit)


@pytest.mark.parametrize(
    "identities",
    [
        (),
        ("",),
        ("*",),
        ("sip:*",),
        ("tel:",),
        (SUBJECT,),
        (f'"tel:{SUBJECT}" <sip:bob@example.org>',),
        ("sip:bob@example.org",),
    ],
)
def test_what_names_no_subject_is_denied(play: Playbook, identities: tuple[str, ...]):
    """Nothing, wildcards, a number without a scheme and display names name nobody."""
    play.armed(Instrument.TEST, level=Level.CONTENT)
    assert reason(ask(play, identities=identities)) is Reason.CALL_NOT_COVERED


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"recorder": ""}, Reason.DOCUMENT_MALFORMED),
        ({"recorder": "two\nlines"}, Reason.DOCUMENT_MALFORMED),
        ({"recorder": "x" * 65}, Reason.DOCUMENT_MALFORMED),
        ({"call_id": b"x" * 1025}, Reason.DOCUMENT_MALFORMED),
        ({"identities": (f"tel:{SUBJECT}",) * 17}, Reason.DOCUMENT_MALFORMED),
        ({"identities": ("x" * 1025,)}, Reason.DOCUMENT_MALFORMED),
        ({"node": ""}, Reason.NODE_UNKNOWN),
        ({"node": "node-2"}, Reason.NODE_UNKNOWN),
        ({"scope": None}, Reason.SCOPE_NOT_PERMITTED),
        ({"scope": Scope.ONE_LEG}, Reason.SCOPE_NOT_PERMITTED),
    ],
)
def test_each_rule_denies_by_its_own_name(
    play: Playbook, changes: dict[str, Any], expected: Reason
):
    """One thing wrong with a question that would be permitted."""
    play.armed(Instrument.TEST, level=Level.CONTENT)
    assert reason(ask(play, **changes)) is expected


def test_nothing_armed_covers_nothing(play: Playbook):
    """The default is no."""
    assert reason(ask(play)) is Reason.CALL_NOT_COVERED


@pytest.mark.parametrize(
    ("level", "scope", "expected"),
    [
        (Level.SIGNALLING, Scope.SIGNALLING, None),
        (Level.SIGNALLING, Scope.MEDIA_HEADERS, Reason.LEVEL_NOT_PERMITTED),
        (Level.SIGNALLING, Scope.WHOLE_CALL, Reason.LEVEL_NOT_PERMITTED),
        (Level.MEDIA_HEADERS, Scope.MEDIA_HEADERS, None),
        (Level.MEDIA_HEADERS, Scope.WHOLE_CALL, Reason.LEVEL_NOT_PERMITTED),
        (Level.CONTENT, Scope.SIGNALLING, None),
        (Level.CONTENT, Scope.ONE_LEG, Reason.SCOPE_NOT_PERMITTED),
    ],
)
def test_a_grant_reaches_up_to_its_level(
    play: Playbook, level: Level, scope: Scope, expected: Reason | None
):
    """And a permit never says more than was asked for."""
    play.armed(Instrument.TEST, level=level)
    answer = ask(play, scope=scope)

    assert reason(answer) is expected
    if isinstance(answer, Permit):
        assert answer.level == Level(scope.value)


def test_a_lapsed_lease_denies_before_anybody_notices(play: Playbook):
    """At the deadline itself, though the node has not been woken yet."""
    play.armed(Instrument.TEST, level=Level.CONTENT)
    play.boot_ns = play.node.covers()[0].deadline - 1
    assert isinstance(ask(play), Permit)
    play.boot_ns += 1
    assert reason(ask(play)) is Reason.EXPIRED


def test_a_trust_policy_that_ends_ends_the_answer(play: Playbook):
    """What is armed ends when the policy does, and no answer says otherwise."""
    play.armed(Instrument.TEST, level=Level.CONTENT)
    soon = play.now.wall + timedelta(seconds=3)
    play.new_policy(expires_at=soon)
    answer = ask(play)

    assert isinstance(answer, Permit)
    assert answer.obligations[0].until == soon


def test_a_revoked_authority_covers_nothing(play: Playbook):
    """From the same moment on."""
    evidence = play.armed(Instrument.TEST, level=Level.CONTENT)
    call(play)
    gone = on.Withdrawal(grant_id=grant_id(evidence), reason=Reason.REVOKED)
    play.tell(on.StateDelta(revision=2, withdrawn=(gone,)))

    assert reason(ask(play, call_id=b"call-1")) is Reason.CALL_NOT_COVERED


def test_two_grants_on_one_call_have_an_obligation_each(play: Playbook):
    """One that falls short of the level adds none."""
    first = play.armed(Instrument.TEST, level=Level.CONTENT)
    second = play.armed(Instrument.TEST, level=Level.CONTENT)
    play.armed(Instrument.TEST, level=Level.SIGNALLING)
    answer = ask(play)

    assert isinstance(answer, Permit)
    assert [each.grant_id for each in answer.obligations] == [grant_id(first), grant_id(second)]


def test_an_odd_call_id_is_compared_octet_by_octet(play: Playbook):
    """Octets that are no text are one Call-ID like any other."""
    play.armed(Instrument.TEST, level=Level.CONTENT)
    call(play, call="call\u00e9")

    assert isinstance(ask(play, call_id="call\u00e9".encode(), identities=()), Permit)
    latin = ask(play, call_id="call\u00e9".encode("latin-1"), identities=())
    assert reason(latin) is Reason.CALL_NOT_COVERED


def test_the_record_names_the_call_by_its_digest_and_nobody_by_name(play: Playbook):
    """Who, what, which call, how it ended; identities not even as a digest."""
    evidence = play.armed(Instrument.TEST, level=Level.CONTENT)
    question = replace(QUESTION, call_id=b"call-1")
    record = answered(question, ask(play))
    assert record.call == hashlib.sha256(b"call-1").hexdigest()
    assert (record.recorder, record.scope) == ("asterisk", "whole_call")
    assert (record.permitted, record.reason, record.grant_ids) == (True, "", (grant_id(evidence),))

    bad = replace(QUESTION, recorder="a\nb", scope=None)
    denied = answered(bad, ask(play, recorder="a\nb", scope=None))
    assert (denied.recorder, denied.scope, denied.call) == ("", "", "")
    assert (denied.permitted, denied.reason) == (False, "document_malformed")
    assert SUBJECT not in repr(denied) + repr(QUESTION) + repr(play.node.covers())
