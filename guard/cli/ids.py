"""Ids on the command line."""

from __future__ import annotations

import uuid

import click

__all__ = ["ID"]


class _Id(click.ParamType[str]):
    """A UUID in its one spelling, which is also safe as a file name."""

    name = "id"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the id; a name that is none is wrong usage."""
        try:
            return str(uuid.UUID(str(value)))
        except ValueError:
            self.fail("not an id; `authority list` and `capture list` show them", param, ctx)


ID = _Id()
