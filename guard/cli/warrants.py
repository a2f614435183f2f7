"""Warrants as TOML: ``config/warrant.example.toml`` shows every key.

The file is strict: an unknown or missing key is an error. Dates carry their offset.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from guard.cli.drafting import Draft, digest_of_file
from guard.cli.exits import UsageTroubleError, asking
from guard.cli.roster import take_subjects
from guard.cli.tables import Table, read_table
from guard.core.enforcement import Enforcement
from guard.core.instruments import Instrument, parse_instrument
from guard.core.level import Level
from guard.core.window import Window

__all__ = ["read_warrant"]


def read_warrant(path: Path, *, now: datetime) -> Draft:
    """Read a warrant and hash the order it names; raises UsageTroubleError or DeniedError."""
    table = read_table(path)
    with asking():
        instrument = parse_instrument(table.text("instrument"))
    if instrument is Instrument.TICKET:
        raise UsageTroubleError(f"{path}: open a ticket with: callguard ticket open")
    with asking():
        window = _window(table, now)
    order = table.optional_text("order")
    draft = Draft(
        instrument=instrument,
        reference=table.text("reference"),
        level=_level(table),
        nodes=tuple(table.texts("nodes")),
        window=window,
        recipients=tuple(table.texts("recipients")),
        subjects=take_subjects(table.table("subjects")),
        legal_basis=table.optional_text("legal_basis"),
        issuing_authority=table.optional_text("issuing_authority"),
        issuing_signer=table.optional_text("issuing_signer"),
        presenting_officer=table.optional_text("presenting_officer"),
        presenting_agency=table.optional_text("presenting_agency"),
        order_sha256=digest_of_file(path.parent / order) if order else None,
        reason=table.optional_text("reason"),
        max_calls=table.integer("max_calls") if table.has("max_calls") else None,
        max_bytes=table.integer("max_bytes") if table.has("max_bytes") else None,
        enforcement=_enforcement(table),
    )
    table.finish()
    return draft


def _window(table: Table, now: datetime) -> Window:
    begin = table.moment("not_before") if table.has("not_before") else now.replace(microsecond=0)
    if table.has("lasts"):
        return Window(not_before=begin, not_after=begin + table.span("lasts"))
    return Window(not_before=begin, not_after=table.moment("not_after"))


def _level(table: Table) -> Level:
    text = table.text("level")
    if text not in set(Level):
        raise UsageTroubleError(f"level must be one of {', '.join(Level)}")
    return Level(text)


def _enforcement(table: Table) -> Enforcement | None:
    text = table.optional_text("enforcement")
    if text is not None and text not in set(Enforcement):
        raise UsageTroubleError(f"enforcement must be one of {', '.join(Enforcement)}")
    return None if text is None else Enforcement(text)
