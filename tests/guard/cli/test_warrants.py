"""Warrants as TOML."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guard.cli.exits import DeniedError, UsageTroubleError
from guard.cli.warrants import read_warrant
from guard.core.enforcement import Enforcement
from guard.core.instruments import Instrument
from guard.core.level import Level
from guard.core.subjects import Subject, SubjectKind
from tests.guard.cli.running import NOW

EXAMPLE = Path(__file__).resolve().parents[3] / "config/warrant.example.toml"


@pytest.fixture
def warrant(tmp_path: Path) -> Path:
    """Copy the example and put a scanned order beside it."""
    (tmp_path / "order.pdf").write_bytes(b"the scanned order")
    path = tmp_path / "warrant.toml"
    path.write_text(EXAMPLE.read_text())
    return path


def change(path: Path, old: str, new: str) -> None:
    """Replace one text of the warrant, which must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_example_is_a_warrant(warrant: Path) -> None:
    """Every field of the example arrives, the dates in UTC, the number in its one spelling."""
    draft = read_warrant(warrant, now=NOW)
    assert draft.instrument is Instrument.INTERCEPTION_ORDER
    assert draft.level is Level.CONTENT
    assert draft.nodes == ("node-1",)
    assert draft.recipients == ("legal-1",)
    assert draft.window.not_before == datetime(2026, 11, 24, 5, tzinfo=UTC)
    assert draft.window.not_after == datetime(2026, 12, 23, 5, tzinfo=UTC)
    assert draft.subjects == (Subject(SubjectKind.TELEPHONE, "+493023125123"),)
    assert draft.order_sha256 == hashlib.sha256(b"the scanned order").hexdigest()
    assert draft.presenting_officer == "KHK Beispiel"


def test_a_window_may_be_a_span_from_now(warrant: Path) -> None:
    """Without not_before it begins now; lasts says how long."""
    change(warrant, "not_before = 2026-11-24T06:00:00+01:00\n", "")
    change(warrant, "not_after = 2026-12-23T06:00:00+01:00", 'lasts = "36h"')
    window = read_warrant(warrant, now=NOW).window
    assert (window.not_before, window.length) == (NOW, timedelta(hours=36))


def test_every_instrument_of_the_example_is_known(warrant: Path) -> None:
    """The comments name exactly the instruments that a file may hold."""
    text = EXAMPLE.read_text()
    for instrument in set(Instrument) - {
        Instrument.TICKET,
        Instrument.SUBPOENA,
        Instrument.SEARCH_WARRANT,
    }:
        assert f"{instrument}" in text
        warrant.write_text(text.replace('"interception_order"', f'"{instrument}"'))
        assert read_warrant(warrant, now=NOW).instrument is instrument


def test_what_is_demanded_of_the_nodes(warrant: Path) -> None:
    """Nothing, or what the file says."""
    assert read_warrant(warrant, now=NOW).enforcement is None
    change(warrant, '# enforcement = "prevent"', 'enforcement = "prevent"')
    assert read_warrant(warrant, now=NOW).enforcement is Enforcement.PREVENT


@pytest.mark.parametrize("instrument", ["subpoena", "search_warrant"])
def test_stored_data_is_denied_by_name(warrant: Path, instrument: str) -> None:
    """A subpoena does not allow interception."""
    change(warrant, '"interception_order"', f'"{instrument}"')
    with pytest.raises(DeniedError) as raised:
        read_warrant(warrant, now=NOW)
    assert raised.value.reason == "stored_data_only"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('level = "content"', 'level = "all"', "level"),
        ('level = "content"', "", "level is missing"),
        ('level = "content"', 'level = "content"\nurgent = true', "unknown: urgent"),
        ('nodes = ["node-1"]', "nodes = []", "nodes"),
        ('recipients = ["legal-1"]', "recipients = []", "recipients"),
        ('telephone = ["+49 30 2312 5123"]', "telephone = []", "telephone"),
        ('telephone = ["+49 30 2312 5123"]', 'name = ["x"]', "unknown: name"),
        ("+01:00\nnot_after", "\nnot_after", "offset"),
        ('"order.pdf"', '"missing.pdf"', "cannot read the order"),
        ('"interception_order"', '"ticket"', "ticket open"),
        ("# max_calls = 100", "max_calls = 0", "max_calls"),
        ("# max_calls = 100", "max_calls = true", "max_calls"),
        ('# enforcement = "prevent"', 'enforcement = "always"', "detect, kill, prevent"),
        ('# enforcement = "prevent"', "enforcement = 2", "enforcement"),
        ('level = "content"', 'level = "content', "not TOML"),
    ],
)
def test_a_file_that_is_not_exactly_right_is_wrong_usage(
    warrant: Path, old: str, new: str, complaint: str
) -> None:
    """Missing, unknown, mistyped and empty values each refuse the file and name the key."""
    change(warrant, old, new)
    with pytest.raises(UsageTroubleError, match=complaint):
        read_warrant(warrant, now=NOW)


@pytest.mark.parametrize("number", ["+49*", "030 1234567", "*", "+4930231251234x"])
def test_a_bad_subject_is_denied_without_being_shown(warrant: Path, number: str) -> None:
    """The reason is named, the number is not."""
    change(warrant, '"+49 30 2312 5123"', f'"{number}"')
    with pytest.raises(DeniedError) as raised:
        read_warrant(warrant, now=NOW)
    assert raised.value.reason == "subject_not_permitted"
    assert number not in str(raised.value)


def test_broken_toml_is_not_quoted(warrant: Path) -> None:
    """An error in the line of a subject says where, not what."""
    change(warrant, '["+49 30 2312 5123"]', '["+49 30 2312 5123')
    with pytest.raises(UsageTroubleError) as raised:
        read_warrant(warrant, now=NOW)
    assert "line" in str(raised.value)
    assert "2312" not in str(raised.value)
