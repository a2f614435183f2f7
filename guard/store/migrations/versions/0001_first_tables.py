"""The first tables.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    _authorities()
    _captures()
    _segments()
    _trust()
    _log()


def _authorities() -> None:
    op.create_table(
        "authorities",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("registrant", sa.String, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("window_end", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_authorities"),
    )
    op.create_index("ix_authorities_state", "authorities", ["state"])
    op.create_index("ix_authorities_revision", "authorities", ["revision"])


def _captures() -> None:
    op.create_table(
        "captures",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("authority_id", sa.String, nullable=False),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("level", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("why", sa.String, nullable=False),
        sa.Column("grant_envelope", sa.LargeBinary, nullable=False),
        sa.Column("evidence_index", sa.BigInteger, nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("lease_seconds", sa.Integer, nullable=False),
        sa.Column("principal", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_captures"),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["authorities.id"], name="fk_captures_authority_id"
        ),
        sa.UniqueConstraint("principal", "request_id", name="uq_captures_principal_request_id"),
    )
    op.create_index("ix_captures_state", "captures", ["state"])
    op.create_index("ix_captures_revision", "captures", ["revision"])
    op.create_index("ix_captures_node_captures_revision", "captures", ["node", "revision"])
    op.create_index(
        "ix_captures_authority_id_captures_revision", "captures", ["authority_id", "revision"]
    )


def _segments() -> None:
    op.create_table(
        "segments",
        sa.Column("capture_id", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("receipt", sa.LargeBinary, nullable=False),
        sa.Column("stored_at", sa.BigInteger, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("capture_id", "number", name="pk_segments"),
        sa.ForeignKeyConstraint(["capture_id"], ["captures.id"], name="fk_segments_capture_id"),
    )
    op.create_index("ix_segments_stored_at", "segments", ["stored_at"])


def _trust() -> None:
    op.create_table(
        "trust_policies",
        sa.Column("version", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_trust_policies"),
    )
    op.create_table(
        "receipts",
        sa.Column("node", sa.String, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("node", name="pk_receipts"),
    )


def _log() -> None:
    op.create_table(
        "entries",
        sa.Column("position", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("time", sa.String, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_entries"),
    )
    op.create_table(
        "heads",
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("checkpoint", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("kind", name="pk_heads"),
    )
