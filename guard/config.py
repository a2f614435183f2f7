"""The gatekeeper's configuration: one TOML file, read once into one frozen tree.

1. An unknown key, a missing key without a default, a value of the wrong type or out of range, and
   a table given twice refuse the whole file. Nothing is guessed and nothing is ignored.
2. Relative file names are relative to the folder of the configuration file.
3. No option turns a promise off: there is no plaintext listener, no unauthenticated caller and no
   log without witnesses to configure. The witnesses' keys and quorum come from the trust policy;
   only their addresses are here.
4. Notices of incidents leave the machine under TLS only; plain http reaches loopback addresses.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

__all__ = [
    "LAWS",
    "Config",
    "ConfigError",
    "NotifyConfig",
    "TlsFiles",
    "WitnessAddress",
    "load_config",
    "parse_config",
]

_MISSING = object()
_URL = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~/-]*)?")
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")


LAWS: Final = ("gdpr", "nis2", "calea")


class ConfigError(Exception):
    """A configuration that cannot be used; the message names the key and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of the listener, read again for every new connection when they have changed."""

    certificate: Path
    key: Path
    client_ca: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessAddress:
    """Where a witness of the trust policy listens (C2SP tlog-witness)."""

    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyConfig:
    """How the privacy team is told of incidents: by a command, a web address, both or neither."""

    command: tuple[str, ...] | None = None
    webhook: str | None = field(default=None, repr=False)  # an address may hold a secret
    token: Path | None = None
    ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that the gatekeeper is told from outside; see ``config/guard.toml``."""

    listen: str
    data_dir: Path
    log_dir: Path
    database: str = field(repr=False)  # a database URL may hold a password
    roots: Path
    trust_policy: Path
    signing_key: Path
    log_key: Path
    tls: TlsFiles
    witnesses: tuple[WitnessAddress, ...]
    retention: timedelta
    record_retention: timedelta
    sweep_interval: timedelta
    laws: tuple[str, ...] = LAWS
    notify: NotifyConfig = NotifyConfig()


