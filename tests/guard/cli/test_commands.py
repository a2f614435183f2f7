"""The commands against a guard that runs: what they do, deny and print."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyrage
import pytest

from guard.cli.deployment import Deployment
from guard.cli.profile import load_profile
from guard.core.envelope import Kind, parse
from tests.guard.cli.node import Node
from tests.guard.cli.running import ROOT, Answer, Running
from tests.guard.cli.test_segments import section

As = Callable[..., Answer]
NUMBER = "+4930231257777"
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def as_(live: Running, callguard: Callable[..., Answer]) -> As:
    """Run ``callguard`` as somebody."""

    def call(person: str, *words: str | Path) -> Answer:
        return callguard("--profile", live.person(person), *words)

    return call


@pytest.fixture
def node(live: Running) -> Iterator[Node]:
    """Run a node of its own for each test, with a new chain of receipts."""
    with Node(live.folder / "nodes/node-1") as node:
        yield node


def open_ticket(as_: As, *more: str, number: str = NUMBER) -> str:
    """Open a ticket as operator-1 and return its id."""
    answer = as_(
        *("operator-1", "ticket", "open", "--reference", "INC-7", "--reason", "one-way audio"),
        *("--node", "node-1", "--level", "media_headers", "--number", number, "--for", "10m"),
        *("--json", *more),
    )
    assert answer.code == 0, answer.err
    return str(answer.json()["id"])


def approved(as_: As) -> str:
    """Return the id of a ticket that lead-1 approved."""
    ticket = open_ticket(as_)
    assert as_("lead-1", "authority", "approve", ticket, "--yes").code == 0
    return ticket


def state_of(as_: As, capture: str) -> str:
    """Return where a capture stands."""
    found = as_("auditor-1", "capture", "list", "--json").json()["captures"]
    return next(str(each["state"]) for each in found if each["id"] == capture)


def test_a_request_without_authority_is_denied(as_: As) -> None:
    """Status 3, one line, and the reason by its name; with --json as an object too."""
    answer = as_("operator-1", "capture", "start", NOBODY, "--node", "node-1")
    assert answer.denied() == "authority_unknown"
    again = as_("operator-1", "capture", "start", NOBODY, "--node", "node-1", "--json")
    assert again.denied() == "authority_unknown"
    assert again.json()["reason"] == "authority_unknown"
    assert again.json()["status"] == 3


def test_an_unapproved_ticket_starts_nothing(as_: As) -> None:
    """The guard says which signature is missing."""
    answer = as_("operator-1", "capture", "start", open_ticket(as_), "--node", "node-1")
    assert answer.denied() == "approvals_missing"


@pytest.mark.parametrize(
    ("person", "reason"),
    [
        ("operator-1", "signer_not_distinct"),
        ("legal-1", "signer_role_wrong"),
        ("auditor-1", "signer_role_wrong"),
    ],
)
def test_who_may_not_approve_is_denied_before_being_asked(
    person: str, reason: str, as_: As
) -> None:
    """Self-approval and the wrong role end with status 3 and show no subject."""
    answer = as_(person, "authority", "approve", open_ticket(as_))
    assert answer.denied() == reason
    assert NUMBER not in answer.out + answer.err


def test_approve_shows_what_is_signed(as_: As) -> None:
    """The unsealed number, the level, the node, the reason and the consequence are on the screen."""
    answer = as_("lead-1", "authority", "approve", open_ticket(as_), "--yes")
    assert answer.code == 0
    for words in (
        *("You are about to sign, as lead-1", NUMBER, "media headers", "node-1", "one-way audio"),
        *("INC-7", "operator-1 may start and stop captures", "Signed by lead-1"),
    ):
        assert words in answer.out


def test_without_consent_nothing_is_signed(live: Running, as_: As) -> None:
    """Saying no, or nothing, leaves the ticket as it was; --json must not ask."""
    ticket = open_ticket(as_)
    command = [sys.executable, "-m", "guard", "authority", "approve", ticket]
    for said in ("n\n", ""):
        done = subprocess.run(
            [*command, "--profile", live.person("lead-1")],
            input=said,
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert done.returncode == 1
        assert "nothing was done" in done.stderr
    assert as_("lead-1", "authority", "approve", ticket, "--json").code == 2
    shown = as_("lead-1", "authority", "show", ticket, "--json").json()
    assert (shown["state"], shown["signers"]) == ("registered", ["operator-1"])


def test_only_those_concerned_see_the_subjects(as_: As) -> None:
    """Show unseals for operator and approver; the auditor is told that they are sealed."""
    ticket = open_ticket(as_)
    for person in ("operator-1", "lead-1"):
        shown = as_(person, "authority", "show", ticket, "--json").json()
        assert shown["subjects"] == [{"kind": "telephone", "value": NUMBER}]
    auditor = as_("auditor-1", "authority", "show", ticket)
    assert NUMBER not in auditor.out
    assert "sealed" in auditor.out


def test_machines_are_shown_what_people_are(live: Running, as_: As, tmp_path: Path) -> None:
    """Everything that is signed is in the JSON of `show` too, from the signed text."""
    order = tmp_path / "order.toml"
    (tmp_path / "order.pdf").write_bytes(b"%PDF-1.7 scanned")
    order.write_text(
        'instrument = "interception_order"\nreference = "3 Gs 7/26"\nlevel = "content"\n'
        'nodes = ["node-1"]\nlasts = "20m"\nrecipients = ["legal-1"]\nmax_calls = 7\n'
        'max_bytes = 1000000\nlegal_basis = "StPO section 100a"\nissuing_authority = "AG"\n'
        'issuing_signer = "RiAG Muster"\npresenting_officer = "KHK Beispiel"\n'
        f'presenting_agency = "LKA"\norder = "order.pdf"\n[subjects]\ntelephone = ["{NUMBER}"]\n'
    )
    warrant = as_("legal-1", "warrant", "register", order, "--json").json()["id"]
    shown = as_("auditor-1", "authority", "show", warrant, "--json").json()
    assert (shown["id"], shown["registered_by"], shown["approved_by"]) == (warrant, "legal-1", [])
    assert (shown["max_calls"], shown["max_bytes"]) == (7, 1_000_000)
    assert (shown["legal_basis"], shown["issuing_authority"]) == ("StPO section 100a", "AG")
    assert (shown["issuing_signer"], shown["presenting_agency"]) == ("RiAG Muster", "LKA")
    assert (shown["presenting_officer"], shown["reason"]) == ("KHK Beispiel", None)
    own = str(load_profile(live.person("legal-1")).identity().to_public())
    assert shown["recipients"] == [{"recipient": own, "name": "legal-1"}]
    assert len(shown["order_sha256"]) == 64
    assert (shown["subjects"], shown["missing"] != "") == (None, True)
    told = as_("legal-2", "authority", "show", warrant, "--json").json()
    assert told["subjects"] == [{"kind": "telephone", "value": NUMBER}]


def test_the_guard_never_learns_the_subjects(live: Running, as_: As) -> None:
    """Neither its log, nor its database, nor the records hold the number."""
    approved(as_)
    digits = NUMBER.removeprefix("+")
    assert digits not in live.log_of("guard")
    for path in (live.folder / "guard/data").rglob("*"):
        assert path.is_dir() or digits.encode() not in path.read_bytes()
    assert digits not in as_("auditor-1", "log", "entries", "--json").out


def test_a_ticket_may_demand_what_its_node_enforces(as_: As, node: Node) -> None:
    """Signed, shown before it is approved, and denied by name on a node that only detects."""
    ticket = open_ticket(as_, "--enforcement", "prevent")
    shown = as_("lead-1", "authority", "show", ticket)
    assert "prevent: only nodes whose kernel refuses" in " ".join(shown.out.split())
    approved = as_("lead-1", "authority", "approve", ticket, "--yes", "--json").json()
    assert approved["enforcement"] == "prevent"
    denied = as_("operator-1", "capture", "start", ticket, "--node", "node-1")
    assert denied.denied() == "node_not_enforcing"
    assert "enforces no more than detect" in denied.err
    assert (
        as_("lead-1", "authority", "show", open_ticket(as_), "--json").json()["enforcement"] is None
    )


def test_subjects_may_come_from_standard_input(live: Running, as_: As) -> None:
    """With --subjects-file - no subject is in the list of processes."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "guard", "--profile", live.person("operator-1"), "--json"),
            *("ticket", "open", "--reference", "INC-8", "--reason", "echo", "--node", "node-1"),
            *("--level", "signalling", "--for", "5m", "--subjects-file", "-"),
        ],
        input=f"number {NUMBER}\nuri sip:bob@example.com\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = as_("lead-1", "authority", "show", json.loads(done.stdout)["id"], "--json").json()
    assert {each["value"] for each in shown["subjects"]} == {NUMBER, "bob@example.com"}


