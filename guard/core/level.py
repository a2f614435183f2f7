"""How much of a call: ``signalling`` < ``media_headers`` < ``content``."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from guard.core.reasons import Reason, Refused


class Level(StrEnum):
    """A level, ordered by how much it yields and never by its spelling."""

    SIGNALLING = "signalling"
    MEDIA_HEADERS = "media_headers"
    CONTENT = "content"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a level; anything else is DOCUMENT_MALFORMED."""
        try:
            return cls(text)
        except ValueError as error:
            raise Refused(Reason.DOCUMENT_MALFORMED, "there is no such level") from error

    @property
    def rank(self) -> int:
        """0, 1 or 2, rising with how much the level yields."""
        return tuple(Level).index(self)

    # A StrEnum would compare as text and put "content" first: a level raised would pass as lower.
    def __lt__(self, other: str) -> bool:
        return self.rank < Level(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Level(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Level(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Level(other).rank
