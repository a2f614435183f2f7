"""Following calls: which addresses are open at each moment of each kind of call."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.core.dialogs import (
    CallEnded,
    CallFinding,
    CallSeen,
    CloseFlow,
    DialogLimits,
    NotFollowed,
    OpenFlow,
    UnwatchCall,
    WatchCall,
    Write,
)
from agents.core.sdp import SdpFinding
from guard.core.level import Level
from guard.core.subjects import SubjectKind, parse_subject
from tests.agents.core.calls import ALICE, CALLEE, CALLER, PROXY, Ear, message, pair, sdp
from tests.agents.core.wire import at, datagram, torture, torture_names

A, B, C, D = pair(CALLER, 4000), pair(CALLEE, 6000), pair(CALLER, 4400), pair(CALLEE, 6600)
BACK = {"src": PROXY, "dst": CALLER}
INVITE = message("INVITE", body=sdp(CALLER, 4000))
RINGING = message("180 Ringing", ends=("a", "b"), **BACK)
OK = message("200 OK", ends=("a", "b"), body=sdp(CALLEE, 6000), **BACK)
ACK = message("ACK", ends=("a", "b"), cseq="1 ACK", branch="ack")
BYE = message("BYE", ends=("a", "b"), cseq="9 BYE", branch="bye")
BYE_OK = message("200 OK", ends=("a", "b"), cseq="9 BYE", branch="bye", **BACK)
MOVE = message("INVITE", ends=("a", "b"), cseq="2 INVITE", branch="re", body=sdp(CALLER, 4400))
MOVED = message(
    "200 OK", ends=("a", "b"), cseq="2 INVITE", branch="re", body=sdp(CALLEE, 6600), **BACK
)


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def talking(ear: Ear) -> Ear:
    ear.hear(INVITE, RINGING, OK, ACK)
    assert ear.open == A | B
    return ear


def test_a_call_is_open_from_its_invite_to_its_end(ear: Ear) -> None:
    """Offer and answer open at once; BYE's answer closes both after the grace, and all is told."""
    events = ear.hear(INVITE)
    assert [type(event) for event in events] == [WatchCall, CallSeen, OpenFlow, OpenFlow, Write]
    assert ear.open == A
    ear.hear(RINGING)
    assert [type(event) for event in ear.hear(OK)] == [OpenFlow, OpenFlow, Write]
    ear.hear(ACK, BYE, BYE_OK)
    ear.wait(0.999)
    assert ear.open == A | B
    events = ear.wait(0.001)
    assert [type(event) for event in events] == [CloseFlow] * 4 + [CallEnded]
    assert [type(event) for event in ear.wait(40)] == [UnwatchCall]
    assert (len(ear.tracker), ear.tracker.next_deadline()) == (0, None)


def test_early_media_is_open_before_the_answer(ear: Ear) -> None:
    """A 183 with a description opens where the caller is told to send."""
    ear.hear(INVITE, message("183 Progress", ends=("a", "b"), body=sdp(CALLEE, 6000), **BACK))
    assert ear.open == A | B


def test_an_answer_that_differs_from_early_media_replaces_it(ear: Ear) -> None:
    """After the final answer only its address stays, and a late provisional brings none back."""
    early = message("183 Progress", ends=("a", "b"), body=sdp(PROXY, 7000), **BACK)
    ear.hear(INVITE, early, OK)
    assert ear.open == A | B | pair(PROXY, 7000)
    ear.wait(1)
    ear.hear(early)
    assert ear.open == A | B


def test_messages_that_come_again_change_nothing(talking: Ear) -> None:
    """Every message of a call, repeated in any later state, opens and closes nothing."""
    talking.hear(MOVE, MOVED)
    talking.wait(2)
    before = set(talking.open)
    events = talking.hear(INVITE, RINGING, OK, ACK, MOVE, MOVED, OK, INVITE)
    assert {type(event) for event in events} == {Write}
    talking.hear(BYE, BYE_OK)
    talking.wait(2)
    assert before == C | D
    assert {type(event) for event in talking.hear(BYE, BYE_OK, MOVED, OK)} == {Write}


def test_media_that_moves_is_followed(talking: Ear) -> None:
    """A re-INVITE opens the new addresses at once and closes the old after its answer and grace."""
    talking.hear(MOVE)
    assert talking.open == A | B | C
    talking.hear(MOVED)
    assert talking.open == A | B | C | D
    talking.wait(1)
    assert talking.open == C | D