def test_a_capture_from_start_to_open_file(
    live: Running, as_: As, tmp_path: Path, node: Node
) -> None:
    """Start, watch, seal, stop, fetch and open: the file is what the node sealed."""
    capture = as_(
        "operator-1", "capture", "start", approved(as_), "--node", "node-1", "--json"
    ).json()["id"]
    live.wait(lambda: state_of(as_, capture) == "armed", "the node has armed it")
    operator = load_profile(live.person("operator-1")).identity().to_public()
    sections = [section(b"first"), section(b"second")]
    for number, each in enumerate(sections, 1):
        node.seal(capture, number, pyrage.encrypt(each, [operator]))
    assert as_("operator-1", "capture", "stop", capture).code == 0
    live.wait(lambda: state_of(as_, capture) == "ended", "the node has ended it")
    watched = as_("operator-1", "capture", "watch", capture, "--json")
    assert watched.code == 0
    last = json.loads(watched.out.splitlines()[-1])
    assert (last["state"], last["segments"]) == ("ended", 2)
    seen = as_("operator-1", "capture", "watch", capture)
    assert seen.code == 0
    for words in ("ended", "2 segments", "media_headers on node-1"):
        assert words in seen.out
    assert "Time left" not in seen.out
    listed = as_("operator-1", "capture", "list")
    assert capture in listed.out
    fetched = as_("operator-1", "capture", "fetch", capture, "--out", tmp_path / "a/b", "--open")
    assert fetched.code == 0, fetched.err
    (opened,) = (tmp_path / "a/b").glob("*.pcapng")
    assert opened.read_bytes() == b"".join(sections)
    assert len(list((tmp_path / "a/b").glob("*.age"))) == 2


