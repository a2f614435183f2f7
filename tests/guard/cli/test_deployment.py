"""What ``callguard init`` makes."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from agents.config import load_config as load_agent_config
from guard.cli.deployment import Deployment, Site, create, split_address
from guard.cli.exits import UsageTroubleError
from guard.cli.profile import load_profile
from guard.cli.roster import DEMO, NOBODY
from guard.config import load_config as load_guard_config
from guard.core.note import encode_vkey, parse_vkey
from guard.core.trust import Role, TrustPolicy, advance, parse_roots
from guard.keys import load_ed25519, load_identity, load_signer
from guard.witness.config import load_witness_config
from tests.guard.cli.running import NOW, Answer


def test_secrets_are_private_and_folders_closed(demo: Deployment) -> None:
    """Every key is 0600, every folder but the published log's 0700; no other file holds a key."""
    for path in demo.folder.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir():
            assert mode == (0o755 if path.name == "log" else 0o700), path
        elif path.suffix == ".key":
            assert mode == 0o600, path
        else:
            assert b"PRIVATE" not in path.read_bytes(), path
            assert b"AGE-SECRET" not in path.read_bytes(), path


def test_every_key_is_made_once(demo: Deployment) -> None:
    """No private key stands in two places."""
    keys = [path.read_bytes() for path in demo.folder.rglob("*.key")]
    assert len(keys) == 3 + 1 + 3 + 2 + 6 * 3
    assert len(set(keys)) == len(keys)


def test_the_trust_policy_is_signed_by_two_roots_and_names_the_people(policy: TrustPolicy) -> None:
    """The pinned roots accept version 1, and its names and roles are the demonstration's."""
    assert policy.version == 1
    assert (policy.roots.threshold, len(policy.roots.keys)) == (2, 3)
    assert {each.name: set(each.roles) for each in policy.principals} == {
        "legal-1": {Role.LEGAL},
        "legal-2": {Role.LEGAL},
        "operator-1": {Role.OPERATOR},
        "lead-1": {Role.APPROVER},
        "auditor-1": {Role.AUDITOR},
    }
    assert [node.name for node in policy.nodes] == ["node-1"]
    assert [guard.name for guard in policy.guards] == ["guard-1"]
    assert (policy.log.words(), len(policy.log.witnesses)) == ("2 of 2 witnesses", 2)
    assert len(policy.test_subjects) == 3


def test_the_keys_on_disk_are_those_of_the_policy(demo: Deployment, policy: TrustPolicy) -> None:
    """Each holder's folder has the private halves of what the policy names."""
    for person in policy.principals:
        profile = load_profile(demo.folder / "people" / person.name)
        assert profile.name == person.name
        assert profile.signer().public_key == person.signing_keys[0].key
        assert str(profile.identity().to_public()) == person.recipient
    (node,) = policy.nodes
    assert load_signer(demo.folder / "nodes/node-1/signing.key").public_key == node.key
    sealing = load_identity(demo.folder / "nodes/node-1/sealing.key")
    assert str(sealing.to_public()) == node.recipient
    (guard,) = policy.guards
    assert load_signer(demo.folder / "guard/signing.key").public_key == guard.key


def test_log_and_witness_are_those_of_the_policy(demo: Deployment, policy: TrustPolicy) -> None:
    """The vkeys in the policy hold the public halves of the log's and the witness's keys."""
    for vkey, place in (
        (policy.log.vkey, "guard/log.key"),
        *(
            (encode_vkey(each.key), f"witness/witness-{number}/witness.key")
            for number, each in enumerate(policy.log.witnesses, 1)
        ),
    ):
        public = load_ed25519(demo.folder / place).public_key().public_bytes_raw()
        assert parse_vkey(vkey).public == public
        assert encode_vkey(parse_vkey(vkey)) == vkey
    assert policy.log.origin == "callguard.example/log"


def test_the_configurations_are_accepted_by_their_programs(demo: Deployment) -> None:
    """Guard and agent load what was written, and every file it names is there."""
    guard = load_guard_config(demo.folder / "guard/guard.toml")
    tls = guard.tls
    files = (guard.roots, guard.trust_policy, guard.signing_key, guard.log_key)
    for path in (*files, tls.certificate, tls.key, tls.client_ca):
        assert path.is_file()
    assert guard.data_dir.is_dir()
    assert guard.log_dir.resolve() == demo.folder / "log"
    assert guard.log_dir.stat().st_mode & 0o777 == 0o755
    assert guard.listen == "127.0.0.1:7443"
    folders = (demo.folder / f"witness/witness-{number}" for number in (1, 2))
    witnesses = [load_witness_config(folder / "witness.toml") for folder in folders]
    for witness in witnesses:
        assert witness.key_file.is_file()
        assert witness.state_dir.is_dir()
    assert [(each.name, each.url) for each in guard.witnesses] == [
        (witness.name, f"http://{witness.host}:{witness.port}") for witness in witnesses
    ]
    agent = load_agent_config(demo.folder / "nodes/node-1/agent.toml")
    for path in (agent.roots, agent.signing_key, agent.sealing_key, agent.tls.certificate):
        assert path.is_file()
    assert agent.state_dir.is_dir()
    assert agent.spool_dir.is_dir()
    assert (agent.node, agent.guard) == ("node-1", guard.listen)


def names(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Return URIs, DNS names and addresses of a certificate."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        san.get_values_for_type(x509.UniformResourceIdentifier),
        san.get_values_for_type(x509.DNSName),
        [str(ip) for ip in san.get_values_for_type(x509.IPAddress)],
    )


