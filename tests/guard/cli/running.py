"""What the tests of the command line share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Parse standard output, which must be one JSON value."""
        return json.loads(self.out)