def test_watch_follows_until_the_end(live: Running, as_: As, node: Node) -> None:
    """A watcher sees the counters of the heartbeat and leaves by itself when the capture ends."""
    capture = as_(
        "operator-1", "capture", "start", approved(as_), "--node", "node-1", "--json"
    ).json()["id"]
    live.wait(lambda: state_of(as_, capture) == "armed", "the node has armed it")
    node.live[capture].packets = 4711
    node.beat()
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "guard", "--profile", live.person("operator-1"), "--json"),
            *("capture", "watch", capture),
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as watcher:
        assert watcher.stdout
        first = json.loads(watcher.stdout.readline())
        assert as_("lead-1", "capture", "stop", capture).code == 0
        rest = [json.loads(line) for line in watcher.stdout]
        assert watcher.wait(20) == 0
    assert first["state"] == "armed"
    assert first["packets"] == 4711
    assert first["lease_until"]
    assert rest[-1]["state"] == "ended"


def test_a_tampered_segment_is_refused(live: Running, as_: As, tmp_path: Path, node: Node) -> None:
    """Whoever changes a segment on the guard's disk is found out by the fetch."""
    capture = as_(
        "operator-1", "capture", "start", approved(as_), "--node", "node-1", "--json"
    ).json()["id"]
    live.wait(lambda: state_of(as_, capture) == "armed", "the node has armed it")
    operator = load_profile(live.person("operator-1")).identity().to_public()
    sealed = pyrage.encrypt(section(b"first"), [operator])
    node.seal(capture, 1, sealed)
    (kept,) = [
        path
        for path in (live.folder / "guard/data").rglob("*")
        if path.is_file() and path.read_bytes() == sealed
    ]
    kept.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    answer = as_("operator-1", "capture", "fetch", capture, "--out", tmp_path, "--open")
    assert answer.code == 1
    assert answer.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    as_("operator-1", "capture", "stop", capture)


