"""A recording through the relay ends by every way there is, in mid-call, on the relay too."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.lab import media
from tests.lab.calls import Call
from tests.lab.deployment import Deployment
from tests.lab.gated import finish, incidents, marks
from tests.lab.network import Network
from tests.lab.plaintext import plaintext_on_disk
from tests.lab.proxy import PROXY, Proxy
from tests.lab.relay import GATE, Relay

pytestmark = marks

SUBJECT = "+15550001"
MILLISECOND = 1_000_000


class Lab:
    """A deployment with relay and proxy that one test may break."""

    def __init__(self, deployment: Deployment, relay: Relay, proxy: Proxy, folder: Path) -> None:
        self.deployment, self.relay, self.proxy, self.folder = deployment, relay, proxy, folder

    def talk(self, seconds: int) -> Call:
        """Begin a call of the subject that talks for so many seconds."""
        network = self.deployment.network
        assert network
        call = Call(
            network, self.folder / "call", caller=SUBJECT, packets=50 * seconds, proxy=PROXY
        )
        return call.start()

    def await_recording(self, count: int = 1) -> None:
        """Wait until the agent says that it records so many calls."""
        self.deployment.wait_for(
            lambda: self.deployment.node_status()["relay"]["recordings"] == count,
            f"{count} recordings stand",
        )

    def copies(self) -> list[str]:
        """Return the tags that the relay sends copies to, as the relay says itself.

        The fence is taken down for the question: only where no agent runs that would mind.
        """
        network = self.deployment.network
        assert network
        network.run("node", "nft", "delete", "table", "inet", "callguard", check=False)
        (listed,) = self.relay.ask({"command": "list"})
        found = []
        for call in listed["calls"]:
            (told,) = self.relay.ask({"command": "query", "call-id": call})
            found += [
                each["tag"]
                for tag in told["tags"].values()
                for each in tag["subscribers"]
                if each["type"] == "pub/sub"
            ]
        return found


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Yield everything running."""
    with (
        Network() as network,
        Relay(network, tmp_path / "relay") as relay,
        Deployment(tmp_path / "d", network) as deployment,
    ):
        deployment.add_relay(f'recording_folders = ["{relay.recordings}"]')
        deployment.start()
        with Proxy(network, tmp_path / "proxy", relay=f"udp:127.0.0.1:{GATE}") as proxy:
            yield Lab(deployment, relay, proxy, tmp_path)


def last(opened: object) -> int:
    """Return when the last media packet was captured."""
    times = [each.nanoseconds for each in opened.media]  # type: ignore[attr-defined]
    assert times, "nothing was captured at all"
    return max(times)


def nanoseconds(moment: datetime) -> int:
    """Count nanoseconds since the epoch as captures do."""
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) * 1000


def test_revoked_in_mid_call(lab: Lab) -> None:
    """The word ends it at once: in the kernel, and on the relay; the call goes on."""
    deployment = lab.deployment
    warrant = deployment.warrant(number=SUBJECT)
    capture = deployment.await_capture(warrant)
    call = lab.talk(8)
    lab.await_recording()
    time.sleep(1)
    deployment.json("legal-2", "authority", "revoke", warrant, "--why", "withdrawn")
    told = time.time_ns()
    lab.await_recording(0)
    deployment.stop("agent")
    copies = lab.copies()
    call.wait()
    deployment.start_agent()
    opened = finish(deployment, capture, lab.folder / "out", stop=False)

    assert copies == []
    assert last(opened) - told < 100 * MILLISECOND
    assert 0 < opened.count(media.CALLER_VOICE) < 400


def test_at_its_end_though_the_agent_is_frozen(lab: Lab) -> None:
    """The kernel ends it within a millisecond while the relay still sends; then the relay does."""
    deployment = lab.deployment
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=25)
    capture = deployment.warranted_capture(number=SUBJECT, not_after=end)
    call = lab.talk(35)
    lab.await_recording()
    time.sleep(max(0, (end - datetime.now(UTC)).total_seconds() - 2))
    agent = deployment.process("agent")
    agent.send_signal(signal.SIGSTOP)
    time.sleep(4)
    agent.send_signal(signal.SIGCONT)
    lab.await_recording(0)
    opened = finish(deployment, capture, lab.folder / "out", stop=False)
    call.stop()

    assert -200 * MILLISECOND < last(opened) - nanoseconds(end) <= MILLISECOND


def test_with_its_lease_when_the_guard_is_gone(lab: Lab) -> None:
    """Cut off from the guard, the recording ends with the lease, on the relay too."""
    deployment = lab.deployment
    capture = deployment.warranted_capture(number=SUBJECT)
    call = lab.talk(50)
    lab.await_recording()
    assert deployment.network
    with deployment.network.cut():
        cut = time.time_ns()
        deployment.wait_for(
            lambda: deployment.node_status()["relay"]["recordings"] == 0, "it has ended", 45
        )
    call.stop()
    deployment.wait_for(
        lambda: deployment.state(capture).get("state") in {"ended", "armed"}, "the guard is back"
    )
    assert time.time_ns() - cut < 45 * 1000 * MILLISECOND


def test_with_the_agent_however_it_is_killed(lab: Lab) -> None:
    """Kill -9 of the agent: within a second the relay sends nothing more; no plaintext anywhere."""
    deployment = lab.deployment
    before = time.time()
    deployment.warranted_capture(number=SUBJECT)
    call = lab.talk(10)
    lab.await_recording()
    deployment.kill("agent")
    deployment.wait_for(lambda: lab.copies() == [], "the relay sends nothing more", 10)
    call.wait()

    assert plaintext_on_disk(before, lab.folder, without=(lab.folder / "call",)) == []


def test_a_call_that_others_are_merged_into_is_recorded_no_more(lab: Lab) -> None:
    """Parties that join behind the gate widen the call; its recording ends, on record."""
    deployment = lab.deployment
    deployment.warranted_capture(number=SUBJECT)
    call = lab.talk(15)
    lab.await_recording()
    time.sleep(1.5)
    agent = deployment.process("agent")
    agent.send_signal(signal.SIGSTOP)
    assert deployment.network
    deployment.network.run("node", "nft", "delete", "table", "inet", "callguard")
    (listed,) = lab.relay.ask({"command": "list"})
    sdp = "v=0\r\no=- 1 1 IN IP4 10.77.1.9\r\ns=-\r\nc=IN IP4 10.77.1.9\r\nt=0 0\r\nm=audio {} RTP/AVP 8\r\n"
    of = {"call-id": listed["calls"][0], "from-tag": "joined-a"}
    joined = lab.relay.ask(
        {"command": "offer", "sdp": sdp.format(41000), **of},
        {"command": "answer", "sdp": sdp.format(42000), "to-tag": "joined-b", **of},
    )
    agent.send_signal(signal.SIGCONT)
    assert [each["result"] for each in joined] == ["ok", "ok"]
    lab.await_recording(0)
    deployment.wait_for(lambda: incidents(deployment, "call_merged"), "the merge is on record")
    call.stop()
