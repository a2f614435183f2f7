"""Spans of time as people write them: ``90s``, ``30m``, ``2h``, ``1d12h``."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import click

__all__ = ["DURATION", "parse_duration", "spoken", "stamp"]

_SPELLING = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?")


def parse_duration(text: str) -> timedelta:
    """Read a span; raises ValueError unless it is longer than nothing."""
    match = _SPELLING.fullmatch(text.strip())
    days, hours, minutes, seconds = (
        (int(part or 0) for part in match.groups()) if match else [0] * 4
    )
    span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not span:
        raise ValueError("a span is written like 90s, 30m, 2h or 1d12h")
    return span


def spoken(span: timedelta) -> str:
    """Return a span in the same spelling, to the second; ``0s`` for none."""
    seconds = max(0, int(span.total_seconds()))
    days, seconds = divmod(seconds, 86_400)
    hours, seconds = divmod(seconds, 3_600)
    minutes, seconds = divmod(seconds, 60)
    parts = ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def stamp(moment: datetime) -> str:
    """Return a moment for people, to the second, with its zone."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


class _Duration(click.ParamType[timedelta]):
    name = "span"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = _Duration()