def test_the_same_request_never_starts_twice(as_: As, node: Node) -> None:
    """Repeating a request id repeats the answer; a new request is denied while one runs."""
    ticket, request = approved(as_), str(uuid.uuid4())
    words = ("capture", "start", ticket, "--node", "node-1", "--json")
    first = as_("operator-1", *words, "--request-id", request).json()
    assert as_("operator-1", *words, "--request-id", request).json()["id"] == first["id"]
    assert as_("operator-1", *words).denied() == "already_running"
    as_("operator-1", "capture", "stop", first["id"])


def test_revoking_ends_it(live: Running, as_: As, node: Node) -> None:
    """After revoke nothing under the authority starts any more, and what ran has ended."""
    ticket = approved(as_)
    words = ("operator-1", "capture", "start", ticket, "--node", "node-1", "--json")
    capture = as_(*words).json()["id"]
    live.wait(lambda: state_of(as_, capture) == "armed", "the node has armed it")
    answer = as_("lead-1", "authority", "revoke", ticket, "--why", "found it")
    assert answer.code == 0
    live.wait(lambda: state_of(as_, capture) == "ended", "the node has ended it")
    assert as_(*words).denied() == "revoked"


def warrant(folder: Path, **changes: str) -> Path:
    """Write a warrant from the example, with a scanned order beside it."""
    text = (ROOT / "config/warrant.example.toml").read_text()
    text = text.replace("not_before = 2026-11-24T06:00:00+01:00\n", "")
    text = text.replace("not_after = 2026-12-23T06:00:00+01:00", 'lasts = "1h"')
    for old, new in changes.items():
        assert f'"{old}"' in text
        text = text.replace(f'"{old}"', f'"{new}"')
    (folder / "order.pdf").write_bytes(b"the scanned order")
    (folder / "warrant.toml").write_text(text)
    return folder / "warrant.toml"


def test_a_warrant_from_file_to_force(as_: As, tmp_path: Path) -> None:
    """Legal registers the example, cannot approve it, and another legal person can."""
    registered = as_("legal-1", "warrant", "register", warrant(tmp_path), "--json")
    assert registered.code == 0, registered.err
    assert registered.json()["instrument"] == "interception_order"
    id_ = registered.json()["id"]
    own = as_("legal-1", "authority", "approve", id_, "--yes")
    assert own.denied() == "signer_not_distinct"
    answer = as_("legal-2", "authority", "approve", id_, "--yes")
    assert answer.code == 0
    assert "+493023125123" in answer.out
    assert "starts by itself" in answer.out
    assert as_("legal-1", "authority", "revoke", id_, "--why", "test").code == 0


def test_a_test_is_registered_by_an_operator(as_: As, tmp_path: Path) -> None:
    """The instrument `test` goes to the operator's side of the API, with a test number only."""
    path = warrant(tmp_path, interception_order="test")
    text = path.read_text()
    begin, end = text.index("# The order itself."), text.index("# Limits")
    text = text[:begin] + 'reason = "echo test"\n' + text[end:]
    path.write_text(text.replace('"legal-1"', '"operator-1"'))
    answer = as_("operator-1", "warrant", "register", path)
    assert answer.denied() == "subject_not_on_test_list"
    path.write_text(path.read_text().replace("+49 30 2312 5123", "+1 555 0001"))
    answer = as_("operator-1", "warrant", "register", path, "--json")
    assert answer.code == 0, answer.err
    assert answer.json()["missing"] == "1 more signature by approver"


def test_an_operator_registers_no_warrant(as_: As, tmp_path: Path) -> None:
    """The rule is applied before anything is sent."""
    answer = as_("operator-1", "warrant", "register", warrant(tmp_path))
    assert answer.denied() == "signer_role_wrong"


