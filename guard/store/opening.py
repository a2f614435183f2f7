"""Opening the store that a configuration names."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from guard.app.ports import LedgerUnusable, Store
from guard.store.sqlite import SqliteStore


def open_store(url: str) -> Store:
    """Open the store at a database URL, `sqlite:///FILE`. Raises LedgerUnusable.

    The URL may hold a password, so no message repeats it.
    """
    try:
        parts = make_url(url)
    except ArgumentError as error:
        raise LedgerUnusable("the database URL is malformed") from error
    if parts.drivername != "sqlite" or not parts.database or parts.query:
        raise LedgerUnusable("the database URL is not of the form sqlite:///FILE")
    return SqliteStore(Path(parts.database))
