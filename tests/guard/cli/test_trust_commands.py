"""A new version of the trust policy, from roster to signatures, without a guard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from guard.cli.deployment import Deployment, Site, create
from guard.cli.profile import load_profile
from guard.cli.roster import NOBODY
from guard.clock import SystemClock
from guard.core.envelope import Kind, parse
from guard.core.reasons import Refused
from guard.core.trust import Role, advance, parse_policy, parse_roots
from tests.guard.cli.running import Answer

EXAMPLE = Path(__file__).resolve().parents[3] / "config/roster.example.toml"
Callguard = Callable[..., Answer]


@pytest.fixture
def empty(tmp_path: Path) -> Deployment:
    """Make a deployment that names nobody."""
    return create(tmp_path / "d", NOBODY, Site(), now=SystemClock.now())


def sign(callguard: Callguard, made: Deployment, version: int, *roots: int) -> Answer:
    """Sign a version with these roots and return the last answer."""
    for root in roots:
        answer = callguard(
            *("trust", "sign", made.folder / f"trust/{version}.json", "--yes", "--json"),
            *("--root", made.folder / f"roots/root-{root}.key"),
        )
    return answer


def test_from_nobody_to_people(empty: Deployment, callguard: Callguard) -> None:
    """Propose makes the folders, two roots sign, and whoever pinned the roots follows."""
    proposed = callguard("trust", "propose", EXAMPLE, "--deployment", empty.folder, "--json")
    assert proposed.code == 0, proposed.err
    assert "+ person legal-1 (legal), 1 signing key(s)" in proposed.json()["changes"]
    assert sign(callguard, empty, 2, 1).json()["missing"] == 1
    assert sign(callguard, empty, 2, 3).json()["missing"] == 0
    roots = parse_roots((empty.folder / "guard/roots.json").read_bytes())
    chain = [(empty.folder / f"trust/{version}.json").read_bytes() for version in (1, 2)]
    policy = advance(roots, chain, now=SystemClock.now()).policy
    assert policy.version == 2
    for person in policy.principals:
        profile = load_profile(empty.folder / "people" / person.name)
        assert profile.signer().public_key == person.signing_keys[0].key


def test_a_node_observes_until_a_roster_says_enforce(
    empty: Deployment, callguard: Callguard, tmp_path: Path
) -> None:
    """Enforcing takes a signed version; naming a node for something else does not end it."""

    def propose(version: int, text: str) -> tuple[Answer, str]:
        roster = tmp_path / "roster.toml"
        roster.write_text(f'[[nodes]]\nname = "node-1"\n{text}')
        answer = callguard("trust", "propose", roster, "--deployment", empty.folder, "--json")
        sign(callguard, empty, version, 1, 2)
        payload = parse((empty.folder / f"trust/{version}.json").read_bytes(), Kind.TRUST_POLICY)
        (node,) = parse_policy(payload.payload).nodes
        return answer, node.sentry

    assert propose(2, "")[1] == "observe"
    answer, mode = propose(3, 'sentry = "enforce"\n')
    assert mode == "enforce"
    assert answer.json()["changes"] == ["~ node node-1, its sentry: enforce"]
    assert propose(4, "")[1] == "enforce"
    assert propose(5, 'sentry = "observe"\n')[1] == "observe"


def test_one_root_is_not_enough(empty: Deployment, callguard: Callguard) -> None:
    """One signature, or the same twice, does not make a version; nothing is built on it."""
    callguard("trust", "propose", EXAMPLE, "--deployment", empty.folder)
    sign(callguard, empty, 2, 1)
    again = sign(callguard, empty, 2, 1)
    assert (again.code, again.json()["reason"]) == (3, "signer_not_distinct")
    roots = parse_roots((empty.folder / "guard/roots.json").read_bytes())
    chain = [(empty.folder / f"trust/{version}.json").read_bytes() for version in (1, 2)]
    with pytest.raises(Refused):
        advance(roots, chain, now=SystemClock.now())
    further = callguard("trust", "propose", EXAMPLE, "--deployment", empty.folder)
    assert further.code == 2
    assert "not signed by enough roots" in further.err


def test_a_strangers_signature_does_not_count(
    empty: Deployment, demo: Deployment, callguard: Callguard
) -> None:
    """A root of another deployment may sign the file; it is not one of the two."""
    callguard("trust", "propose", EXAMPLE, "--deployment", empty.folder)
    answer = callguard(
        *("trust", "sign", empty.folder / "trust/2.json", "--yes", "--json"),
        *("--root", demo.folder / "roots/root-1.key"),
    )
    assert answer.json()["signatures"] == 0


def test_a_roster_changes_only_what_it_names(
    empty: Deployment, callguard: Callguard, tmp_path: Path
) -> None:
    """A second roster removes one, gives one another role, and leaves the rest and their keys."""
    callguard("trust", "propose", EXAMPLE, "--deployment", empty.folder)
    sign(callguard, empty, 2, 1, 2)
    roster = tmp_path / "second.toml"
    roster.write_text(
        'remove = ["legal-2"]\n[[people]]\nname = "lead-1"\nroles = ["approver", "auditor"]\n'
    )
    proposed = callguard("trust", "propose", roster, "--deployment", empty.folder, "--json")
    assert sorted(proposed.json()["changes"]) == [
        "- person legal-2",
        "~ person lead-1 (approver, auditor), 1 signing key(s)",
    ]
    sign(callguard, empty, 3, 2, 3)
    roots = parse_roots((empty.folder / "guard/roots.json").read_bytes())
    chain = [(empty.folder / f"trust/{version}.json").read_bytes() for version in (1, 2, 3)]
    before, after = (
        advance(roots, chain[:count], now=SystemClock.now()).policy for count in (2, 3)
    )
    assert after.principal("legal-2") is None
    old, new = before.principal("lead-1"), after.principal("lead-1")
    assert old
    assert new
    assert new.roles == {Role.APPROVER, Role.AUDITOR}
    assert new.signing_keys == old.signing_keys
    assert after.test_subjects == before.test_subjects


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[people]]\nname = "x"\nroles = []\n', "roles"),
        ('[[people]]\nname = "x"\nroles = ["root"]\n', "no such role"),
        ('[[people]]\nname = "x"\nroles = ["legal"]\nkey = "y"\n', "unknown: key"),
        ('[[people]]\nname = "x"\nroles = ["legal"]\nrecipient = "age1y"\n', "go together"),
        ('remove = ["nobody"]\n', "nobody of that name"),
        ('[[nodes]]\nname = "n"\n[[nodes]]\nname = "n"\n', "twice"),
        ("[test_subjects]\ntelephone = []\n", "telephone"),
    ],
)
def test_a_roster_that_is_not_exactly_right_is_wrong_usage(
    text: str, complaint: str, empty: Deployment, callguard: Callguard, tmp_path: Path
) -> None:
    """Each mistake refuses the file, and no proposal is written."""
    roster = tmp_path / "roster.toml"
    roster.write_text(text)
    answer = callguard("trust", "propose", roster, "--deployment", empty.folder)
    assert answer.code == 2
    assert complaint in answer.err
    assert not (empty.folder / "trust/2.json").exists()


def test_people_without_keys_need_a_place_for_them(
    empty: Deployment, callguard: Callguard, tmp_path: Path
) -> None:
    """Without --deployment nobody's keys are made: the roster must bring public halves."""
    answer = callguard(
        *("trust", "propose", EXAMPLE, "--base", empty.folder / "trust/1.json"),
        *("--out", tmp_path / "2.json"),
    )
    assert answer.code == 2
    assert "has no keys" in answer.err


