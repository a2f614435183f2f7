"""Sealed segments: taken with a receipt, whole, once, and deleted on record."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from guard.app.denial import MalformedError
from guard.app.segments import Incoming
from guard.app.shelf import ShelfError
from tests.builders.house import House, NodeHand

DATA = os.urandom(600_000)


class Sender:
    """A granted capture and the node that seals its segments."""

    def __init__(self, house: House, grant_id: str) -> None:
        self.house, self.grant_id, self.hand = house, grant_id, NodeHand(house.site)

    async def offer(
        self, number: int = 1, data: bytes = DATA, **changes: object
    ) -> Incoming | None:
        receipt = self.hand.sealed(self.grant_id, number, data, **changes)
        return await self.house.segments.offer(self.grant_id, number, receipt, self.hand.identity)

    def send(self, incoming: Incoming, data: bytes = DATA, until: int | None = None) -> bool:
        whole = False
        while not whole and incoming.offset < (until or len(data)):
            piece = data[incoming.offset : min(incoming.offset + 100_000, until or len(data))]
            whole = self.house.segments.add(incoming, incoming.offset, piece)
        return whole


@pytest.fixture
async def sender(house: House) -> Sender:
    return Sender(house, (await house.capture(await house.approved())).row.id)


async def test_a_segment_is_kept_whole_and_handed_out(house: House, sender: Sender) -> None:
    """What was sent is what is fetched, in order, and its file is private."""
    for number in (2, 1):
        incoming = await sender.offer(number)
        assert sender.send(incoming)
        assert await house.segments.keep(incoming)
    rows = await house.captures.fetch(sender.grant_id, house.site.principal("operator-1"))
    assert [row.number for row in rows] == [1, 2]
    assert b"".join(house.shelf.read(rows[0].path)) == DATA
    assert os.stat(rows[0].path).st_mode & 0o077 == 0  # noqa: PTH116 - quick
    assert house.kinds()[-3:] == ["segment_stored", "segment_stored", "capture_fetched"]


async def test_a_broken_transfer_goes_on_where_it_broke_off(house: House, sender: Sender) -> None:
    """The next offer names the bytes that are here, and the whole is right."""
    first = await sender.offer()
    sender.send(first, until=250_000)
    second = await sender.offer()
    assert second.offset == 250_000
    assert sender.send(second)
    assert await house.segments.keep(second)
    assert await sender.offer() is None


async def test_bytes_that_do_not_match_the_receipt_are_forgotten(
    house: House, sender: Sender
) -> None:
    """Other bytes of the same length are not kept, and the next try begins anew."""
    incoming = await sender.offer()
    assert sender.send(incoming, os.urandom(len(DATA)))
    assert not await house.segments.keep(incoming)
    assert (await sender.offer()).offset == 0
    assert "segment_stored" not in house.kinds()


async def test_bytes_out_of_place_are_refused(house: House, sender: Sender) -> None:
    """A gap, an overlap and a byte too many are malformed."""
    incoming = await sender.offer()
    sender.send(incoming, until=1000)
    for offset, data in ((999, b"x"), (1001, b"x"), (1000, bytes(len(DATA)))):
        with pytest.raises(MalformedError):
            house.segments.add(incoming, offset, data)
    assert incoming.offset == 1000


async def test_only_with_the_nodes_own_receipt(house: House, sender: Sender) -> None:
    """A receipt of another kind, number, capture or node is malformed."""
    hand, grant_id = sender.hand, sender.grant_id
    other = NodeHand(house.site, "node-2")
    for receipt, number, node in (
        (hand.receipt(grant_id), 1, hand.identity),
        (hand.sealed(grant_id, 2, DATA), 1, hand.identity),
        (hand.sealed(grant_id, 0, DATA), 0, hand.identity),
        (hand.sealed(grant_id, 1, b""), 1, hand.identity),
        (hand.sealed("0" * 8 + "-0000-4000-8000-000000000000", 1, DATA), 1, hand.identity),
        (other.sealed(grant_id, 1, DATA), 1, other.identity),
    ):
        with pytest.raises(MalformedError):
            await house.segments.offer(grant_id, number, receipt, node)


async def test_another_file_under_a_number_is_refused(house: House, sender: Sender) -> None:
    """A number stands for one file."""
    incoming = await sender.offer()
    sender.send(incoming)
    await house.segments.keep(incoming)
    with pytest.raises(MalformedError):
        await sender.offer(data=DATA[::-1])


async def test_a_crash_between_file_and_record_is_healed(house: House, sender: Sender) -> None:
    """A file in its place without its record is taken when it is offered again."""
    incoming = await sender.offer()
    sender.send(incoming)
    house.shelf.finish(sender.grant_id, 1, size=incoming.size, sha256=incoming.sha256)
    again = await sender.offer()
    if again.offset < again.size:
        sender.send(again)
    assert await house.segments.keep(again)
    assert house.kinds()[-1] == "segment_stored"


async def test_retention_deletes_and_records(house: House, sender: Sender) -> None:
    """After the retention the file is gone, the record says so, and nothing is handed out."""
    incoming = await sender.offer()
    sender.send(incoming)
    await house.segments.keep(incoming)
    (row,) = await house.captures.fetch(sender.grant_id, house.site.principal("operator-1"))
    assert await house.segments.delete_older(timedelta(days=30)) == 0
    house.clock.move(days=30, seconds=1)
    assert await house.segments.delete_older(timedelta(days=30)) == 0  # No witness says so.
    await house.cosign()
    assert await house.segments.delete_older(timedelta(days=30)) == 1
    assert not os.path.exists(row.path)  # noqa: ASYNC240, PTH110 - quick
    assert house.kinds()[-1] == "segment_deleted"
    assert await house.segments.delete_older(timedelta(days=30)) == 0
    assert await house.captures.fetch(sender.grant_id, house.site.principal("operator-1")) == []


def shelved(house: House) -> list[str]:
    """Return the names of the files on the shelf."""
    return sorted(path.name for path in (house.folder / "segments").glob("*/*"))


def age(house: House) -> None:
    """Have every file on the shelf written at the house's time."""
    for path in (house.folder / "segments").glob("*/*"):
        os.utime(path, times=(house.clock.now().timestamp(),) * 2)


