"""The session with a guard, over real sockets and mutual TLS."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.core import events as on
from agents.core.commands import SendHeartbeat
from agents.core.events import Event
from agents.session import client
from agents.session.channel import TlsPaths
from agents.session.client import Session, Standing
from agents.session.uploads import CHUNK, Upload
from guard.api.v1 import node_service_pb2 as pb
from guard.cli.certificates import CertificateAuthority
from tests.builders.deployment import NOW, new_id
from tests.sim.guard_simulator import GuardSimulator, TlsFolder

GRANT = new_id()


class Recorder:
    """The rules' side: remembers what happened, and resends what it is told to hold."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.logged: list[tuple[str, dict[str, str | int]]] = []
        self.revision = 0
        self.held: list[bytes] = []
        self.news = asyncio.Event()
        self.session: Session | None = None

    def standing(self) -> Standing:
        return Standing(revision=self.revision, trust_version=3, receipt_sequence=5)

    def happened(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, on.SessionOpened):
            assert self.session
            self.session.resend(self.held)
        if isinstance(event, on.StateDelta):
            self.revision = event.revision
        self.news.set()

    def log(self, event: str, **fields: str | int) -> None:
        self.logged.append((event, fields))
        self.news.set()

    async def until(self, kind: type[Event], count: int = 1) -> Event:
        async with asyncio.timeout(15):
            while len(found := [e for e in self.events if isinstance(e, kind)]) < count:
                self.news.clear()
                await self.news.wait()
        return found[count - 1]

    async def until_logged(self, event: str, count: int = 1) -> str:
        async with asyncio.timeout(15):
            while len(found := [f for name, f in self.logged if name == event]) < count:
                self.news.clear()
                await self.news.wait()
        return str(found[count - 1].get("why", ""))


@pytest.fixture
def tls(tmp_path: Path) -> TlsFolder:
    return TlsFolder(tmp_path)


@pytest.fixture
async def guard(tls: TlsFolder) -> AsyncIterator[GuardSimulator]:
    async with GuardSimulator(tls) as simulator:
        yield simulator


@asynccontextmanager
async def conversing(guard: GuardSimulator) -> AsyncIterator[tuple[Session, Recorder]]:
    rules = Recorder()
    paths = TlsPaths(certificate=guard.tls.certificate, key=guard.tls.key, ca=guard.tls.ca)
    session = Session(address=f"127.0.0.1:{guard.port}", tls=paths, version="1.2.3", rules=rules)
    rules.session = session
    task = asyncio.ensure_future(session.run())
    try:
        yield session, rules
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def sealed(folder: Path, number: int, size: int) -> Upload:
    data = bytes(number for _ in range(size))
    path = folder / f"{number}.age"
    path.write_bytes(data)
    return Upload(
        grant_id=GRANT,
        number=number,
        path=path,
        size=size,
        sha256=hashlib.sha256(data).digest(),
        receipt=b"receipt",
    )


async def test_a_session_says_who_and_where_it_stands(guard: GuardSimulator):
    """The node is known by its certificate; the first message says what it has applied."""
    async with conversing(guard) as (_, rules):
        session = await guard.session()
        await rules.until(on.SessionOpened)

        assert session.peer == "spiffe://callguard/node/node-1"
        assert session.hello == pb.Hello(
            agent_version="1.2.3", revision=0, trust_version=3, receipt_sequence=5
        )


async def test_it_reconnects_and_resumes_by_revision(guard: GuardSimulator):
    """Hung up on, or with the guard gone and back, it goes on from the revision it holds."""
    async with conversing(guard) as (_, rules):
        first = await guard.session()
        await first.send(state_delta=pb.StateDelta(revision=41))
        await rules.until(on.StateDelta)
        first.hang_up()
        second = await guard.session(2)
        assert second.hello.revision == 41

        await guard.stop()
        await rules.until(on.SessionClosed, 2)
        await guard.start()
        third = await guard.session(3)
        assert third.hello.revision == 41
    assert [type(event) for event in rules.events].count(on.SessionOpened) >= 3


async def test_with_nobody_there_it_says_why_and_tries_again(guard: GuardSimulator):
    """Each attempt that fails is told in one line, and the next comes by itself."""
    await guard.stop()
    async with conversing(guard) as (_, rules):
        why = await rules.until_logged("session_closed", 3)
        await guard.start()
        await guard.session()

    assert why.startswith("unavailable")
    assert "\n" not in why


@pytest.mark.parametrize(
    "garbage",
    [
        {"lease_renewal": pb.LeaseRenewal(grant_ids=["not an id"])},
        {"trust_update": pb.TrustUpdate()},
        {},
    ],
    ids=["id", "empty trust", "empty"],
)
async def test_garbage_ends_the_session(guard: GuardSimulator, garbage: dict[str, object]):
    """What is not of the contract is not guessed at; a new session begins."""
    async with conversing(guard) as (_, rules):
        session = await guard.session()
        await session.send(**garbage)
        await rules.until(on.SessionClosed)
        await guard.session(2)

    assert not [e for e in rules.events if isinstance(e, on.LeaseRenewed | on.TrustArrived)]


async def test_receipts_come_in_order_and_again_after_a_break(guard: GuardSimulator):
    """Older receipts are sent before new ones; a new session begins with what is not accepted."""
    guard.acknowledges = False
    async with conversing(guard) as (session, rules):
        rules.held = [b"1", b"2"]
        first = await guard.session()
        await rules.until(on.SessionOpened)
        session.send_receipt(b"3")
        assert [r.envelope for r in await first.until("receipt", 3)] == [b"1", b"2", b"3"]

        rules.held = [b"2", b"3"]
        first.hang_up()
        await rules.until(on.SessionClosed)
        session.send_receipt(b"never alone")
        second = await guard.session(2)
        assert [r.envelope for r in await second.until("receipt", 2)] == [b"2", b"3"]


