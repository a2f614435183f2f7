"""The rules of a node, as scripts of events and commands."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agents.core import commands as do
from agents.core import events as on
from agents.core.commands import Identity, Progress
from agents.core.instant import NANOSECONDS
from guard.core.evidence import Evidence
from guard.core.instruments import DEFAULTS, Instrument
from guard.core.level import Level
from guard.core.reasons import Reason
from guard.core.receipt import REQUIRED_DETAILS, ReceiptKind
from guard.core.subjects import SubjectKind
from guard.core.trust import GuardIdentity
from guard.core.window import Window
from tests.agents.core.calls import message, sdp
from tests.agents.core.wire import key
from tests.builders.deployment import SUBJECT, new_id, new_keys
from tests.sim.playbook import Playbook, grant_id, kinds, of, receipts

LEASE = DEFAULTS[Instrument.TICKET].lease
NAMES = (f"{SUBJECT}@voip.example", "bob@example.org")


@pytest.fixture
def play() -> Playbook:
    return Playbook()


def ending_in(play: Playbook, seconds: float) -> Window:
    return Window(
        not_before=play.made.now - timedelta(hours=1),
        not_after=play.made.now + timedelta(seconds=seconds),
    )


def invite(call: str = "call-1", **more: Any) -> on.SignallingSeen:
    body = sdp("192.0.2.1", 20000)
    return on.SignallingSeen(message=message("INVITE", call=call, names=NAMES, body=body, **more))


def withdraw(play: Playbook, evidence: Evidence, reason: Reason, **more: Any) -> list[do.Command]:
    gone = on.Withdrawal(grant_id=grant_id(evidence), reason=reason, **more)
    return play.tell(on.StateDelta(revision=2, withdrawn=(gone,)))


# -- arming ----------------------------------------------------------------------------------------


def test_a_good_grant_is_armed(play: Playbook):
    """The engine first, then the kernel, then the disk, then the receipt."""
    play.session()
    evidence = play.evidence()
    commands = play.offer(evidence, revision=7)

    assert kinds(commands) == [
        do.OpenCapture,
        do.WatchIdentity,
        do.PersistClock,
        do.SendReceipt,
        do.Log,
    ]
    (opened,) = of(commands, do.OpenCapture)
    assert opened.grant.grant.id == grant_id(evidence)
    assert opened.deadline == play.boot_ns + int(LEASE.total_seconds()) * NANOSECONDS
    (watched,) = of(commands, do.WatchIdentity)
    assert watched.identity == Identity(SubjectKind.TELEPHONE, SUBJECT)
    assert watched.deadline == opened.deadline
    assert receipts(commands) == [(ReceiptKind.ARMED, "")]
    assert play.node.revision == 7


def test_the_authoritys_end_bounds_the_deadline(play: Playbook):
    """An authority that ends before the lease gives the earlier deadline, on the boot clock."""
    play.session()
    play.wait(5)
    (opened,) = of(play.offer(play.evidence(window=ending_in(play, 12))), do.OpenCapture)

    assert opened.deadline == play.boot_ns + 7 * NANOSECONDS


def test_a_refused_grant_has_a_signed_refusal_by_name(play: Playbook):
    """A grant whose authority nobody approved is refused by the rule's own name, once."""
    play.session()
    made = play.made
    approved = made.approved()
    registered = made.register(made.authority())
    unapproved = replace(made.evidence(approved), authority=registered)
    commands = play.offer(unapproved)

    assert receipts(commands) == [(ReceiptKind.REFUSED, "approvals_missing")]
    assert not of(commands, do.OpenCapture)
    assert play.offer(unapproved) == [], "a repeated delta is no second refusal"


def test_evidence_that_names_no_grant_is_only_logged(play: Playbook):
    """There is no grant to write a receipt about."""
    play.session()
    commands = play.offer(Evidence(authority=b"", grant=b"{}", proof=b""))

    assert kinds(commands) == [do.Log]


