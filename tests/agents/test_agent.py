"""The whole agent but for the kernel: a guard over real sockets, a real engine, real files."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest

from agents import status
from agents.agent import StartRefusedError, serve
from agents.capture.engine import CaptureEngine
from agents.clock import SystemClock
from agents.config import Config, SentryConfig, TlsFiles
from agents.core.instant import Instant, nanoseconds
from agents.kernel.errors import KernelError
from guard.api.v1 import node_service_pb2 as pb
from guard.api.v1.reason_pb2 import Reason as WireReason
from guard.core import envelope
from guard.core.enforcement import SentryMode
from guard.core.evidence import Evidence
from guard.core.instruments import Instrument
from guard.core.level import Level
from guard.core.nodehealth import NodeHealth
from guard.core.receipt import Receipt, ReceiptKind, parse_receipt
from guard.core.trust import encode_roots
from tests.agents.core.calls import message, sdp
from tests.agents.core.wire import frame, key
from tests.builders.deployment import SUBJECT, Deployment
from tests.sim.guard_simulator import GuardSimulator, Received, SimulatedSession, TlsFolder
from tests.sim.node_simulator import KernelSimulator
from tests.sim.playbook import grant_id

VOICE = b"spoken-words-"
ADDRESS = "192.0.2.1"


class SteppedClock(SystemClock):
    """The system's clocks, the wall clock set by ``step``; both went on while it ``slept``."""

    step = timedelta()
    slept = timedelta()

    def now(self) -> Instant:
        now = super().now()
        return Instant(
            boot_ns=now.boot_ns + nanoseconds(self.slept), wall=now.wall + self.slept + self.step
        )


class House:
    """A node's files, its kernel, its guard, and the deployment that both believe in."""

    def __init__(self, folder: Path, guard: GuardSimulator) -> None:
        self.made = Deployment(now=datetime.now(UTC).replace(microsecond=0))
        self.guard = guard
        self.clock = SteppedClock()
        self.kernel = KernelSimulator(self.clock.nanoseconds)
        self.folder = folder
        keys = self.made.nodes["node-1"]
        self._secret("signing.key", keys.signer.private_bytes)
        self._secret("sealing.key", str(keys.identity).encode())
        (folder / "roots.json").write_bytes(encode_roots(self.made.pinned))
        for name in ("state", "spool"):
            (folder / name).mkdir(mode=0o700)
        tls = guard.tls
        self.config = Config(
            node="node-1",
            guard=f"127.0.0.1:{guard.port}",
            roots=folder / "roots.json",
            signing_key=folder / "signing.key",
            sealing_key=folder / "sealing.key",
            state_dir=folder / "state",
            spool_dir=folder / "spool",
            spool_bytes=64 << 20,
            interfaces=("voice",),
            sip_ports=(5060,),
            sip_tcp=False,
            segment_length=timedelta(seconds=1),
            segment_bytes=1 << 20,
            receipt_seconds=10,
            tls=TlsFiles(certificate=tls.certificate, key=tls.key, ca=tls.ca),
            # What others do on this machine is no business of these tests.
            sentry=SentryConfig(test_namespaces=("no-such-namespace",)),
        )

    def _secret(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(data)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Running]:
        """Run an agent; at the end of the block it is stopped as systemd stops it."""
        self.kernel = KernelSimulator(self.clock.nanoseconds)
        ready = asyncio.Event()
        before = len(self.guard.sessions)
        task = asyncio.ensure_future(
            serve(self.config, clock=self.clock, kernel_of=lambda _: self.kernel, ready=ready.set)
        )
        running = Running(self, task)
        try:
            waiting = asyncio.ensure_future(ready.wait())
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not task.done():
                running.session = await self.guard.session(before + 1)
            yield running
            if not task.done():
                os.kill(os.getpid(), signal.SIGTERM)
            if not task.cancelled():
                await task
        finally:
            task.cancel()
            with contextlib.suppress(BaseException):
                await task

    def evidence(
        self, instrument: Instrument = Instrument.TICKET, lease: int = 20, **changes: Any
    ) -> Evidence:
        authority = self.made.approved(instrument, **changes)
        grant = self.made.grant(authority, lease=timedelta(seconds=lease))
        return self.made.evidence(authority, grant)

    def healths(self) -> list[NodeHealth]:
        """Return what every heartbeat that has come says of the sentry."""
        return [each.health for each in self.receipts() if each.health is not None]

    def receipts(self) -> list[Receipt]:
        """Return every receipt that has come, its signature checked, each once."""
        key_of_node = self.made.nodes["node-1"].signer.public_key
        found = {}
        for data in self.guard.receipts:
            parsed = envelope.parse(data, envelope.Kind.RECEIPT)
            assert envelope.verified_keyids(parsed, {key_of_node.keyid: key_of_node})
            receipt = parse_receipt(parsed.payload)
            found[receipt.sequence] = (receipt, envelope.digest(data))
        numbers = sorted(found)
        for before, after in itertools.pairwise(numbers):
            assert found[after][0].previous == found[before][1]
        return [found[number][0] for number in numbers]

    def told(self, evidence: Evidence) -> list[tuple[str, str]]:
        """Return kind and reason of each receipt about this grant."""
        return [
            (receipt.kind.value, str(receipt.details.get("reason", "")))
            for receipt in self.receipts()
            if receipt.grant_id == grant_id(evidence)
        ]

    def stated(self) -> list[tuple[str, ...]]:
        """Return what each heartbeat receipt names as armed."""
        return [each.armed for each in self.receipts() if each.kind is ReceiptKind.HEARTBEAT]

    def opened(self, evidence: Evidence, person: str = "operator-1") -> list[bytes]:
        """Open the segments that the guard holds as the recipient; return the packets' frames."""
        identity = self.made.people[person].identity
        segments = {
            number: data
            for (grant, number), data in self.guard.stored.items()
            if grant == grant_id(evidence)
        }
        return [
            packet
            for number in sorted(segments)
            for packet in packets(pyrage.decrypt(segments[number], [identity]))
        ]


