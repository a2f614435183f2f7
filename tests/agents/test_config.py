"""The agent's configuration is strict, and its example says all there is to say."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from agents.config import (
    Config,
    ConfigError,
    RelayConfig,
    SentryConfig,
    TlsFiles,
    load_config,
    parse_config,
)

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "config/agent.toml"
FOLDER = Path("/etc/callguard")


def example() -> str:
    return EXAMPLE.read_text("utf-8")


def uncommented(marks: str) -> str:
    return re.sub(rf"^#[{marks}] ", "", example(), flags=re.MULTILINE)


def test_the_example_is_a_configuration_and_shows_every_default():
    """The commented options, switched on as they stand, change nothing."""
    assert uncommented(":") != example()
    assert parse_config(uncommented(":"), FOLDER) == parse_config(example(), FOLDER)


def test_the_example_shows_every_default_of_the_tables_that_a_node_may_have():
    """An empty table is the table as the example shows it."""
    shown = parse_config(uncommented(":~"), FOLDER)
    empty = parse_config(example() + "\n[relay]\n", FOLDER)

    assert shown.relay is not None
    assert shown == empty


def test_the_example_names_every_option():
    """No option is missing from the example; each has its explanation right above it."""
    lines = example().splitlines()
    shown = tomllib.loads(uncommented(":~"))
    renamed = {
        "spool_bytes": "spool_megabytes",
        "segment_length": "segment_seconds",
        "segment_bytes": "segment_megabytes",
    }

    assert set(shown) == {renamed.get(f.name, f.name) for f in fields(Config)}
    assert set(shown["tls"]) == {f.name for f in fields(TlsFiles)}
    renamed = {"json": "encoding", "through": "content"}
    assert set(shown["decisions"]) == {"socket"}
    scopes = {"test_namespaces", "test_cgroup"}
    assert {*shown["sentry"], *scopes} == {f.name for f in fields(SentryConfig)}
    for scope in scopes:
        assert f"{scope} = " in example(), "explained, and never switched on by its comment"
    assert set(shown["relay"]) == {renamed.get(f.name, f.name) for f in fields(RelayConfig)}
    tables = {"tls", "relay", "decisions", "sentry"}
    for key in set().union(shown, shown["relay"], shown["sentry"], {"socket"}) - tables:
        (at,) = [n for n, line in enumerate(lines) if re.match(rf"(#[:~] )?{key} = ", line)]
        assert lines[at - 1].startswith("# ")


def test_values_become_the_tree():
    """Units are converted and file names are relative to the file's folder."""
    config = parse_config(example(), FOLDER)

    assert config.node == "node-1"
    assert config.roots == FOLDER / "roots.json"
    assert config.state_dir == Path("/var/lib/callguard-agent/state")
    assert config.spool_bytes == 10240 << 20
    assert config.segment_length == timedelta(seconds=5)
    assert config.segment_bytes == 4 << 20
    assert config.receipt_seconds == 180
    assert config.interfaces == ("eth0",)
    assert config.sip_ports == (5060,)
    assert config.sip_tcp is False
    assert config.tls.ca == FOLDER / "ca.crt"
    assert config.decisions == Path("/run/callguard-agent/decisions.sock")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('node = "node-1"', "", "node is missing"),
        ('node = "node-1"', 'node = "Node 1"', "node is malformed"),
        ('node = "node-1"', "node = 1", "node must be of type str"),
        ('"guard.example:7443"', '"guard.example"', "guard is malformed"),
        ('roots = "roots.json"', 'roots = ""', "roots is empty"),
        ('["eth0"]', "[]", "interfaces is empty"),
        ('["eth0"]', '["eth0", "eth0"]', "interfaces names something twice"),
        ('["eth0"]', '["eth0/.."]', "interfaces must be names"),
        ('["eth0"]', "[1]", "interfaces must be a list of str"),
        ("#: sip_ports = [5060]", "sip_ports = [70000]", "sip_ports must be ports"),
        ("#: sip_ports = [5060]", "sip_ports = [true]", "sip_ports must be a list of int"),
        ("#: segment_seconds = 5", "segment_seconds = 0", "segment_seconds must be between"),
        ("#: segment_seconds = 5", "segment_seconds = true", "must be of type int"),
        ("#: receipt_seconds = 180", "receipt_seconds = 9", "receipt_seconds must be between"),
        ("#: receipt_seconds = 180", "receipt_seconds = 601", "receipt_seconds must be between"),
        ("#: sip_tcp = false", "insecure = true", "unknown key insecure"),
        ('ca = "ca.crt"', 'ca = "ca.crt"\nverify = false', "unknown key tls.verify"),
        ('ca = "ca.crt"', "", "tls.ca is missing"),
        ("[tls]", "[tls]\n[tls]", "tls"),
        ("[decisions]", "[decisions]\ngroup = 1", "unknown key decisions.group"),
        ("socket = ", "sockets = ", "decisions.socket is missing"),
        ("decisions.sock", "100%", "decisions.socket must have a name"),
        ('node = "node-1"', 'node = "node-1"\nnode = "node-2"', "overwrite"),
    ],
)
def test_what_is_wrong_refuses_the_file(old: str, new: str, complaint: str):
    """A single bad, missing, unknown or repeated key refuses everything, by name."""
    assert old in example()

    with pytest.raises(ConfigError, match=complaint):
        parse_config(example().replace(old, new, 1), FOLDER)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ("listen = []", "relay.listen is empty"),
        ('listen = ["127.0.0.1"]', "relay.listen must read like"),
        ('listen = ["sctp:127.0.0.1:1"]', "relay.listen must read like"),
        ('listen = ["udp:127.0.0.1:2223"]', "must not use the port of relay.control"),
        ('control = "10.0.0.1:2223"', "relay.control must be the relay's UDP port"),
        ('control = "tcp:127.0.0.1:2223"', "relay.control must be the relay's UDP port"),
        ("closed_ports = [2223]", "relay.closed_ports must be ports other"),
        ("closed_ports = [0]", "relay.closed_ports must be ports other"),
        ('encoding = "guess"', "relay.encoding must be one of"),
        (
            'listen = ["tcp:127.0.0.1:22222"]\nencoding = "json"',
            "relay.encoding must be bencode where",
        ),
        ('content = "both"', "relay.content must be one of"),
        ("fence = false", "unknown key relay.fence"),
    ],
)
def test_what_is_wrong_about_the_relay_refuses_the_file(wrong: str, complaint: str):
    """The gate is set up as it is written or not at all; nothing of it can be switched off."""
    with pytest.raises(ConfigError, match=complaint):
        parse_config(example() + f"\n[relay]\n{wrong}\n", FOLDER)