def test_the_same_offer_twice_arms_once(play: Playbook):
    """Duplicate deltas change nothing."""
    evidence = play.armed()

    assert play.offer(evidence, evidence) == []


def test_without_a_trust_policy_nothing_is_armed():
    """Pinned roots alone admit nothing; the policy that arrives is kept before it is used."""
    play = Playbook(trusted=False)
    play.session()
    evidence = play.evidence()

    assert receipts(play.offer(evidence)) == [(ReceiptKind.REFUSED, "trust_policy_untrusted")]
    commands = play.tell(on.TrustArrived(envelopes=(play.made.policy_envelope,)))
    assert of(commands, do.PersistTrust)[0].version == 1
    assert do.OpenCapture in kinds(play.offer(evidence))


def test_an_offer_before_the_guards_time_waits_for_it(play: Playbook):
    """The first word of the guard may come after its first offer."""
    play.tell(on.SessionOpened())

    assert play.offer(play.evidence()) == []
    assert do.OpenCapture in kinds(play.speak())


def test_a_grant_that_is_early_by_a_moment_waits(play: Playbook):
    """A node whose clock is a little behind arms in time and refuses nothing."""
    play.session()
    authority = play.made.approved()
    later = play.made.now + timedelta(seconds=2)
    window = Window(not_before=later, not_after=later + timedelta(minutes=5))
    grant = play.made.grant(authority, window=window)

    assert play.offer(play.made.evidence(authority, grant)) == []
    play.wait(1.9)
    assert not play.of(do.OpenCapture)
    play.wait(0.4)
    assert play.of(do.OpenCapture)
    assert play.receipts() == [(ReceiptKind.ARMED, "")]


def test_waiting_does_not_outlast_a_withdrawal(play: Playbook):
    """What is withdrawn while it waits is never armed."""
    play.tell(on.SessionOpened())
    evidence = play.evidence()
    play.offer(evidence)
    commands = withdraw(play, evidence, Reason.STATE_NOT_PERMITTED)
    play.speak()

    assert receipts(commands) == [(ReceiptKind.DISARMED, "stopped")]
    assert not play.of(do.OpenCapture)


# -- leases and the clock --------------------------------------------------------------------------


def test_a_renewal_moves_the_deadline_everywhere(play: Playbook):
    """Engine and kernel are told; the wall clock has no part in it."""
    evidence = play.armed()
    play.wait(10)
    commands = play.renew(evidence)
    deadline = play.boot_ns + int(LEASE.total_seconds()) * NANOSECONDS

    assert of(commands, do.MoveDeadline) == [
        do.MoveDeadline(grant_id=grant_id(evidence), deadline=deadline)
    ]
    assert [watch.deadline for watch in of(commands, do.WatchIdentity)] == [deadline]


def test_no_renewal_goes_beyond_the_authority(play: Playbook):
    """Renewed without pause, a capture ends with its authority, for good."""
    window = ending_in(play, 100)
    evidence = play.armed(window=window)
    for _ in range(30):
        play.wait(5)
        play.renew(evidence)
    play.close(evidence)

    latest = max(move.deadline for move in play.of(do.MoveDeadline))
    assert latest == play.now.boot_of(window.not_after)
    assert play.receipts()[-1] == (ReceiptKind.DISARMED, "expired")


def test_a_lapsed_lease_ends_the_grant_for_good(play: Playbook):
    """Without the guard the capture ends at the lease; a renewal that comes then is too late."""
    evidence = play.armed()
    play.tell(on.SessionClosed())
    commands = play.wait(LEASE.total_seconds())

    assert kinds(commands) == [do.UnwatchIdentity, do.EndCapture, do.PersistEnded]
    assert play.renew(evidence) == []
    assert (ReceiptKind.DISARMED, "lease_ended") in receipts(play.close(evidence, packets=1))
    assert receipts(play.offer(evidence)) == [(ReceiptKind.REFUSED, "replayed")]


