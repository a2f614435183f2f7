"""Work for the disk: in order, beside the event loop, and not past a failure."""

from __future__ import annotations

import asyncio
import threading

from agents.journal import Journal


async def emptied(journal: Journal) -> None:
    async with asyncio.timeout(10):
        while not journal.empty:  # noqa: ASYNC110 - the journal tells nobody that it is empty
            await asyncio.sleep(0.005)


async def test_each_work_is_done_before_what_follows_and_in_order():
    """The loop is told of a work when it is done, never before an earlier one."""
    done: list[str] = []
    failures: list[BaseException] = []
    journal = Journal(on_failure=failures.append)
    gate = threading.Event()
    journal.put(gate.wait, lambda: done.append("told 1"))
    journal.put(lambda: done.append("work 2"), lambda: done.append("told 2"))
    journal.put(None, lambda: done.append("told 3"))
    await asyncio.sleep(0.05)
    assert done == []
    assert not journal.empty

    gate.set()
    await emptied(journal)
    assert [each for each in done if each.startswith("told")] == ["told 1", "told 2", "told 3"]
    assert done.index("work 2") < done.index("told 2")
    assert failures == []
    journal.close()


async def test_after_a_failure_nothing_more_is_done_or_told():
    """Neither the failed work's consequence nor anything after it happens."""
    done: list[str] = []
    failures: list[BaseException] = []
    journal = Journal(on_failure=failures.append)

    def fail() -> None:
        raise OSError("disk full")

    journal.put(fail, lambda: done.append("sent"))
    journal.put(lambda: done.append("written"), lambda: done.append("sent too"))
    await asyncio.to_thread(journal.close)
    await asyncio.sleep(0.05)

    assert done == []
    assert [str(failure) for failure in failures] == ["disk full"]


async def test_a_consequence_that_fails_is_a_failure():
    """What goes wrong on the loop is told like what goes wrong on the disk."""
    failures: list[BaseException] = []
    journal = Journal(on_failure=failures.append)
    journal.put(None, lambda: {}["missing"])
    await emptied(journal)
    journal.close()

    assert [type(failure) for failure in failures] == [KeyError]


async def test_closing_finishes_what_was_put():
    """What was to be kept is kept, also when nobody waits for it any more."""
    done: list[int] = []
    journal = Journal(on_failure=done.append)
    for number in range(20):
        journal.put(lambda number=number: done.append(number))
    journal.close()

    assert done == list(range(20))
