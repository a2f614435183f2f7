"""Bringing a database's tables up to date, with Alembic from the package's own files.

1. All steps run in one transaction: a database is of one version or of the next, never between.
2. A database of a version that this release does not know is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine

from guard.app.ports import LedgerUnusable

_SCRIPTS: Final = Path(__file__).parent / "migrations"


def upgrade(engine: Engine) -> None:
    """Bring the tables up to this release's. Raises LedgerUnusable for a newer database."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise LedgerUnusable("a newer release wrote this store") from error


def newest() -> str | None:
    """Return the version that this release's tables have."""
    return ScriptDirectory(str(_SCRIPTS)).get_current_head()
