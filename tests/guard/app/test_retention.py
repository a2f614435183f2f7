"""Records are forgotten when their time is over, and nothing else is."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from guard.app.audit import Reading
from guard.app.denial import ErasedMeanwhileError, UnknownError
from guard.app.retention import Retention
from guard.core.merkle import Tree, leaf_hash
from guard.core.proof import parse_proof
from guard.log.sequencer import Sequencer
from tests.builders.deployment import LOG_NAME
from tests.builders.house import House

DAYS = timedelta(days=400)


async def test_what_is_over_is_erased_on_record_and_the_log_stays_whole(house: House) -> None:
    """Text and rows go; the leaves, the checkpoint and a new start on them stay."""
    ticket = await house.approved()
    retention = Retention(house.office, DAYS)
    assert await retention.erase() == 0
    house.clock.move(days=401)
    await house.cosign()
    await house.sweep.run()
    with house.ledger.reads() as view:
        before = [each.leaf() for each in view.entries(0, view.size())]
    erased = await retention.erase()
    assert erased == 2
    assert house.records_kept()[-1].body == {"count": 2, "first": 1}
    with house.ledger.reads() as view:
        entries = view.entries(0, view.size())
        assert [each.erased for each in entries] == [False, True, True, False, False]
        assert [each.leaf() for each in entries[: len(before)]] == before
        assert view.authority(ticket) is not None  # Its last record is not over yet.
    tree = Tree()
    for each in house.store.leaves():
        tree.append(leaf_hash(each))
    assert house.ledger.consistency(2, tree.size)
    house.ledger.close()
    house.ledger = Sequencer(house.store, origin=LOG_NAME, key=house.site.log_key)
    assert await retention.erase() == 0


async def test_rows_follow_when_their_last_record_is_over(house: House) -> None:
    """Later the authority itself is forgotten."""
    ticket = await house.approved()
    house.clock.move(days=2)
    await house.sweep.run()
    house.clock.move(days=401)
    await house.cosign()
    while await Retention(house.office, DAYS).erase():
        pass
    with house.ledger.reads() as view:
        assert view.authority(ticket) is None


async def test_a_live_captures_record_is_kept(house: House) -> None:
    """Its evidence is needed: nothing from the grant on is erased while it may run."""
    granted = await house.capture(await house.approved())
    house.clock.move(days=500)
    await house.cosign()
    await Retention(house.office, DAYS).erase()
    with house.ledger.reads() as view:
        assert view.first_kept() == granted.row.evidence_index


async def test_an_erased_record_is_not_proven_and_others_are(house: House) -> None:
    """Asked for it, the guard says that it was erased."""
    await house.approved()
    house.clock.move(days=401)
    await house.cosign()
    await Retention(house.office, DAYS).erase()
    with pytest.raises(UnknownError, match="erased"):
        await house.audit.inclusion(1, house.auditor)
    assert parse_proof(await house.audit.inclusion(0, house.auditor)).index == 0


def files(folder: Path) -> bytes:
    """Return every byte of the store's files."""
    return b"".join(path.read_bytes() for path in folder.glob("guard.db*"))


async def test_nothing_of_it_is_left_in_any_file(tmp_path: Path) -> None:
    """After erasing, no file of the store holds a word of what was said, nor of its row."""
    async with House(tmp_path, "sqlite") as house:
        marker = b"CASE-2026-0042"
        await house.approved()
        house.clock.move(days=2)
        await house.sweep.run()
        assert marker in files(tmp_path)
        house.clock.move(days=401)
        await house.cosign()
        retention = Retention(house.office, DAYS)
        while await retention.erase():
            pass
        with house.ledger.reads():
            await retention.scrub()  # A reader may be in the way.
        await retention.scrub()
        assert retention.scrubbed
        assert marker not in files(tmp_path)


async def test_a_clock_set_ahead_erases_nothing(house: House) -> None:
    """The witnesses' time counts: without a cosignature of that day nothing is over."""
    await house.approved()
    retention = Retention(house.office, DAYS)
    house.clock.move(days=401)
    assert await retention.erase() == 0  # Nobody has cosigned at all.
    house.clock.move(days=-401)
    await house.cosign()
    house.clock.move(days=401)
    assert await retention.erase() == 0
    await house.cosign()
    assert await retention.erase() == 2


@pytest.mark.parametrize("erased", ["before the first page", "between two pages"])
async def test_a_reading_breaks_off_when_something_is_erased_meanwhile(
    house: House, erased: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is fixed and before the erasure's record: what is erased would look withheld."""
    monkeypatch.setattr("guard.app.audit._PAGE", 1)
    await house.approved()
    house.clock.move(days=401)
    await house.cosign()
    with house.ledger.reads() as view:
        reading = Reading(reader=house.auditor, start=0, end=view.size())
    pages = house.audit.read(reading)
    if erased == "between two pages":
        await anext(pages)
    await Retention(house.office, DAYS).erase()
    with pytest.raises(ErasedMeanwhileError):
        async for _ in pages:
            pass
    again = Reading(reader=house.auditor, start=0, end=None)
    assert [index async for index, _ in house.audit.read(again)][:2] == [0, 1]
