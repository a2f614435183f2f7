"""Enforcement does what its mode and reach allow, tells what it did, and nothing that it did not."""

from dataclasses import replace

import pytest

from agents.core.enforcing import Acted, Kill, Mode, Mute, Reach, Result, Undo
from agents.core.judgement import AF_NETLINK, AF_PACKET, SOCK_RAW, Allowances, SocketSeen
from agents.core.sentry import (
    AGAIN,
    CLOSE,
    EVERY,
    Attempt,
    Attempted,
    Finding,
    Incident,
    NetworkChanged,
    Sentry,
    SetMode,
    Sweep,
    SweepDone,
    WakeUp,
    What,
)

MUTED = "lldpd.service"
SEEN = SocketSeen(
    pid=100, uid=0, cgroup="/user.slice/a", cgroup_id=1, inode=5, netns=9, family=AF_PACKET,
    type=SOCK_RAW, protocol=0, ethertype=3, ifindex=0, comm="x", started=77,
)  # fmt: skip
QUIET = replace(SEEN, pid=200, inode=6, cgroup=f"/system.slice/{MUTED}")
MIRROR = Finding(What.TC_MIRROR, (("interface", 2), ("way", "mirror")))
KILL, MUTE, UNDO = Kill(100, 77), Mute(200, 77, 6), Undo(MIRROR, 9)
REACH = Reach(mute=frozenset({MUTED}))


def sentry(mode=Mode.ENFORCE, reach=REACH):
    return Sentry(Allowances(units=frozenset({"dhcpcd.service"})), reach=reach, mode=mode)


def swept(*sockets):
    return SweepDone(sockets=sockets)


def tried(seen=SEEN, **done):
    seen = replace(seen, inode=0)
    return Attempted(attempts=(Attempt(seen=seen, way="call", **({"killed": False} | done)),))


def network(*standing, passed=()):
    return NetworkChanged(netns=9, standing=frozenset(standing), passed=frozenset(passed))


def actions(commands):
    return [each.details["action"] for each in commands if isinstance(each, Incident)]


def done(made, act, result=Result.DONE):
    return made.handle(Acted(act, result), 0)


@pytest.mark.parametrize(
    ("event", "would"),
    [
        (swept(SEEN), "kill"),
        (swept(QUIET), "mute"),
        (swept(replace(SEEN, pid=0, cgroup="")), "report"),
        (swept(replace(SEEN, started=0)), "report"),
        (tried(), "kill"),
        (network(MIRROR), "undo"),
        (network(passed=(MIRROR,)), "report"),
        (network(Finding(What.PROMISCUOUS, ())), "report"),
    ],
)
def test_observing_does_nothing_and_says_what_would_have_been_done(event, would):
    told = sentry(Mode.OBSERVE).handle(event, 0)
    assert {type(each) for each in told} <= {Incident, Sweep}
    (said,) = (each.details for each in told if isinstance(each, Incident))
    assert (said["action"], said["mode"], said["would"]) == ("reported", "observe", would)


def test_who_holds_content_is_ended_and_it_is_told_once_it_is_done():
    made = sentry()
    assert made.handle(swept(SEEN), 0) == [KILL]
    (told,) = done(made, KILL)
    assert (told.what, told.details["pid"]) == (What.CAPTURE_SOCKET, 100)
    assert (told.details["action"], told.details["mode"]) == ("killed", "enforce")
    assert "would" not in told.details


def test_two_sockets_of_one_process_are_one_end_and_two_incidents():
    made = sentry()
    assert made.handle(swept(SEEN, replace(SEEN, inode=8)), 0) == [KILL]
    assert actions(done(made, KILL)) == ["killed", "killed"]


def test_who_lives_on_is_ended_again_and_told_no_more():
    made = sentry()
    for told in (["killed"], [], []):
        assert made.handle(swept(SEEN), 0) == [KILL]
        assert actions(done(made, KILL)) == told


def test_who_is_gone_before_it_is_ended_is_told_as_gone():
    made = sentry()
    made.handle(swept(SEEN), 0)
    assert actions(done(made, KILL, Result.GONE)) == ["gone"]