def test_a_renewal_at_the_last_moment_unnoticed_is_too_late(play: Playbook):
    """The deadline counts, not the moment at which the agent notices that it has passed."""
    evidence = play.armed()
    play.boot_ns += int(LEASE.total_seconds()) * NANOSECONDS

    assert not of(play.renew(evidence), do.MoveDeadline)
    assert do.EndCapture in kinds(play.tell(on.WakeUp()))


@pytest.mark.parametrize("step", [timedelta(days=-1), timedelta(days=1)])
def test_a_clock_set_by_a_day_extends_nothing(play: Playbook, step: timedelta):
    """While the clock is in doubt nothing is renewed and nothing armed; the lease runs out."""
    evidence = play.armed()
    until = play.boot_ns + int(LEASE.total_seconds()) * NANOSECONDS
    play.wait(3)
    play.step = step
    for _ in range(40):
        play.wait(1)
        assert not of(play.renew(evidence), do.MoveDeadline)
        if play.of(do.EndCapture):
            break
    assert play.boot_ns == until

    other = play.evidence()
    play.offer(other)
    play.wait(5)
    assert (ReceiptKind.REFUSED, "clock_in_doubt") in play.receipts()
    assert len(play.of(do.OpenCapture)) == 1


def test_a_clock_that_is_right_again_is_believed_again(play: Playbook):
    """Doubt that passes lets the lease be renewed, if it still runs."""
    evidence = play.armed()
    play.step = timedelta(days=1)
    play.wait(1)
    assert not of(play.renew(evidence), do.MoveDeadline)
    play.step = timedelta()

    assert of(play.renew(evidence), do.MoveDeadline)
    logged = [log.event for log in play.of(do.Log)]
    assert logged.count("clock_in_doubt") == 1
    assert logged.count("clock_good") == 1


def test_a_frozen_agent_does_not_renew_with_old_words(play: Playbook):
    """A renewal that lay in the buffers counts from when it was said."""
    evidence = play.armed()
    said = play.guard_now + timedelta(seconds=1)
    play.boot_ns += 4 * NANOSECONDS
    commands = play.tell(on.LeaseRenewed(grant_ids=(grant_id(evidence),), guard_time=said))

    (moved,) = of(commands, do.MoveDeadline)
    assert moved.deadline == play.boot_ns - 3 * NANOSECONDS + int(
        LEASE.total_seconds() * NANOSECONDS
    )


# -- ends ------------------------------------------------------------------------------------------


def test_a_revocation_ends_at_once_and_is_remembered(play: Playbook):
    """Kernel, engine, disk, then the receipt; other grants of the authority end with it."""
    authority = play.made.approved()
    play.session()
    first, second = play.made.evidence(authority), play.made.evidence(authority)
    play.offer(first, second)
    authority_id = play.of(do.OpenCapture)[0].grant.authority.id
    commands = withdraw(play, first, Reason.REVOKED, authority_id=authority_id)

    assert kinds(commands) == [
        do.UnwatchIdentity,
        do.EndCapture,
        do.EndCapture,
        do.PersistEnded,
        do.PersistEnded,
        do.PersistRevoked,
    ]
    assert receipts(play.close(first, packets=3)) == [(ReceiptKind.DISARMED, "revoked")]
    play.restart()
    play.session()
    third = play.made.evidence(authority)
    assert receipts(play.offer(third)) == [(ReceiptKind.REFUSED, "revoked")]


def test_a_stop_is_answered_whether_it_runs_or_not(play: Playbook):
    """The guard waits for the word that a grant does not run; it gets it once."""
    play.session()
    evidence = play.evidence()

    assert receipts(withdraw(play, evidence, Reason.STATE_NOT_PERMITTED)) == [
        (ReceiptKind.DISARMED, "stopped")
    ]
    assert withdraw(play, evidence, Reason.STATE_NOT_PERMITTED) == []
    assert receipts(play.offer(evidence)) == [(ReceiptKind.REFUSED, "replayed")]