def test_without_its_table_there_is_no_socket():
    """Recorders may ask only where the configuration says so."""
    before, table, after = example().partition("[decisions]")
    without = before + "[tls]" + after.partition("[tls]")[2]
    assert table
    assert parse_config(without, FOLDER).decisions is None


def test_the_sentry_runs_whether_it_is_named_or_not():
    """DHCP clients may listen by default; nobody may where the list is empty."""
    bare = parse_config(example(), FOLDER).sentry
    assert bare == SentryConfig()
    assert "NetworkManager.service" in bare.allow
    assert (bare.test_namespaces, bare.test_cgroup, bare.mute) == (None, None, ())
    none = parse_config(example() + "\n[sentry]\nallow = []\n", FOLDER).sentry
    assert none.allow == ()
    scoped = parse_config(example() + '\n[sentry]\ntest_namespaces = ["a"]\n', FOLDER).sentry
    assert scoped == SentryConfig(test_namespaces=("a",))
    below = parse_config(example() + '\n[sentry]\ntest_cgroup = "/a.slice/b"\n', FOLDER).sentry
    assert below == SentryConfig(test_cgroup="/a.slice/b")
    quiet = parse_config(example() + '\n[sentry]\nmute = ["lldpd.service"]\n', FOLDER).sentry
    assert quiet == SentryConfig(mute=("lldpd.service",))
    own = parse_config(example() + '\n[sentry]\nmirrors = ["vxlan0", "eth0/xdp"]\n', FOLDER).sentry
    assert own == SentryConfig(mirrors=("vxlan0", "eth0/xdp"))


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ('allow = ["dhclient"]', "sentry.allow has a malformed name"),
        ('allow = ["*.service"]', "sentry.allow has a malformed name"),
        ('allow = ["a/b.service"]', "sentry.allow has a malformed name"),
        ("allow = [1]", "sentry.allow has a malformed name"),
        ('allow = "a.service"', "sentry.allow must be of type list"),
        ('allow = ["a.service", "a.service"]', "sentry.allow names something twice"),
        ("test_namespaces = []", "sentry.test_namespaces is empty"),
        ('test_namespaces = ["../a"]', "sentry.test_namespaces has a malformed name"),
        ('test_cgroup = ""', "sentry.test_cgroup is empty"),
        ('test_cgroup = "/"', "sentry.test_cgroup is malformed"),
        ('test_cgroup = "a.slice"', "sentry.test_cgroup is malformed"),
        ('test_cgroup = "/a/"', "sentry.test_cgroup is malformed"),
        ('test_cgroup = "/a/../b"', "sentry.test_cgroup is malformed"),
        ('mute = ["lldpd"]', "sentry.mute has a malformed name"),
        (
            'allow = ["a.service"]\nmute = ["b.service", "a.service"]',
            "sentry.mute names a.service, which sentry.allow lets listen",
        ),
        ('mirrors = ["eth0/nft"]', "sentry.mirrors has a malformed name"),
        ('mirrors = ["*/xdp/tc"]', "sentry.mirrors has a malformed name"),
        ('mirrors = [""]', "sentry.mirrors has a malformed name"),
        ("off = true", "unknown key sentry.off"),
    ],
)
def test_what_is_wrong_about_the_sentry_refuses_the_file(wrong: str, complaint: str):
    """Nothing of it can be switched off, and an allowance is one unit's whole name."""
    with pytest.raises(ConfigError, match=complaint):
        parse_config(example() + f"\n[sentry]\n{wrong}\n", FOLDER)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    """The complaint says which file."""
    missing = tmp_path / "agent.toml"

    with pytest.raises(ConfigError, match=re.escape(str(missing))):
        load_config(missing)