def test_the_called_side_may_move_too(talking: Ear) -> None:
    """A re-INVITE of the callee replaces its own address and keeps the caller's if repeated."""
    move = message(
        "INVITE", ends=("b", "a"), cseq="1 INVITE", branch="re", body=sdp(CALLEE, 6600), **BACK
    )
    moved = message("200 OK", ends=("b", "a"), cseq="1 INVITE", branch="re", body=sdp(CALLER, 4000))
    talking.hear(move, moved)
    talking.wait(1)
    assert talking.open == A | D


@pytest.mark.parametrize("status", ["488 No", "491 Pending", "401 Who"])
def test_a_move_that_is_refused_leaves_what_was(talking: Ear, status: str) -> None:
    """When a re-INVITE fails, what it offered closes and the call goes on."""
    talking.hear(MOVE, message(status, ends=("a", "b"), cseq="2 INVITE", branch="re", **BACK))
    talking.wait(1)
    assert talking.open == A | B
    talking.wait(3600)
    assert talking.open == A | B


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
def test_a_move_by_either_method_is_followed(talking: Ear, method: str) -> None:
    """UPDATE moves media as a re-INVITE does."""
    again = {"ends": ("a", "b"), "cseq": f"3 {method}", "branch": "up"}
    talking.hear(
        message(method, body=sdp(CALLER, 4400), **again),
        message("200 OK", body=sdp(CALLEE, 6000), **again),
    )
    talking.wait(1)
    assert talking.open == C | B


def test_a_refresh_without_a_description_changes_nothing(talking: Ear) -> None:
    """An UPDATE that only keeps the session alive leaves every address."""
    again = {"ends": ("a", "b"), "cseq": "3 UPDATE", "branch": "up"}
    assert {
        type(event)
        for event in talking.hear(message("UPDATE", **again), message("200 OK", **again))
    } == {Write}


def test_a_late_offer_is_answered_in_the_ack(ear: Ear) -> None:
    """With the offer in the 200 and the answer in the ACK both are open, also when media moves so."""
    ear.hear(
        message("INVITE"),
        OK,
        message("ACK", ends=("a", "b"), cseq="1 ACK", branch="k", body=sdp(CALLER, 4000)),
    )
    assert ear.open == A | B
    again = {"ends": ("a", "b"), "branch": "re"}
    ear.hear(message("INVITE", cseq="2 INVITE", **again), MOVED)
    ear.hear(message("ACK", ends=("a", "b"), cseq="2 ACK", branch="k2", body=sdp(CALLER, 4400)))
    ear.wait(1)
    assert ear.open == C | D


def test_a_reliable_provisional_may_offer_and_prack_answer(ear: Ear) -> None:
    """An answer in PRACK opens as any other."""
    ear.hear(
        message("INVITE"), message("183 Progress", ends=("a", "b"), body=sdp(CALLEE, 6000), **BACK)
    )
    ear.hear(message("PRACK", ends=("a", "b"), cseq="2 PRACK", branch="p", body=sdp(CALLER, 4000)))
    assert ear.open == A | B
    ear.hear(message("200 OK", ends=("a", "b"), cseq="2 PRACK", branch="p", **BACK))
    ear.hear(message("200 OK", ends=("a", "b"), **BACK))
    ear.wait(5)
    assert ear.open == A | B


def test_an_update_before_the_answer_moves_early_media(ear: Ear) -> None:
    """After an early UPDATE and the final answer, the addresses of the UPDATE are left."""
    ear.hear(INVITE, message("183 Progress", ends=("a", "b"), body=sdp(CALLEE, 6000), **BACK))
    again = {"ends": ("a", "b"), "cseq": "2 UPDATE", "branch": "up"}
    ear.hear(
        message("UPDATE", body=sdp(CALLER, 4400), **again),
        message("200 OK", body=sdp(CALLEE, 6600), **again),
    )
    ear.wait(1)
    assert ear.open == A | C | D
    ear.hear(message("200 OK", ends=("a", "b"), **BACK))
    ear.wait(1)
    assert ear.open == C | D