def test_a_withdrawal_while_it_closes_has_one_answer(play: Playbook):
    """A capture that is being sealed answers by its end."""
    evidence = play.armed()
    withdraw(play, evidence, Reason.STATE_NOT_PERMITTED)

    assert withdraw(play, evidence, Reason.STATE_NOT_PERMITTED) == []
    assert receipts(play.close(evidence, packets=1)) == [(ReceiptKind.DISARMED, "stopped")]


def test_nothing_captured_is_on_record(play: Playbook):
    """A capture without a packet says so, before it says that it ended."""
    evidence = play.armed()
    withdraw(play, evidence, Reason.STATE_NOT_PERMITTED)

    assert receipts(play.close(evidence)) == [
        (ReceiptKind.NOTHING_CAPTURED, ""),
        (ReceiptKind.DISARMED, "stopped"),
    ]


def test_a_failure_ends_the_capture_with_a_receipt(play: Playbook):
    """A full disk or a lost ring is `node_unable`, and for good."""
    evidence = play.armed()
    commands = play.tell(on.CaptureFailed(grant_id=grant_id(evidence), detail="spool_full"))

    assert do.PersistEnded in kinds(commands)
    assert (ReceiptKind.DISARMED, "node_unable") in receipts(play.close(evidence))
    assert play.node.idle


def test_an_engine_that_gives_up_by_itself_ends_the_capture(play: Playbook):
    """A capture closed unasked is ended and told all the same."""
    evidence = play.armed()

    assert (ReceiptKind.DISARMED, "node_unable") in receipts(play.close(evidence))
    assert grant_id(evidence) in play.ended


def test_stopping_the_agent_disarms_everything_but_ends_nothing(play: Playbook):
    """A stopped agent takes up again what has not ended."""
    evidence = play.armed()
    commands = play.tell(on.Shutdown())
    assert kinds(commands) == [do.UnwatchIdentity, do.EndCapture]
    assert not play.node.idle
    assert receipts(play.close(evidence)) == [(ReceiptKind.DISARMED, "agent_stopped")]
    assert play.node.idle

    play.restart()
    play.session()
    assert do.OpenCapture in kinds(play.offer(evidence))


def test_a_killed_agent_arms_again_what_has_not_ended_and_refuses_what_has(play: Playbook):
    """After SIGKILL the guard offers again; the node remembers what is over."""
    kept, over = play.armed(), play.armed()
    withdraw(play, over, Reason.STATE_NOT_PERMITTED)
    play.restart()
    play.session()
    commands = play.offer(kept, over)

    assert [opened.grant.grant.id for opened in of(commands, do.OpenCapture)] == [grant_id(kept)]
    assert receipts(commands) == [(ReceiptKind.ARMED, ""), (ReceiptKind.REFUSED, "replayed")]


def test_a_restart_with_the_clock_set_back_arms_nothing(play: Playbook):
    """The node has put a later time on record; the guard is in on it and says the same time."""
    evidence = play.armed()
    play.step = timedelta(hours=-2)
    play.restart()
    play.tell(on.SessionOpened())
    play.tell(on.GuardTime(guard_time=play.now.wall))
    play.offer(evidence)
    play.wait(5)

    assert receipts(play.told)[-1] == (ReceiptKind.REFUSED, "clock_in_doubt")


# -- limits ----------------------------------------------------------------------------------------


def test_a_call_too_many_ends_it_unwritten(play: Playbook):
    """The authority's number of calls is captured; of the next not one message is written."""
    evidence = play.armed(max_calls=1)
    assert do.WriteSignalling in kinds(play.tell(invite("call-1")))
    commands = play.tell(invite("call-2", branch="2"))

    assert do.WriteSignalling not in kinds(commands)
    assert do.EndCapture in kinds(commands)
    assert receipts(play.close(evidence, packets=1)) == [(ReceiptKind.DISARMED, "limit_reached")]


