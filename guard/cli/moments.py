"""Moments as people write them: ``2026-11-23T22:00:00Z``, with any offset, or a day in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

import click

from guard.core.fields import format_time
from guard.core.reasons import Refused

__all__ = ["MOMENT", "parse_moment"]


def parse_moment(text: str) -> datetime:
    """Read a moment as UTC; raises ValueError. A day stands for its beginning."""
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise ValueError("a time has its offset, like 2026-11-23T22:00:00Z")
    moment = moment.astimezone(UTC)
    try:
        format_time(moment)
    except Refused as refused:
        raise ValueError(refused.detail) from refused
    return moment


class _Moment(click.ParamType[datetime]):
    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return parse_moment(str(value))
        except (ValueError, OverflowError):
            self.fail("write a day or a time like 2026-11-23T22:00:00Z", param, ctx)


MOMENT = _Moment()