@pytest.mark.parametrize("status", ["486 Busy", "487 Cancelled", "302 Moved", "603 No"])
def test_a_call_that_fails_is_closed(ear: Ear, status: str) -> None:
    """A final failure closes the offer after the grace and ends the call."""
    cancel = message("CANCEL", cseq="1 CANCEL")
    ear.hear(INVITE, RINGING, cancel, message("200 OK", cseq="1 CANCEL", **BACK))
    assert ear.open == A
    ear.hear(message(status, ends=("a", "b"), **BACK))
    ear.hear(message("ACK", ends=("a", "b"), cseq="1 ACK"))
    ear.wait(1)
    assert (ear.open, ear.count(CallEnded)) == (set(), 1)
    ear.wait(40)
    assert len(ear.tracker) == 0


@pytest.mark.parametrize("status", ["401 Who", "407 Who"])
def test_a_call_asked_for_credentials_is_one_call(ear: Ear, status: str) -> None:
    """The second INVITE with credentials goes on with the same call, its address never closed."""
    ear.hear(
        INVITE,
        message(status, ends=("a", "x"), **BACK),
        message("ACK", ends=("a", "x"), cseq="1 ACK"),
    )
    ear.hear(message("INVITE", cseq="2 INVITE", branch="2", body=sdp(CALLER, 4000)))
    ear.hear(
        message(
            "200 OK", ends=("a", "b"), cseq="2 INVITE", branch="2", body=sdp(CALLEE, 6000), **BACK
        )
    )
    ear.wait(100)
    assert ear.open == A | B
    assert (ear.count(CallSeen), ear.count(CloseFlow), ear.count(CallEnded)) == (1, 0, 0)


def fork(tag: str, port: int, status: str = "183 Progress", branch: str = "1") -> object:
    return message(status, ends=("a", tag), branch=branch, body=sdp(CALLEE, port), **BACK)


def test_of_forks_the_winner_is_left(ear: Ear) -> None:
    """Each fork's early media is open until one answers; then the others close."""
    ear.hear(INVITE, fork("b", 6000), fork("c", 7000))
    assert ear.open == A | B | pair(CALLEE, 7000)
    ear.hear(fork("c", 7000, "200 OK"))
    ear.wait(1)
    ear.hear(fork("b", 6000))
    assert ear.open == A | pair(CALLEE, 7000)


def test_a_fork_that_lost_has_nothing_open_whatever_it_agreed_before(ear: Ear) -> None:
    """What was moved early within a dialog that lost closes with it, for both of its sides."""
    ear.hear(INVITE, fork("b", 6000), fork("c", 7000))
    again = {"ends": ("a", "c"), "cseq": "2 UPDATE", "branch": "up"}
    ear.hear(message("UPDATE", body=sdp(CALLER, 4400), **again))
    ear.hear(message("200 OK", body=sdp(CALLEE, 7700), **again, **BACK))
    assert ear.open > C | pair(CALLEE, 7700)
    ear.hear(OK)
    ear.wait(1)
    assert ear.open == A | B


def test_provisional_answers_that_differ_all_count_until_the_final(ear: Ear) -> None:
    """Two early addresses of one side stay open in any order and number of their messages."""
    first, second = fork("b", 7000), fork("b", 8000)
    for said in (INVITE, first, second, first, first, second):
        ear.hear(said)
        ear.wait(2)
    assert ear.open == A | pair(CALLEE, 7000) | pair(CALLEE, 8000)
    ear.hear(OK)
    ear.wait(1)
    assert ear.open == A | B


def test_a_failure_after_the_success_of_a_transaction_changes_nothing(talking: Ear) -> None:
    """A final answer stands: another one in its transaction closes nothing."""
    talking.hear(message("408 Late", ends=("a", "b"), **BACK))
    talking.wait(5)
    assert talking.open == A | B


def test_a_call_without_tags_is_followed(ear: Ear) -> None:
    """A caller of the time before tags (RFC 2543) is followed to the end."""
    ends = ("", "b")
    ear.hear(
        message("INVITE", ends=("", ""), body=sdp(CALLER, 4000)),
        message("100 Trying", ends=("", ""), **BACK),
    )
    ear.hear(message("200 OK", ends=ends, body=sdp(CALLEE, 6000), **BACK))
    ear.wait(5)
    assert ear.open == A | B
    bye = {"ends": ends, "cseq": "9 BYE", "branch": "bye"}
    ear.hear(message("BYE", **bye), message("200 OK", **bye, **BACK))
    ear.wait(1)
    assert ear.open == set()


