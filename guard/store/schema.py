"""The tables, in SQL that every database speaks.

1. Times are whole microseconds since 1970 in UTC, so that they compare as numbers everywhere; the
   time of a record is its text, because the text is what is hashed.
2. `revision` is the log index of the record of the row's last change (see guard.app.changes).
3. The salt and the body of a record are NULL once it is erased; its digest stays.
4. What legal said of an incident is canonical JSON in its row (`guard.store.rows`).
5. `heads` holds two rows: the newest checkpoint the log signed and the newest that was cosigned.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

AUTHORITIES = Table(
    "authorities",
    METADATA,
    Column("id", String, primary_key=True),
    Column("envelope", LargeBinary, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("registrant", String, nullable=False),
    Column("revision", BigInteger, nullable=False, index=True),
    Column("window_end", BigInteger, nullable=False),
)

CAPTURES = Table(
    "captures",
    METADATA,
    Column("id", String, primary_key=True),
    Column("authority_id", String, ForeignKey("authorities.id"), nullable=False),
    Column("node", String, nullable=False),
    Column("level", String, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("why", String, nullable=False),
    Column("grant_envelope", LargeBinary, nullable=False),
    Column("evidence_index", BigInteger, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("lease_seconds", Integer, nullable=False),
    Column("principal", String, nullable=False),
    Column("request_id", String, nullable=False),
    Column("revision", BigInteger, nullable=False, index=True),
    UniqueConstraint("principal", "request_id"),
    Index(None, "node", "revision"),
    Index(None, "authority_id", "revision"),
)

SEGMENTS = Table(
    "segments",
    METADATA,
    Column("capture_id", String, ForeignKey("captures.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String, nullable=False),
    Column("path", String, nullable=False),
    Column("receipt", LargeBinary, nullable=False),
    Column("stored_at", BigInteger, nullable=False, index=True),
    Column("deleted", Boolean, nullable=False),
)

TRUST_POLICIES = Table(
    "trust_policies",
    METADATA,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("envelope", LargeBinary, nullable=False),
)

RECEIPTS = Table(
    "receipts",
    METADATA,
    Column("node", String, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("digest", String, nullable=False),
)

INCIDENTS = Table(
    "incidents",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("node", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("last_record", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("told_command", BigInteger, nullable=False),
    Column("told_webhook", BigInteger, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("closed", Boolean, nullable=False),
    Column("assessments", LargeBinary, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Index(None, "node", "first"),
)

ENTRIES = Table(
    "entries",
    METADATA,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),
    Column("time", String, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("salt", LargeBinary, nullable=True),
    Column("body", LargeBinary, nullable=True),
)

HEADS = Table(
    "heads",
    METADATA,
    Column("kind", String, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("checkpoint", LargeBinary, nullable=False),
)
