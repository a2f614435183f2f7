"""Filings: their form, and nothing else than their form."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from guard.core import canonical
from guard.core.filing import Filing, FilingKind, encode_filing, parse_filing
from guard.core.reasons import Reason
from guard.core.window import Window
from tests.builders.deployment import NOW, new_id
from tests.guard.core.refusals import refuses

CERTIFICATE = Filing(
    kind=FilingKind.CERTIFICATE, by="legal-1", time=NOW, document="ab" * 32, grant_id=new_id()
)
REVIEW = Filing(
    kind=FilingKind.REVIEW,
    by="auditor-1",
    time=NOW,
    document="cd" * 32,
    period=Window(not_before=NOW - timedelta(days=90), not_after=NOW),
    result="nothing was found",
)


@pytest.mark.parametrize(
    "filing",
    [
        CERTIFICATE,
        replace(CERTIFICATE, grant_id=None, record=7),
        REVIEW,
        replace(REVIEW, sample=0),
    ],
)
def test_round_trip(filing: Filing) -> None:
    """A filing reads as it was written."""
    assert parse_filing(encode_filing(filing)) == filing


@pytest.mark.parametrize(
    ("filing", "changes"),
    [
        (CERTIFICATE, {"grant_id": None}),
        (CERTIFICATE, {"grant_id": "1"}),
        (CERTIFICATE, {"record": 7}),
        (CERTIFICATE, {"sample": 7}),
        (REVIEW, {"record": 7}),
        (CERTIFICATE, {"result": "fine"}),
        (CERTIFICATE, {"period": REVIEW.period}),
        (CERTIFICATE, {"document": "ab"}),
        (CERTIFICATE, {"by": "Legal 1"}),
        (REVIEW, {"period": None}),
        (REVIEW, {"result": None}),
        (REVIEW, {"result": "two\nlines"}),
        (REVIEW, {"grant_id": new_id()}),
    ],
)
def test_bounds(filing: Filing, changes: dict[str, Any]) -> None:
    """A filing with a field out of its form, or of the other kind, cannot be made."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        replace(filing, **changes)


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v.update(more=1),
        lambda v: v.pop("by"),
        lambda v: v.update(kind="maybe"),
        lambda v: v.pop("end"),
        lambda v: v.update(time="today"),
    ],
)
def test_what_is_no_filing(edit: Callable[[dict[str, Any]], object]) -> None:
    """A document that breaks one rule is refused."""
    value = json.loads(encode_filing(REVIEW))
    edit(value)
    with refuses(Reason.DOCUMENT_MALFORMED):
        parse_filing(canonical.encode(value))