def test_a_call_that_fails_after_early_agreements_ends(ear: Ear) -> None:
    """PRACK and UPDATE within a dialog that never came to be do not keep the call alive."""
    ear.hear(INVITE, fork("b", 6000))
    prack, update = (
        {"ends": ("a", "b"), "cseq": f"{n} {m}", "branch": m}
        for n, m in ((2, "PRACK"), (3, "UPDATE"))
    )
    ear.hear(message("PRACK", **prack), message("200 OK", **prack, **BACK))
    ear.hear(message("UPDATE", body=sdp(CALLER, 4400), **update))
    ear.hear(
        message("200 OK", body=sdp(CALLEE, 6600), **update, **BACK),
        message("486 Busy", ends=("a", "b"), **BACK),
    )
    ear.wait(1)
    assert (ear.open, ear.count(CallEnded)) == (set(), 1)


def test_two_forks_may_both_win(ear: Ear) -> None:
    """When two forks answer both are open, and a BYE to one leaves the other with its caller."""
    ear.hear(INVITE, fork("b", 6000, "200 OK"), fork("c", 7000, "200 OK"))
    assert ear.open == A | B | pair(CALLEE, 7000)
    bye = {"ends": ("a", "b"), "cseq": "2 BYE", "branch": "bye"}
    ear.hear(message("BYE", **bye), message("200 OK", **bye, **BACK))
    ear.wait(1)
    assert ear.open == A | pair(CALLEE, 7000)


def test_one_branch_that_fails_takes_back_its_own_offer(ear: Ear) -> None:
    """Behind a forking relay a busy branch closes what was offered to it, and the call goes on."""
    legs = [
        message("INVITE", branch=f"out{n}", body=sdp(PROXY, 8000 + 10 * n), src=PROXY, dst=CALLEE)
        for n in (1, 2)
    ]
    ear.hear(INVITE, *legs)
    assert ear.open == A | pair(PROXY, 8010) | pair(PROXY, 8020)
    ear.hear(message("486 Busy", ends=("a", "b"), branch="out1", src=CALLEE, dst=PROXY))
    ear.wait(1)
    assert ear.open == A | pair(PROXY, 8020)
    assert ear.count(CallEnded) == 0


def test_both_hops_of_a_relayed_call_are_open_and_move(ear: Ear) -> None:
    """Addresses of parties and relay on either hop open, move and close together."""
    inside = {"src": PROXY, "dst": CALLEE}
    outside = {"src": CALLEE, "dst": PROXY}

    def call(number: int, ends: tuple[str, str], shift: int) -> None:
        common = {"cseq": f"{number} INVITE"}
        ear.hear(
            message(
                "INVITE", ends=ends, branch=f"o{number}", body=sdp(CALLER, 4000 + shift), **common
            )
        )
        ear.hear(
            message(
                "INVITE",
                ends=ends,
                branch=f"i{number}",
                body=sdp(PROXY, 8000 + shift),
                **common,
                **inside,
            )
        )
        both = ("a", "b")
        ear.hear(
            message(
                "200 OK",
                ends=both,
                branch=f"i{number}",
                body=sdp(CALLEE, 6000 + shift),
                **common,
                **outside,
            )
        )
        ear.hear(
            message(
                "200 OK",
                ends=both,
                branch=f"o{number}",
                body=sdp(PROXY, 9000 + shift),
                **common,
                **BACK,
            )
        )

    def addresses(shift: int) -> set[object]:
        return (
            A | B | pair(PROXY, 8000) | pair(PROXY, 9000)
            if not shift
            else set().union(
                *(
                    pair(*each)
                    for each in ((CALLER, 4400), (PROXY, 8400), (CALLEE, 6400), (PROXY, 9400))
                )
            )
        )

    call(1, ("a", ""), 0)
    assert ear.open == addresses(0)
    call(2, ("a", "b"), 400)
    assert ear.open == addresses(0) | addresses(400)
    ear.wait(1)
    assert ear.open == addresses(400)
    ear.hear(BYE, BYE_OK)
    ear.wait(1)
    assert ear.open == set()


