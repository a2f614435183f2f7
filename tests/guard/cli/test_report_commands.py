"""Reports from the command line: of a file of records, and of a guard that runs."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from guard.cli.record_source import write_entries
from guard.cli.report_files import Format, rendered
from guard.clock import SystemClock
from guard.core import envelope as dsse
from guard.core.fields import format_time
from guard.core.instruments import Instrument
from guard.core.receipt import ReceiptKind
from guard.core.statutes import LOGGED
from guard.core.trust import encode_roots
from tests.builders.chronicle import Chronicle
from tests.builders.deployment import SUBJECT, Deployment
from tests.guard.cli.node import Node
from tests.guard.cli.running import Answer, Running
from tests.guard.cli.test_commands import NUMBER

Callguard = Callable[..., Answer]
HOUR = timedelta(hours=1)


# --- rendering ------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects what a page holds: its cells, and which tags it uses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._open = tag in {"th", "td"}
        if self._open:
            self.cells.append("")
        assert not {name for name, _ in attrs} & {"src", "href", "onload", "onclick"}

    def handle_data(self, data: str) -> None:
        if self._open:
            self.cells[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._open = False


NASTY = '<script>alert("x")</script>&amp;'
REPORT = {
    "title": "A report",
    "made_at": "2026-11-26T12:00:00Z",
    "entries": [
        {"entry": 3, "reference": NASTY, "times": [{"from": "a", "to": None}], "test": True},
        {"entry": 4, "reference": "=SUM(A1)", "times": [], "test": False},
    ],
}


def test_the_page_is_whole_escaped_and_alone() -> None:
    """No script, no address, no picture; what was in the report is on the page as text."""
    page = Page(rendered(REPORT, Format.HTML, titles=LOGGED))
    assert not page.tags & {"script", "img", "link", "iframe", "a"}
    assert NASTY in page.cells
    assert LOGGED["reference"] in page.cells
    assert "2026-11-26T12:00:00Z" in page.cells


def test_a_spreadsheet_finds_no_formula() -> None:
    """Cells that begin like one are text; statutory columns come first, under their titles."""
    rows = list(csv.reader(io.StringIO(rendered(REPORT, Format.CSV, titles=LOGGED))))
    assert rows[0][:6] == list(LOGGED.values())
    assert len(rows) == 3
    cells = [cell for row in rows for cell in row]
    assert "'=SUM(A1)" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_json_is_the_report() -> None:
    """What is read again is what was made."""
    assert json.loads(rendered(REPORT, Format.JSON, titles=LOGGED)) == REPORT


# --- a file of records ----------------------------------------------------------------------------


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Chronicle]:
    """Run use cases that began three hours ago."""
    site = Deployment(SystemClock.now().replace(microsecond=0) - 3 * HOUR)
    async with Chronicle(tmp_path, site) as made:
        yield made


@pytest.fixture
def ask(log: Chronicle, tmp_path: Path, callguard: Callguard) -> Callguard:
    """Export the records and make a report of them."""
    roots = tmp_path / "roots.json"
    roots.write_bytes(encode_roots(log.site.pinned))

    def asked(*words: str | Path) -> Answer:
        path = tmp_path / "records.jsonl"
        path.unlink(missing_ok=True)
        with log.ledger.reads() as view:
            entries = view.entries(0, view.size())
        write_entries(path, enumerate(entries), progress=lambda _: None)
        return callguard("report", *words, "--records", path, "--roots", roots)

    return asked


async def test_reports_from_a_file_need_no_guard(log: Chronicle, ask: Callguard) -> None:
    """Certification and counts of a warrant; no subject in any; an unknown grant is an error."""
    await log.approved(Instrument.INTERCEPTION_ORDER)
    await log.sweep.run()
    (grant_id,) = [e.body["grant_id"] for e in log.records() if e.kind == "capture_granted"]
    await log.run_capture(grant_id)
    made = ask("calea", grant_id)
    assert made.code == 0, made
    draft = json.loads(made.out)
    assert draft["officer"].startswith("Special Agent")
    assert draft["discrepancies"] == []
    assert SUBJECT not in made.out
    period = ("--from", format_time(log.site.now - HOUR), "--to", format_time(log.now + HOUR))
    counted = json.loads(ask("counts", *period).out)
    assert counted["interceptions"] == {"interception_order": "<5"}
    assert json.loads(ask("counts", *period, "--exact").out)["packets"] == 3
    assert ask("calea", "no-id").code == 2
    page = Page(ask("calea", grant_id, "--format", "html").out)
    assert "Certified complete and accurate" in page.cells
    assert ask("calea", "00000000-0000-4000-8000-000000000000").code == 1
    logged = json.loads(ask("tkuev", *period).out)
    assert (logged["sample"], len(logged["entries"])) == (None, 1)


async def test_a_finding_ends_with_status_3_after_the_report(
    log: Chronicle, ask: Callguard, tmp_path: Path
) -> None:
    """The report is written all the same, and says what is not right."""
    await log.node.arm("00000000-0000-4000-8000-000000000009")
    out = tmp_path / "counts.json"
    period = ("--from", format_time(log.site.now - HOUR), "--to", format_time(log.now + HOUR))
    said = ask("counts", *period, "--out", out)
    assert said.code == 3
    assert said.err.startswith("discrepancy: armed_without_grant: ")
    assert json.loads(out.read_text())["discrepancies"] == 1
    assert "node-1" not in out.read_text()
    exact = json.loads(ask("counts", *period, "--exact").out)
    assert exact["discrepancies"][0]["kind"] == "armed_without_grant"
    assert out.stat().st_mode & 0o777 == 0o600
    assert ask("counts", *period, "--out", out).code == 2


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


def tickets(own: Running, as_: Callguard, count: int) -> list[str]:
    """Open and approve tickets, start a capture under each but the last, end it; return grants."""
    grants = []
    with Node(own.folder / "nodes/node-1") as node:
        for number in range(count):
            opened = as_(
                *("operator-1", "ticket", "open", "--reference", f"INC-{number}", "--reason", "x"),
                *("--node", "node-1", "--level", "media_headers", "--number", NUMBER),
                *("--for", "10m", "--json"),
            ).json()["id"]
            assert as_("lead-1", "authority", "approve", opened, "--yes").code == 0
            started = as_("operator-1", "capture", "start", opened, "--node", "node-1", "--json")
            grant_id = started.json()["id"]
            own.wait(lambda each=grant_id: each in node.live, "the node has armed it")
            node.seal(grant_id, 1, b"sealed")
            assert as_("lead-1", "authority", "revoke", opened, "--why", "done").code == 0
            own.wait(lambda: not node.live, "the node has ended it")
            grants.append(grant_id)
        node.state(ReceiptKind.HEARTBEAT, None, every=180, part=1, parts=1, armed=())
    return grants


@pytest.mark.slow
def test_a_sample_is_drawn_examined_and_checked_from_outside(
    own: Running, callguard: Callguard, tmp_path: Path
) -> None:
    """The log with its sample; an outsider recomputes it; steering it is seen; the review is filed."""
    # Longer than others because it is one story, and each step needs those before it.

    def as_(person: str, *words: str | Path) -> Answer:
        return callguard("--profile", own.person(person), *words)

    start = format_time(SystemClock.now() - HOUR)
    tickets(own, as_, 2)
    denied = as_(
        "operator-1", "capture", "start", "00000000-0000-4000-8000-000000000000", "--node", "node-1"
    )
    assert denied.code == 3
    period = ("--from", start, "--to", format_time(SystemClock.now()))
    assert as_("operator-1", "report", "tkuev", *period).denied() == "caller_role_wrong"
    out = tmp_path / "log.json"
    made = as_("auditor-1", "report", "tkuev", *period, "--out", out)
    assert made.code == 0, made
    report = json.loads(out.read_text())
    assert len(report["entries"]) >= 3
    assert any("suspicion" in each["examine"] for each in report["entries"])
    assert NUMBER not in out.read_text()
    assert "operator-1" not in out.read_text()

    public = own.folder / "log"

    def check(path: Path) -> Answer:
        return callguard(
            "report", "sample-check", path, "--log", public, "--policy", public / "policy"
        )

    own.wait(lambda: check(out).code == 0, "the log is published behind the commitment")
    for number, steer in enumerate((_drop_entry, _other_nonce, _other_choice, _other_root)):
        steered = tmp_path / f"steered-{number}.json"
        changed = json.loads(out.read_text())
        steer(changed)
        steered.write_text(json.dumps(changed))
        answer = check(steered)
        assert answer.code == 3, (steer, answer)
        assert answer.err.startswith("discrepancy: sample_steered: ")

    again = json.loads(as_("auditor-1", "report", "tkuev", *period, "--again", out).out)
    assert again["sample"]["indices"] == report["sample"]["indices"]
    repeated = json.loads(as_("auditor-1", "report", "tkuev", *period).out)
    assert repeated["sample"]["index"] == report["sample"]["index"], "it is drawn once"
    assert repeated["sample"]["indices"] == report["sample"]["indices"]

    (kept,) = (own.person("auditor-1") / "state" / "samples").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    draw = json.loads(kept.read_text())
    kept.write_text(json.dumps(draw | {"index": None}))  # The answer was lost.
    found = json.loads(as_("auditor-1", "report", "tkuev", *period).out)
    assert found["sample"]["index"] == report["sample"]["index"], "it is found again in the log"

    kept.unlink()
    again_out = tmp_path / "second.json"
    assert as_("auditor-1", "report", "tkuev", *period, "--out", again_out).code == 0
    second = json.loads(again_out.read_text())
    assert second["sample"]["earlier"] == [report["sample"]["index"]]
    assert (report["sample"]["counts"], second["sample"]["counts"]) == (True, False)
    own.wait(lambda: "drawn before" in check(again_out).err, "the second draw is published")
    for hide in ({"earlier": [], "counts": True}, {"earlier": [], "counts": True, "before": []}):
        hidden = tmp_path / f"hidden-{len(hide)}.json"
        hidden.write_text(json.dumps(second | {"sample": second["sample"] | hide}))
        answer = check(hidden)
        assert answer.code == 3, answer
        assert answer.err.startswith("discrepancy: sample_steered: ")
    shown = json.loads(as_("auditor-1", "report", "tkuev", *period, "--again", out).out)
    assert shown["sample"]["later"] == [second["sample"]["index"]]
    assert check(out).code == 0, "what was drawn first still counts"

    filed = as_("auditor-1", "report", "review", out, "--result", "all as ordered", "--json")
    assert filed.json()["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    read = as_("auditor-1", "log", "entries", "--json").json()["records"]
    (review,) = [e["body"] for e in read if e["kind"] == "review_filed"]
    assert review["sample"] == report["sample"]["index"]
    named = as_("auditor-1", "report", "tkuev", *period, "--again", out, "--with-persons")
    assert "operator-1" in named.out
    purposes = {e["body"]["purpose"] for e in read if e["kind"] == "records_read"}
    assert "report tkuev" in purposes


def _drop_entry(report: dict[str, Any]) -> None:
    del report["entries"][0]


def _other_nonce(report: dict[str, Any]) -> None:
    report["sample"]["nonce"] = "A" * 43 + "="


def _other_choice(report: dict[str, Any]) -> None:
    indices = report["sample"]["indices"]
    other = next(e["entry"] for e in report["entries"] if e["entry"] not in indices)
    report["sample"]["indices"] = [other]


def _other_root(report: dict[str, Any]) -> None:
    report["sample"]["root"] = "A" * 43 + "="


@pytest.mark.slow
def test_the_overseer_completes_and_signs_the_certification(
    own: Running, callguard: Callguard, tmp_path: Path
) -> None:
    """The auditor's draft has no number; the overseer's certificate has; its digest is on record."""
    # Longer than others because it is one story, and each step needs those before it.

    def as_(person: str, *words: str | Path) -> Answer:
        return callguard("--profile", own.person(person), *words)

    order = tmp_path / "order.toml"
    (tmp_path / "order.pdf").write_bytes(b"%PDF-1.7 scanned")
    order.write_text(
        'instrument = "interception_order"\nreference = "3 Gs 1/26"\nlevel = "content"\n'
        'nodes = ["node-1"]\nlasts = "20m"\nrecipients = ["legal-1"]\n'
        'legal_basis = "StPO section 100a"\nissuing_authority = "Amtsgericht"\n'
        'issuing_signer = "RiAG Muster"\npresenting_officer = "KHK Beispiel"\n'
        f'presenting_agency = "LKA"\norder = "order.pdf"\n[subjects]\ntelephone = ["{NUMBER}"]\n'
    )
    warrant = as_("legal-1", "warrant", "register", order, "--json").json()["id"]
    with Node(own.folder / "nodes/node-1") as node:
        assert as_("legal-2", "authority", "approve", warrant, "--yes").code == 0
        own.wait(lambda: node.live, "the node has armed it")
        (grant_id,) = list(node.live)
        draft = tmp_path / "draft.json"
        own.wait(
            lambda: (
                as_("auditor-1", "report", "calea", warrant).code == 0
                and json.loads(as_("auditor-1", "report", "calea", warrant).out)["started"]
            ),
            "the receipt is on record",
        )
        assert as_("auditor-1", "report", "calea", warrant, "--out", draft).code == 0
    assert NUMBER not in draft.read_text()

    certificate = tmp_path / "certificate.json"
    told = as_("legal-2", "report", "certify", draft, "--out", certificate, "--yes", "--json")
    assert told.code == 0, told
    envelope = dsse.parse(certificate.read_bytes(), dsse.Kind.CERTIFICATE)
    payload = json.loads(envelope.payload)
    assert payload["identifiers"] == [{"kind": "telephone", "value": NUMBER}]
    assert (payload["overseer"], payload["officer"]) == ("legal-2", "KHK Beispiel, LKA")
    assert certificate.stat().st_mode & 0o777 == 0o600
    again = json.loads(as_("auditor-1", "report", "calea", grant_id).out)
    assert [each["by"] for each in again["certificates"]] == ["legal-2"]
    assert again["certificates"][0]["sha256"] == told.json()["sha256"]

    for name in ("issuing_signer", "authorized_by", "officer", "type", "subjects_commitment"):
        forged = tmp_path / f"forged-{name}.json"
        forged.write_text(json.dumps(json.loads(draft.read_text()) | {name: "somebody else"}))
        refused = as_("legal-2", "report", "certify", forged, "--out", tmp_path / "x", "--yes")
        assert refused.code == 1
        assert name in refused.err
        assert not (tmp_path / "x").exists()

    denied = as_("legal-1", "capture", "start", warrant, "--node", "node-9")
    assert denied.code == 3
    read = as_("auditor-1", "log", "entries", "--json").json()["records"]
    record = str(next(e["index"] for e in read if e["kind"] == "capture_denied"))
    attempt = tmp_path / "attempt.json"
    assert as_("auditor-1", "report", "calea", record, "--out", attempt).code == 0
    told = as_("legal-2", "report", "certify", attempt, "--out", tmp_path / "w", "--yes")
    assert told.code == 0, told
    assert re.search(r"What came of it +it was denied: ", told.out), told.out
    told = as_("legal-2", "report", "certify", attempt, "--out", tmp_path / "z", "--yes", "--json")
    assert told.code == 0, told
    payload = json.loads(dsse.parse((tmp_path / "z").read_bytes(), dsse.Kind.CERTIFICATE).payload)
    assert (payload["authorized"], payload["outcome"]) == (False, "denied")
    assert payload["identifiers"] == [{"kind": "telephone", "value": NUMBER}]
    assert as_("auditor-1", "report", "certify", draft, "--out", tmp_path / "y", "--yes").code == 3
