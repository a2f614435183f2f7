"""Bringing a database's tables up to date, with Alembic from the package's own files.

1. All steps run in one transaction: a database is of one version or of the next, never between.
2. A database of a version that this release does not know is refused.
3. Alembic is loaded only when there is something to do; usually the start is the faster for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, column, inspect, select, table

from guard.app.ports import LedgerUnusable

# The version of the newest file in migrations/versions; a test holds the two together.
NEWEST: Final = "0003"
_SCRIPTS: Final = Path(__file__).parent / "migrations"
_VERSION: Final = "alembic_version"


def upgrade(engine: Engine) -> None:
    """Bring the tables up to this release's. Raises LedgerUnusable for a newer database."""
    with engine.begin() as connection:
        if _version(connection) != NEWEST:
            _migrate(connection)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSION):
        return None
    found: str | None = connection.scalar(
        select(column("version_num")).select_from(table(_VERSION))
    )
    return found


def _migrate(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415  # rule 3
    from alembic.config import Config  # noqa: PLC0415  # rule 3
    from alembic.util import CommandError  # noqa: PLC0415  # rule 3

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise LedgerUnusable("a newer release wrote this store") from error