class Running:
    """A running agent and its session."""

    def __init__(self, house: House, task: asyncio.Task[None]) -> None:
        self.house = house
        self.task = task
        self.session: SimulatedSession = None  # type: ignore[assignment]

    async def trust(self) -> None:
        """Bring the trust policy and the guard's time."""
        update = pb.TrustUpdate(envelopes=[self.house.made.policy_envelope])
        await self.session.send(trust_update=update)
        await self.session.say_time()

    async def armed(self, *evidence: Evidence) -> None:
        """Offer grants and wait until all are armed."""
        await self.session.offer(*evidence)
        for each in evidence:
            await self.until(lambda each=each: ("armed", "") in self.house.told(each))

    async def withdraw(self, evidence: Evidence, **more: Any) -> None:
        """End a grant as the guard does."""
        gone = pb.Withdrawal(
            grant_id=grant_id(evidence), reason=WireReason.REASON_STATE_NOT_PERMITTED, **more
        )
        await self.session.send(state_delta=pb.StateDelta(revision=9, withdrawn=[gone]))

    async def ended(self, evidence: Evidence) -> None:
        """Wait until the node has said that the grant is disarmed."""
        await self.until(lambda: "disarmed" in [kind for kind, _ in self.house.told(evidence)])

    def ring(self, call: str = "call-1", port: int = 20000) -> None:
        """Let the subject's INVITE come by."""
        names = (f"{SUBJECT}@voip.example", "bob@example.org")
        body = sdp(ADDRESS, port)
        self.house.kernel.signal(message("INVITE", call=call, names=names, body=body))

    async def invite(self, call: str = "call-1", port: int = 20000) -> None:
        """Let the subject's INVITE come by, and wait until its media is armed."""
        kernel = self.house.kernel
        self.ring(call, port)
        await self.until(lambda: any(flow.port == port for _, flow in kernel.flows))

    def speak(self, count: int = 5, port: int = 20000) -> int:
        """Let RTP packets come by; return at how many levels they passed."""
        passed = 0
        for number in range(count):
            rtp = struct.pack("!BBHII", 0x80, 0, number, number * 160, 7) + VOICE * 8
            passed += self.house.kernel.media(frame(rtp, "198.51.100.7", ADDRESS, 30000, port))
        return passed

    async def uploaded(self) -> None:
        """Wait until the guard has every segment and the node none."""
        spool = self.house.folder / "spool"
        await self.until(lambda: self.house.guard.stored and not list(spool.glob("*/*.age")))

    async def until(self, reached: Callable[[], Any], seconds: float = 15) -> None:
        """Wait until something is so, or the agent has ended."""
        async with asyncio.timeout(seconds):
            while not reached():
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.02)

    async def status(self) -> dict[str, Any]:
        """Ask the agent as its operator does."""
        return await asyncio.to_thread(status.ask, self.house.config.state_dir)


