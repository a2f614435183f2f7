"""Every capture ends by itself: at its end, without its guard, under a false clock, on a word."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.lab import media
from tests.lab.calls import Call
from tests.lab.deployment import Deployment
from tests.lab.opened import Opened

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(180)]

SUBJECT = "+15550001"
LEASE = 30  # seconds, init --demo's trust policy
MILLISECOND = 1_000_000


def nanoseconds(moment: datetime) -> int:
    """Count nanoseconds since the epoch as captures do."""
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) * 1000


def talk(lab: Deployment, folder: Path, seconds: int) -> Call:
    """Begin a call of the subject that talks for so many seconds."""
    assert lab.network
    return Call(lab.network, folder, caller=SUBJECT, packets=50 * seconds).start()


def last_packet(lab: Deployment, capture: str, folder: Path) -> int:
    """Fetch the capture and return when its last media packet was captured."""
    opened = Opened(lab.fetch("legal-1", capture, folder))
    assert opened.media, "nothing was captured at all"
    return max(f.nanoseconds for f in opened.media)


def test_not_after_holds_while_the_agent_is_frozen(own_lab: Deployment, tmp_path: Path) -> None:
    """The kernel ends the capture within a millisecond of not_after though the agent is stopped."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=15)
    capture = own_lab.warranted_capture(number=SUBJECT, not_after=end)
    call = talk(own_lab, tmp_path / "call", 25)
    time.sleep(max(0, (end - datetime.now(UTC)).total_seconds() - 3))
    agent = own_lab.process("agent")
    agent.send_signal(signal.SIGSTOP)
    time.sleep(6)
    agent.send_signal(signal.SIGCONT)
    own_lab.await_state(capture, "ended")
    call.stop()

    late = last_packet(own_lab, capture, tmp_path / "out") - nanoseconds(end)
    assert -200 * MILLISECOND < late <= MILLISECOND


def test_killed_agent_captures_nothing_until_it_has_verified_again(
    own_lab: Deployment, tmp_path: Path
) -> None:
    """SIGKILL ends the capture at once; restarted, the agent verifies again and goes on to the end."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=40)
    capture = own_lab.warranted_capture(number=SUBJECT, not_after=end)
    first = talk(own_lab, tmp_path / "first", 10)
    time.sleep(9)
    own_lab.kill("agent")
    killed = time.time_ns()
    first.wait()
    own_lab.start_agent()
    own_lab.await_state(capture, "armed")
    armed = time.time_ns()
    second = talk(own_lab, tmp_path / "second", 30)
    own_lab.await_state(capture, "ended", seconds=60)
    second.stop()
    times = [
        f.nanoseconds for f in Opened(own_lab.fetch("legal-1", capture, tmp_path / "out")).media
    ]

    before = [t for t in times if t < killed]
    assert before, "the sealed seconds before the kill are there"
    assert killed - max(before) < 7e9, "no more than the last few seconds are lost"
    assert not [t for t in times if killed < t < armed - 2e9]
    assert max(times) <= nanoseconds(end) + MILLISECOND
    assert max(times) > armed


@pytest.mark.parametrize("way", ["guard killed", "network cut"])
def test_without_the_guard_the_lease_ends_the_capture(
    own_lab: Deployment, tmp_path: Path, way: str
) -> None:
    """No word from the guard, no renewal: the capture ends with its lease."""
    assert own_lab.network
    capture = own_lab.warranted_capture(number=SUBJECT)
    call = talk(own_lab, tmp_path / "call", LEASE + 20)
    time.sleep(2)
    gone = time.time_ns()
    if way == "guard killed":
        own_lab.kill("guard")
        time.sleep(LEASE + 5)
        own_lab.start_guard()
    else:
        with own_lab.network.cut():
            time.sleep(LEASE + 5)
    own_lab.await_state(capture, "ended", seconds=40)
    call.stop()

    assert own_lab.state(capture)["why"] == "lease_ended"
    last = last_packet(own_lab, capture, tmp_path / "out")
    assert gone + LEASE * 1e9 / 3 < last <= gone + LEASE * 1e9 + MILLISECOND


@pytest.mark.parametrize("step", ["-1d", "+1d"])
def test_a_wall_clock_set_by_a_day_extends_nothing(
    own_lab: Deployment, tmp_path: Path, step: str
) -> None:
    """Setting the agent's wall clock by a day stops renewals and moves no deadline."""
    clock = tmp_path / "clock"
    clock.write_text("+0d")
    own_lab.stop("agent")
    own_lab.start_agent(
        "env",
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        f"FAKETIME_TIMESTAMP_FILE={clock}",
        "LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    )
    capture = own_lab.warranted_capture(number=SUBJECT)
    call = talk(own_lab, tmp_path / "call", LEASE + 15)
    time.sleep(2)
    clock.write_text(step)
    stepped = time.time_ns()
    own_lab.await_state(capture, "ended", seconds=LEASE + 15)
    clock.write_text("+0d")
    call.stop()

    assert last_packet(own_lab, capture, tmp_path / "out") <= stepped + LEASE * 1e9 + MILLISECOND


@pytest.mark.parametrize(
    ("person", "words"),
    [
        pytest.param("legal-1", ("authority", "revoke"), id="revoked by the registrant"),
        pytest.param("legal-2", ("authority", "revoke"), id="revoked by the approver"),
        pytest.param("operator-1", ("authority", "revoke"), id="revoked by an operator"),
        pytest.param("legal-1", ("capture", "stop"), id="stopped"),
    ],
)
def test_a_word_ends_it_at_once(
    lab: Deployment, tmp_path: Path, person: str, words: tuple[str, str]
) -> None:
    """Revoking and stopping end a capture in mid-call, for good."""
    authority = lab.warrant(number=SUBJECT)
    capture = lab.await_capture(authority)
    call = talk(lab, tmp_path / "call", 12)
    time.sleep(3)
    if words[0] == "authority":
        lab.json(person, *words, authority, "--why", "test")
    else:
        lab.json(person, *words, capture)
    told = time.time_ns()
    lab.await_state(capture, "ended")
    call.stop()

    last = last_packet(lab, capture, tmp_path / "out")
    assert last <= told + 100 * MILLISECOND
    assert Opened(next((tmp_path / "out").glob("*.pcapng"))).count(media.CALLER_VOICE) > 0
    again = lab.as_("legal-1", "capture", "start", authority, "--node", "node-1")
    assert (again.code == 3) == (words[0] == "authority")
