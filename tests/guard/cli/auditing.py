"""What the tests of an auditor's commands share: a log to verify, and a plain server for it."""

from __future__ import annotations

import http.server
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from guard.core.record import Entry, Record, entry_of
from tests.builders.public_logs import PublicFolder
from tests.guard.cli.running import Answer

Callguard = Callable[..., Answer]


@dataclass
class Case:
    """An honest log of some 550 entries in a folder of its own, and the words to verify it."""

    log: PublicFolder
    entries: list[Entry]
    callguard: Callguard

    @property
    def at(self):
        """When the witnesses cosign: half a minute after the last record."""
        last = self.entries[-1].record().time
        return last + timedelta(seconds=30)

    def publish(self, entries: Sequence[Entry] | None = None) -> None:
        self.log.publish(entries or self.entries, self.at)

    def command(self, *words: str | Path, where: str | Path | None = None) -> Answer:
        policy = self.log.folder.parent / "policy"
        policy.write_text(self.log.site.policy.log.text)
        return self.callguard("log", *words, "--log", where or self.log.folder, "--policy", policy)

    def verify(self, *words: str | Path, where: str | Path | None = None) -> Answer:
        return self.command("verify", *words, where=where)

    def with_records(self, entries: Sequence[Entry] | None = None, *words: str | Path) -> Answer:
        """Verify records, these or the log's own, against the log."""
        kept = self.log.export(self.entries if entries is None else entries)
        return self.verify("--records", kept, "--roots", self.log.roots(), *words)


def found(answer: Answer) -> tuple[str, int | None]:
    """Return kind and the first number after "entry" or "record" in a discrepancy."""
    assert answer.code == 3, answer
    match = re.search(r"^discrepancy: ([a-z_]+): ([^\n]+)\n\Z", answer.err, re.MULTILINE)
    assert match, answer.err
    index = re.search(r"(?:entry|record) (\d+)", match[2])
    return match[1], int(index[1]) if index else None


def again(entry: Entry, **changes) -> Entry:
    """Make an entry anew with another body or time, as whoever has the log can."""
    record = entry.record()
    body = changes.pop("body", dict(record.body))
    made = Record(kind=record.kind, time=record.time, body=body, salt=record.salt)
    return entry_of(made)._replace(**changes)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Redirecting(Quiet):
    """Sends every reader of the checkpoint somewhere else."""

    target = ""

    def do_GET(self) -> None:
        if not self.target or not self.path.endswith("/checkpoint"):
            super().do_GET()
            return
        self.send_response(302)
        self.send_header("Location", self.target)
        self.end_headers()