def packets(pcapng: bytes) -> list[bytes]:
    """Return the frames of a pcapng section's enhanced packet blocks."""
    found, place = [], 0
    while place < len(pcapng):
        kind, length = struct.unpack_from(
            ">II" if pcapng[8:12] == b"\x1a\x2b\x3c\x4d" else "<II", pcapng, place
        )
        order = ">" if pcapng[8:12] == b"\x1a\x2b\x3c\x4d" else "<"
        if kind == 6:
            (captured,) = struct.unpack_from(order + "I", pcapng, place + 20)
            found.append(pcapng[place + 28 : place + 28 + captured])
        place += length
    return found


def innermost(error: BaseException) -> BaseException:
    """Return the one error inside the groups."""
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    return error


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    tls = tmp_path / "tls"
    tls.mkdir()
    async with GuardSimulator(TlsFolder(tls)) as guard:
        yield House(tmp_path, guard)


async def test_a_ticket_yields_headers_and_never_voice(house: House):
    """Armed, followed, cut, sealed, uploaded, ended: each on record, all of it readable."""
    async with house.running() as agent:
        await agent.trust()
        ticket = house.evidence()
        await agent.armed(ticket)
        assert agent.speak() == 0, "nothing passes before the call is known"
        await agent.invite()
        assert agent.speak(5) == 5
        await agent.withdraw(ticket)
        await agent.ended(ticket)
        assert agent.speak() == 0
        await agent.uploaded()

    frames = house.opened(ticket)
    assert len(frames) == 6
    assert b"INVITE" in frames[0]
    assert not any(VOICE in each for each in frames)
    assert [kind for kind, _ in house.told(ticket)] == ["armed", "sealed", "disarmed"]
    assert house.told(ticket)[-1] == ("disarmed", "stopped")
    assert not house.kernel.flows
    assert not house.kernel.identities
    assert house.kernel.closed


async def test_two_authorities_on_one_call(house: House):
    """Each has its own level, recipients and end; the one that ends leaves the other running."""
    async with house.running() as agent:
        await agent.trust()
        ticket = house.evidence()
        order = house.evidence(Instrument.INTERCEPTION_ORDER)
        await agent.armed(ticket, order)
        await agent.invite()
        await agent.until(lambda: len(house.kernel.flows) == 4)
        assert agent.speak(5) == 10
        await agent.withdraw(ticket)
        await agent.ended(ticket)
        assert agent.speak(5) == 5
        await agent.withdraw(order)
        await agent.ended(order)
        await agent.uploaded()

    headers = house.opened(ticket, "operator-1")
    content = house.opened(order, "legal-1")
    assert sum(VOICE in each for each in content) == 10
    assert len(headers) == 6
    assert not any(VOICE in each for each in headers)
    with pytest.raises(pyrage.DecryptError):
        house.opened(order, "operator-1")


async def test_a_shared_flow_is_written_to_each_until_its_own_end(house: House):
    """Two grants of one level with different ends: after the first end only the other has more."""
    async with house.running() as agent:
        await agent.trust()
        end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
        window = replace(house.made.authority().window, not_after=end)
        short, long = house.evidence(window=window), house.evidence()
        await agent.armed(short, long)
        await agent.invite()
        agent.speak(3)
        await agent.ended(short)
        agent.speak(4)
        await agent.withdraw(long)
        await agent.ended(long)
        await agent.uploaded()

    assert house.told(short)[-1] == ("disarmed", "expired")
    assert len(house.opened(short)) == 1 + 3
    assert len(house.opened(long)) == 1 + 3 + 4