def load_config(path: Path) -> Config:
    """Read a configuration file; raises ConfigError, which names the file."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    try:
        return parse_config(text, path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_config(text: str, folder: Path) -> Config:
    """Take a configuration apart; file names are relative to ``folder``; raises ConfigError."""
    try:
        table = _Table(tomllib.loads(text), "", folder)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(error)) from error
    data_dir = table.file("data_dir")
    tls = table.table("tls")
    config = Config(
        listen=table.text("listen", pattern=_LISTEN),
        data_dir=data_dir,
        log_dir=table.file("log_dir"),
        database=table.text("database", default="") or f"sqlite:///{data_dir.resolve()}/guard.db",
        roots=table.file("roots"),
        trust_policy=table.file("trust_policy"),
        signing_key=table.file("signing_key"),
        log_key=table.file("log_key"),
        tls=TlsFiles(
            certificate=tls.file("certificate"),
            key=tls.file("key"),
            client_ca=tls.file("client_ca"),
        ),
        witnesses=_witnesses(table),
        retention=timedelta(days=table.integer("retention_days", 1, 3650, default=30)),
        # The least is what auditors hold an erasure to: guard.core.record.LEAST_KEPT.
        record_retention=timedelta(
            days=table.integer("record_retention_days", 400, 36_500, default=730)
        ),
        sweep_interval=timedelta(seconds=table.integer("sweep_seconds", 1, 60, default=1)),
        laws=_laws(table),
        notify=_notify(table.table("notify", default={})),
    )
    tls.finish()
    table.finish()
    return config


def _witnesses(table: _Table) -> tuple[WitnessAddress, ...]:
    found = []
    for entry in table.tables("witnesses"):
        found.append(WitnessAddress(name=entry.text("name"), url=entry.text("url", pattern=_URL)))
        entry.finish()
    if len({witness.name for witness in found}) < len(found):
        raise ConfigError("witnesses: two have the same name")
    return tuple(found)


def _laws(table: _Table) -> tuple[str, ...]:
    named = table.texts("reporting", default=list(LAWS))
    if len(set(named)) < len(named) or not set(named) <= set(LAWS):
        raise ConfigError(f"reporting must be of: {', '.join(LAWS)}")
    return named


def _notify(table: _Table) -> NotifyConfig:
    webhook = table.text("webhook", default="") or None
    if webhook is not None and not _may_be_told(webhook):
        raise ConfigError("notify.webhook must be an https address, or http on a loopback address")
    token, ca = table.optional_file("token_file"), table.optional_file("ca_file")
    if webhook is None and (token or ca):
        raise ConfigError("notify.token_file and notify.ca_file are for a webhook")
    command = table.texts("command", default=[]) or None
    if command is not None and not command[0].startswith("/"):
        raise ConfigError("notify.command must begin with the whole path of a program")
    table.finish()
    return NotifyConfig(command=command, webhook=webhook, token=token, ca=ca)


def _may_be_told(webhook: str) -> bool:
    """Say whether a notice may be sent to this address (rule 4)."""
    try:
        parts = urlsplit(webhook)
        plain = not parts.username and not parts.password and not parts.fragment
        if not (webhook.isascii() and webhook.isprintable() and " " not in webhook and plain):
            return False
        return bool(parts.hostname) and parts.port != 0 and _is_safe(parts)
    except ValueError:
        return False


def _is_safe(parts: SplitResult) -> bool:
    if parts.scheme == "https":
        return True
    return parts.scheme == "http" and ip_address(str(parts.hostname)).is_loopback


class _Table:
    """One TOML table, taken out key by key so that what is left over is unknown (rule 1)."""

    def __init__(self, values: Mapping[str, Any], name: str, folder: Path) -> None:
        self._left = dict(values)
        self._name = name
        self._folder = folder

    def _take(self, key: str, kind: type, default: object = _MISSING) -> Any:  # noqa: ANN401 - checked against kind
        value = self._left.pop(key, default)
        if value is _MISSING:
            raise ConfigError(f"{self._name}{key} is missing")
        if type(value) is not kind:
            raise ConfigError(f"{self._name}{key} must be of type {kind.__name__}")
        return value

    def text(
        self, key: str, *, pattern: re.Pattern[str] | None = None, default: object = _MISSING
    ) -> str:
        value: str = self._take(key, str, default)
        if not value and default is _MISSING:
            raise ConfigError(f"{self._name}{key} is empty")
        if pattern and not pattern.fullmatch(value):
            raise ConfigError(f"{self._name}{key} is malformed")
        return value

    def file(self, key: str) -> Path:
        return self._folder / self.text(key)

    def optional_file(self, key: str) -> Path | None:
        name = self.text(key, default="")
        return self._folder / name if name else None

    def texts(self, key: str, *, default: list[str]) -> tuple[str, ...]:
        """Take a list of texts; one that is given has at least one, and none that is empty."""
        given = key in self._left
        values: list[Any] = self._take(key, list, default)
        if (given and not values) or not all(type(value) is str and value for value in values):
            raise ConfigError(f"{self._name}{key} must be a list of texts that are not empty")
        return tuple(values)

    def integer(self, key: str, low: int, high: int, *, default: int) -> int:
        value: int = self._take(key, int, default)
        if not low <= value <= high:
            raise ConfigError(f"{self._name}{key} must be between {low} and {high}")
        return value

    def table(self, key: str, *, default: object = _MISSING) -> _Table:
        return _Table(self._take(key, dict, default), f"{self._name}{key}.", self._folder)

    def tables(self, key: str) -> list[_Table]:
        values = self._take(key, list)
        if not values:
            raise ConfigError(f"{self._name}{key} is empty")
        if not all(isinstance(value, dict) for value in values):
            raise ConfigError(f"{self._name}{key} must be tables")
        return [_Table(value, f"{self._name}{key}.", self._folder) for value in values]

    def finish(self) -> None:
        if self._left:
            raise ConfigError(f"unknown key {self._name}{min(self._left)}")