def test_the_log_is_verified_from_outside(as_: As) -> None:
    """Verify finds the log whole, prove keeps a proof, entries lists what happened."""
    open_ticket(as_)
    verified = as_("auditor-1", "log", "verify", "--json")
    assert verified.code == 0, verified.err
    assert verified.json()["verified"] is True
    assert verified.json()["kinds"]["authority_registered"] >= 1
    checkpoint = as_("auditor-1", "log", "checkpoint", "--json").json()
    assert checkpoint["size"] >= verified.json()["size"]
    proven = as_("auditor-1", "log", "prove", "0", "--json").json()
    assert proven["kind"] == "trust_policy_changed"
    assert proven["proof"].startswith("c2sp.org/tlog-proof@v1\n")
    some = as_("auditor-1", "log", "entries", "--start", "1", "--limit", "2", "--json").json()
    assert [each["index"] for each in some["records"]] == [1, 2]


@pytest.mark.parametrize("person", ["operator-1", "legal-1", "lead-1"])
def test_records_are_for_auditors(person: str, as_: As) -> None:
    """Those who implement captures cannot read who entered what."""
    assert as_(person, "log", "entries").denied() == "caller_role_wrong"
    assert as_(person, "log", "verify").denied() == "caller_role_wrong"
    assert as_(person, "log", "prove", "0").denied() == "caller_role_wrong"
    assert as_(person, "log", "checkpoint").code == 0
    denied = as_("auditor-1", "log", "entries", "--kind", "request_denied", "--json").json()
    tried = [each["body"] for each in denied["records"] if each["body"]["principal"] == person]
    methods = [each["method"] for each in tried[-3:]]  # As use cases name theirs.
    assert methods == ["read_records", "read_records", "get_inclusion_proof"]


def test_a_log_that_shrank_is_said_loudly(live: Running, as_: As) -> None:
    """A profile that has seen another log keeps both checkpoints and says stop."""
    as_("legal-2", "log", "checkpoint")
    path = live.person("legal-2") / "state/checkpoint"
    note = path.read_text()
    origin, _, root, rest = note.split("\n", 3)
    path.write_text(f"{origin}\n999999\n{root}\n{rest}")
    answer = as_("legal-2", "log", "checkpoint")
    assert answer.code == 3
    assert answer.err.startswith("discrepancy: log_shrunk: THE LOG DOES NOT CONTINUE")
    assert (live.person("legal-2") / "state/checkpoint.conflict").exists()
    path.write_text(note)
    assert as_("legal-2", "log", "checkpoint").code == 0


def test_status_and_lists_are_for_everybody(as_: As) -> None:
    """Each person sees who one is, that the guard answers, and which nodes there are."""
    for person, role in (("legal-1", "legal"), ("lead-1", "approver")):
        answer = as_(person, "status", "--json").json()
        assert (answer["name"], answer["roles"]) == (person, [role])
        assert answer["log_cosigned_at"].endswith("Z")
    assert [each["name"] for each in as_("lead-1", "node", "list", "--json").json()["nodes"]] == [
        "node-1"
    ]
    assert as_("lead-1", "trust", "show", "--json").json()["version"] == 1
    for words in (("status",), ("node", "list"), ("trust", "show"), ("authority", "list")):
        shown = as_("lead-1", *words)
        assert (shown.code, shown.err) == (0, "")


def test_an_id_that_is_none_is_wrong_usage(as_: As) -> None:
    """Nothing that could be a path or a wildcard is sent as an id."""
    for words in (
        ("authority", "show", "../x"),
        ("capture", "stop", "*"),
        ("capture", "watch", ""),
    ):
        assert as_("lead-1", *words).code == 2


def test_what_the_guard_does_not_know_is_one_line(as_: As) -> None:
    """An unknown authority or capture is an error with the next step in it."""
    answer = as_("lead-1", "authority", "show", NOBODY)
    assert (answer.code, answer.err.count("\n")) == (1, 1)
    assert "list" in answer.err


def test_a_guard_that_is_not_there_is_status_4(
    live: Running, callguard: Callable[..., Answer], tmp_path: Path
) -> None:
    """Nobody listening ends with status 4, one line and the address."""
    mine = shutil.copytree(live.person("lead-1"), tmp_path / "mine")
    profile = mine / "profile.toml"
    profile.write_text(profile.read_text().replace(live.address, "127.0.0.1:1"))
    answer = callguard("--profile", mine, "status")
    assert answer.code == 4
    assert answer.err.startswith("error: cannot reach the guard at 127.0.0.1:1: ")
    assert answer.err.count("\n") == 1