@pytest.mark.parametrize(
    "first", [MOVE, MOVED, OK, ACK, BYE], ids=["offer", "answer", "200", "ack", "bye"]
)
def test_a_call_that_began_before_is_picked_up(ear: Ear, first: object) -> None:
    """Whatever of a running call is seen first counts as the call, and its next description opens."""
    events = ear.hear(first)
    assert CallSeen in {type(event) for event in events}
    ear.hear(MOVE, MOVED)
    ear.wait(1)
    assert ear.open == C | D
    ear.wait(3600)
    assert ear.open == C | D
    ear.hear(BYE, BYE_OK)
    ear.wait(1)
    assert ear.open == set()


def test_a_call_picked_up_by_update_is_as_long_as_any(ear: Ear) -> None:
    """A call known from an UPDATE alone is not given up as one that was never answered."""
    again = {"ends": ("a", "b"), "cseq": "3 UPDATE", "branch": "up"}
    ear.hear(
        message("UPDATE", body=sdp(CALLER, 4000), **again),
        message("200 OK", body=sdp(CALLEE, 6000), **again),
    )
    ear.wait(3600)
    assert ear.open == A | B


def test_bye_that_asks_for_credentials_ends_nothing(talking: Ear) -> None:
    """After 401 to BYE the call goes on."""
    talking.hear(BYE, message("401 Who", ends=("a", "b"), cseq="9 BYE", branch="bye", **BACK))
    talking.wait(3600)
    assert talking.open == A | B


def test_bye_that_nobody_answers_ends_the_call_in_time(talking: Ear) -> None:
    """Without an answer the call ends when the BYE would have been given up."""
    talking.hear(BYE)
    talking.wait(31)
    assert talking.open == A | B
    talking.wait(3)
    assert talking.open == set()


def test_bye_of_another_dialog_ends_nothing(talking: Ear) -> None:
    """A BYE with a tag that is not of the call, and its refusal, close nothing."""
    other = {"ends": ("a", "z"), "cseq": "9 BYE", "branch": "bye"}
    talking.hear(message("BYE", **other), message("481 None", **other, **BACK))
    talking.wait(3600)
    assert talking.open == A | B


def test_a_call_that_falls_silent_ends(talking: Ear) -> None:
    """After the longest silence a call is closed without a BYE."""
    talking.wait(12 * 3600 - 1)
    assert talking.open == A | B
    assert [type(event) for event in talking.wait(1)] == [CloseFlow] * 4 + [CallEnded, UnwatchCall]


def test_an_invite_that_nobody_answers_ends(ear: Ear) -> None:
    """A call that never was answered is given up after ten minutes of silence."""
    ear.hear(INVITE)
    ear.wait(600)
    assert (ear.open, len(ear.tracker)) == (set(), 0)


@pytest.mark.parametrize(
    "said",
    [
        message("OPTIONS", cseq="1 OPTIONS", body=sdp(CALLER, 4000)),
        message("200 OK", cseq="1 OPTIONS", ends=("a", "b"), body=sdp(CALLER, 4000)),
        message("488 No", ends=("a", "b"), body=sdp(CALLER, 4000)),
        message("NEWMETHOD", body=sdp(CALLER, 4000)),
        message("INFO", cseq="3 INFO", ends=("a", "b"), body=sdp(CALLER, 4000)),
        message("100 Trying", body=sdp(CALLER, 4000)),
        message("INVITE", body=sdp(CALLER, 4000), kind="text/plain"),
        message("INVITE", body=sdp("0.0.0.0", 4000)),
    ],
)
def test_descriptions_that_agree_on_no_media_open_nothing(ear: Ear, said: object) -> None:
    """Capabilities, refusals, contradictions and other bodies are written but open nothing."""
    assert Write in {type(event) for event in ear.hear(said)}
    assert ear.open == set()


def test_a_message_outside_of_calls_is_written_and_soon_forgotten(ear: Ear) -> None:
    """MESSAGE and REGISTER are no calls; their answers belong to them for a while."""
    events = ear.hear(message("MESSAGE", cseq="1 MESSAGE", body="hi", kind="text/plain"))
    assert [type(event) for event in events] == [WatchCall, Write]
    stranger = ("x@example.org", "y@example.org")
    assert [
        type(event) for event in ear.hear(message("200 OK", cseq="1 MESSAGE", names=stranger))
    ] == [Write]
    assert [type(event) for event in ear.wait(32)] == [UnwatchCall]