def test_bytes_count_over_restarts(play: Playbook):
    """What earlier starts have sealed is taken off the authority's bytes."""
    evidence = play.armed(max_bytes=1000)
    assert play.of(do.OpenCapture)[0].bytes_left == 1000
    play.tell(
        on.SegmentSealed(
            grant_id=grant_id(evidence),
            number=1,
            sha256="0" * 64,
            size=500,
            packets=4,
            bytes=400,
            drops=0,
            first="2026-11-23T22:00:00Z",
            last="2026-11-23T22:00:01Z",
        )
    )
    assert play.progress == {grant_id(evidence): Progress(calls=0, packets=4, bytes=400)}
    play.restart()
    play.session()
    play.offer(evidence)
    assert play.of(do.OpenCapture)[1].bytes_left == 600

    count = on.Counted(grant_id=grant_id(evidence), packets=6, bytes=599, drops=0)
    assert play.tell(count) == []
    assert do.EndCapture in kinds(play.tell(replace(count, bytes=600)))
    assert receipts(play.close(evidence)) == [(ReceiptKind.DISARMED, "limit_reached")]
    assert play.progress == {}


def test_the_engines_own_limit_ends_it(play: Playbook):
    """The engine stops at the byte; the node ends the grant."""
    evidence = play.armed(max_bytes=1000)

    assert do.EndCapture in kinds(play.tell(on.LimitReached(grant_id=grant_id(evidence))))


# -- what is watched -------------------------------------------------------------------------------


def test_media_headers_opens_the_flows_of_the_cutting_filter(play: Playbook):
    """The address in the offer is armed before the message is written, and the call is watched."""
    evidence = play.armed()
    commands = play.tell(invite())
    flows = of(commands, do.SetFlow)

    assert {flow.key for flow in flows} == {key("192.0.2.1", 20000), key("192.0.2.1", 20001)}
    assert {flow.level for flow in flows} == {Level.MEDIA_HEADERS}
    assert {flow.grants for flow in flows} == {frozenset({grant_id(evidence)})}
    watched = of(commands, do.WatchIdentity)
    assert [each.identity for each in watched] == [Identity(SubjectKind.CALL_ID, "call-1")]
    assert kinds(commands)[-1] is do.WriteSignalling


def test_signalling_opens_no_flows(play: Playbook):
    """At level signalling a call is written and watched, its media is not."""
    play.armed(Instrument.PEN_REGISTER)
    commands = play.tell(invite())

    assert not of(commands, do.SetFlow)
    assert of(commands, do.WriteSignalling)


def test_a_call_of_nobody_named_is_ignored(play: Playbook):
    """A message that a hash collision let through is matched exactly, and dropped."""
    play.armed()
    stranger = message("INVITE", call="x", names=("carol@example.net", "bob@example.org"))

    assert play.tell(on.SignallingSeen(message=stranger)) == []


def test_two_authorities_on_one_call_each_end_by_themselves(play: Playbook):
    """One flow, two levels and ends: the first to end leaves the other as it was."""
    ticket = play.armed(window=ending_in(play, 20))
    order = play.armed(Instrument.INTERCEPTION_ORDER)
    commands = play.tell(invite())
    flows = {(flow.level, flow.key.port): flow for flow in of(commands, do.SetFlow)}

    assert flows[Level.MEDIA_HEADERS, 20000].grants == {grant_id(ticket)}
    assert flows[Level.CONTENT, 20000].grants == {grant_id(order)}
    assert flows[Level.MEDIA_HEADERS, 20000].deadline < flows[Level.CONTENT, 20000].deadline
    assert len(of(commands, do.WriteSignalling)) == 2

    ended = play.wait(20)
    assert {flow.level for flow in of(ended, do.ClearFlow)} == {Level.MEDIA_HEADERS}
    assert of(ended, do.EndCapture) == [do.EndCapture(grant_id=grant_id(ticket))]
    assert not of(ended, do.UnwatchIdentity), "the other still looks for the subject"


