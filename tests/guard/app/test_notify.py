"""Telling a hook: in order, again and again, once for an hour and once more, and on record."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import structlog
from structlog.testing import CapturingLogger

from guard.app.notify import HookFailed, Notifier, pause
from guard.core.findings import FindingKind
from guard.core.incidents import Hook
from guard.core.record import RecordKind
from guard.core.reporting import Law
from tests.builders.house import House, NodeHand
from tests.guard.app.test_incidents import desk, happen, of_kind, rows, said


class Mailbox:
    """Takes notices, or fails as it is told."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.tries = 0
        self.failing: Exception | None = None
        self.arrived = asyncio.Event()

    async def deliver(self, notice: bytes) -> None:
        self.tries += 1
        if self.failing is not None:
            raise self.failing
        self.taken.append(json.loads(notice))
        self.arrived.set()

    @property
    def counts(self) -> list[tuple[str, int]]:
        return [(each["kind"], each["count"]) for each in self.taken]


def notifier(house: House, mailbox: Mailbox, hook: Hook = Hook.COMMAND) -> Notifier:
    log = structlog.wrap_logger(CapturingLogger())
    return Notifier(office=house.office, hook=hook, messenger=mailbox, laws=(Law.GDPR,), log=log)


async def tell(made: Notifier) -> int:
    """Tell all that is due and return how many notices that were."""
    count = 0
    while await made.step():
        count += 1
    return count


async def test_a_notice_is_told_once_and_that_is_on_record(house: House) -> None:
    """With the incident's number, the log's name and how many records it stood for."""
    mailbox = Mailbox()
    await happen(house, NodeHand(house.site), pid=4711)
    (row,) = rows(house)
    assert await tell(notifier(house, mailbox)) == 1
    assert await tell(notifier(house, mailbox)) == 0

    (notice,) = mailbox.taken
    assert notice["id"] == f"{house.office.policy.log.origin}/{row.id}"
    assert "4711" not in json.dumps(notice)
    (record,) = of_kind(house, RecordKind.INCIDENT_NOTIFIED)
    assert record.body == {"count": 1, "hook": "command", "incident": row.id}


async def test_a_flood_is_two_notices(house: House) -> None:
    """The first at once, the second when the hour is over, with the same id and the count."""
    mailbox, hand = Mailbox(), NodeHand(house.site)
    made = notifier(house, mailbox)
    for number in range(200):
        await happen(house, hand, n=number)
        await tell(made)
        house.clock.move(seconds=17)
    assert mailbox.counts == [("capture_socket", 1)]
    house.clock.move(minutes=10)
    await tell(made)
    assert mailbox.counts == [("capture_socket", 1), ("capture_socket", 200)]
    assert len({each["id"] for each in mailbox.taken}) == 1
    assert len(of_kind(house, RecordKind.INCIDENT)) == 200


async def test_order_is_kept_while_a_hook_fails(house: House) -> None:
    """Nothing passes the oldest; what came meanwhile is in its count already."""
    mailbox, hand = Mailbox(), NodeHand(house.site)
    made = notifier(house, mailbox)
    mailbox.failing = HookFailed("answered 503")
    for what in ("b_first", "a_second", "b_first", "c_third"):
        await happen(house, hand, what)
        with pytest.raises(HookFailed):
            await made.step()
    mailbox.failing = None
    await tell(made)
    assert mailbox.counts == [("b_first", 2), ("a_second", 1), ("c_third", 1)]


async def test_each_hook_is_told_everything(house: House) -> None:
    """One that fails keeps the other from nothing."""
    broken, well = Mailbox(), Mailbox()
    broken.failing = HookFailed("no")
    await happen(house, NodeHand(house.site))
    with pytest.raises(HookFailed):
        await notifier(house, broken, Hook.COMMAND).step()
    assert await tell(notifier(house, well, Hook.WEBHOOK)) == 1
    broken.failing = None
    assert await tell(notifier(house, broken, Hook.COMMAND)) == 1


async def test_a_restart_goes_on_where_it_was(house: House) -> None:
    """Another notifier on the same store tells what the first one did not, and nothing else."""
    mailbox, hand = Mailbox(), NodeHand(house.site)
    await happen(house, hand, "a")
    await happen(house, hand, "b")
    assert await notifier(house, mailbox).step()
    assert await tell(notifier(house, mailbox)) == 1
    assert mailbox.counts == [("a", 1), ("b", 1)]


