"""``callguard-agent``: the one place of the agent that prints and exits.

Exit status: 0 done; 2 wrong usage, a configuration that cannot be used included; 4 no agent can be
reached; 1 anything else, one line, no traceback.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from agents.config import Config, ConfigError, load_config

__all__ = ["main"]

_CONFIG = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/etc/callguard/agent.toml"),
    show_default=True,
    metavar="FILE",
)


@click.group()
@click.version_option(package_name="callguard", prog_name="callguard-agent")
def main() -> None:
    """Run Callguard's node agent, or ask the one that runs."""


@main.command()
@_CONFIG
def run(path: Path) -> None:
    """Run the agent until it is stopped (config/agent.toml explains every option)."""
    # No library that wants to keep a cache finds a place for one.
    os.environ.setdefault("XDG_CACHE_HOME", "/proc/callguard-no-cache")
    from agents import agent  # noqa: PLC0415 - `status` needs none of it

    config = _load(path)
    try:
        agent.run(config)
    except agent.StartRefusedError as error:
        _exit(1, f"the agent does not start: {error}")
    except Exception as error:  # noqa: BLE001 - the last resort: one line instead of a traceback
        _exit(1, f"the agent ended: {_first(error)}")


@main.command()
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(path: Path, *, as_json: bool) -> None:
    """Say what the running agent does."""
    from agents.status import StatusError, ask  # noqa: PLC0415 - `run` needs none of it

    config = _load(path)
    try:
        told = ask(config.state_dir)
    except StatusError as error:
        _exit(4, str(error))
    click.echo(json.dumps(told) if as_json else _in_words(told))


def _load(path: Path) -> Config:
    try:
        return load_config(path)
    except ConfigError as error:
        _exit(2, str(error))


def _in_words(told: dict[str, Any]) -> str:
    session = "in session with" if told["session"] else "without a session with"
    waiting = f"{told['receipts_waiting']} receipts, {told['segments_waiting']} segments"
    lines = [
        f"{told['node']} {session} {told['guard']}",
        f"trust policy {told['trust_version']}, revision {told['revision']}",
        f"clock: {told['clock']}",
        f"waiting for the guard: {waiting}, {told['spool_bytes']} bytes",
    ]
    for each in told["armed"]:
        counters = f"{each['calls']} calls, {each['packets']} packets, {each['bytes']} bytes"
        lines.append(f"armed {each['grant']} {each['level']} until {each['lease_until']}")
        lines.append(f"  {counters}, {each['drops']} dropped")
    return "\n".join(lines if told["armed"] else [*lines, "nothing is armed"])


def _first(error: BaseException) -> str:
    """Say in one line what ended the agent."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    words = str(error) if isinstance(error, OSError) else ""
    return " ".join(f"{type(error).__name__}: {words}".split()).removesuffix(":")


def _exit(code: int, line: str) -> NoReturn:
    click.echo(f"error: {line}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