def test_others_change_nothing(ear: Ear) -> None:
    """Calls of others, and octets that are no SIP, give no event and leave no trace."""
    stranger = message("INVITE", names=("x@example.org", "y@example.org"), body=sdp(CALLER, 4000))
    assert (
        ear.hear(stranger, datagram(b"\x80\x00" * 90), datagram(b""), datagram(b"\r\n\r\n")) == []
    )
    assert (len(ear.tracker), ear.tracker.next_deadline()) == (0, None)


def test_garbage_within_a_call_changes_nothing(talking: Ear) -> None:
    """Truncated and senseless messages of the call are written and move nothing."""
    before = set(talking.open)
    for length in range(len(MOVE.payload)):
        if b"application/sdp" not in MOVE.payload[:length]:
            talking.hear(replace(MOVE, payload=MOVE.payload[:length]))
    talking.hear(message("INVITE", cseq="x INVITE", ends=("a", "b"), body=sdp(CALLER, 1)))
    assert talking.open == before


def test_a_call_that_names_the_subject_once_is_followed_by_its_id(ear: Ear) -> None:
    """Where only the INVITE names the subject, the rest of the call belongs to it all the same."""
    others = {"names": ("anonymous@x.invalid", "bob@example.org")}
    ear.hear(
        message(
            "INVITE",
            more="P-Asserted-Identity: <sip:alice@example.com>\r\n",
            body=sdp(CALLER, 4000),
            **others,
        )
    )
    ear.hear(message("200 OK", ends=("a", "b"), body=sdp(CALLEE, 6000), **others, **BACK))
    assert ear.open == A | B
    assert ear.count(Write) == 2


def test_a_call_id_that_is_a_subject_stays_watched() -> None:
    """The tracker never takes back the watch on a Call-ID that the authority itself names."""
    ear = Ear((parse_subject(SubjectKind.CALL_ID, "call-1"),))
    ear.hear(INVITE, OK, BYE, BYE_OK)
    ear.wait(100)
    assert (ear.count(WatchCall), ear.count(UnwatchCall), ear.count(CallEnded)) == (0, 0, 1)


def test_a_call_id_that_is_no_text_is_followed_but_not_watched(ear: Ear) -> None:
    """Octets that name nothing in the filter's language are never handed to it."""
    strange = replace(INVITE, payload=INVITE.payload.replace(b"call-1", b"c\xff\xfe"))
    assert WatchCall not in {type(event) for event in ear.hear(strange)}
    assert ear.open == A


def test_two_calls_hold_an_address_each_for_itself() -> None:
    """An address that two calls share is opened and closed per call."""
    ear = Ear()
    second = message("INVITE", call="call-2", body=sdp(CALLER, 4000))
    ear.tracker.handle(INVITE, at(0))
    assert sum(isinstance(event, OpenFlow) for event in ear.tracker.handle(second, at(0))) == 2
    ear.tracker.handle(message("486 Busy", ends=("a", "b"), **BACK), at(0))
    closed = ear.tracker.expire(at(1))
    assert {event.call_id for event in closed if isinstance(event, CloseFlow)} == {"call-1"}
    assert ear.tracker.open_flows == A


def test_calls_are_bounded_and_the_bound_is_said() -> None:
    """Over the bound a message is written and not followed; an ended call gives way."""
    ear = Ear(limits=DialogLimits(calls=3))
    for number in range(3):
        ear.hear(message("INVITE", call=f"c{number}", body=sdp(CALLER, 4000 + 10 * number)))
    events = ear.hear(message("INVITE", call="c3", body=sdp(CALLER, 5000)))
    assert [type(event) for event in events] == [NotFollowed, Write]
    assert events[0].finding is CallFinding.TOO_MANY_CALLS
    ear.hear(message("486 Busy", call="c1", ends=("a", "b"), **BACK))
    ear.wait(1)
    ear.hear(message("INVITE", call="c3", body=sdp(CALLER, 5000)))
    assert ear.open == pair(CALLER, 4000) | pair(CALLER, 4020) | pair(CALLER, 5000)


def test_addresses_of_a_call_are_bounded_and_the_bound_is_said() -> None:
    """A call that offers more addresses than allowed has the first ones, and it is said once."""
    ear = Ear(limits=DialogLimits(flows=6))
    more = "".join(f"m=audio {port} RTP/AVP 0\r\n" for port in range(5000, 5040, 2))
    ear.hear(message("INVITE", body=sdp(CALLER, 4000, more)), INVITE)
    assert len(ear.open) == 6
    assert [event.finding for event in ear.events if isinstance(event, NotFollowed)] == [
        CallFinding.TOO_MANY_ADDRESSES
    ]


