"""Verifying the log of a guard that lies in every way it can."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from guard.api.v1 import audit_service_pb2 as messages
from guard.cli.deployment import Deployment
from guard.cli.exits import DiscrepancyError, auditing
from guard.cli.log_proofs import verify_proof
from guard.cli.log_verification import (
    checked_checkpoint,
    fetched_entries,
    fetched_records,
    remember,
)
from guard.cli.profile import Profile, load_profile
from guard.cli.record_auditing import audited_records
from guard.core.checkpoint import Checkpoint, cosign, sign_checkpoint
from guard.core.merkle import Tree, leaf_hash
from guard.core.note import parse_note, with_signatures
from guard.core.proof import LogProof, encode_proof
from guard.core.reasons import Refused
from guard.core.record import Record, RecordKind, encode_opening, entry_of, leaf
from guard.core.trust import TrustPolicy
from guard.keys import load_ed25519
from tests.guard.cli.running import NOW


def record(number: int) -> Record:
    """Make a record of its own for each number."""
    return Record(
        kind=RecordKind.CAPTURE_DENIED,
        time=NOW + timedelta(seconds=number, microseconds=5),
        body={
            "method": "request_capture",
            "principal": "operator-1",
            "reason": "authority_unknown",
            "sentence": f"there is no authority {number}",
        },
        salt=number.to_bytes(32),
    )


@dataclass
class Log:
    """A log with its true keys, that answers as the audit service does, a few records a page."""

    folder: Path
    origin: str
    witnesses: dict[str, str]
    records: list[Record] = field(default_factory=lambda: [record(n) for n in range(7)])
    shown: list[Record] | None = None
    time: datetime = NOW
    page: int = 3
    cosigned: bool = True

    def tree(self) -> Tree:
        """Return the tree of the true records."""
        tree = Tree()
        for each in self.records:
            tree.append(leaf_hash(leaf(each)))
        return tree

    def note(self) -> bytes:
        """Sign and cosign the tree's head."""
        tree = self.tree()
        head = Checkpoint(origin=self.origin, size=tree.size, root=tree.root())
        key = load_ed25519(self.folder / "guard/log.key")
        note = parse_note(sign_checkpoint(head, self.origin, key))
        if not self.cosigned:
            return note.encode()
        lines = [
            cosign(note, name, load_ed25519(self.folder / folder / "witness.key"), self.time)
            for name, folder in self.witnesses.items()
        ]
        return with_signatures(note, lines).encode()

    # What `Connection` has: the stub's methods, and `call`.
    @property
    def audit(self) -> Log:
        return self

    @staticmethod
    def call(method: Callable[[Any], Any], request: object) -> Any:
        return method(request)

    def GetCheckpoint(self, _: object) -> messages.GetCheckpointResponse:  # noqa: N802
        return messages.GetCheckpointResponse(checkpoint=self.note())

    def GetConsistencyProof(  # noqa: N802
        self, request: messages.GetConsistencyProofRequest
    ) -> messages.GetConsistencyProofResponse:
        hashes = self.tree().consistency(request.old_size, request.new_size)
        return messages.GetConsistencyProofResponse(hashes=hashes)

    @staticmethod
    def stream(method: Callable[[Any], Any], request: object) -> Any:
        yield from method(request)

    def ReadRecords(self, request: messages.ReadRecordsRequest) -> Any:  # noqa: N802
        shown = self.records if self.shown is None else self.shown
        end = request.end or len(shown)
        for first in range(request.start, end, self.page):
            answer = messages.ReadRecordsResponse()
            for index, each in enumerate(shown[first : min(first + self.page, end)], first):
                parts = entry_of(each)
                added = answer.records.add(
                    index=index,
                    kind=parts.kind,
                    salt=parts.salt,
                    body=parts.body,
                    digest=parts.digest,
                )
                added.time.FromDatetime(each.time)
            yield answer


@pytest.fixture
def log(demo: Deployment, policy: TrustPolicy) -> Any:
    """Run an honest log of seven records."""
    names = [each.key.name for each in policy.log.witnesses]
    witnesses = {name: f"witness/{name.rpartition('/')[2]}" for name in names}
    return Log(folder=demo.folder, origin=policy.log.origin, witnesses=witnesses)


@pytest.fixture
def profile(demo: Deployment, tmp_path: Path) -> Profile:
    """Copy the auditor's profile, which has seen nothing yet."""
    return load_profile(shutil.copytree(demo.folder / "people/auditor-1", tmp_path / "mine"))


def verify(log: Any, profile: Profile, policy: TrustPolicy, now: datetime = NOW) -> dict[str, int]:
    """Do what `log verify` does."""
    seen = checked_checkpoint(log, profile, policy, now=lambda: now)
    entries = fetched_entries(log, purpose="test", end=seen.head.size)
    roots = profile.pinned_roots()
    with auditing():
        report = audited_records(
            entries, seen.head, roots, before=seen.before, progress=lambda _: None
        )
    remember(profile, seen)
    return dict(report.counts.kinds)


