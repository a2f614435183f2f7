"""Reading the TOML files that people write: strict, and with the file's name in every error.

1. An unknown key, a missing one, a wrong type and an empty list are errors.
2. Errors name the key, never its value: a value may be a subject.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from guard.cli.durations import parse_duration
from guard.cli.exits import UsageTroubleError

__all__ = ["Table", "read_table"]


def read_table(path: Path) -> Table:
    """Read a TOML file; raises UsageTroubleError."""
    try:
        return Table(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except OSError as error:
        raise UsageTroubleError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageTroubleError(f"{path} is not TOML: {_place(error)}") from error


def _place(error: ValueError) -> str:
    """Say where the error is without quoting the line."""
    text = str(error)
    return text[text.rfind("(at ") :] if "(at " in text else "not UTF-8"


class Table:
    """A TOML table whose keys are taken one by one; `finish` refuses what is left."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._left = dict(values)
        self._where = where

    def has(self, key: str) -> bool:
        """Say whether ``key`` is there and not taken yet."""
        return key in self._left

    def text(self, key: str) -> str:
        """Take a text that is not blank."""
        value = self._take(key)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(key, "a text that is not empty")
        return value.strip()

    def optional_text(self, key: str) -> str | None:
        """Take a text, or None where the key is absent."""
        return self.text(key) if self.has(key) else None

    def texts(self, key: str) -> list[str]:
        """Take a list of texts with at least one (rule 1)."""
        value = self._take(key)
        whole = isinstance(value, list) and all(isinstance(item, str) and item for item in value)
        if not whole or not value:
            raise self._wrong(key, "a list of texts, with at least one")
        return list(value)

    def integer(self, key: str) -> int:
        """Take a whole number above zero."""
        value = self._take(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._wrong(key, "a whole number above zero")
        return value

    def moment(self, key: str) -> datetime:
        """Take a date and time with its offset, as UTC."""
        value = self._take(key)
        if not isinstance(value, datetime) or value.utcoffset() is None:
            raise self._wrong(key, "a date and time with its offset, like 2026-11-23T22:00:00Z")
        return value.astimezone(UTC)

    def span(self, key: str) -> timedelta:
        """Take a span of time written like ``2h``."""
        try:
            return parse_duration(self.text(key))
        except ValueError as error:
            raise self._wrong(key, "a span like 90s, 30m, 2h or 1d12h") from error

    def table(self, key: str) -> Table:
        """Take a table."""
        value = self._take(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "a table")
        return Table(value, f"{self._where}: {key}")

    def tables(self, key: str) -> list[Table]:
        """Take an array of tables; none where the key is absent."""
        value = self._left.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._wrong(key, "an array of tables, written [[" + key + "]]")
        return [Table(item, f"{self._where}: {key} {n}") for n, item in enumerate(value, 1)]

    def finish(self) -> None:
        """Refuse keys that nobody has taken (rule 1)."""
        if self._left:
            raise UsageTroubleError(f"{self._where}: unknown: {', '.join(sorted(self._left))}")

    def _take(self, key: str) -> Any:  # noqa: ANN401 - whatever TOML holds; every caller narrows it
        if key not in self._left:
            raise UsageTroubleError(f"{self._where}: {key} is missing")
        return self._left.pop(key)

    def _wrong(self, key: str, wanted: str) -> UsageTroubleError:
        return UsageTroubleError(f"{self._where}: {key} must be {wanted}")