def test_a_public_log_is_verified_without_the_guard(
    live: Running, callguard: Callable[..., Answer], tmp_path: Path
) -> None:
    """Whose guard is away is told of the option that needs none."""
    mine = shutil.copytree(live.person("lead-1"), tmp_path / "mine")
    profile = mine / "profile.toml"
    profile.write_text(profile.read_text().replace(live.address, "127.0.0.1:1"))
    public = ("--profile", mine, "log", "verify", "--log", live.folder / "log")
    shutil.rmtree(mine / "state", ignore_errors=True)
    for _ in ("no policy is known", "one is, and records are asked for"):
        answer = callguard(*public)
        assert answer.code == 4
        assert "--policy FILE" in answer.err.splitlines()[-1], answer
        shutil.copytree(live.person("lead-1") / "state", mine / "state", dirs_exist_ok=True)
    assert callguard(*public, "--policy", live.folder / "log/policy").code == 0


def test_a_renewed_certificate_is_accepted(live: Running, as_: As) -> None:
    """After the guard's and a person's certificates were renewed they still understand each other."""
    answer = as_("auditor-1", "certificate", "renew", live.folder, "guard", "auditor-1")
    assert answer.code == 0
    assert as_("auditor-1", "log", "verify").code == 0


def test_a_stranger_is_turned_away(
    live: Running, demo: Deployment, callguard: Callable[..., Answer], tmp_path: Path
) -> None:
    """A person of another deployment gets neither in nor a traceback."""
    mine = shutil.copytree(demo.folder / "people/lead-1", tmp_path / "mine")
    profile = mine / "profile.toml"
    profile.write_text(profile.read_text().replace("127.0.0.1:7443", live.address))
    answer = callguard("--profile", mine, "status")
    assert answer.code == 4
    assert answer.err.count("\n") == 1


def test_another_roots_policy_is_not_believed(
    live: Running, demo: Deployment, callguard: Callable[..., Answer], tmp_path: Path
) -> None:
    """Whoever pins other roots trusts nothing this guard says."""
    mine = shutil.copytree(live.person("lead-1"), tmp_path / "mine")
    shutil.rmtree(mine / "state", ignore_errors=True)
    shutil.copy(demo.folder / "people/lead-1/roots.json", mine / "roots.json")
    answer = callguard("--profile", mine, "trust", "show")
    assert answer.code == 1
    assert "trust_policy_untrusted" in answer.err


def test_a_new_policy_is_published_and_remembered(live: Running, as_: As, tmp_path: Path) -> None:
    """Propose, two signatures, publish: everybody follows, and the old one is not taken back."""
    roster = tmp_path / "roster.toml"
    roster.write_text('[[people]]\nname = "auditor-2"\nroles = ["auditor"]\n')
    target = live.folder / "trust/2.json"
    proposed = as_("lead-1", "trust", "propose", roster, "--deployment", live.folder, "--json")
    assert proposed.code == 0, proposed.err
    early = as_("lead-1", "trust", "publish", target)
    assert early.denied() == "trust_policy_untrusted"
    for root in (1, 2):
        key = live.folder / f"roots/root-{root}.key"
        assert as_("lead-1", "trust", "sign", target, "--root", key, "--yes").code == 0
    assert as_("lead-1", "trust", "publish", target, "--json").json() == {"version": 2}
    assert as_("legal-1", "trust", "show", "--json").json()["version"] == 2
    assert as_("auditor-2", "log", "verify").code == 0
    assert (live.person("legal-1") / "state/trust/2.json").exists()
    old = as_("lead-1", "trust", "publish", live.folder / "trust/1.json")
    assert old.denied() == "trust_policy_rolled_back"
    envelope = (live.person("legal-1") / "state/trust/2.json").read_bytes()
    assert (
        parse(envelope, Kind.TRUST_POLICY).payload
        == parse(target.read_bytes(), Kind.TRUST_POLICY).payload
    )