def test_what_fails_is_told_and_told_again_when_it_succeeds():
    made = sentry()
    made.handle(swept(SEEN), 0)
    (told,) = done(made, KILL, Result.FAILED)
    assert (told.details["action"], told.details["failed"]) == ("reported", "kill")
    made.handle(swept(SEEN), 1)
    assert done(made, KILL, Result.FAILED) == []
    made.handle(swept(SEEN), 2)
    assert actions(done(made, KILL)) == ["killed"]
    made.handle(swept(SEEN), 3)
    assert done(made, KILL) == []


def test_a_failure_is_forgotten_with_its_process():
    made = sentry()
    made.handle(swept(SEEN), 0)
    done(made, KILL, Result.FAILED)
    made.handle(swept(), 1)
    made.handle(swept(SEEN), 2)
    assert actions(done(made, KILL)) == ["killed"]


def test_a_unit_that_must_not_be_ended_is_muted_once_for_each_socket():
    made = sentry()
    assert made.handle(swept(QUIET), 0) == [MUTE]
    assert actions(done(made, MUTE)) == ["muted"]
    assert made.handle(swept(QUIET), 1) == []
    other = replace(QUIET, inode=7)
    assert made.handle(swept(QUIET, other), 2) == [replace(MUTE, inode=7)]
    made.handle(swept(), 3)
    assert made.handle(swept(QUIET), 4) == [MUTE], "an inode may come again"


def test_what_cannot_be_muted_is_ended():
    made = sentry()
    made.handle(swept(QUIET), 0)
    kill = Kill(200, 77)
    assert done(made, MUTE, Result.FAILED) == [kill]
    assert actions(done(made, kill)) == ["killed"]


def test_a_muted_units_name_is_nothing_outside_of_slices():
    assert sentry().handle(swept(replace(QUIET, cgroup=f"/user/{MUTED}")), 0) == [Kill(200, 77)]


@pytest.mark.parametrize(
    ("cgroup", "reached"),
    [("/t", True), ("/t/a/b", True), ("/tt", False), ("/", False), ("", False), ("/a/t", False)],
)
def test_nobody_outside_of_the_reach_is_touched(cgroup, reached):
    made = sentry(reach=Reach(cgroup="/t", mute=frozenset({MUTED})))
    for event in (swept(replace(SEEN, cgroup=cgroup)), tried(replace(SEEN, pid=7, cgroup=cgroup))):
        commands = [each for each in made.handle(event, 0) if not isinstance(each, Sweep)]
        assert [type(each) for each in commands] == [Kill if reached else Incident]
        assert actions(commands) == ([] if reached else ["reported"])


def test_nothing_is_undone_where_networks_are_out_of_reach():
    commands = sentry(reach=Reach(cgroup="/t", undo=False)).handle(network(MIRROR), 0)
    assert actions(commands) == ["reported"]


@pytest.mark.parametrize(("how", "action"), [("killed", "killed"), ("denied", "denied")])
def test_what_the_kernel_did_is_told_and_nobody_is_ended_twice(how, action):
    told, sweep = sentry().handle(tried(**{how: True}), 0)
    assert (told.details["action"], told.details["mode"]) == (action, "enforce")
    assert sweep == Sweep(quick=True)


def test_who_got_by_the_kernel_is_ended_at_once():
    made = sentry()
    assert made.handle(tried(), 0) == [KILL, Sweep(quick=True)]
    (told,) = done(made, KILL)
    assert (told.details["action"], told.details["way"]) == ("killed", "call")
    assert made.handle(swept(SEEN), 1) == [KILL], "and again if it is still there"
    assert done(made, KILL) == []


def test_an_attempt_by_who_is_to_be_muted_is_left_for_the_sweep():
    made = sentry()
    assert made.handle(tried(QUIET), 0) == [Sweep(quick=True)]
    assert made.handle(swept(QUIET), 1) == [MUTE]
    assert actions(done(made, MUTE)) == ["muted"]


def test_a_mirror_is_undone_and_told_once():
    made = sentry()
    assert made.handle(network(MIRROR), 0) == [UNDO, Sweep()]
    assert actions(done(made, UNDO)) == ["undone"]
    assert made.handle(network(), 1) == []
    assert made.handle(network(MIRROR), 2)[0] == UNDO, "put up anew it is taken down anew"


