"""The agent's configuration: one TOML file, read once into one frozen tree.

1. An unknown key, a missing key without a default, a value of the wrong type or out of range
   refuses the whole file. Nothing is guessed and nothing is ignored.
2. Relative file names are relative to the folder of the configuration file.
3. No option turns a promise off: there is no plaintext session, no unsigned authority and no
   unsealed capture to configure. An empty list never means all.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

__all__ = [
    "MEGABYTE",
    "Config",
    "ConfigError",
    "Endpoint",
    "RelayConfig",
    "SentryConfig",
    "TlsFiles",
    "load_config",
    "parse_config",
]

MEGABYTE = 1 << 20
"""In bytes; what the options call a megabyte."""

_MISSING = object()
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_NODE = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_SOCKET = re.compile(r"[A-Za-z0-9._-]{1,64}")  # gRPC would read some other signs as its own
_INTERFACE = re.compile(r"[^\s/:]{1,15}")  # dev_valid_name() of the kernel, and no alias colon
_MIRROR = re.compile(_INTERFACE.pattern + r"(/xdp|/tc)?")
_ENDPOINT = re.compile(r"(?:(udp|tcp|http):)?(\[[0-9A-Fa-f:.]+\]|[0-9.]+):([0-9]{1,5})")
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]{1,240}\.service")
_NAMESPACE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_CGROUP = re.compile(r"(/[A-Za-z0-9:_@\\-][A-Za-z0-9:_.@\\-]{0,240})+")
_HIGHEST_PORT = 0xFFFF
_DHCP_CLIENTS = (
    "systemd-networkd.service",
    "NetworkManager.service",
    "dhcpcd.service",
    "networking.service",
)


class ConfigError(Exception):
    """A configuration that cannot be used; the message names the key and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of the session with the guard, read again when they have changed."""

    certificate: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port; ``transport`` is "udp", "tcp" or "http"."""

    transport: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayConfig:
    """The media relay of the node, and the gate in front of it.

    ``listen``: where the SIP proxy reaches the gate. ``control``: the relay's own NG port.
    ``through``: whether content grants take their media through the relay.
    """

    listen: tuple[Endpoint, ...]
    control: Endpoint
    closed_ports: tuple[int, ...]
    json: bool
    through: bool
    recording_folders: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SentryConfig:
    """What the sentry, which always runs, is told.

    ``allow``: the services that may hold sockets which hear content; empty: none. ``mute``: those
    whose sockets are silenced, where another's process would be ended. ``mirrors``: interfaces
    whose mirrors are the operator's own (`agents.core.mirrors`); they are told and not undone.
    ``test_namespaces``: for tests on a machine that others use too. Only what is in the network
    namespaces of these names (/run/netns) is judged; the agent then says in its log, its status
    and a signed incident at every start that it does not watch the node. None: the whole node.
    ``test_cgroup``: the same for what is done. Only processes below this cgroup (its path as in
    /proc/PID/cgroup) are ended, silenced or refused anything. None: any process.
    """

    allow: tuple[str, ...] = _DHCP_CLIENTS
    mute: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    test_namespaces: tuple[str, ...] | None = None
    test_cgroup: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that the agent is told from outside; see ``config/agent.toml``.

    ``receipt_seconds``: between two receipts that say what is armed, an empty list included.
    ``decisions``: the socket at which recorders may ask; None: nobody may.
    """

    node: str
    guard: str
    roots: Path
    signing_key: Path
    sealing_key: Path
    state_dir: Path
    spool_dir: Path
    spool_bytes: int
    interfaces: tuple[str, ...]
    sip_ports: tuple[int, ...]
    sip_tcp: bool
    segment_length: timedelta
    segment_bytes: int
    receipt_seconds: int
    tls: TlsFiles
    relay: RelayConfig | None = None
    decisions: Path | None = None
    sentry: SentryConfig = SentryConfig()


def load_config(path: Path) -> Config:
    """Read a configuration file; raises ConfigError, which names the file."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
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
    tls = table.table("tls")
    config = Config(
        node=table.text("node", pattern=_NODE),
        guard=table.text("guard", pattern=_ADDRESS),
        roots=table.file("roots"),
        signing_key=table.file("signing_key"),
        sealing_key=table.file("sealing_key"),
        state_dir=table.file("state_dir"),
        spool_dir=table.file("spool_dir"),
        spool_bytes=table.integer("spool_megabytes", 16, 1 << 24, default=10240) * MEGABYTE,
        interfaces=_interfaces(table),
        sip_ports=_ports(table),
        sip_tcp=table.flag("sip_tcp", default=False),
        segment_length=timedelta(seconds=table.integer("segment_seconds", 1, 300, default=5)),
        segment_bytes=table.integer("segment_megabytes", 1, 1024, default=4) * MEGABYTE,
        receipt_seconds=table.integer("receipt_seconds", 10, 600, default=180),
        tls=TlsFiles(certificate=tls.file("certificate"), key=tls.file("key"), ca=tls.file("ca")),
        relay=_relay(table.table("relay")) if table.has("relay") else None,
        decisions=_socket(table),
        sentry=_sentry(table),
    )
    tls.finish()
    table.finish()
    return config