async def test_the_lease_ends_a_capture_while_the_guard_is_away(house: House):
    """No renewal, no capture; the receipts and segments come when the guard is back."""
    async with house.running() as agent:
        await agent.trust()
        ticket = house.evidence(lease=2)
        await agent.armed(ticket)
        await agent.invite()
        agent.speak(5)
        await house.guard.stop()
        await agent.until(lambda: not house.kernel.flows)
        assert agent.speak() == 0
        await house.guard.start()
        await agent.ended(ticket)
        await agent.until(lambda: house.guard.stored)

    assert house.told(ticket)[-1] == ("disarmed", "lease_ended")
    assert len(house.opened(ticket)) == 6


@pytest.mark.parametrize("days", [-1, 1])
async def test_a_wall_clock_set_by_a_day_extends_nothing(house: House, days: int):
    """The guard renews in vain, and nothing new is armed until the clock is right again."""
    async with house.running() as agent:
        await agent.trust()
        ticket = house.evidence(lease=3)
        await agent.armed(ticket)
        deadline = house.clock.now().boot_ns + 3_000_000_000
        house.clock.step = timedelta(days=days)
        while not house.told(ticket)[1:]:
            await agent.session.say_time(grant_id(ticket))
            await asyncio.sleep(0.2)
        assert all(until <= deadline for until in house.kernel.identities.values())
        assert "clock" in (await agent.status())["clock"]

        refused, good = house.evidence(), house.evidence()
        await agent.session.offer(refused)
        await agent.until(lambda: house.told(refused))
        house.clock.step = timedelta()
        await agent.session.say_time()
        await agent.armed(good)

    assert ("disarmed", "lease_ended") in house.told(ticket)
    assert house.told(refused) == [("refused", "clock_in_doubt")]


async def test_a_restart_arms_again_what_has_not_ended(house: House):
    """Killed in mid-capture, the agent verifies anew; what had ended is refused as a replay."""
    kept, over = house.evidence(), house.evidence()
    async with house.running() as agent:
        await agent.trust()
        await agent.armed(kept, over)
        await agent.withdraw(over)
        await agent.ended(over)
        agent.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await agent.task
        assert not house.kernel.identities, "its end empties the maps"
    async with house.running() as agent:
        assert agent.session.hello.trust_version == 1, "the policy was kept"
        assert agent.session.hello.revision == 0
        await agent.session.say_time()
        await agent.session.offer(kept, over)
        await agent.until(lambda: ("refused", "replayed") in house.told(over))
        await agent.until(lambda: house.told(kept).count(("armed", "")) == 2)
        assert [each["grant"] for each in (await agent.status())["armed"]] == [grant_id(kept)]


async def test_stopping_says_so_and_the_chain_goes_on(house: House):
    """SIGTERM ends every capture with receipts, and the next start continues their numbers."""
    ticket = house.evidence()
    async with house.running() as agent:
        await agent.trust()
        await agent.armed(ticket)
    assert house.told(ticket)[-1] == ("disarmed", "agent_stopped")
    last = house.receipts()[-1].sequence

    async with house.running() as agent:
        assert agent.session.hello.receipt_sequence > last, "the start is stated first"
        await agent.session.say_time()
        await agent.armed(ticket)
    assert [receipt.sequence for receipt in house.receipts()] == list(
        range(1, house.receipts()[-1].sequence + 1)
    )


async def test_what_is_armed_is_stated_from_the_start_to_the_end(house: House):
    """An empty list, again once the doors are proven, every grant at its time, an empty list."""
    ticket = house.evidence()
    async with house.running() as agent:
        await agent.until(lambda: house.stated() == [(), ()])
        await agent.trust()
        await agent.armed(ticket)
        house.clock.slept += timedelta(seconds=10)
        await agent.until(lambda: house.stated() == [(), (), (grant_id(ticket),)])
    assert house.stated() == [(), (), (grant_id(ticket),), ()]
    counted = {"every": 10, "armed": 0, "part": 1, "parts": 1}
    assert house.receipts()[0].details == counted | {"at": "start"}
    beats = [each for each in house.receipts() if each.kind is ReceiptKind.HEARTBEAT]
    assert [each.details.get("at") for each in beats] == ["start", None, None, "stop"]
    assert [each.proven for each in house.healths()] == [False, True, True, True]


