"""An auditor with public keys, tiles and an export: a clean log passes, every tampering is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.clock import SystemClock
from guard.core import envelope as dsse
from guard.core.fields import encode_base64, format_time
from guard.core.record import LEAST_KEPT, Entry, Record, RecordKind, entry_of
from guard.core.tiles import bundle_path, encode_bundle, tile_path
from tests.builders.deployment import Deployment
from tests.builders.public_logs import PublicFolder, tree_of
from tests.guard.cli.auditing import Case, Quiet, Redirecting, again, found


def kind_at(entries: Sequence[Entry], kind: str, skip: int = 0) -> int:
    return [index for index, each in enumerate(entries) if each.kind == kind][skip]


# --- a clean log ---------------------------------------------------------------------------------


def test_a_clean_log_passes(case: Case) -> None:
    """What was checked is said line by line, each witness is named, and the end is 0."""
    answer = case.verify()
    assert answer.code == 0, answer
    assert answer.err == ""
    for name in case.log.witnesses:
        assert f"witness: {name} cosigned at" in answer.out
    assert f"entries: {len(case.entries)}, from" in answer.out
    assert "is whole" in answer.out
    said = case.verify("--json").json()
    assert said["verified"] is True
    assert said["size"] == len(case.entries)
    assert set(said["witnesses"]) == set(case.log.witnesses)
    assert sum(said["kinds"].values()) == len(case.entries)


def test_clean_records_pass(case: Case) -> None:
    """Every record opens to its entry, every receipt is its node's, every chain goes on."""
    answer = case.with_records()
    assert answer.code == 0, answer
    assert f"records: {len(case.entries)} open to their entries, 0 of them erased" in answer.out
    assert "receipts: 10 signed by their nodes: node-1 to its 4., node-2 to its 6." in answer.out
    assert "open findings: none" in answer.out
    said = case.with_records(None, "--json").json()["records"]
    assert (said["count"], said["receipts"], said["trust_policies"]) == (len(case.entries), 10, 1)
    assert said["chains"] == {"node-1": 4, "node-2": 6}