def _relay(table: _Table) -> RelayConfig:
    addresses = table.several("listen", str, default=["udp:127.0.0.1:22222"])
    listen = tuple(_endpoint(each, "relay.listen") for each in addresses)
    control = _endpoint(table.choice("control", None, default="127.0.0.1:2223"), "relay.control")
    if control.transport != "udp" or control.host not in {"127.0.0.1", "[::1]"}:
        raise ConfigError("relay.control must be the relay's UDP port on 127.0.0.1 or [::1]")
    if any(each.port == control.port for each in listen):
        raise ConfigError("relay.listen must not use the port of relay.control")
    relay = RelayConfig(
        listen=listen,
        control=control,
        closed_ports=tuple(table.several("closed_ports", int, default=[2224, 2225])),
        json=table.choice("encoding", ("bencode", "json"), default="bencode") == "json",
        through=table.choice("content", ("relay", "packets"), default="relay") == "relay",
        recording_folders=table.files("recording_folders", default=["/var/spool/rtpengine"]),
    )
    if not all(0 < port <= _HIGHEST_PORT and port != control.port for port in relay.closed_ports):
        raise ConfigError("relay.closed_ports must be ports other than that of relay.control")
    if relay.json and any(each.transport == "tcp" for each in listen):
        raise ConfigError("relay.encoding must be bencode where relay.listen has a tcp address")
    table.finish()
    return relay


def _endpoint(text: str, name: str) -> Endpoint:
    found = _ENDPOINT.fullmatch(text)
    if found is None or not 0 < int(found[3]) <= _HIGHEST_PORT:
        raise ConfigError(f'{name} must read like "udp:127.0.0.1:2223"')
    return Endpoint(found[1] or "udp", found[2], int(found[3]))


def _interfaces(table: _Table) -> tuple[str, ...]:
    names = table.several("interfaces", str)
    if not all(_INTERFACE.fullmatch(name) and name not in {".", ".."} for name in names):
        raise ConfigError("interfaces must be names of network interfaces")
    return tuple(names)


def _ports(table: _Table) -> tuple[int, ...]:
    ports = table.several("sip_ports", int, default=[5060])
    if not all(0 < port <= _HIGHEST_PORT for port in ports):
        raise ConfigError("sip_ports must be ports from 1 to 65535")
    return tuple(ports)


def _socket(table: _Table) -> Path | None:
    decisions = table.optional_table("decisions")
    if decisions is None:
        return None
    socket = decisions.file("socket")
    decisions.finish()
    if not _SOCKET.fullmatch(socket.name):
        raise ConfigError("decisions.socket must have a name of letters, digits and ._-")
    return socket


def _sentry(table: _Table) -> SentryConfig:
    sentry = table.optional_table("sentry")
    if sentry is None:
        return SentryConfig()
    units = sentry.names("allow", _UNIT, default=_DHCP_CLIENTS)
    mute = sentry.names("mute", _UNIT)
    if both := set(units) & set(mute):
        raise ConfigError(f"sentry.mute names {min(both)}, which sentry.allow lets listen")
    mirrors = sentry.names("mirrors", _MIRROR)
    within = None
    if sentry.has("test_namespaces"):
        within = sentry.names("test_namespaces", _NAMESPACE)
        if not within:
            raise ConfigError("sentry.test_namespaces is empty")
    below = None
    if sentry.has("test_cgroup"):
        below = sentry.text("test_cgroup", pattern=_CGROUP)
    sentry.finish()
    return SentryConfig(
        allow=units, mute=mute, mirrors=mirrors, test_namespaces=within, test_cgroup=below
    )


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

    def text(self, key: str, *, pattern: re.Pattern[str] | None = None) -> str:
        value: str = self._take(key, str)
        if not value:
            raise ConfigError(f"{self._name}{key} is empty")
        if pattern and not pattern.fullmatch(value):
            raise ConfigError(f"{self._name}{key} is malformed")
        return value

    def file(self, key: str) -> Path:
        return self._folder / self.text(key)

    def flag(self, key: str, *, default: bool) -> bool:
        value: bool = self._take(key, bool, default)
        return value

    def integer(self, key: str, low: int, high: int, *, default: int) -> int:
        value: int = self._take(key, int, default)
        if not low <= value <= high:
            raise ConfigError(f"{self._name}{key} must be between {low} and {high}")
        return value

    def several(self, key: str, kind: type, *, default: object = _MISSING) -> list[Any]:
        values: list[Any] = self._take(key, list, default)
        if not values:
            raise ConfigError(f"{self._name}{key} is empty")
        if not all(type(value) is kind for value in values):
            raise ConfigError(f"{self._name}{key} must be a list of {kind.__name__}")
        if len(set(values)) < len(values):
            raise ConfigError(f"{self._name}{key} names something twice")
        return values

    def names(
        self, key: str, pattern: re.Pattern[str], *, default: tuple[str, ...] = ()
    ) -> tuple[str, ...]:
        """Take a list that may be empty, which means none."""
        values: list[Any] = self._take(key, list, list(default))
        if not all(type(value) is str and pattern.fullmatch(value) for value in values):
            raise ConfigError(f"{self._name}{key} has a malformed name")
        if len(set(values)) < len(values):
            raise ConfigError(f"{self._name}{key} names something twice")
        return tuple(values)

    def files(self, key: str, *, default: list[str]) -> tuple[Path, ...]:
        return tuple(self._folder / name for name in self.several(key, str, default=default))

    def choice(self, key: str, choices: tuple[str, ...] | None, *, default: str) -> str:
        value: str = self._take(key, str, default)
        if choices is not None and value not in choices:
            raise ConfigError(f"{self._name}{key} must be one of {', '.join(choices)}")
        return value

    def has(self, key: str) -> bool:
        return key in self._left

    def table(self, key: str) -> _Table:
        return _Table(self._take(key, dict), f"{self._name}{key}.", self._folder)

    def optional_table(self, key: str) -> _Table | None:
        return self.table(key) if key in self._left else None

    def finish(self) -> None:
        if self._left:
            raise ConfigError(f"unknown key {self._name}{min(self._left)}")
