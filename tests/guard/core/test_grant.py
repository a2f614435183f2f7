"""Grants: their form."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from guard.core import canonical
from guard.core.grant import Grant, encode_grant, parse_grant
from guard.core.reasons import Reason
from tests.builders.deployment import Deployment
from tests.guard.core.refusals import refuses


@pytest.fixture(scope="module")
def grant() -> Grant:
    deployment = Deployment()
    return deployment.grant(deployment.approved())


def test_round_trip(grant: Grant) -> None:
    """A grant reads as it was written."""
    assert parse_grant(encode_grant(grant)) == grant


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "1"},
        {"authority_id": ""},
        {"authority_digest": "A" * 64},
        {"node": "*"},
        {"lease": timedelta(0)},
        {"lease": timedelta(seconds=61)},
    ],
    ids=str,
)
def test_bounds(grant: Grant, changes: dict[str, Any]) -> None:
    """A grant with a field out of its form, or a lease above a minute, cannot be made."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        replace(grant, **changes)


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v.update(more=1),
        lambda v: v.pop("node"),
        lambda v: v.update(lease_seconds=True),
        lambda v: v.update(lease_seconds="30"),
        lambda v: v.update(level="all"),
        lambda v: v.update(issued_at=0),
        lambda v: v.update(node=["node-1"]),
        lambda v: v.update(id="x" * 5000),
    ],
)
def test_what_is_no_grant(grant: Grant, edit: Callable[[dict[str, Any]], object]) -> None:
    """A document that breaks one rule of a grant's form is refused."""
    value = json.loads(encode_grant(grant))
    edit(value)
    with refuses(Reason.DOCUMENT_MALFORMED):
        parse_grant(canonical.encode(value))