def test_what_was_not_undone_is_tried_again_in_time():
    made = sentry()
    made.handle(network(MIRROR), 0)
    (told,) = done(made, UNDO, Result.FAILED)
    assert (told.details["action"], told.details["failed"]) == ("reported", "undo")
    assert made.handle(network(MIRROR), AGAIN - 1) == []
    assert made.handle(network(MIRROR), AGAIN) == [UNDO]
    assert actions(done(made, UNDO)) == ["undone"]
    assert made.handle(network(MIRROR), 2 * AGAIN - 1) == []


def test_what_stands_when_the_mode_turns_is_ended_and_undone():
    made = sentry(Mode.OBSERVE)
    blind = Finding(What.SENTRY_BLIND, ())
    made.handle(swept(SEEN), 0)
    made.handle(network(MIRROR, blind), 0)
    assert made.handle(SetMode(Mode.OBSERVE), 1) == []
    assert made.handle(SetMode(Mode.ENFORCE), 1) == [Sweep(quick=True), Sweep()]
    assert made.mode is Mode.ENFORCE
    assert made.handle(network(MIRROR, blind), 1) == [UNDO, Sweep()]
    assert made.handle(swept(SEEN), 1) == [KILL]
    assert actions(done(made, KILL)) == ["killed"]


def test_turning_back_tells_nothing_anew():
    made = sentry()
    made.handle(swept(SEEN), 0)
    done(made, KILL)
    assert made.handle(SetMode(Mode.OBSERVE), 1) == []
    assert made.handle(swept(SEEN), 2) == []


@pytest.mark.parametrize("how", ["killed", "denied"])
def test_who_may_and_was_stopped_all_the_same_is_told(how):
    """The kernel had not heard of the permit yet: no harm goes untold."""
    allowed = replace(SEEN, cgroup="/system.slice/dhcpcd.service")
    assert actions(sentry().handle(tried(allowed, **{how: True}), 0)) == [how]


def test_the_allowed_are_left_alone():
    allowed = replace(SEEN, cgroup="/system.slice/dhcpcd.service")
    assert sentry().handle(swept(allowed), 0) == []
    assert sentry().handle(tried(allowed), 0) == []


def test_while_somebody_may_listen_the_sweeps_follow_closely():
    """What he holds could be passed on, and no kernel tells."""
    allowed = replace(SEEN, cgroup="/system.slice/dhcpcd.service")
    made = sentry()
    assert made.handle(WakeUp(), 0) == [Sweep()]
    made.handle(swept(allowed), 0)
    assert made.next_deadline() == CLOSE
    assert made.handle(WakeUp(), CLOSE - 1) == []
    assert made.handle(WakeUp(), CLOSE) == [Sweep(quick=True)]
    made.handle(swept(allowed), CLOSE)
    assert made.next_deadline() == 2 * CLOSE
    assert made.handle(WakeUp(), EVERY) == [Sweep()]
    made.handle(swept(replace(SEEN, ethertype=0x0806)), EVERY)
    assert made.next_deadline() == 2 * EVERY


def test_nobody_is_followed_closely_for_the_agents_own_sockets_or_while_observing():
    own = Sentry(Allowances(pids=frozenset({100})), mode=Mode.ENFORCE)
    observing = Sentry(Allowances(units=frozenset({"a.service"})))
    for made, seen in ((own, SEEN), (observing, replace(SEEN, cgroup="/a.slice/a.service"))):
        made.handle(WakeUp(), 0)
        made.handle(swept(seen), 0)
        assert made.next_deadline() == EVERY


def test_who_listens_or_keeps_copying_rules_is_ended_and_only_listening_can_be_muted():
    """A filter on a socket takes nothing out of a table."""
    listener = replace(SEEN, family=AF_NETLINK, listens="nflog 5")
    keeper = replace(listener, listens="nft_owner filter")
    for each, what in ((listener, What.NFLOG_BIND), (keeper, What.NFT_COPY)):
        made = sentry()
        assert made.handle(swept(each), 0) == [KILL]
        (told,) = done(made, KILL)
        assert (told.what, told.details["listens"]) == (what, each.listens)
        assert told.details["action"] == "killed"
    quiet = replace(QUIET, family=AF_NETLINK, listens="nflog 5")
    assert sentry().handle(swept(quiet), 0) == [MUTE]
    (told,) = sentry().handle(swept(replace(quiet, listens=keeper.listens)), 0)
    assert told.details["action"] == "reported"
