"""The gatekeeper's configuration file: what it holds and what refuses it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from guard.config import ConfigError, load_config, parse_config

EXAMPLE = Path(__file__).resolve().parents[2] / "config" / "guard.toml"


def test_the_example_shows_every_option_with_its_default() -> None:
    """Removing the "#:" of the example's optional lines changes nothing, and every key is there."""
    text = EXAMPLE.read_text()
    full = re.sub(r"^#: ", "", text, flags=re.MULTILINE)
    assert full != text
    assert parse_config(full, Path("/x")) == parse_config(text, Path("/x"))
    keys = set(re.findall(r"^(\w+) =", full, flags=re.MULTILINE))
    assert keys == {
        *("listen", "data_dir", "log_dir", "database", "roots", "trust_policy"),
        *("signing_key", "log_key", "retention_days", "record_retention_days", "sweep_seconds"),
        *("certificate", "key", "client_ca", "name", "url"),
    }


def test_file_names_are_relative_to_the_file(tmp_path: Path) -> None:
    """A relative name means the configuration's folder, an absolute one itself."""
    (tmp_path / "guard.toml").write_text(EXAMPLE.read_text())
    config = load_config(tmp_path / "guard.toml")
    assert config.roots == tmp_path / "roots.json"
    assert config.data_dir == Path("/var/lib/callguard")
    assert config.database == "sqlite:////var/lib/callguard/guard.db"
    assert config.retention == timedelta(days=30)
    assert [w.name for w in config.witnesses] == ["witness-1"]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('roots = "roots.json"', "", "roots is missing"),
        ('roots = "roots.json"', 'roots = ""', "roots is empty"),
        ('roots = "roots.json"', "roots = 3", "roots must be of type str"),
        ('log_dir = "/var/lib/callguard-log"', "", "log_dir is missing"),
        ("[tls]", "insecure = true\n[tls]", "unknown key insecure"),
        ("[tls]", "[tls]\noptional = true", "unknown key tls.optional"),
        ("[tls]", "retention_days = 0\n[tls]", "retention_days must be between"),
        ("[tls]", "sweep_seconds = true\n[tls]", "sweep_seconds must be of type int"),
        ('listen = "127.0.0.1:7443"', 'listen = "7443"', "listen is malformed"),
        ('url = "http://127.0.0.1:7480"', 'url = "file:///x"', "url is malformed"),
        ('name = "witness-1"', "", "witnesses.name is missing"),
        ("[tls]", "[tls]\n[tls]", "tls"),
    ],
)
def test_a_file_that_is_not_exactly_right_is_refused(old: str, new: str, complaint: str) -> None:
    """Missing, unknown, mistyped, out-of-range and repeated keys each refuse the whole file."""
    text = EXAMPLE.read_text()
    assert old in text
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        parse_config(text.replace(old, new), Path("/x"))


def test_no_witness_is_refused() -> None:
    """An empty list of witnesses never means that none is needed."""
    text = EXAMPLE.read_text().split("[[witnesses]]", 1)[0]
    for added in ("", "witnesses = []\n"):
        with pytest.raises(ConfigError, match="witnesses"):
            parse_config(added + text, Path("/x"))
