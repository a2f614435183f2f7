"""``callguard serve`` and ``callguard witness serve``: the two long-running processes."""

from __future__ import annotations

from pathlib import Path

import click

from guard.cli.exits import TroubleError, UsageTroubleError, asking
from guard.cli.invocation import Command, Group, Invocation, passes
from guard.cli.output import table
from guard.clock import SystemClock
from guard.config import ConfigError, load_config
from guard.core.checkpoint import CosigningKey, cosigner_key
from guard.core.note import encode_vkey
from guard.keys import KeyFileError, load_ed25519, load_mldsa44, make_mldsa44
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
    """Print the witness's public keys, C2SP vkeys, as a log policy names them.

    The first is Ed25519. With mldsa_key_file a second is ML-DSA-44.
    """
    config = _witness_config(path)
    keys = _keys(config)
    with asking():
        vkeys = [encode_vkey(cosigner_key(config.name, key)) for key in keys]
    invocation.output.done({"vkey": vkeys[0], "vkeys": vkeys}, "\n".join(vkeys))


@witness.command("mldsa-key")
@click.argument("path", type=_CONFIG, metavar="FILE")
@passes
def new_mldsa_key(invocation: Invocation, path: Path) -> None:
    """Make an ML-DSA-44 key for a witness, and name it in witness.toml as mldsa_key_file."""
    try:
        make_mldsa44(path)
    except KeyFileError as error:
        raise TroubleError(str(error)) from error
    except FileExistsError as error:
        raise UsageTroubleError(f"{path} is there already") from error
    except OSError as error:
        raise TroubleError(f"cannot write {path}: {error.strerror}") from error
    invocation.output.done({"file": str(path)}, f"The key is in {path}, mode 0600.")


@witness.command("evidence")
@click.option("--config", "path", type=_CONFIG, required=True, metavar="FILE")
@passes
def witness_evidence(invocation: Invocation, path: Path) -> None:
    """List what the witness keeps against logs: views they signed that it refused.

    split_view convicts the log: it signed two roots for one size. not_continued and rolled_back
    have to be looked into: the checkpoint may be old, or a stranger sent it with a useless proof.
    """
    from guard.witness.evidence import (  # noqa: PLC0415 - no client needs it
        EvidenceUnreadable,
        read_evidence,
    )

    try:
        kept = read_evidence(_witness_config(path).state_dir)
    except EvidenceUnreadable as error:
        raise TroubleError(str(error)) from error
    headings = ("WHEN", "CONFLICT", "LOG", "OUR SIZE", "OUR ROOT", "THEIR SIZE", "THEIR ROOT")
    rows = [
        (
            each.at,
            each.conflict,
            each.origin,
            str(each.our_size),
            each.our_root,
            str(each.their_size),
            each.their_root,
        )
        for each in kept
    ]
    words = table(headings, rows) if rows else "Nothing is kept against any log."
    invocation.output.done({"evidence": [each.fields() for each in kept]}, words)


def _keys(config: WitnessConfig) -> list[CosigningKey]:
    try:
        keys: list[CosigningKey] = [load_ed25519(config.key_file)]
        if config.mldsa_key_file is not None:
            keys.append(load_mldsa44(config.mldsa_key_file))
    except KeyFileError as error:
        raise TroubleError(str(error)) from error
    return keys


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
        run(config, keys=_keys(config), clock=SystemClock())
    except WitnessUnusable as error:
        raise TroubleError(str(error)) from error
    except OSError as error:
        raise TroubleError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror or error}"
        ) from error
