"""The three questions from the command line: of a file of records, and of a guard that runs."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from guard.cli.moments import parse_moment
from guard.cli.record_source import kept_checkpoint, write_entries
from guard.clock import SystemClock
from guard.core.fields import format_time
from guard.core.receipt import ReceiptKind
from guard.core.record import Entry
from guard.core.trust import encode_roots
from tests.builders.chronicle import Chronicle, new_grant
from tests.builders.deployment import SUBJECT, Deployment
from tests.guard.cli.node import Node
from tests.guard.cli.running import Answer, Running
from tests.guard.cli.test_commands import NUMBER

Callguard = Callable[..., Answer]
HOUR = timedelta(hours=1)


def discrepancy(answer: Answer) -> str:
    """Return the kind, having seen that standard error is one line of the agreed form."""
    assert answer.code == 3, answer
    match = re.fullmatch(r"discrepancy: ([a-z_]+): [^\n]+\n", answer.err)
    assert match, answer.err
    return match[1]


class Exported:
    """A chronicle whose records are written to a file, and asked about from there."""

    def __init__(self, log: Chronicle, folder: Path, callguard: Callguard) -> None:
        self.log, self.folder, self._callguard = log, folder, callguard
        self.roots = folder / "roots.json"
        self.roots.write_bytes(encode_roots(log.site.pinned))

    def entries(self) -> list[Entry]:
        with self.log.ledger.reads() as view:
            return view.entries(0, view.size())

    def ask(
        self, *words: str, entries: list[Entry] | None = None, note: bytes | None = None
    ) -> Answer:
        """Export the records and ask."""
        path = self.folder / "records.jsonl"
        path.unlink(missing_ok=True)
        kept_checkpoint(path).unlink(missing_ok=True)
        told = self.entries() if entries is None else entries
        write_entries(path, enumerate(told), progress=lambda _: None)
        if note is not None:
            kept_checkpoint(path).write_bytes(note)
        return self._callguard("audit", *words, "--records", path, "--roots", self.roots)

    def period(self, start: datetime | None = None, end: datetime | None = None) -> tuple[str, ...]:
        begin = format_time(start or self.log.site.now)
        return ("--from", begin, "--to", format_time(end or self.log.now + HOUR))


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Chronicle]:
    """Run use cases that began three hours ago."""
    site = Deployment(SystemClock.now().replace(microsecond=0) - 3 * HOUR)
    async with Chronicle(tmp_path, site) as made:
        yield made


@pytest.fixture
def exported(log: Chronicle, tmp_path: Path, callguard: Callguard) -> Exported:
    return Exported(log, tmp_path, callguard)


async def test_interceptions_in_words_and_for_machines(exported: Exported) -> None:
    """Everything that an auditor asks for is on the screen, and no subject is."""
    log = exported.log
    ticket = await log.approved()
    grant_id = await log.grant(ticket)
    await log.run_capture(grant_id)
    said = exported.ask("interceptions", *exported.period())
    assert said.code == 0, said
    for words in (
        *("1 interception from", grant_id, ticket, "node-1", "media_headers", "CASE-2026-0042"),
        *("operator-1 (operator), lead-1 (approver)", "3 packets, 300 bytes in 1 segments"),
        *("stopped, says node-1", "No discrepancy.", "held against no checkpoint"),
    ):
        assert words in said.out, said.out
    assert SUBJECT not in said.out
    told = exported.ask("interceptions", *exported.period(), "--json").json()
    (one,) = told["interceptions"]
    assert (one["grant_id"], one["packets"], one["segments_stored"]) == (grant_id, 3, 1)
    assert (told["discrepancies"], told["records"]) == ([], len(log.records()))


async def test_a_discrepancy_ends_with_status_3_and_its_name(exported: Exported) -> None:
    """The answer is shown whole, the first discrepancy once more on standard error."""
    unknown = new_grant()
    await exported.log.node.arm(unknown)
    said = exported.ask("interceptions", *exported.period())
    assert discrepancy(said) == "armed_without_grant"
    assert "never, as far as the log tells" in said.out
    told = exported.ask("interceptions", *exported.period(), "--json")
    assert discrepancy(told) == "armed_without_grant"
    assert [each["kind"] for each in told.json()["discrepancies"]] == ["armed_without_grant"]


async def test_an_ended_authority(exported: Exported) -> None:
    """Shown, in force, and unknown."""
    log = exported.log
    ticket = await log.approved()
    await log.run_capture(await log.grant(ticket))
    later = await log.approved(window=_until(log, SystemClock.now() + HOUR))
    said = exported.ask("ended", ticket)
    assert said.code == 0, said
    assert "It ended when it should: the records show it." in said.out
    assert exported.ask("ended", ticket, "--json").json()["verdict"] == "shown"
    running = exported.ask("ended", later)
    assert running.code == 5, running  # It is in force, and nothing is wrong.
    assert running.err.startswith("too early: it has not ended yet: ")
    assert "It has not ended yet." in running.out
    assert "No discrepancy." in running.out
    told = exported.ask("ended", later, "--json").json()
    assert (told["verdict"], told["discrepancies"]) == ("still_running", [])
    assert told["tellable_from"] == told["end"]
    assert discrepancy(exported.ask("ended", new_grant())) == "authority_unknown"


def _until(log: Chronicle, end: datetime) -> Any:
    from guard.core.window import Window

    return Window(not_before=log.site.now, not_after=end)


async def test_a_node_that_captured_nothing(exported: Exported) -> None:
    """Shown by its heartbeats; a period that they do not cover is not."""
    log = exported.log
    await log.node.beat(at="start")
    await log.node.beats(HOUR / 2)
    await log.node.beat(at="stop")
    log.clock.move(minutes=10)
    await log.node.beat(at="start")
    said = exported.ask("nothing", "node-1", *exported.period(end=log.now))
    assert said.code == 0, said
    assert "captured nothing: the records show it" in said.out
    assert "did not run from" in said.out
    assert "(10m), and signed both" in said.out
    beyond = exported.ask("nothing", "node-1", *exported.period(), "--json")
    assert discrepancy(beyond) == "not_heard"
    assert beyond.json()["verdict"] == "not_shown"
    nobody = exported.ask("nothing", "node-7", *exported.period())
    assert discrepancy(nobody) == "node_unknown"
    assert "no node node-7 is known" in nobody.err
    assert discrepancy(exported.ask("nothing", "node-2", *exported.period())) == "not_heard"


async def test_a_file_that_was_tampered_with(exported: Exported) -> None:
    """A record left out of the numbering, and one with another body."""
    await exported.log.node.beat()
    await exported.log.node.beat()
    entries = exported.entries()
    altered = [*entries[:1], entries[1]._replace(body=entries[2].body), *entries[2:]]
    said = exported.ask("interceptions", *exported.period(), entries=altered)
    assert discrepancy(said) == "record_altered"
    path = exported.folder / "cut.jsonl"
    numbered = [(0, entries[0]), (2, entries[2])]
    write_entries(path, numbered, progress=lambda _: None)
    said = exported._callguard(
        *("audit", "interceptions", *exported.period()),
        *("--records", path, "--roots", exported.roots),
    )
    assert discrepancy(said) == "record_missing"


async def test_a_file_is_held_against_the_checkpoint_beside_it(exported: Exported) -> None:
    """Signed by the log and its witnesses by the policy on record, and over exactly these."""
    log = exported.log
    await log.node.beat()
    await log.node.beat()
    await log.cosign()
    with log.ledger.reads() as view:
        cosigned, signed = view.cosigned_checkpoint(), view.checkpoint()
    entries = exported.entries()
    ask = ("nothing", "node-1", *exported.period(log.now, log.now + timedelta(microseconds=1)))
    said = exported.ask("interceptions", *exported.period(), note=cosigned)
    assert said.code == 0, said
    assert f"The {len(entries)} records are those of the log, cosigned at" in said.out
    assert discrepancy(exported.ask(*ask, note=cosigned, entries=entries[:-1])) == "record_altered"
    assert discrepancy(exported.ask(*ask, note=cosigned, entries=entries[1:])) == "record_altered"
    doubled = [*entries, entries[-1]]
    assert discrepancy(exported.ask(*ask, note=cosigned, entries=doubled)) == "record_altered"
    alone = log.site.checkpoint(witnesses=())
    assert discrepancy(exported.ask(*ask, note=alone)) == "record_altered"
    assert signed is not None
    assert discrepancy(exported.ask(*ask, note=signed)) == "quorum_missing"


def test_wrong_usage(exported: Exported, callguard: Callguard) -> None:
    """An empty period, a time without an offset, roots without records, no profile."""
    now = SystemClock.now()
    for words in (
        ("interceptions", *exported.period(now, now)),
        ("interceptions", "--from", "2026-11-23T22:00:00", "--to", "2026-11-24"),
        ("ended", "not-an-id"),
    ):
        assert exported.ask(*words).code == 2
    said = callguard("audit", "ended", new_grant(), "--roots", exported.roots)
    assert said.code == 2
    assert callguard("audit", "ended", new_grant()).code == 2
    exported.roots.write_bytes(b"{}")
    assert exported.ask("ended", new_grant()).code == 1


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T22:00:00Z", datetime(2026, 11, 23, 22, tzinfo=UTC)),
        ("2026-11-23T23:30:00+01:00", datetime(2026, 11, 23, 22, 30, tzinfo=UTC)),
    ],
)
def test_moments_are_read_as_utc(text: str, moment: datetime) -> None:
    """A day is its beginning; an offset is taken into account."""
    assert parse_moment(text) == moment
    assert parse_moment(text).utcoffset() == timedelta(0)


@pytest.mark.parametrize("text", ["", "noon", "2026-11-23T22:00:00", "1970-01-01T00:00:00Z"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    """No offset, no date, no year of ours."""
    with pytest.raises(ValueError, match=r"."):
        parse_moment(text)


# --- a guard that runs ----------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Running]:
    """Run a deployment for one test."""
    running = Running(tmp_path / "d")
    try:
        running.start()
        yield running
    finally:
        running.stop_all()


@pytest.mark.slow
def test_the_questions_asked_of_a_guard(own: Running, callguard: Callguard) -> None:
    """A capture from its ticket to its end; then a node says what nobody granted."""

    def as_(person: str, *words: str | Path) -> Answer:
        return callguard("--profile", own.person(person), *words)

    start = format_time(SystemClock.now() - timedelta(minutes=1))
    period = ("--from", start, "--to", format_time(SystemClock.now() + HOUR))
    opened = as_(
        *("operator-1", "ticket", "open", "--reference", "INC-7", "--reason", "one-way audio"),
        *("--node", "node-1", "--level", "media_headers", "--number", NUMBER, "--for", "10m"),
        "--json",
    )
    ticket = opened.json()["id"]
    assert as_("lead-1", "authority", "approve", ticket, "--yes").code == 0
    with Node(own.folder / "nodes/node-1") as node:
        _beat(node, at="start")
        quiet_from, quiet_to = SystemClock.now(), SystemClock.now() + timedelta(microseconds=1)
        _beat(node)
        capture = as_("operator-1", "capture", "start", ticket, "--node", "node-1", "--json")
        grant_id = capture.json()["id"]
        own.wait(lambda: grant_id in node.live, "the node has armed it")
        node.seal(grant_id, 1, b"sealed")
        assert as_("auditor-1", "audit", "ended", ticket).code == 5
        assert as_("lead-1", "authority", "revoke", ticket, "--why", "done").code == 0
        own.wait(lambda: not node.live, "the node has ended it")
        over = SystemClock.now()
        _beat(node)
        own.wait(lambda: len(_bodies(as_, "node_heartbeat")) == 3, "the heartbeats are on record")
        said = as_("auditor-1", "audit", "interceptions", *period)
        assert said.code == 0, said
        assert "No discrepancy." in said.out
        assert "are those of the log" in said.out
        assert NUMBER not in said.out
        ended = as_("auditor-1", "audit", "ended", ticket, "--json")
        assert (ended.code, ended.json()["verdict"]) == (0, "shown")
        quiet = ("--from", format_time(quiet_from), "--to", format_time(quiet_to))
        said = as_("auditor-1", "audit", "nothing", "node-1", *quiet)
        assert said.code == 0, said
        busy = ("--from", format_time(quiet_from), "--to", format_time(over))
        assert discrepancy(as_("auditor-1", "audit", "nothing", "node-1", *busy)) == "captured"
        node.state(ReceiptKind.ARMED, new_grant())
        own.wait(
            lambda: as_("auditor-1", "audit", "interceptions", *period).code == 3,
            "the receipt is on record",
        )
        said = as_("auditor-1", "audit", "interceptions", *period)
        assert discrepancy(said) == "armed_without_grant"
    assert "audit interceptions" in {each["purpose"] for each in _bodies(as_, "records_read")}
    assert as_("operator-1", "audit", "interceptions", *period).denied() == "caller_role_wrong"


def _beat(node: Node, **about: str) -> None:
    node.state(
        ReceiptKind.HEARTBEAT,
        None,
        armed=tuple(sorted(node.live)),
        every=180,
        part=1,
        parts=1,
        **about,
    )


def _bodies(as_: Callguard, kind: str) -> list[dict[str, Any]]:
    read = as_("auditor-1", "log", "entries", "--json")
    assert read.code == 0, read
    return [each["body"] for each in read.json()["records"] if each["kind"] == kind]
