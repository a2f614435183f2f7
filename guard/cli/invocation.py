"""One run of the command: what every subcommand shares.

1. ``--json`` and ``--profile`` may stand before or after any subcommand's name.
2. The trust policy is verified here, against the profile's own roots, before it is used: the guard
   is only its messenger. The highest version seen is remembered, with the chain that led to it.
3. The clock is read through `guard.clock`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import click

from guard.api.v1.trust_service_pb2 import GetTrustPolicyRequest
from guard.cli.connection import Connection
from guard.cli.exits import Failure, UsageTroubleError, checking
from guard.cli.output import Output
from guard.cli.profile import Profile, load_profile, write_whole
from guard.clock import SystemClock
from guard.core.trust import TrustedPolicy, advance

__all__ = ["Command", "Group", "Invocation", "passes"]

_ENVIRONMENT = "CALLGUARD_PROFILE"


class Invocation:
    """What is common to one run: output, profile, clock, connection."""

    def __init__(self) -> None:
        self.json_only = False
        self.folder: Path | None = None

    @cached_property
    def output(self) -> Output:
        """Standard output in the language asked for."""
        return Output(json_only=self.json_only)

    @cached_property
    def profile(self) -> Profile:
        """The caller's own folder; raises UsageTroubleError when none is named."""
        if self.folder is None:
            raise UsageTroubleError(f"name your folder with --profile DIR or {_ENVIRONMENT}")
        return load_profile(self.folder)

    @staticmethod
    def now() -> datetime:
        """Return the time, UTC."""
        return SystemClock().now()

    @staticmethod
    def end(failure: Failure) -> NoReturn:
        """End with a failure after the answer is printed: its line and status, no second object."""
        Output.note(failure.line)
        raise click.exceptions.Exit(failure.status)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Open the way to the guard for as long as the block runs."""
        with Connection(self.profile) as connection:
            yield connection

    def policy(self, connection: Connection) -> TrustedPolicy:
        """Fetch what is newer than the remembered trust policy, verify and remember it (rule 2)."""
        known = remembered_policies(self.profile)
        request = GetTrustPolicyRequest(after_version=max(known, default=0))
        fetched = list(connection.call(connection.trust.GetTrustPolicy, request).envelopes)
        with checking("the trust policy"):
            trusted = advance(
                self.profile.pinned_roots(), [*known.values(), *fetched], now=self.now()
            )
        for offset, envelope in enumerate(reversed(fetched)):
            version = trusted.policy.version - offset
            write_whole(self.profile.state_dir / "trust" / f"{version}.json", envelope)
        return trusted


def remembered_policies(profile: Profile) -> dict[int, bytes]:
    """Return the chain of trust policies seen before, oldest first, by version."""
    folder = profile.state_dir / "trust"
    numbered = sorted(int(path.stem) for path in folder.glob("[0-9]*.json"))
    return {number: profile.public(folder / f"{number}.json") for number in numbered}


def _set_json(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value:
        context.ensure_object(Invocation).json_only = True


def _set_profile(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.ensure_object(Invocation).folder = value


def _shared_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--profile"],
            type=click.Path(path_type=Path, file_okay=False),
            expose_value=False,
            callback=_set_profile,
            envvar=_ENVIRONMENT,
            metavar="DIR",
            help=f"Your own folder; also {_ENVIRONMENT}.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            is_eager=True,  # before any other value can be wrong
            expose_value=False,
            callback=_set_json,
            help="Print JSON for machines.",
        ),
    ]


class Command(click.Command):
    """A subcommand with the shared options (rule 1)."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*arguments, **settings)
        self.params.extend(_shared_options())


class Group(click.Group):
    """A group of them, with the shared options of its own."""

    command_class = Command
    group_class = type

    def __init__(self, *arguments: Any, **settings: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*arguments, **settings)
        self.params.extend(_shared_options())


passes: Callable[[Callable[..., None]], Callable[..., None]] = click.make_pass_decorator(
    Invocation, ensure=True
)
"""Hands the `Invocation` to a subcommand as its first argument."""