async def test_segments_are_uploaded_and_resumed(guard: GuardSimulator, tmp_path: Path):
    """A break in the middle costs nothing that had arrived; all bytes get there, once."""
    guard.hang_up_after_bytes = CHUNK
    segments = [sealed(tmp_path, 1, 3 * CHUNK + 7), sealed(tmp_path, 2, 10)]
    async with conversing(guard) as (session, rules):
        for segment in segments:
            session.offer(segment)
        await rules.until(on.SegmentStored, 2)

    assert len(guard.sessions) == 2
    assert guard.stored[GRANT, 1] == segments[0].path.read_bytes()
    assert guard.stored[GRANT, 2] == segments[1].path.read_bytes()
    assert len(session.uploads) == 0


async def test_an_upload_does_not_starve_receipts(guard: GuardSimulator, tmp_path: Path):
    """A receipt made in the middle of a long upload overtakes the bytes that wait."""
    guard.acknowledges = True
    async with conversing(guard) as (session, rules):
        remote = await guard.session()
        await rules.until(on.SessionOpened)
        session.offer(sealed(tmp_path, 1, 80 * CHUNK))
        await remote.until("segment_chunk", 3)
        guard.acknowledges = False
        session.send_receipt(b"urgent")
        await remote.until("receipt")
        before = len(remote.of("segment_chunk"))

        assert before < 60
        await rules.until(on.SegmentStored)


async def test_a_segment_that_is_gone_is_passed_over(guard: GuardSimulator, tmp_path: Path):
    """A file that somebody removed by hand does not stop the others."""
    lost, kept = sealed(tmp_path, 1, 100), sealed(tmp_path, 2, 100)
    lost.path.unlink()
    async with conversing(guard) as (session, rules):
        session.offer(lost)
        session.offer(kept)
        stored = await rules.until(on.SegmentStored)

    assert stored == on.SegmentStored(grant_id=GRANT, number=2)


async def test_the_newest_heartbeat_is_sent(guard: GuardSimulator):
    """Heartbeats reach the guard with what is armed."""
    async with conversing(guard) as (session, rules):
        remote = await guard.session()
        await rules.until(on.SessionOpened)
        session.send_heartbeat(SendHeartbeat(wall=NOW, boot_ns=77, armed=()))
        (beat,) = await remote.until("heartbeat")

        assert beat.boot_time_ns == 77
        assert beat.wall_time.ToDatetime(UTC) == NOW


async def test_without_a_session_nothing_is_kept_for_later(guard: GuardSimulator):
    """Heartbeats of a time without a session are nobody's; receipts come by `resend`."""
    guard.acknowledges = False
    await guard.stop()
    async with conversing(guard) as (session, rules):
        await rules.until_logged("session_closed")
        session.send_heartbeat(SendHeartbeat(wall=NOW, boot_ns=1, armed=()))
        session.send_receipt(b"lost on purpose")
        await guard.start()
        remote = await guard.session()
        await rules.until(on.SessionOpened)
        session.send_receipt(b"after")
        assert [r.envelope for r in await remote.until("receipt")] == [b"after"]
        assert not remote.of("heartbeat")


async def test_a_guard_that_stops_ends_the_session_and_no_more(guard: GuardSimulator):
    """However often the guard cuts its calls off in mid-sentence, the next session begins."""
    async with conversing(guard) as (session, rules):
        for number in range(1, 4):
            await guard.session(number)
            await rules.until(on.SessionOpened, number)
            for boot in range(20):
                session.send_heartbeat(SendHeartbeat(wall=NOW, boot_ns=boot, armed=()))
                await asyncio.sleep(0)
            await guard.stop()
            await guard.start()
        await guard.session(4)


async def test_another_ca_is_not_believed(guard: GuardSimulator):
    """A server whose certificate another CA signed is no guard."""
    stranger = CertificateAuthority.create(now=datetime.now(UTC))
    guard.tls.ca.write_bytes(stranger.pair.certificate)
    async with conversing(guard) as (_, rules):
        why = await rules.until_logged("session_closed", 2)

    assert why.startswith("unavailable")
    assert not guard.sessions


async def test_a_node_of_the_same_ca_is_no_guard(guard: GuardSimulator):
    """Only a certificate with the name `guard` will do: a stolen node's does not make a guard."""
    await guard.stop()
    guard.tls.server = guard.tls.authority.client("node", "node-2", now=datetime.now(UTC))
    await guard.start()
    async with conversing(guard) as (_, rules):
        await rules.until_logged("session_closed", 2)

    assert not guard.sessions


async def test_new_tls_files_are_used_when_they_fit(guard: GuardSimulator, monkeypatch):
    """Replaced files begin a new session; files that do not fit leave the old ones in use."""
    monkeypatch.setattr(client, "LOOK_AT_FILES", 0.05)
    async with conversing(guard) as (_, rules):
        await guard.session()
        await rules.until(on.SessionOpened)
        guard.tls.key.write_bytes(b"not a key")
        await rules.until_logged("tls_files_refused")
        assert len(guard.sessions) == 1

        guard.tls.issue("node-7")
        assert (await guard.session(2)).peer == "spiffe://callguard/node/node-7"
    assert ("session_closed", {"why": "new TLS files"}) in rules.logged


async def test_without_usable_files_it_says_so_and_waits(guard: GuardSimulator):
    """No way without TLS: unreadable files are an error, said again and again."""
    guard.tls.ca.unlink()
    async with conversing(guard) as (_, rules):
        why = await rules.until_logged("session_closed", 2)

    assert "TLS identity" in why
    assert not guard.sessions