def test_a_flood_of_exchanges_and_forks_stays_bounded(talking: Ear) -> None:
    """Thousands of re-INVITEs, forks and branches in one call hold no more than a few of each."""
    for number in range(2, 2000):
        talking.hear(
            message(
                "INVITE",
                ends=("a", "b"),
                cseq=f"{number} INVITE",
                branch=f"x{number}",
                body=sdp(CALLER, 4000),
            )
        )
        talking.hear(
            message("183 P", ends=("a", f"t{number}"), branch=f"y{number}", body=sdp(CALLEE, 6000))
        )
    assert len(talking.open) <= DialogLimits().flows
    assert len(talking.tracker._calls["call-1"].offers._exchanges) <= 32
    talking.wait(2)
    before = set(talking.open)
    talking.hear(
        message("INVITE", ends=("a", "b"), cseq="5 INVITE", branch="x5", body=sdp(CALLER, 4444))
    )
    assert talking.open == before


def test_a_host_name_is_a_finding(ear: Ear) -> None:
    """A description with a name instead of an address opens nothing and says so once."""
    named = message(
        "INVITE", body="v=0\r\nc=IN IP4 media.example.com\r\nm=audio 4000 RTP/AVP 0\r\n"
    )
    ear.hear(named, named)
    assert [event.finding for event in ear.events if isinstance(event, NotFollowed)] == [
        SdpFinding.HOST_NAME
    ]


def test_an_answer_that_muxes_opens_one_port(ear: Ear) -> None:
    """The port beside a muxed answer belongs to another call and stays closed."""
    ear.hear(
        INVITE, message("200 OK", ends=("a", "b"), body=sdp(CALLEE, 6000, "a=rtcp-mux\r\n"), **BACK)
    )
    assert {key.port for key in ear.open} == {4000, 4001, 6000}


def test_ipv6_is_followed(ear: Ear) -> None:
    """Addresses of IPv6 open as they are."""
    ear.hear(message("INVITE", body=sdp("2001:db8::9", 4000), src="2001:db8::1", dst="2001:db8::2"))
    assert ear.open == pair("2001:db8::9", 4000)


@pytest.mark.parametrize("level", list(Level))
def test_what_is_written_is_redacted_for_the_level(level: Level) -> None:
    """A text is written at content alone; the rest of its message always."""
    ear = Ear(level=level)
    text = message("MESSAGE", cseq="1 MESSAGE", body="secret words", kind="text/plain")
    (written,) = [event.frame for event in ear.hear(text) if isinstance(event, Write)]
    assert (b"secret" in written) is (level is Level.CONTENT)
    assert text.frame.startswith(written)


def test_torture_runs_through_a_call_without_harm() -> None:
    """Every torture message, whole and cut, by a listener for all who are named or nobody."""
    nobody = Ear((parse_subject(SubjectKind.TELEPHONE, "+15551234567"),))
    everybody = Ear(
        (
            ALICE,
            parse_subject(SubjectKind.SIP_URI, "user@example.com"),
            parse_subject(SubjectKind.SIP_URI, "caller@example.net"),
            parse_subject(SubjectKind.SIP_URI, "vivekg@chair-dnrc.example.com"),
            parse_subject(SubjectKind.PEER_ADDRESS, "10.0.0.1"),
        )
    )
    for name in torture_names():
        octets = torture(name)
        for end in (*range(0, len(octets), 37), len(octets)):
            assert nobody.hear(datagram(octets[:end])) == []
            everybody.hear(datagram(octets[:end]))
            everybody.wait(0.5)
    assert everybody.count(Write) > 49
    everybody.wait(13 * 3600)
    assert everybody.open == set()
    assert len(everybody.tracker) == 0


def test_the_torture_invite_opens_its_media() -> None:
    """The hardest valid INVITE of RFC 4475 opens exactly its two streams."""
    ear = Ear((parse_subject(SubjectKind.SIP_URI, "jdrosen@example.com"),))
    ear.hear(datagram(torture("wsinv")))
    assert ear.open == pair("192.0.2.4", 49217) | pair("192.0.2.4", 3227)
