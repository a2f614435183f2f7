"""``callguard serve`` and ``callguard witness serve``: the two long-running processes."""

from __future__ import annotations

from pathlib import Path

import click

from guard.cli.exits import TroubleError, UsageTroubleError, asking
from guard.cli.invocation import Command, Group, Invocation, passes
from guard.clock import SystemClock
from guard.config import ConfigError, load_config
from guard.core.note import KeyType, encode_vkey, verifier_key
from guard.keys import KeyFileError, load_ed25519
from guard.witness.config import WitnessConfig, WitnessConfigError, load_witness_config

__all__ = ["serve", "witness"]

_CONFIG = click.Path(path_type=Path, dir_okay=False)


@click.command(cls=Command)
@click.option("--config", "path", type=_CONFIG, required=True, metavar="FILE")
def serve(path: Path) -> None:
    """Run the gatekeeper until it is stopped (config/guard.toml explains every option)."""
    from guard.server import StartRefusedError, run  # noqa: PLC0415 - no client needs it

    try:
        config = load_config(path)
    except ConfigError as error:
        raise UsageTroubleError(str(error)) from error
    try:
        run(config)
    except StartRefusedError as error:
        raise TroubleError(f"the gatekeeper does not start: {error}") from error


@click.group(cls=Group)
def witness() -> None:
    """Run a witness of the log."""


@witness.command("key")
@click.option("--config", "path", type=_CONFIG, required=True, metavar="FILE")
@passes
def witness_key(invocation: Invocation, path: Path) -> None:
    """Print the witness's public key, a C2SP vkey, as a roster names it."""
    config = _witness_config(path)
    try:
        public = load_ed25519(config.key_file).public_key()
    except KeyFileError as error:
        raise TroubleError(str(error)) from error
    with asking():
        vkey = encode_vkey(verifier_key(config.name, KeyType.COSIGNATURE, public))
    invocation.output.done({"vkey": vkey}, vkey)


def _witness_config(path: Path) -> WitnessConfig:
    try:
        return load_witness_config(path)
    except WitnessConfigError as error:
        raise UsageTroubleError(str(error)) from error


@witness.command("serve")
@click.option("--config", "path", type=_CONFIG, required=True, metavar="FILE")
def serve_witness(path: Path) -> None:
    """Cosign every checkpoint that continues what this witness has seen, until stopped."""
    from guard.witness.server import run  # noqa: PLC0415 - no client needs it
    from guard.witness.state import WitnessUnusable  # noqa: PLC0415 - as above

    config = _witness_config(path)
    try:
        run(config, key=load_ed25519(config.key_file), clock=SystemClock())
    except (KeyFileError, WitnessUnusable) as error:
        raise TroubleError(str(error)) from error
    except OSError as error:
        raise TroubleError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror or error}"
        ) from error
