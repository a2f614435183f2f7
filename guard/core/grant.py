"""The grant: the guard's signed word that an authority may run on one node.

A grant adds nothing to its authority: its window and level lie inside, and a node checks that they
do. It names the authority's envelope by digest, so that another set of signatures is another grant.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from guard.core import canonical
from guard.core.decision import Permit
from guard.core.fields import (
    DIGEST,
    NAME,
    UUID,
    Fields,
    encode_seconds,
    format_time,
    require,
    require_match,
)
from guard.core.instruments import LONGEST_LEASE
from guard.core.level import Level
from guard.core.window import Window, take_window, window_fields

MAX_GRANT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One grant. ``lease`` is how long it runs without hearing from the guard."""

    id: str
    authority_id: str
    authority_digest: str
    node: str
    level: Level
    window: Window
    lease: timedelta
    issued_at: datetime

    def __post_init__(self) -> None:
        require_match(self.id, UUID, "the grant's id")
        require_match(self.authority_id, UUID, "the grant's authority")
        require_match(self.authority_digest, DIGEST, "the grant's digest of its authority")
        require_match(self.node, NAME, "the grant's node")
        require(
            timedelta(seconds=1) <= self.lease <= LONGEST_LEASE, "the grant's lease is too long"
        )


def make_grant(permit: Permit, *, grant_id: str, now: datetime) -> Grant:
    """Make the grant of a permit; ``grant_id`` is a new UUID."""
    return Grant(
        id=grant_id,
        authority_id=permit.authority.authority.id,
        authority_digest=permit.authority.digest,
        node=permit.node,
        level=permit.level,
        window=permit.window,
        lease=permit.lease,
        issued_at=now,
    )


def encode_grant(grant: Grant) -> bytes:
    """Write the payload of a grant."""
    return canonical.encode(
        {
            "authority_digest": grant.authority_digest,
            "authority_id": grant.authority_id,
            "id": grant.id,
            "issued_at": format_time(grant.issued_at),
            "lease_seconds": encode_seconds(grant.lease),
            "level": grant.level.value,
            "node": grant.node,
        }
        | window_fields(grant.window)
    )


def parse_grant(payload: bytes) -> Grant:
    """Read the payload of a grant; its signature and evidence are the verifier's to check."""
    fields = Fields(canonical.decode(payload, limit=MAX_GRANT), "grant")
    grant = Grant(
        id=fields.text("id"),
        authority_id=fields.text("authority_id"),
        authority_digest=fields.text("authority_digest"),
        node=fields.text("node"),
        level=fields.choice("level", Level),
        window=take_window(fields),
        lease=fields.seconds("lease_seconds", least=1, most=3600),
        issued_at=fields.time("issued_at"),
    )
    fields.finish()
    return grant