def test_a_partial_log_of_every_width_passes(case: Case) -> None:
    """Sizes around the tiles' edges, each published alone."""
    for size in (1, 2, 255, 256, 257, 512, len(case.entries)):
        entries = case.entries[:size]
        case.log.write_tiles(entries)
        case.log.write("checkpoint", case.log.note(entries, case.entries[-1].record().time))
        answer = case.verify()
        assert answer.code == 0
        bundles = -(-size // 256)
        assert f"tiles: {bundles} bundle{'s' * (bundles > 1)} and every tile above" in answer.out


def test_a_log_is_verified_over_http(case: Case, serve) -> None:
    """A plain static server is enough; a file that is not there is named."""
    url = serve(case.log.folder)
    assert case.verify(where=url).code == 0
    assert case.verify(where=f"{url}/").code == 0
    missing = case.log.folder / bundle_path(1)
    missing.unlink()
    assert found(case.verify(where=url))[0] == "tile_missing"
    (case.log.folder / "checkpoint").unlink()
    answer = case.verify(where=url)
    assert answer.code == 1
    assert "no `checkpoint`" in answer.err


def test_a_server_that_is_away_is_unreachable(case: Case, serve) -> None:
    answer = case.verify(where="http://127.0.0.1:1/log")
    assert answer.code == 4
    assert "cannot reach" in answer.err


def test_redirections_go_nowhere_but_to_the_web(case: Case, serve, tmp_path: Path) -> None:
    """Another place of the same server is followed; a file of this machine never is."""
    handler = type("Elsewhere", (Redirecting,), {"target": "/again/checkpoint"})
    (case.log.folder / "again").mkdir()
    (case.log.folder / "checkpoint").rename(case.log.folder / "again/here")
    handler.target = "/again/here"
    assert case.verify(where=serve(case.log.folder, handler)).code == 0
    handler.target = f"file://{case.log.folder}/again/here"
    answer = case.verify(where=serve(case.log.folder, handler))
    assert answer.code == 4


class Packing(Quiet):
    """Says that everything is compressed."""

    def end_headers(self) -> None:
        self.send_header("Content-Encoding", "gzip")
        super().end_headers()


def test_a_file_in_another_encoding_is_not_read(case: Case, serve) -> None:
    """What is hashed must be what was published, byte by byte."""
    answer = case.verify(where=serve(case.log.folder, Packing))
    assert (answer.code, "another encoding" in answer.err) == (1, True)


def test_a_file_that_is_too_large_is_not_read(case: Case, serve) -> None:
    case.log.write("checkpoint", b"x" * (1 << 20))
    for where in (case.log.folder, serve(case.log.folder)):
        answer = case.verify(where=where)
        assert answer.code == 1
        assert "larger than such a file may be" in answer.err


def test_keys_from_the_log_itself_are_warned_of(case: Case) -> None:
    answer = case.callguard("log", "verify", "--log", case.log.folder)
    assert answer.code == 0
    assert "warning: the keys come from the log itself" in answer.err


@pytest.mark.parametrize("where", ["ftp://log.example/", "nowhere/at/all", "https:///x"])
def test_what_is_no_log_is_wrong_usage(where: str, case: Case) -> None:
    assert case.verify(where=where).code == 2


# --- checkpoints ---------------------------------------------------------------------------------


def test_a_checkpoint_by_another_key_is_untrusted(case: Case) -> None:
    key = Ed25519PrivateKey.generate()
    case.log.write("checkpoint", case.log.note(case.entries, case.at, key=key))
    assert found(case.verify())[0] == "checkpoint_untrusted"


def test_a_wrong_witness_makes_no_quorum(case: Case) -> None:
    """One of two is too few; an unknown one does not count; a forged one refuses the whole."""
    first, second = case.log.witnesses
    key, other = case.log.witnesses[first], Ed25519PrivateKey.generate()
    for by in ({first: key}, {first: key, "stranger.test": other}, {}):
        case.log.write("checkpoint", case.log.note(case.entries, case.at, by=by))
        assert found(case.verify())[0] == "quorum_missing"
    note = case.log.note(case.entries, case.at).decode().splitlines(keepends=True)
    forged = note[-1][:-6] + ("AAAA=\n" if not note[-1].endswith("AAAA=\n") else "BBBB=\n")
    case.log.write("checkpoint", "".join([*note[:-1], forged]).encode())
    assert found(case.verify())[0] == "checkpoint_untrusted"
    del second


def test_freshness_is_checked_when_asked_for(case: Case) -> None:
    old = SystemClock.now() - timedelta(hours=2)
    entries = [again(each, time=format_time(old)) for each in case.entries[:20]]
    case.log.publish(entries, old)
    assert case.verify().code == 0
    assert case.verify("--max-age", "3h").code == 0
    stale = case.verify("--max-age", "1h")
    assert found(stale)[0] == "checkpoint_stale"
    assert "policy" not in stale.err  # Who asked for an hour was the caller.
    assert format_time(old)[:16] in stale.err


def test_a_log_that_does_not_continue_is_convicted(case: Case, tmp_path: Path) -> None:
    """An older checkpoint: continued, of another tree, or larger than what is shown."""
    kept = tmp_path / "older"
    kept.write_bytes(case.log.note(case.entries[:300], case.at - timedelta(minutes=1)))
    answer = case.verify("--since", kept)
    assert answer.code == 0, answer
    assert "older checkpoint: its 300 entries are the first ones of this log" in answer.out
    forked = [again(case.entries[7], body={"other": 1}), *case.entries[1:300]]
    kept.write_bytes(case.log.note(forked, case.at))
    assert found(case.verify("--since", kept))[0] == "log_forked"
    kept.write_bytes(case.log.note([*case.entries, case.entries[0]], case.at))
    assert found(case.verify("--since", kept))[0] == "log_shrunk"
    key = Ed25519PrivateKey.generate()
    kept.write_bytes(case.log.note(case.entries[:300], case.at, key=key))
    answer = case.verify("--since", kept)
    assert found(answer)[0] == "checkpoint_untrusted"
    assert str(kept) in answer.err


def test_an_older_checkpoint_can_be_verified_under(case: Case, tmp_path: Path) -> None:
    """One that was published before: its partial tiles are still there, or the full ones are."""
    case.log.write_tiles(case.entries[:300])
    kept = tmp_path / "older"
    kept.write_bytes(case.log.note(case.entries[:300], case.at))
    assert case.verify("--checkpoint", kept, "--json").json()["size"] == 300


# --- entries -------------------------------------------------------------------------------------

AT = 300
CHANGES = {
    "removed": lambda leaves, at: [*leaves[:at], *leaves[at + 1 :]],
    "added": lambda leaves, at: [*leaves[:at], b"another", *leaves[at:]][: len(leaves)],
    "altered": lambda leaves, at: [*leaves[:at], b"another", *leaves[at + 1 :]],
    "reordered": lambda leaves, at: [*leaves[:at], leaves[at + 1], leaves[at], *leaves[at + 2 :]],
    "moved": lambda leaves, at: [
        *leaves[:at],
        *leaves[at + 1 : at + 9],
        leaves[at],
        *leaves[at + 9 :],
    ],
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_bundle_that_was_tampered_with_is_named(how: str, case: Case) -> None:
    """The entry that was removed, added, altered or moved in its bundle."""
    leaves = CHANGES[how]([each.leaf() for each in case.entries[256:512]], AT - 256)
    case.log.write(bundle_path(1), encode_bundle(leaves))
    kind = "reordered" if how == "moved" else how
    assert found(case.verify()) == (f"entry_{kind}", AT)


@pytest.mark.parametrize("how", ["altered", "reordered"])
def test_an_entry_tampered_with_in_bundle_and_tile_is_caught(how: str, case: Case) -> None:
    """Bundle and level-0 tile agree: the tile above tells which was replaced; records name it."""
    change = CHANGES[how]
    entries = change(case.entries, AT)
    entries = [
        each if isinstance(each, Entry) else again(case.entries[AT], body={"x": 1})
        for each in entries
    ]
    tree = tree_of(entries)
    case.log.write(tile_path(0, 1), tree.nodes(0, 256, 512))
    case.log.write(bundle_path(1), encode_bundle([each.leaf() for each in entries[256:512]]))
    answer = case.verify()
    assert found(answer)[0] == "tile_altered"
    assert "entries 256 to 511" in answer.err
    assert found(case.with_records()) == (f"entry_{how}", AT)


@pytest.mark.parametrize("how", ["altered", "reordered"])
def test_a_whole_tree_rewritten_is_a_fork(how: str, case: Case) -> None:
    """Tiles that fit each other and not the checkpoint: the log has two trees; records name it."""
    entries = CHANGES[how](case.entries, AT)
    entries = [
        each if isinstance(each, Entry) else again(case.entries[AT], body={"x": 1})
        for each in entries
    ]
    case.log.write_tiles(entries)
    assert found(case.verify())[0] == "log_forked"
    assert found(case.with_records()) == (f"entry_{how}", AT)


def test_a_tree_rewritten_with_one_entry_less_is_caught(case: Case) -> None:
    """The last partial tile of the checkpoint's size is not there any more."""
    for path in sorted(case.log.folder.rglob("*.p/*")):
        path.unlink()
    case.log.write_tiles([*case.entries[:AT], *case.entries[AT + 1 :]])
    assert found(case.verify())[0] == "tile_missing"


@pytest.mark.parametrize("path", [tile_path(0, 0), tile_path(0, 1), tile_path(1, 0, 2)])
def test_a_tile_that_was_altered_is_named(path: str, case: Case) -> None:
    data = bytearray((case.log.folder / path).read_bytes())
    data[40] ^= 1
    case.log.write(path, bytes(data))
    answer = case.verify()
    assert found(answer)[0] == "tile_altered"
    assert path in answer.err


@pytest.mark.parametrize("path", [tile_path(0, 1), bundle_path(0), tile_path(1, 0, 2)])
def test_a_tile_that_is_missing_is_named(path: str, case: Case) -> None:
    (case.log.folder / path).unlink()
    answer = case.verify()
    assert found(answer)[0] == "tile_missing"
    assert path in answer.err


def test_a_tile_cut_off_is_caught(case: Case) -> None:
    path = bundle_path(1)
    case.log.write(path, (case.log.folder / path).read_bytes()[:-1])
    assert found(case.verify())[0] == "tile_altered"


def test_a_back_dated_entry_is_named(case: Case, tmp_path: Path) -> None:
    """Dated before what stood before it; a minute is let pass, for clocks."""
    before = case.entries[AT - 1].record().time
    for seconds, code in ((59, 0), (61, 3)):
        entries = list(case.entries)
        entries[AT] = again(entries[AT], time=format_time(before - timedelta(seconds=seconds)))
        case.publish(entries)
        answer = case.verify()
        assert answer.code == code, answer
    assert found(answer) == ("entry_backdated", AT)


def test_an_entry_dated_before_a_checkpoint_without_it_is_named(case: Case, tmp_path: Path) -> None:
    """An older checkpoint that was cosigned later than the entry says it came."""
    kept = tmp_path / "older"
    time = case.entries[AT].record().time
    kept.write_bytes(case.log.note(case.entries[:AT], time + timedelta(seconds=59)))
    assert case.verify("--since", kept).code == 0
    kept.write_bytes(case.log.note(case.entries[:AT], time + timedelta(seconds=61)))
    assert found(case.verify("--since", kept)) == ("entry_backdated", AT)


def test_an_entry_dated_after_its_witnesses_is_named(case: Case) -> None:
    last = case.entries[-1].record().time
    case.log.publish(case.entries, last - timedelta(seconds=61))
    assert found(case.verify())[0] == "entry_postdated"


def test_an_entry_of_another_form_is_named(case: Case) -> None:
    entries = list(case.entries)
    entries[AT] = entries[AT]._replace(time="yesterday")
    case.publish(entries)
    assert found(case.verify()) == ("entry_malformed", AT)


# --- records -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lie", "kind"),
    [
        (lambda each: [*each[:AT], *each[AT + 1 :]], "record_missing"),
        (lambda each: each[:AT], "record_missing"),
        (lambda each: [*each[:AT], each[AT + 1], each[AT], *each[AT + 2 :]], "record_reordered"),
        (
            lambda each: [*each[:AT], again(each[AT], body={"x": 1}), *each[AT + 1 :]],
            "record_altered",
        ),
        (lambda each: [*each[:AT], again(each[AT], body={"x": 1}), *each[AT:]], "record_added"),
        (
            lambda each: [*each[:AT], each[AT]._replace(body=b'{"x":1}'), *each[AT + 1 :]],
            "record_altered",
        ),
        (
            lambda each: [*each[:AT], each[AT]._replace(kind="incident"), *each[AT + 1 :]],
            "record_altered",
        ),
        (
            lambda each: [*each[:AT], each[AT]._replace(salt=None, body=None), *each[AT + 1 :]],
            "record_withheld",
        ),
    ],
)
def test_records_that_are_not_the_entries_are_named(lie, kind: str, case: Case) -> None:
    """Removed, moved, altered, added, altered beside its digest, withheld: told apart, with index."""
    assert found(case.with_records(lie(case.entries))) == (kind, AT)


def test_an_export_reaches_as_far_as_its_checkpoint(case: Case) -> None:
    """An older export passes with the checkpoint kept beside it, unless it was cut short."""
    kept = case.log.export(case.entries[:AT])
    checkpoint = kept.with_name(f"{kept.name}.checkpoint")
    words = ("--records", kept, "--roots", case.log.roots())
    checkpoint.write_bytes(case.log.note(case.entries[:AT], case.at))
    answer = case.verify(*words)
    assert answer.code == 0, answer
    assert f"records: those of the first {AT} entries are verified" in answer.out
    assert f"of {len(case.entries)} entries is whole" in answer.out
    assert f"the records of its first {AT} entries are theirs." in answer.out
    assert case.verify(*words, "--json").json()["records_verified_to"] == AT
    case.log.export(case.entries[: AT - 1])
    assert found(case.verify(*words)) == ("record_missing", AT - 1)
    other = [again(case.entries[0], body={"x": 1}), *case.entries[1:AT]]
    checkpoint.write_bytes(case.log.note(other, case.at))
    assert found(case.verify(*words))[0] == "log_forked"


def test_a_record_that_bears_another_number_is_named(case: Case) -> None:
    kept = case.log.export(case.entries)
    lines = kept.read_text().splitlines(keepends=True)
    lines[AT] = lines[AT].replace(f'"index":{AT},', '"index":7,')
    kept.write_text("".join(lines))
    answer = case.verify("--records", kept, "--roots", case.log.roots())
    assert found(answer) == ("record_altered", AT)


def test_records_that_were_erased_on_record_pass(case: Case) -> None:
    """What the log says was erased may be; a trust policy may not."""
    end = kind_at(case.entries, "capture_denied")
    entries = made_old(case.entries, end + 2)
    erasing = Record(
        kind=RecordKind.RECORDS_ERASED,
        time=entries[-1].record().time,
        body={"first": 0, "count": end + 1},
        salt=bytes(32),
    )
    entries.append(entry_of(erasing))
    case.publish(entries)
    for index in range(end + 1):
        if entries[index].kind != "trust_policy_changed":
            entries[index] = entries[index]._replace(salt=None, body=None)
    answer = case.with_records(entries)
    assert answer.code == 0, answer
    assert f"{end} of them erased" in answer.out
    entries[end + 1] = entries[end + 1]._replace(salt=None, body=None)
    assert found(case.with_records(entries)) == ("record_withheld", end + 1)
    entries[0] = entries[0]._replace(salt=None, body=None)
    assert found(case.with_records(entries)) == ("record_withheld", 0)


def made_old(entries: Sequence[Entry], end: int, *, by: timedelta = LEAST_KEPT) -> list[Entry]:
    """Return entries of which the first have an earlier time: retention is over for them."""
    last = entries[-1].record().time
    old = [again(each, time=format_time(last - by)) for each in entries[:end]]
    return [*old, *entries[end:]]


@pytest.mark.parametrize("early", [timedelta(seconds=1), timedelta(days=399)])
def test_what_was_erased_before_its_time_is_withheld(early: timedelta, case: Case) -> None:
    """Whoever holds the guard cannot have it forget this week, on record or not."""
    entries = made_old(case.entries, AT, by=LEAST_KEPT - early)
    entries.append(erasing(entries, 0, AT))
    case.publish(entries)
    for index in range(1, AT):
        entries[index] = entries[index]._replace(salt=None, body=None)
    answer = case.with_records(entries)
    assert found(answer) == ("record_withheld", AT - 1)
    assert "before its time" in answer.err


def erasing(entries: Sequence[Entry], first: int, count: int) -> Entry:
    """Return the record that so many were erased."""
    time = entries[-1].record().time
    body = {"first": first, "count": count}
    return entry_of(Record(kind=RecordKind.RECORDS_ERASED, time=time, body=body, salt=bytes(32)))


def test_no_erasure_excuses_what_came_after_it(case: Case) -> None:
    """Whoever wrote that all the world was erased cannot withhold the next record."""
    old = made_old(case.entries, AT)
    entries = [*old[:AT], erasing(case.entries, 0, 10**9), *old[AT:]]
    case.publish(entries)
    for index in range(1, AT):
        entries[index] = entries[index]._replace(salt=None, body=None)
    assert case.with_records(entries).code == 0
    entries[AT + 1] = entries[AT + 1]._replace(salt=None, body=None)
    assert found(case.with_records(entries)) == ("record_withheld", AT + 1)


def test_what_is_erased_before_something_older_is_withheld(case: Case) -> None:
    """Retention goes oldest first: an erasure in the midst picks and chooses."""
    old = made_old(case.entries, AT + 1)
    entries = [*old, erasing(old, 0, AT + 1)]
    case.publish(entries)
    entries[AT] = entries[AT]._replace(salt=None, body=None)
    assert found(case.with_records(entries)) == ("record_withheld", AT)


@pytest.mark.parametrize(
    "line", [b"", b"{}\n", b"[1]\n", b"x\n", b'{"index":0}\n', b"{" * 1000 + b"\n"]
)
def test_a_line_that_is_no_record_is_named(line: bytes, case: Case) -> None:
    """Nothing but records is read from an export, and the error says where."""
    kept = case.log.export(case.entries)
    lines = kept.read_bytes().splitlines(keepends=True)
    lines[AT] = line or lines[AT][:-9]
    kept.write_bytes(b"".join(lines))
    answer = case.verify("--records", kept, "--roots", case.log.roots())
    assert answer.code == 1, answer
    assert f"line {AT + 1}: " in answer.err


@pytest.mark.parametrize(
    "changes",
    [
        {"index": "0"}, {"index": True}, {"kind": 'a"b'}, {"time": 7}, {"digest": "AAAA"},
        {"digest": None}, {"salt": None}, {"salt": "AAAA"}, {"body": "%"}, {"more": 1},
    ],
)  # fmt: skip
def test_a_record_of_another_form_is_named(changes: dict, case: Case) -> None:
    kept = case.log.export(case.entries)
    lines = kept.read_text().splitlines(keepends=True)
    lines[2] = json.dumps(json.loads(lines[2]) | changes) + "\n"
    kept.write_text("".join(lines))
    answer = case.verify("--records", kept, "--roots", case.log.roots())
    assert (answer.code, "line 3: " in answer.err) == (1, True), answer


# --- receipts and policies, in logs that are signed and cosigned all the same ---------------------


def test_a_receipt_that_was_left_out_is_missed(case: Case) -> None:
    """A guard that never put a receipt on record: the next one of that node shows it."""
    entries = list(case.entries)
    gone = kind_at(entries, "capture_armed")
    del entries[gone]
    case.publish(entries)
    assert case.verify().code == 0
    answer = case.with_records(entries)
    assert found(answer) == ("receipt_missing", kind_at(entries, "node_heartbeat", 2))
    assert "3 of node-1" in answer.err


def test_the_first_receipt_that_was_left_out_is_missed(case: Case) -> None:
    entries = list(case.entries)
    del entries[kind_at(entries, "node_heartbeat")]
    case.publish(entries)
    assert found(case.with_records(entries)) == (
        "receipt_missing",
        kind_at(entries, "capture_armed"),
    )


def test_a_break_that_is_on_record_is_counted(case: Case) -> None:
    """The guard said before the receipt after it that the chain was broken: the log is honest."""
    entries = list(case.entries)
    del entries[kind_at(entries, "capture_armed")]
    after = kind_at(entries, "node_heartbeat", 2)
    incident = Record(
        kind=RecordKind.INCIDENT,
        time=entries[after].record().time,
        body={"node": "node-1", "what": "receipts_broken", "last": 1, "given": 3},
        salt=bytes(32),
    )
    entries.insert(after, entry_of(incident))
    case.publish(entries)
    answer = case.with_records(entries)
    assert answer.code == 0, answer
    assert "on record as incidents: 1\n" in answer.out
    assert "open finding: chain_broken" in answer.out


def test_a_loss_that_loses_nothing_excuses_no_gap(case: Case) -> None:
    """Lost is what a node knows less of than the guard; nobody hides a receipt behind that word."""
    entries = list(case.entries)
    left_out = kind_at(entries, "capture_armed")
    del entries[left_out]
    lost = Record(
        kind=RecordKind.INCIDENT,
        time=entries[left_out].record().time,
        body={"node": "node-1", "what": "receipts_lost", "last": 1, "given": 2},
        salt=bytes(32),
    )
    entries.insert(left_out, entry_of(lost))
    case.publish(entries)
    assert found(case.with_records(entries))[0] == "receipt_missing"


def test_receipts_that_were_swapped_are_named(case: Case) -> None:
    entries = list(case.entries)
    one, other = kind_at(entries, "node_heartbeat", 3), kind_at(entries, "node_heartbeat", 4)
    entries[one], entries[other] = entries[other], entries[one]
    entries[one], entries[other] = (
        entries[one]._replace(time=entries[other].time),
        entries[other]._replace(time=entries[one].time),
    )
    case.publish(entries)
    assert found(case.with_records(entries)) == ("receipt_missing", one)


def test_a_receipt_put_on_record_twice_is_named(case: Case) -> None:
    entries = list(case.entries)
    entries.append(entries[-1])
    case.publish(entries)
    assert found(case.with_records(entries)) == ("receipt_reordered", len(entries) - 1)


def forged(entry: Entry, signer) -> Entry:
    body = dict(entry.record().body)
    parsed = dsse.parse(__import__("base64").b64decode(body["receipt"]), dsse.Kind.RECEIPT)
    made = dsse.encode(dsse.sign(parsed.payload, dsse.Kind.RECEIPT, signer))
    body |= {"receipt": encode_base64(made), "receipt_digest": dsse.digest(made)}
    return again(entry, body=body)


def test_a_receipt_by_another_key_is_forged(case: Case) -> None:
    """Another node's key, or none, does not make a receipt of node-2."""
    entries = list(case.entries)
    at = kind_at(entries, "node_heartbeat", 1)
    entries[at] = forged(entries[at], case.log.site.nodes["node-1"].signer)
    case.publish(entries)
    assert found(case.with_records(entries)) == ("receipt_forged", at)


def test_a_record_that_says_other_than_its_receipt_is_forged(case: Case) -> None:
    entries = list(case.entries)
    at = kind_at(entries, "node_heartbeat", 1)
    entries[at] = again(entries[at], body=dict(entries[at].record().body) | {"node": "node-1"})
    case.publish(entries)
    assert found(case.with_records(entries)) == ("receipt_forged", at)


def test_a_statement_without_its_receipt_is_missed(case: Case) -> None:
    entries = list(case.entries)
    at = kind_at(entries, "capture_armed")
    body = dict(entries[at].record().body)
    del body["receipt"]
    entries[at] = again(entries[at], body=body)
    case.publish(entries)
    assert found(case.with_records(entries)) == ("receipt_missing", at)


def test_a_policy_of_other_roots_is_untrusted(case: Case, tmp_path: Path) -> None:
    """The roots that the auditor pinned have not signed the policy on record."""
    kept = case.log.export(case.entries)
    stranger = PublicFolder(tmp_path / "other/log", Deployment(), {})
    stranger.folder.mkdir(parents=True)
    answer = case.verify("--records", kept, "--roots", stranger.roots())
    assert found(answer)[0] == "policy_untrusted"


def test_records_need_roots(case: Case) -> None:
    answer = case.verify("--records", case.log.export(case.entries))
    assert (answer.code, "--roots FILE" in answer.err) == (2, True)