def test_two_authorities_of_one_level_share_the_flow(play: Playbook):
    """The kernel keeps the later deadline; when its holder ends it falls back to the other's."""
    short = play.armed(window=ending_in(play, 20))
    long = play.armed()
    (flow, *_) = of(play.tell(invite()), do.SetFlow)
    assert flow.grants == {grant_id(short), grant_id(long)}
    lease = play.boot_ns + int(LEASE.total_seconds()) * NANOSECONDS
    assert flow.deadline == lease

    fallen = of(withdraw(play, long, Reason.STATE_NOT_PERMITTED), do.SetFlow)
    assert {each.grants for each in fallen} == {frozenset({grant_id(short)})}
    assert {each.deadline - play.boot_ns for each in fallen} == {20 * NANOSECONDS}


def test_a_call_that_ends_closes_its_flows(play: Playbook):
    """After BYE and its answer the addresses are cleared, a moment later."""
    play.armed()
    ends = ("a", "b")
    play.tell(invite())
    answered = message(
        "200 OK", ends=ends, names=NAMES, body=sdp("203.0.113.1", 30000), src="203.0.113.1"
    )
    play.tell(on.SignallingSeen(message=answered))
    for start in ("BYE", "200 OK"):
        bye = message(start, ends=ends, names=NAMES, cseq="2 BYE", branch="9")
        play.tell(on.SignallingSeen(message=bye))

    cleared = of(play.wait(5), do.ClearFlow)
    assert {flow.key.port for flow in cleared} == {20000, 20001, 30000, 30001}


def test_media_after_the_deadline_is_not_opened(play: Playbook):
    """A message that comes after the end and before the sweep changes nothing."""
    play.armed()
    play.boot_ns += int(LEASE.total_seconds()) * NANOSECONDS

    assert play.tell(invite()) == []


# -- trust -----------------------------------------------------------------------------------------


def test_a_new_policy_ends_what_it_would_not_admit(play: Playbook):
    """An approver who is no longer one takes the captures along, by name and for good."""
    ticket = play.armed()
    order = play.armed(Instrument.INTERCEPTION_ORDER)
    others = tuple(p for p in play.made.policy.principals if p.name != "lead-1")
    commands = play.new_policy(principals=others)

    assert of(commands, do.EndCapture) == [do.EndCapture(grant_id=grant_id(ticket))]
    assert of(commands, do.PersistTrust)[0].version == 2
    assert play.node.trust_version == 2
    assert receipts(play.close(ticket, packets=1)) == [(ReceiptKind.DISARMED, "signature_invalid")]
    assert grant_id(order) not in play.ended


def test_a_capture_outlasts_its_checkpoint_not_its_signers(play: Playbook):
    """Hours after arming, a new policy finds the checkpoint old and everything else in force."""
    evidence = play.armed()
    for _ in range(40):
        play.wait(10)
        play.renew(evidence)
    assert not of(play.new_policy(), do.EndCapture)
    play.renew(evidence)

    assert of(play.new_policy(guards=(guard_of_others(),)), do.EndCapture)
    assert receipts(play.close(evidence, packets=1)) == [(ReceiptKind.DISARMED, "grant_untrusted")]


def guard_of_others() -> GuardIdentity:
    keys = new_keys("guard-9")
    return GuardIdentity(name="guard-9", spiffe_id=keys.spiffe_id, key=keys.signer.public_key)


def test_an_untrusted_policy_changes_nothing(play: Playbook):
    """What the roots did not sign is logged; captures run on."""
    play.armed()
    policy = replace(play.made.policy, version=2)
    forged = play.made.sign_policy(policy, [play.made.guard.signer])
    commands = play.tell(on.TrustArrived(envelopes=(forged,)))

    assert kinds(commands) == [do.Log]
    assert play.node.trust_version == 1