def test_public_halves_are_enough(
    empty: Deployment, demo: Deployment, callguard: Callguard, tmp_path: Path
) -> None:
    """Somebody who made keys elsewhere hands over only public halves; no folder is made."""
    profile = load_profile(demo.folder / "people/legal-1")
    public = profile.signer().public_key.keyval["public"]
    roster = tmp_path / "roster.toml"
    roster.write_text(
        f'[[people]]\nname = "legal-9"\nroles = ["legal"]\nsigning_key = "{public}"\n'
        f'recipient = "{profile.identity().to_public()}"\n'
    )
    answer = callguard("trust", "propose", roster, "--deployment", empty.folder, "--json")
    assert answer.code == 0, answer.err
    assert list((empty.folder / "people").iterdir()) == []


def public_key(callguard: Callguard, path: Path) -> str:
    """Make a root's key the way its holder does."""
    made = callguard("trust", "key", path, "--new", "--json")
    assert made.code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert callguard("trust", "key", path).out.strip() == made.json()["public"]
    return str(made.json()["public"])


def test_roots_are_rotated_by_old_and_new(
    empty: Deployment, callguard: Callguard, tmp_path: Path
) -> None:
    """The version that names other roots counts once both thresholds have signed it."""
    keys = [public_key(callguard, tmp_path / f"new-{n}.key") for n in range(2)]
    roster = tmp_path / "roster.toml"
    roster.write_text(f"[roots]\nthreshold = 2\nkeys = {keys}\n".replace("'", '"'))
    proposed = callguard("trust", "propose", roster, "--deployment", empty.folder, "--json")
    assert proposed.json()["changes"] == ["~ roots: 2 of 2 must sign from then on"]
    file, base = empty.folder / "trust/2.json", empty.folder / "trust/1.json"
    missing = []
    for key in (tmp_path / "new-0.key", tmp_path / "new-1.key"):
        signed = callguard("trust", "sign", file, "--root", key, "--base", base, "--yes", "--json")
        missing.append(signed.json()["missing"])
    for root in (1, 2):
        key = empty.folder / f"roots/root-{root}.key"
        signed = callguard("trust", "sign", file, "--root", key, "--base", base, "--yes", "--json")
        missing.append(signed.json()["missing"])
    assert missing == [2, 2, 1, 0]
    pinned = parse_roots((empty.folder / "guard/roots.json").read_bytes())
    policy = advance(pinned, [base.read_bytes(), file.read_bytes()], now=SystemClock.now()).policy
    assert [key.keyval["public"] for key in policy.roots.keys] == keys


def test_a_witness_of_somebody_else_is_added_by_its_vkey(
    empty: Deployment, callguard: Callguard, tmp_path: Path
) -> None:
    """`witness key` prints what the roster names; a quorum that cannot be met is refused."""
    regulator = tmp_path / "regulator"
    assert callguard("init", regulator, "--origin", "regulator.example/log").code == 0
    config = "witness/witness-1/witness.toml"
    mine, other = (
        callguard("witness", "key", "--config", each / config).out.strip()
        for each in (empty.folder, regulator)
    )
    roster = tmp_path / "roster.toml"
    roster.write_text(f'[witnesses]\nquorum = 3\nvkeys = ["{mine}", "{other}"]\n')
    words = ("trust", "propose", roster, "--deployment", empty.folder, "--json")
    assert callguard(*words).json()["reason"] == "document_malformed"
    roster.write_text(f'[witnesses]\nquorum = 2\nvkeys = ["{mine}", "{other}"]\n')
    assert callguard(*words).json()["changes"] == ["~ log: 2 of 2 witnesses must cosign"]