async def test_an_assessment_ends_the_hour(house: House) -> None:
    """What had joined by then is told at once."""
    mailbox, hand = Mailbox(), NodeHand(house.site)
    made = notifier(house, mailbox)
    await happen(house, hand)
    await tell(made)
    await happen(house, hand)
    assert await tell(made) == 0
    await desk(house).assess(rows(house)[0].id, said(), house.site.principal("legal-1"))
    await happen(house, hand)
    await tell(made)
    assert [each["count"] for each in mailbox.taken] == [1, 2, 1]
    assert mailbox.taken[1]["clocks"] == []
    assert mailbox.taken[2]["id"] != mailbox.taken[1]["id"]


async def test_an_incident_of_before_a_hook_is_told_when_there_is_one(house: House) -> None:
    """A guard that gets its hook later does not keep quiet about what it knew."""
    mailbox = Mailbox()
    await happen(house, NodeHand(house.site))
    house.clock.move(days=3)
    assert await tell(notifier(house, mailbox)) == 1


async def running(made: Notifier) -> asyncio.Task[None]:
    return asyncio.ensure_future(made.run())


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_hook_is_told_at_once(house: House) -> None:
    """Within a second of the record, by itself."""
    mailbox = Mailbox()
    task = await running(notifier(house, mailbox))
    await asyncio.sleep(0.05)  # it has looked and found nothing
    await happen(house, NodeHand(house.site))
    async with asyncio.timeout(1):
        await mailbox.arrived.wait()
    await end(task)


@pytest.mark.parametrize("error", [HookFailed("answered 503"), RuntimeError("s3cret"), OSError()])
async def test_a_hook_that_fails_is_shown_until_it_takes(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Since when the oldest waits, why, how many; and then no more. A fault ends nothing."""
    monkeypatch.setattr("guard.app.notify._SHORTEST", 0.01)
    monkeypatch.setattr("guard.app.notify._LONGEST", 0.02)
    mailbox, hand = Mailbox(), NodeHand(house.site)
    mailbox.failing = error
    made = notifier(house, mailbox)
    task = await running(made)
    assert made.trouble() is None
    begun = house.clock.now()
    await happen(house, hand, "a")
    house.clock.move(minutes=3)
    await happen(house, hand, "b")
    async with asyncio.timeout(10):
        while mailbox.tries < 4:  # noqa: ASYNC110  # a fake announces nothing
            await asyncio.sleep(0.01)
    found = made.trouble()
    assert found is not None
    assert (found.kind, found.since) == (FindingKind.NOTICE_UNDELIVERED, begun)
    assert found.detail.endswith("2 to be told")
    assert "s3cret" not in found.detail
    assert not task.done()

    mailbox.failing = None
    async with asyncio.timeout(10):
        while len(mailbox.taken) < 2:  # noqa: ASYNC110  # the same
            await asyncio.sleep(0.01)
        while made.trouble() is not None:  # noqa: ASYNC110  # the same
            await asyncio.sleep(0.01)
    assert mailbox.counts == [("a", 1), ("b", 1)]
    await end(task)


async def test_a_hook_that_hangs_holds_up_no_record(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log goes on, and the notice is given up and tried again."""
    monkeypatch.setattr("guard.app.notify._PATIENCE", 0.05)
    monkeypatch.setattr("guard.app.notify._SHORTEST", 0.01)
    monkeypatch.setattr("guard.app.notify._LONGEST", 0.01)
    mailbox, hand, tries = Mailbox(), NodeHand(house.site), []

    async def hang(_notice: bytes) -> None:
        tries.append(len(house.records()))
        await asyncio.sleep(600)

    monkeypatch.setattr(mailbox, "deliver", hang)
    made = notifier(house, mailbox)
    task = await running(made)
    async with asyncio.timeout(10):
        while len(tries) < 3:
            await happen(house, hand)
            await asyncio.sleep(0.01)
    assert tries == sorted(tries)
    assert tries[0] < tries[-1]
    found = made.trouble()
    assert found is not None
    assert "no end within a minute" in found.detail
    await end(task)


async def test_a_ledger_that_cannot_write_means_told_again(house: House) -> None:
    """A notice that was taken and could not be put on record comes twice, and is never lost."""
    mailbox = Mailbox()
    await happen(house, NodeHand(house.site))
    made = notifier(house, mailbox)
    house.ledger.close()
    for _ in range(2):
        with pytest.raises(Exception, match="closed"):
            await made.step()
    assert [each["count"] for each in mailbox.taken] == [1, 1]


def test_waiting_grows_to_five_minutes_and_no_further() -> None:
    """Doubling from a second, half of it up to chance, and never without end."""
    assert [pause(n, 0.0) for n in (1, 2, 3, 8, 9, 10)] == [1, 2, 4, 128, 256, 300]
    assert pause(10**9, 0.0) == 300
    assert pause(1, 0.5) == 0.75
    assert all(pause(n, 0.999) > 0.5 * pause(n, 0.0) for n in range(1, 20))