async def test_a_challenge_is_answered_with_the_next_heartbeat(house: House):
    """The sentry proves its doors anew; the receipt that follows names the challenge, signed."""
    async with house.running() as agent:
        await agent.until(lambda: any(each.proven for each in house.healths()))
        await agent.session.send(challenge=pb.Challenge(nonce=bytes(range(32))))
        house.clock.slept += timedelta(seconds=10)
        await agent.until(lambda: house.healths()[-1].challenge == bytes(range(32)).hex())
    assert house.healths()[0].challenge == ""


async def test_the_sentry_does_what_the_trust_policy_says(house: House):
    """It observes until a signed policy says otherwise, and that is stated at once."""
    enforce = tuple(replace(each, sentry=SentryMode.ENFORCE) for each in house.made.policy.nodes)
    async with house.running() as agent:
        await agent.trust()
        await agent.until(lambda: any(each.proven for each in house.healths()))
        assert {each.mode for each in house.healths()} == {SentryMode.OBSERVE}
        second = replace(house.made.policy, version=2, nodes=enforce)
        await agent.session.send(
            trust_update=pb.TrustUpdate(envelopes=[house.made.sign_policy(second)])
        )
        await agent.until(lambda: house.healths()[-1].mode is SentryMode.ENFORCE)


async def test_what_was_stated_without_a_guard_comes_when_it_is_back(house: House):
    """A node cut off goes on stating that nothing is armed; the guard gets all of it, chained."""
    async with house.running() as agent:
        await agent.until(lambda: len(house.stated()) == 2)
        await house.guard.stop()
        house.clock.slept += timedelta(seconds=10)
        kept = house.folder / "state/receipts"
        await agent.until(lambda: len(list(kept.glob("*.dsse"))) == 2)
        await house.guard.start()
        await agent.until(lambda: len(house.stated()) == 3)


async def test_segments_left_by_an_earlier_start_are_uploaded(house: House):
    """What the guard did not take comes after the restart, with the receipt that it had."""
    ticket = house.evidence()
    async with house.running() as agent:
        await agent.trust()
        await agent.armed(ticket)
        await agent.invite()
        house.guard.acknowledges = False
        agent.speak(5)
        await agent.withdraw(ticket)
        await agent.ended(ticket)
    assert not house.guard.stored
    house.guard.acknowledges = True
    async with house.running() as agent:
        await agent.until(lambda: house.guard.stored)
        await agent.until(lambda: not list((house.folder / "state/segments").iterdir()))

    assert len(house.opened(ticket)) == 6
    assert [kind for kind, _ in house.told(ticket)].count("sealed") == 1


async def test_a_segment_stored_while_the_last_is_sealed_takes_nothing_with_it(house: House):
    """Numbers go on, and the last segment arrives, whenever the guard acknowledges the first."""
    house.guard.acknowledges = False
    async with house.running() as agent:
        await agent.trust()
        ticket = house.evidence()
        await agent.armed(ticket)
        await agent.invite()
        agent.speak(3)
        (offer,) = await agent.session.until("segment_offer")
        agent.speak(4)
        await agent.withdraw(ticket)
        key_of_first = (grant_id(ticket), 1)
        house.guard.segments[key_of_first] = Received(offer.header)
        wanted = pb.SegmentWanted(capture_id=key_of_first[0], number=1, offset=0)
        await agent.session.send(segment_wanted=wanted)
        house.guard.acknowledges = True
        await agent.ended(ticket)
        await agent.uploaded()

    assert [number for _, number in sorted(house.guard.stored)] == [1, 2]
    assert len(house.opened(ticket)) == 1 + 3 + 4
    assert list((house.folder / "spool").iterdir()) == []