def test_certificates_carry_one_spiffe_id_each(demo: Deployment) -> None:
    """People, nodes and the guard are named by URI; only the guard has a DNS name and addresses."""
    base = demo.folder
    assert names(base / "people/lead-1/tls.crt") == (["spiffe://callguard/person/lead-1"], [], [])
    assert names(base / "nodes/node-1/tls.crt") == (["spiffe://callguard/node/node-1"], [], [])
    uris, dns, ips = names(base / "guard/tls.crt")
    assert (uris, dns) == (["spiffe://callguard/guard/guard-1"], ["guard"])
    assert ips == ["127.0.0.1", "::1"]


def test_addresses_become_names_of_the_guard(tmp_path: Path) -> None:
    """Every address is in the guard's certificate; the first is where it listens."""
    site = Site(addresses=("10.77.9.2:7000", "[2001:db8::1]:7001", "guard.example:7002"))
    made = create(tmp_path / "d", DEMO, site, now=NOW)
    _, dns, ips = names(made.folder / "guard/tls.crt")
    assert dns == ["guard", "guard.example"]
    assert ips == ["10.77.9.2", "2001:db8::1", "127.0.0.1", "::1"]
    assert load_guard_config(made.folder / "guard/guard.toml").listen == "10.77.9.2:7000"
    assert load_profile(made.folder / "people/lead-1").guard == "10.77.9.2:7000"


@pytest.mark.parametrize(
    "text", ["7443", ":7443", "host:", "host:0", "host:65536", "::1:7443", "h:x", "[::1]"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """An address without host or port, or with a port that is none, is wrong usage."""
    with pytest.raises(UsageTroubleError):
        split_address(text)


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    """Whatever is there already stays, and nothing is left beside it."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d/file").write_text("mine")
    with pytest.raises(UsageTroubleError, match="not empty"):
        create(tmp_path / "d", DEMO, Site(), now=NOW)
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["file"]
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    """A file is not a folder to fill."""
    (tmp_path / "d").write_text("mine")
    with pytest.raises(UsageTroubleError):
        create(tmp_path / "d", DEMO, Site(), now=NOW)
    assert (tmp_path / "d").read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    """An empty folder may be named."""
    (tmp_path / "d").mkdir()
    create(tmp_path / "d", DEMO, Site(), now=NOW)
    assert (tmp_path / "d/guard/guard.toml").is_file()


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fails in the middle, no half of a deployment stays."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("guard.cli.deployment.make_witness", full)
    with pytest.raises(Exception, match="No space left"):
        create(tmp_path / "d", DEMO, Site(), now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_without_people_the_policy_names_nobody(tmp_path: Path) -> None:
    """A deployment without --demo has roots, guard, log and witness, and nobody who may act."""
    made = create(tmp_path / "d", NOBODY, Site(), now=NOW)
    roots = parse_roots((made.folder / "guard/roots.json").read_bytes())
    policy = advance(roots, [(made.folder / "guard/trust.json").read_bytes()], now=NOW).policy
    assert policy.principals == ()
    assert policy.nodes == ()
    assert policy.test_subjects == ()
    assert list((made.folder / "people").iterdir()) == []


def test_init_says_what_comes_next(tmp_path: Path, callguard: Callable[..., Answer]) -> None:
    """The command names the processes to start; with --json it lists people and nodes."""
    shown = callguard("init", tmp_path / "a", "--demo")
    assert shown.code == 0
    assert f"serve --config {tmp_path / 'a/guard/guard.toml'}" in shown.out.replace("\n", "")
    answer = callguard("init", tmp_path / "b", "--demo", "--json")
    assert answer.json()["people"] == ["auditor-1", "lead-1", "legal-1", "legal-2", "operator-1"]
    again = callguard("init", tmp_path / "b", "--demo")
    assert again.code == 2
    assert again.err.startswith("error: ")
    assert again.err.count("\n") == 1


def test_the_example_roster_makes_the_same_people(
    tmp_path: Path, callguard: Callable[..., Answer]
) -> None:
    """``config/roster.example.toml`` is accepted by init."""
    example = Path(__file__).resolve().parents[3] / "config/roster.example.toml"
    answer = callguard("init", tmp_path / "d", "--roster", example, "--json")
    assert answer.json()["people"] == ["auditor-1", "lead-1", "legal-1", "legal-2", "operator-1"]
    assert answer.json()["nodes"] == ["node-1"]


def test_certificates_are_renewed_with_the_same_names(
    tmp_path: Path, callguard: Callable[..., Answer]
) -> None:
    """A renewed certificate has a new key and a later end; names, modes and other keys stay."""
    made = create(tmp_path / "d", DEMO, Site(), now=NOW - timedelta(days=300))
    before = {path: path.read_bytes() for path in made.folder.rglob("*") if path.is_file()}
    old = names(made.folder / "guard/tls.crt")
    answer = callguard("certificate", "renew", made.folder, "guard", "lead-1", "--json")
    assert sorted(answer.json()["renewed"]) == ["guard", "lead-1"]
    changed = {path for path, data in before.items() if path.read_bytes() != data}
    assert changed == {
        made.folder / place / name
        for place in ("guard", "people/lead-1")
        for name in ("tls.crt", "tls.key")
    }
    assert names(made.folder / "guard/tls.crt") == old
    assert stat.S_IMODE((made.folder / "guard/tls.key").stat().st_mode) == 0o600
    ends = [
        x509.load_pem_x509_certificate(data).not_valid_after_utc
        for data in (
            before[made.folder / "guard/tls.crt"],
            (made.folder / "guard/tls.crt").read_bytes(),
        )
    ]
    assert ends[0] < ends[1]
    assert callguard("certificate", "renew", made.folder, "nobody").code == 2
    assert len(callguard("certificate", "renew", made.folder, "--json").json()["renewed"]) == 7