def test_an_honest_log_is_whole_and_grows(log: Any, profile: Profile, policy: TrustPolicy) -> None:
    """Seven records verify; after three more the log continues what was seen."""
    assert verify(log, profile, policy) == {"capture_denied": 7}
    log.records += [record(n) for n in range(7, 10)]
    assert verify(log, profile, policy) == {"capture_denied": 10}


def test_pages_of_any_size_make_the_same_list(log: Any) -> None:
    """Records come in order whatever the pages are, with limits and starts kept."""
    for page in (1, 2, 3, 7, 500):
        log.page = page
        assert [each.index for each in fetched_records(log, purpose="test")] == list(range(7))
        assert [each.index for each in fetched_records(log, purpose="test", start=2, end=5)] == [
            2,
            3,
            4,
        ]
        assert [each.record for each in fetched_records(log, purpose="test", end=5)] == log.records[
            :5
        ]
    assert list(fetched_records(log, purpose="test", start=7)) == []


@pytest.mark.parametrize(
    "lie",
    [
        lambda records: records[:-1],
        lambda records: records[1:],
        lambda records: [records[1], records[0], *records[2:]],
        lambda records: [*records[:3], replace(records[3], body=records[4].body), *records[4:]],
        lambda records: [*records[:3], replace(records[3], time=NOW), *records[4:]],
        lambda records: [
            *records[:3],
            replace(records[3], kind=RecordKind.REQUEST_DENIED),
            *records[4:],
        ],
        lambda records: [*records[:3], replace(records[3], salt=bytes(32)), *records[4:]],
        lambda records: [*records[:3], *records[3:4], *records[3:]],
        lambda _: [],
    ],
)
def test_records_that_are_not_those_of_the_tree_are_found_out(
    lie: Callable[[list[Record]], list[Record]], log: Any, profile: Profile, policy: TrustPolicy
) -> None:
    """One record left out, changed in any part, moved or added gives another root."""
    log.shown = lie(log.records)
    with pytest.raises(DiscrepancyError, match="not those of the checkpoint"):
        verify(log, profile, policy)
    assert not (profile.state_dir / "checkpoint").exists()


@pytest.mark.parametrize("change", ["shrunk", "forked", "forked at the same size"])
def test_a_log_that_does_not_continue_is_convicted(
    change: str, log: Any, profile: Profile, policy: TrustPolicy
) -> None:
    """Validly signed and cosigned, but not a continuation: both checkpoints are kept."""
    verify(log, profile, policy)
    before = (profile.state_dir / "checkpoint").read_bytes()
    match change:
        case "shrunk":
            log.records = log.records[:5]
        case "forked":
            log.records = [record(99), *log.records[1:], record(7)]
        case _:
            log.records = [record(99), *log.records[1:]]
    with pytest.raises(DiscrepancyError, match="DOES NOT CONTINUE") as caught:
        verify(log, profile, policy)
    assert caught.value.kind == ("log_shrunk" if change == "shrunk" else "log_forked")
    assert (profile.state_dir / "checkpoint").read_bytes() == before
    assert (profile.state_dir / "checkpoint.conflict").read_bytes() == log.note()


def test_a_stale_or_foreign_checkpoint_is_not_trusted(
    log: Any, profile: Profile, policy: TrustPolicy
) -> None:
    """Older than the policy allows, or of another log, is refused by name."""
    with pytest.raises(DiscrepancyError) as caught:
        verify(log, profile, policy, NOW + timedelta(hours=1))
    assert caught.value.kind == "checkpoint_stale"
    log.origin = "somebody.else/log"
    with pytest.raises(DiscrepancyError) as caught:
        verify(log, profile, policy)
    assert caught.value.kind == "checkpoint_untrusted"


def test_a_checkpoint_without_its_witness_is_not_trusted(
    log: Any, profile: Profile, policy: TrustPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody cosigned: after waiting for the witness it is refused."""
    monkeypatch.setattr("guard.cli.log_verification._PAUSE", 0)
    log.cosigned = False
    with pytest.raises(DiscrepancyError) as caught:
        verify(log, profile, policy)
    assert caught.value.kind == "quorum_missing"


def test_an_older_command_does_not_overwrite_what_a_newer_saw(
    log: Any, profile: Profile, policy: TrustPolicy
) -> None:
    """Two commands at once: the larger checkpoint stays remembered."""
    older = checked_checkpoint(log, profile, policy, now=lambda: NOW)
    log.records.append(record(7))
    verify(log, profile, policy)
    remember(profile, older)
    assert (profile.state_dir / "checkpoint").read_bytes() == log.note()


def test_a_proof_holds_for_its_record_only(log: Any, policy: TrustPolicy) -> None:
    """The proof of a record verifies; with another record, index or path it does not."""
    tree = log.tree()
    proof = LogProof(
        index=2,
        hashes=tuple(tree.inclusion(2, tree.size)),
        checkpoint=log.note(),
        extra=encode_opening(log.records[2]),
    )
    assert verify_proof(encode_proof(proof), policy.log, now=NOW).record == log.records[2]
    for false in (
        replace(proof, extra=encode_opening(log.records[3])),
        replace(proof, index=3),
        replace(proof, hashes=proof.hashes[:-1]),
    ):
        with pytest.raises(Refused):
            verify_proof(encode_proof(false), policy.log, now=NOW)
