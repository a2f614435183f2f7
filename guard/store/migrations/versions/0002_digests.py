"""Records keep their digest, so that salt and body can be erased.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_PAGE = 1000
_ENTRIES = sa.table(
    "entries",
    sa.column("position", sa.BigInteger),
    sa.column("digest", sa.LargeBinary),
    sa.column("salt", sa.LargeBinary),
    sa.column("body", sa.LargeBinary),
)


def upgrade() -> None:
    """Add the digest of every record, and let salt and body be NULL."""
    with op.batch_alter_table("entries") as batch:
        batch.add_column(sa.Column("digest", sa.LargeBinary, nullable=True))
    _fill()
    with op.batch_alter_table("entries") as batch:
        batch.alter_column("digest", existing_type=sa.LargeBinary, nullable=False)
        batch.alter_column("salt", existing_type=sa.LargeBinary, nullable=True)
        batch.alter_column("body", existing_type=sa.LargeBinary, nullable=True)


def _fill() -> None:
    e, start = _ENTRIES.c, 0
    connection = op.get_bind()
    page = sa.select(e.position, e.salt, e.body).order_by(e.position).limit(_PAGE)
    while rows := connection.execute(page.where(e.position >= start)).fetchall():
        for position, salt, body in rows:
            digest = sha256(salt + body).digest()
            connection.execute(
                sa.update(_ENTRIES).where(e.position == position).values(digest=digest)
            )
        start = rows[-1][0] + 1
