"""A witness's configuration: one TOML file.

1. An unknown or missing key, an empty list and a value of another type refuse the file.
2. Relative file names are relative to the folder of the file.

Keys: `listen` (HOST:PORT), `name` (the witness's C2SP key name), `key_file` (Ed25519, PKCS8 PEM,
mode 0600), `state_dir`, and one or more `[[logs]]` with a `vkey`. Optional: `mldsa_key_file`
(ML-DSA-44, likewise), a second key to cosign with.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guard.core.cosigned import MAX_COSIGNED_NAME
from guard.core.note import KeyType, VerifierKey, parse_vkey
from guard.core.reasons import Refused

_KEYS: Final = {"listen", "name", "key_file", "state_dir", "logs"}
_OPTIONAL: Final = {"mldsa_key_file"}


class WitnessConfigError(Exception):
    """A configuration that cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessConfig:
    """What a witness is told from outside; `logs` are those it cosigns for, by distinct origins."""

    host: str
    port: int
    name: str
    key_file: Path
    state_dir: Path
    logs: tuple[VerifierKey, ...]
    mldsa_key_file: Path | None = None


def load_witness_config(path: Path) -> WitnessConfig:
    """Read a configuration file. Raises WitnessConfigError."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise WitnessConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise WitnessConfigError(f"cannot read {path}: {error}") from error
    wrong = ", ".join(sorted((values.keys() - _OPTIONAL) ^ _KEYS))
    if wrong:
        raise WitnessConfigError(f"{path}: unknown or missing: {wrong}")
    host, port = _listen(path, values)
    name, logs = _text(path, values, "name"), _logs(path, values["logs"])
    return WitnessConfig(
        host=host,
        port=port,
        name=name,
        key_file=path.parent / _text(path, values, "key_file"),
        state_dir=path.parent / _text(path, values, "state_dir"),
        logs=logs,
        mldsa_key_file=_mldsa_key(path, values, [name, *(log.name for log in logs)]),
    )


def _mldsa_key(path: Path, values: dict[str, Any], names: list[str]) -> Path | None:
    if "mldsa_key_file" not in values:
        return None
    if any(len(name.encode()) > MAX_COSIGNED_NAME for name in names):
        raise WitnessConfigError(f"{path}: a name is too long for an ML-DSA-44 cosignature")
    return path.parent / _text(path, values, "mldsa_key_file")


def _text(path: Path, values: dict[str, Any], key: str) -> str:
    value = values[key]
    if not isinstance(value, str) or not value:
        raise WitnessConfigError(f"{path}: {key} is not a text")
    return value


def _listen(path: Path, values: dict[str, Any]) -> tuple[str, int]:
    host, _, port = _text(path, values, "listen").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 0xFFFF:  # noqa: PLR2004  # the highest port
        raise WitnessConfigError(f"{path}: listen is not HOST:PORT")
    return host.strip("[]"), int(port)


def _logs(path: Path, tables: object) -> tuple[VerifierKey, ...]:
    if not isinstance(tables, list) or not tables:
        raise WitnessConfigError(f"{path}: logs is not a list of tables")
    logs = tuple(_log(path, table) for table in tables)
    if len({log.name for log in logs}) < len(logs):
        raise WitnessConfigError(f"{path}: two logs have the same origin")
    return logs


def _log(path: Path, table: object) -> VerifierKey:
    match table:
        case {"vkey": str(vkey), **rest} if not rest:
            pass
        case _:
            raise WitnessConfigError(f"{path}: a log has a vkey and nothing else")
    try:
        log = parse_vkey(vkey)
    except Refused as error:
        raise WitnessConfigError(f"{path}: {error.detail}") from error
    if log.type is not KeyType.NOTE:
        raise WitnessConfigError(f"{path}: {log.name} is not the key of a log")
    return log
