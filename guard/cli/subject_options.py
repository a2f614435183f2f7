"""Subjects as options and as lines.

1. A line is a kind and a value, ``number +49 30 2312 5123``; blank lines and those that begin with
   ``#`` are skipped.
2. No error shows a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from guard.cli.exits import UsageTroubleError, asking
from guard.core.subjects import Subject, SubjectKind, parse_subject

__all__ = ["subjects_from"]

_WORDS = {
    "number": SubjectKind.TELEPHONE,
    "uri": SubjectKind.SIP_URI,
    "call-id": SubjectKind.CALL_ID,
    "peer": SubjectKind.PEER_ADDRESS,
}


def subjects_from(
    given: Mapping[str, Iterable[str]], lines: Iterable[str] | None
) -> tuple[Subject, ...]:
    """Read subjects from options by their word, and from lines; one at least, none twice.

    Raises UsageTroubleError, or DeniedError for a subject that nobody may name.
    """
    pairs = [(word, value) for word, values in given.items() for value in values]
    pairs += _read(lines or ())
    if not pairs:
        raise UsageTroubleError(
            "whose calls? Give --number, --uri, --call-id, --peer or --subjects-file"
        )
    with asking():
        found = [parse_subject(_WORDS[word], value) for word, value in pairs]
    return tuple(dict.fromkeys(found))


def _read(lines: Iterable[str]) -> list[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        word, _, value = line.strip().partition(" ")
        if word not in _WORDS or not value.strip():
            raise UsageTroubleError(
                f"line {number} of the subjects does not begin with {', '.join(_WORDS)} and a value"
            )
        pairs.append((word, value.strip()))
    return pairs
