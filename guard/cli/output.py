"""What the command prints.

1. With ``--json`` standard output carries JSON only: one object, or one per line where a command
   goes on. Standard error is the same either way.
2. Text that somebody else wrote is printed as `plain` text: no control character, no bidirectional
   override and no markup of it reaches the terminal, so nobody can paint over what is about to be
   signed.
3. Colour and live display only on a terminal.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

__all__ = ["Output", "plain", "table"]

Json = Mapping[str, Any]

_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def plain(text: str) -> str:
    """Return ``text`` with every character that could act on a terminal spelled out (rule 2)."""
    return "".join(
        f"\\u{{{ord(character):x}}}" if unicodedata.category(character) in _UNSAFE else character
        for character in text
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows under headings as plain text, a line each.

    Lines are as long as they must be: an id is copied whole and a line is found by ``grep``.
    """
    lines = [tuple(headings), *(tuple(plain(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


class Output:
    """Standard output in one of two languages."""

    def __init__(self, *, json_only: bool) -> None:
        self.json_only = json_only
        self.console = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)

    def done(self, machine: Json, human: RenderableType) -> None:
        """Print the result of a command."""
        if self.json_only:
            self.line(machine)
        elif isinstance(human, str):
            words = "\n".join(plain(line) for line in human.split("\n"))
            self.console.print(Text(words), soft_wrap=True)
        else:
            self.console.print(human)

    @staticmethod
    def line(machine: Json) -> None:
        """Print one JSON object on a line of its own, at once."""
        sys.stdout.write(json.dumps(machine, ensure_ascii=True) + "\n")
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """Print a line for people; says nothing in the language of machines."""
        if not self.json_only:
            self.console.print(Text(plain(text)), soft_wrap=True)

    @staticmethod
    def note(text: str) -> None:
        """Print a line for people on standard error: progress, never the result."""
        sys.stderr.write(plain(text) + "\n")
        sys.stderr.flush()