def test_what_is_armed_ends_with_its_policy(play: Playbook):
    """A trust policy that expires admits nothing any more."""
    made = play.made
    made.adopt(expires_at=made.now + timedelta(seconds=25))
    play = Playbook(made)
    evidence = play.armed()
    play.wait(10)
    play.renew(evidence)
    play.wait(14.9)
    assert not play.of(do.EndCapture)
    play.wait(0.2)

    assert receipts(play.close(evidence, packets=1)) == [
        (ReceiptKind.DISARMED, "trust_policy_expired")
    ]


# -- the session -----------------------------------------------------------------------------------


def test_a_session_begins_with_the_receipts_and_beats_each_second(play: Playbook):
    """Heartbeats tell what is armed, with its counters, only while there is a session."""
    assert kinds(play.tell(on.SessionOpened())) == [do.ResendReceipts, do.SendHeartbeat]
    play.speak()
    evidence = play.evidence()
    play.offer(evidence)
    play.tell(on.Counted(grant_id=grant_id(evidence), packets=5, bytes=50, drops=1))
    beats = of(play.wait(3.5), do.SendHeartbeat)

    assert len(beats) == 3
    (armed,) = beats[-1].armed
    assert (armed.packets, armed.bytes, armed.drops, armed.calls) == (5, 50, 1, 0)
    assert armed.lease_until == play.made.now + LEASE
    play.tell(on.SessionClosed())
    assert not of(play.wait(5), do.SendHeartbeat)


def test_a_segment_is_on_record_before_it_is_offered(play: Playbook):
    """The receipt comes first, with every detail that it must have; storing lets it be deleted."""
    evidence = play.armed()
    sealed = on.SegmentSealed(
        grant_id=grant_id(evidence),
        number=1,
        sha256="ab" * 32,
        size=10,
        packets=1,
        bytes=8,
        drops=0,
        first="2026-11-23T22:00:00Z",
        last="2026-11-23T22:00:01Z",
    )
    commands = play.tell(sealed)

    assert kinds(commands) == [do.PersistProgress, do.SendReceipt, do.OfferSegment]
    (receipt,) = of(commands, do.SendReceipt)
    assert set(receipt.draft.details) == set(REQUIRED_DETAILS[ReceiptKind.SEALED])
    gone = play.tell(on.SegmentStored(grant_id=grant_id(evidence), number=1))
    assert gone == [do.DeleteSegment(grant_id=grant_id(evidence), number=1)]


def test_a_segment_of_an_earlier_start_is_reported_all_the_same(play: Playbook):
    """A segment sealed just before a crash gets its receipt after it."""
    sealed = on.SegmentSealed(
        grant_id=new_id(),
        number=3,
        sha256="ab" * 32,
        size=10,
        packets=1,
        bytes=8,
        drops=0,
        first="2026-11-23T22:00:00Z",
        last="2026-11-23T22:00:01Z",
    )

    assert kinds(play.tell(sealed)) == [do.SendReceipt, do.OfferSegment]


def test_accepted_receipts_are_forgotten(play: Playbook):
    """The guard's word reaches the chain."""
    assert play.tell(on.ReceiptAccepted(sequence=4)) == [do.ForgetReceipts(sequence=4)]


def test_nothing_shows_a_subject(play: Playbook):
    """No repr of any event or command holds the number, the Call-ID or an address."""
    evidence = play.armed()
    event = invite()
    shown = repr([event, play.tell(event), evidence, play.told])

    for secret in (SUBJECT.removeprefix("+"), "call-1", "192.0.2.1", "voip.example"):
        assert secret not in shown


def test_a_forged_envelope_kind_is_refused(play: Playbook):
    """A receipt signed by the guard is no grant, whatever it says."""
    play.session()
    evidence = play.evidence()
    wrong = evidence.grant.replace(b"callguard.grant.v1", b"callguard.receipt.v1")

    assert wrong != evidence.grant
    assert kinds(play.offer(replace(evidence, grant=wrong))) == [do.Log]