async def test_a_capture_that_the_engine_cannot_open_is_on_record(house: House, monkeypatch):
    """Armed and at once disarmed, by name; the agent goes on."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("the ring of this level has failed")

    monkeypatch.setattr(CaptureEngine, "open", refuse)
    async with house.running() as agent:
        await agent.trust()
        ticket = house.evidence()
        await agent.session.offer(ticket)
        await agent.ended(ticket)

    assert house.told(ticket)[-1] == ("disarmed", "node_unable")


async def test_a_full_spool_ends_the_capture_on_record(house: House):
    """No room is `node_unable`; the agent itself goes on."""
    house.config = replace(house.config, spool_bytes=1)
    async with house.running() as agent:
        await agent.trust()
        ticket = house.evidence()
        await agent.armed(ticket)
        agent.ring()
        await agent.ended(ticket)
        assert (await agent.status())["armed"] == []

    assert ("disarmed", "node_unable") in house.told(ticket)


async def test_a_full_kernel_map_ends_the_capture_on_record(house: House):
    """A grant whose subject cannot be watched does not pretend to run."""
    async with house.running() as agent:
        await agent.trust()
        house.kernel.full = True
        ticket = house.evidence()
        await agent.session.offer(ticket)
        await agent.ended(ticket)

    assert house.told(ticket)[-1] == ("disarmed", "node_unable")


async def test_without_its_record_the_agent_ends(house: House):
    """When a receipt cannot be kept, everything stops and the maps are empty."""

    async def lose_the_memory() -> None:
        async with house.running() as agent:
            await agent.trust()
            await agent.armed(house.evidence())
            await agent.invite()
            (house.folder / "state/receipts").rename(house.folder / "state/gone")
            await agent.withdraw(house.evidence())
            await agent.until(lambda: False)

    with pytest.raises(BaseExceptionGroup) as ended:
        await lose_the_memory()
    assert isinstance(innermost(ended.value), FileNotFoundError)
    assert not house.kernel.flows
    assert not house.kernel.identities
    assert house.kernel.closed


async def test_forged_evidence_is_refused_by_name(house: House):
    """A guard whose database was forged gets the rule's name back."""
    async with house.running() as agent:
        await agent.trust()
        good = house.evidence()
        registered = house.made.register(house.made.authority())
        await agent.session.offer(replace(good, authority=registered))
        await agent.until(lambda: house.told(good))

    assert house.told(good) == [("refused", "approvals_missing")]


async def test_no_log_and_no_status_names_a_subject(house: House, capfd):
    """Not the number, not the Call-ID, not an address of the call."""
    async with house.running() as agent:
        await agent.trust()
        await agent.armed(house.evidence())
        await agent.invite(call="secret-call")
        told = str(await agent.status())
    out, err = capfd.readouterr()

    assert "armed" in out + err
    for secret in (SUBJECT.removeprefix("+"), "secret-call", ADDRESS):
        assert secret not in told + out + err


@pytest.mark.parametrize(
    ("breaks", "complaint"),
    [
        ("signing.key", "chmod 600"),
        ("sealing.key", "age X25519"),
        ("roots.json", "roots or trust policy"),
        ("state", "chmod 700"),
        ("spool", "0700"),
        ("kernel", "CAP_BPF"),
    ],
)
async def test_what_is_wrong_refuses_the_start_in_one_line(
    house: House, breaks: str, complaint: str
):
    """Keys, roots, folders, kernel: each named, and nothing left open."""
    path = house.folder / breaks
    if breaks in {"state", "spool"}:
        path.chmod(0o755)
    elif breaks == "signing.key":
        path.chmod(0o644)
    elif breaks != "kernel":
        path.write_bytes(b"{}")

    def kernel_of(_: Config) -> KernelSimulator:
        if breaks == "kernel":
            raise KernelError("loading: Operation not permitted; the process needs CAP_BPF")
        return house.kernel

    with pytest.raises(StartRefusedError, match=complaint) as refused:
        await serve(house.config, kernel_of=kernel_of)
    assert "\n" not in str(refused.value)


async def test_a_second_agent_on_the_same_state_is_refused(house: House):
    """Two agents would break the chain of receipts."""
    async with house.running():
        with pytest.raises(StartRefusedError, match="in use"):
            await serve(house.config, kernel_of=lambda _: house.kernel)


def test_receipt_kinds_and_levels_are_those_of_the_guard():
    """The words above are the vocabulary's."""
    assert {kind.value for kind in ReceiptKind} >= {"armed", "disarmed", "sealed", "refused"}
    assert key(ADDRESS, 1).port == 1
    assert Level.CONTENT > Level.MEDIA_HEADERS