async def test_a_file_that_cannot_be_deleted_keeps_no_other(
    house: House, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said, and tried again; the record of every other says that it is gone."""
    for number in (1, 2):
        incoming = await sender.offer(number)
        sender.send(incoming)
        await house.segments.keep(incoming)
    first, _ = await house.captures.fetch(sender.grant_id, house.site.principal("operator-1"))
    house.clock.move(days=31)
    await house.cosign()
    really = house.shelf.delete

    def delete(path: str) -> None:
        if path == first.path:
            raise ShelfError("Operation not permitted")
        really(path)

    monkeypatch.setattr(house.shelf, "delete", delete)
    with pytest.raises(ShelfError):
        await house.segments.delete_older(timedelta(days=30))
    assert shelved(house) == ["1.pcapng.age"]
    assert house.kinds().count("segment_deleted") == 1
    monkeypatch.undo()
    assert await house.segments.delete_older(timedelta(days=30)) == 1
    assert shelved(house) == []
    assert not list((house.folder / "segments").iterdir())  # Its name was the grant's id.


async def test_what_never_became_a_segment_is_not_kept_for_ever(
    house: House, sender: Sender
) -> None:
    """An unfinished file, and one whose record was never written, go when a segment would."""
    unfinished = await sender.offer(1)
    sender.send(unfinished, until=250_000)
    unrecorded = await sender.offer(2)
    sender.send(unrecorded)
    house.shelf.finish(sender.grant_id, 2, size=unrecorded.size, sha256=unrecorded.sha256)
    kept = await sender.offer(3)
    sender.send(kept)
    await house.segments.keep(kept)
    age(house)
    assert await house.segments.discard_forgotten(timedelta(days=30)) == 0
    house.clock.move(days=31)
    assert await house.segments.discard_forgotten(timedelta(days=30)) == 0  # No witness says so.
    await house.cosign()
    assert await house.segments.discard_forgotten(timedelta(days=30)) == 2
    assert shelved(house) == ["3.pcapng.age"]
