"""Proofs, checkpoints and entries from tiles alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from guard.core.note import parse_note
from guard.core.tiles import bundle_path, encode_bundle, tile_path
from tests.builders.public_logs import tree_of
from tests.guard.cli.auditing import Case, again, found

AT = 300


def check(case: Case, proof: Path):
    return case.callguard(
        "log", "prove", "--check", proof, "--policy", case.log.folder.parent / "policy", "--json"
    )


def test_a_record_is_proven_from_tiles_and_checked_offline(case: Case, tmp_path: Path) -> None:
    """The proof shows the record, and nothing is needed to check it but the policy."""
    kept, proof = case.log.export(case.entries), tmp_path / "proof"
    made = case.command("prove", str(AT), "--records", kept, "--out", proof)
    assert made.code == 0, made
    assert stat.S_IMODE(proof.stat().st_mode) == 0o600  # it shows what auditors alone may read
    for path in sorted(case.log.folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    said = check(case, proof).json()
    record = case.entries[AT].record()
    assert (said["index"], said["kind"], said["body"]) == (AT, record.kind, dict(record.body))
    assert set(said["witnesses"]) == set(case.log.witnesses)


@pytest.mark.parametrize("index", [0, 255, 256, 511, 512, -1])
def test_an_entry_is_proven_without_its_record(index: int, case: Case, tmp_path: Path) -> None:
    """Without records the proof shows what is public: kind, time and digest."""
    index %= len(case.entries)
    proof = tmp_path / "proof"
    assert case.command("prove", str(index), "--out", proof).code == 0
    said = check(case, proof).json()
    entry = case.entries[index]
    assert stat.S_IMODE(proof.stat().st_mode) == 0o644
    assert (said["kind"], said["digest"]) == (entry.kind, entry.digest.hex())
    assert said["body"] is None
    kept = proof.read_bytes()
    again = case.command("prove", str(index), "--out", proof)
    assert (again.code, proof.read_bytes()) == (2, kept)
    assert "is there already" in again.err


def test_a_proof_of_anything_else_is_refused(case: Case, tmp_path: Path) -> None:
    """Another index, another extra line, a signature less: nothing of it is proven."""
    proof = tmp_path / "proof"
    case.command("prove", str(AT), "--out", proof)
    text = proof.read_text()
    for false in (
        text.replace(f"index {AT}\n", f"index {AT + 1}\n"),
        text.replace("extra ", "extra AAAA"),
        "\n".join(line for line in text.split("\n") if not line.startswith("extra")),
        text.replace(text.split("\n")[3] + "\n", ""),
    ):
        proof.write_text(false)
        answer = check(case, proof)
        assert answer.code == 1
        assert "not to be trusted" in answer.err
    proof.write_text("".join(text.splitlines(keepends=True)[:-1]))
    assert found(check(case, proof))[0] == "quorum_missing"
    proof.write_text("nothing")
    assert check(case, proof).code == 1


def test_an_erased_record_is_proven_by_its_entry_only(case: Case) -> None:
    entries = list(case.entries)
    entries[AT] = entries[AT]._replace(salt=None, body=None)
    kept = case.log.export(entries)
    answer = case.command("prove", str(AT), "--records", kept)
    assert (answer.code, "leave out --records" in answer.err) == (1, True)


def test_a_record_that_is_not_the_entrys_is_not_proven(case: Case, tmp_path: Path) -> None:
    """An export that was tampered with makes no proof, and nothing is kept."""
    entries = list(case.entries)
    entries[AT] = again(entries[AT], body={"x": 1})
    kept, proof = case.log.export(entries), tmp_path / "proof"
    assert case.command("prove", str(AT), "--records", kept, "--out", proof).code == 1
    assert not proof.exists()


def test_what_is_not_there_is_not_proven(case: Case) -> None:
    assert "there is no record" in case.command("prove", "99999").err
    assert case.callguard("log", "prove").code == 2
    assert case.callguard("log", "prove", "7", "--records", __file__).code == 2


def test_the_checkpoint_is_verified_and_kept(case: Case, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    said = case.command("checkpoint", "--out", kept, "--json").json()
    assert said["size"] == len(case.entries)
    assert set(said["witnesses"]) == set(case.log.witnesses)
    assert parse_note(kept.read_bytes()) == parse_note(
        (case.log.folder / "checkpoint").read_bytes()
    )
    case.log.write("checkpoint", case.log.note(case.entries, case.at, by={}))
    assert found(case.command("checkpoint"))[0] == "quorum_missing"


def test_public_entries_are_listed(case: Case) -> None:
    """Index, time, kind and digest of what was asked for."""
    said = case.command("entries", "--start", "254", "--limit", "4", "--json").json()["entries"]
    assert [each["index"] for each in said] == [254, 255, 256, 257]
    assert [each["digest"] for each in said] == [e.digest.hex() for e in case.entries[254:258]]
    assert said[0].keys() == {"index", "time", "kind", "digest"}
    answer = case.command("entries", "--kind", "capture_armed", "--json")
    assert answer.code == 0, answer
    armed = answer.json()["entries"]
    assert [case.entries[each["index"]].kind for each in armed] == ["capture_armed"]
    assert case.command("entries", "--start", "99999").out == "No entry.\n"


def test_entries_that_are_not_the_trees_are_not_listed(case: Case) -> None:
    """Neither a bundle alone nor a bundle with its tile can say something else than the root."""
    entries = list(case.entries)
    entries[AT] = again(entries[AT], body={"x": 1})
    case.log.write(bundle_path(1), encode_bundle([each.leaf() for each in entries[256:512]]))
    assert case.command("entries", "--start", str(AT), "--limit", "1").code == 1
    case.log.write(tile_path(0, 1), tree_of(entries).nodes(0, 256, 512))
    assert case.command("entries", "--start", str(AT), "--limit", "1").code == 1


def test_an_export_is_for_its_owner_alone_and_never_overwritten(case: Case) -> None:
    kept = case.log.export(case.entries)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.read_text().count("\n") == len(case.entries)
