"""The gatekeeper's configuration file: what it holds and what refuses it."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from guard.config import LAWS, ConfigError, NotifyConfig, load_config, parse_config
from guard.core.record import LEAST_KEPT
from guard.core.reporting import Law

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
        *("certificate", "key", "client_ca", "name", "url", "reporting"),
    }
    shown = parse_config(re.sub(r"^#~ ", "", full, flags=re.MULTILINE), Path("/x")).notify
    assert all(getattr(shown, each.name) for each in fields(NotifyConfig))


def test_file_names_are_relative_to_the_file(tmp_path: Path) -> None:
    """A relative name means the configuration's folder, an absolute one itself."""
    (tmp_path / "guard.toml").write_text(EXAMPLE.read_text())
    config = load_config(tmp_path / "guard.toml")
    assert config.roots == tmp_path / "roots.json"
    assert config.data_dir == Path("/var/lib/callguard")
    assert config.database == "sqlite:////var/lib/callguard/guard.db"
    assert config.retention == timedelta(days=30)
    assert [w.name for w in config.witnesses] == ["witness-1"]


def test_no_record_is_erased_before_auditors_let_it_be() -> None:
    """The shortest retention that may be set is the one that `log verify` demands."""
    text = EXAMPLE.read_text()
    for days, least in ((LEAST_KEPT.days, True), (LEAST_KEPT.days - 1, False)):
        asked = text.replace("[tls]", f"record_retention_days = {days}\n[tls]", 1)
        if least:
            assert parse_config(asked, Path("/x")).record_retention == LEAST_KEPT
        else:
            with pytest.raises(ConfigError, match="record_retention_days must be between"):
                parse_config(asked, Path("/x"))


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
        ("#: reporting = [", "reporting = [] #", "reporting must be"),
        ("#: reporting = [", 'reporting = ["gdpr", "gdpr"] #', "reporting must be"),
        ("#: reporting = [", 'reporting = ["gdpr", "hipaa"] #', "reporting must be"),
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


def notify(table: str) -> NotifyConfig:
    return parse_config(f"{EXAMPLE.read_text()}\n[notify]\n{table}", Path("/x")).notify


def test_the_laws_are_those_of_the_table() -> None:
    """The file knows every law that the rules do, and by default none is left out."""
    assert set(LAWS) == {law.value for law in Law}
    assert parse_config(EXAMPLE.read_text(), Path("/x")).laws == LAWS


@pytest.mark.parametrize(
    "address",
    [
        "https://privacy.example/hook?team=a",
        "https://[2001:db8::1]:8443/",
        "http://127.0.0.1:8080/hook",
        "http://127.9.9.9",
        "http://[::1]:1/",
    ],
)
def test_notices_go_by_tls_or_stay_on_the_machine(address: str) -> None:
    """TLS anywhere, plain http to a loopback address; and no address is shown, for it may be secret."""
    made = notify(f'webhook = "{address}"')
    assert made.webhook == address
    assert address not in repr(made)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ('webhook = "http://privacy.example/"', "notify.webhook must be an https address"),
        ('webhook = "http://localhost/"', "notify.webhook must be"),
        ('webhook = "http://10.0.0.1/"', "notify.webhook must be"),
        ('webhook = "http://127.0.0.1.evil.example/"', "notify.webhook must be"),
        ('webhook = "ftp://privacy.example/"', "notify.webhook must be"),
        ('webhook = "https://"', "notify.webhook must be"),
        ('webhook = "https://a:b@privacy.example/"', "notify.webhook must be"),
        ('webhook = "https://privacy.example/#x"', "notify.webhook must be"),
        ('webhook = "https://privacy.example/a b"', "notify.webhook must be"),
        ('webhook = "https://privacy.example:99999/"', "notify.webhook must be"),
        ('webhook = "https://[::1"', "notify.webhook must be"),
        ('webhook = ["https://a.example/"]', "notify.webhook must be of type str"),
        ('command = "/bin/true"', "notify.command must be of type list"),
        ("command = []", "notify.command must be a list of texts"),
        ('command = [""]', "notify.command must be a list of texts"),
        ('command = ["/bin/x", 1]', "notify.command must be a list of texts"),
        ('command = ["mail", "x"]', "notify.command must begin with the whole path"),
        ('token_file = "t"', "are for a webhook"),
        ('command = ["/bin/x"]\nca_file = "c"', "are for a webhook"),
        ("retries = 3", "unknown key notify.retries"),
        ('command = ["/bin/x"]\ncommand = ["/bin/y"]', "Cannot overwrite"),
    ],
)
def test_a_hook_that_is_not_exactly_right_is_refused(table: str, complaint: str) -> None:
    """A notice never goes in clear, to nobody, or by a program that the path happens to find."""
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        notify(table)
