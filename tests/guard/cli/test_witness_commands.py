"""`callguard witness`: keys and evidence of a witness, without any guard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from guard.core.note import KeyType, encode_base64, encode_vkey, parse_vkey
from guard.keys import load_ed25519, pem, write_secret
from tests.guard.cli.running import Answer
from tests.guard.witness.test_server import (
    FORK,
    ORIGIN,
    TOML,
    TREE,
    WITNESS,
    WITNESS_KEY,
    Running,
    request,
)

Callguard = Callable[..., Answer]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Write the configuration of a witness beside its key and state."""
    path = tmp_path / "witness.toml"
    path.write_text(TOML)
    write_secret(tmp_path / "witness.pem", pem(WITNESS_KEY))
    return path


def test_both_keys_are_printed(config: Path, tmp_path: Path, callguard: Callguard) -> None:
    """One line a key, the Ed25519 key first; the second key is made by a command of its own."""
    pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    alone = callguard("witness", "key", "--config", config)
    assert alone.out.split() == [encode_vkey(WITNESS)]
    made = callguard("witness", "mldsa-key", tmp_path / "mldsa.pem")
    assert (made.code, "0600" in made.out) == (0, True)
    config.write_text('mldsa_key_file = "mldsa.pem"\n' + TOML)
    both = callguard("witness", "key", "--config", config).out.split()
    assert both[0] == encode_vkey(WITNESS)
    assert [parse_vkey(each).type for each in both] == [
        KeyType.COSIGNATURE,
        KeyType.COSIGNATURE_MLDSA44,
    ]
    asked = callguard("--json", "witness", "key", "--config", config).json()
    assert asked == {"vkey": both[0], "vkeys": both}


def test_a_key_is_not_made_over_another(config: Path, callguard: Callguard) -> None:
    """A key file that is there stays, and the error is one of usage."""
    pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    answer = callguard("witness", "mldsa-key", config.with_name("witness.pem"))
    assert (answer.code, "is there already" in answer.err) == (2, True)
    assert load_ed25519(config.with_name("witness.pem"))


def test_evidence_is_listed(config: Path, tmp_path: Path, callguard: Callguard) -> None:
    """While the witness runs: when, what, which log, and both tree heads; the notes in JSON."""
    running = Running(tmp_path)
    try:
        running.add(request(0, 9))
        empty = callguard("witness", "evidence", "--config", config)
        assert (empty.code, empty.out) == (0, "Nothing is kept against any log.\n")
        running.add(request(9, 9, tree=FORK))
        shown = callguard("witness", "evidence", "--config", config)
        asked = callguard("witness", "evidence", "--config", config, "--json")
    finally:
        running.stop()
    heading, row = shown.out.splitlines()
    assert heading.split()[:3] == ["WHEN", "CONFLICT", "LOG"]
    ours, theirs = encode_base64(TREE.root(9)), encode_base64(FORK.root(9))
    assert row.split() == ["2026-11-23T22:00:00Z", "split_view", ORIGIN, "9", ours, "9", theirs]
    (kept,) = asked.json()["evidence"]
    assert kept["their_note"].startswith(f"{ORIGIN}\n9\n{theirs}\n")
    assert (kept["our_root"], kept["our_size"]) == (ours, 9)


def test_damaged_evidence_is_an_error(config: Path, tmp_path: Path, callguard: Callguard) -> None:
    """A file that cannot be read is named on one line."""
    folder = tmp_path / "state/evidence"
    folder.mkdir(parents=True)
    (folder / "x-split_view-y.json").write_text("{")
    answer = callguard("witness", "evidence", "--config", config)
    assert (answer.code, "x-split_view-y.json" in answer.err) == (1, True)


def test_a_witness_needs_all_its_keys(config: Path, callguard: Callguard) -> None:
    """With a second key named and missing neither its vkeys are printed nor does it serve."""
    config.write_text('mldsa_key_file = "nowhere.pem"\n' + TOML)
    for command in ("key", "serve"):
        answer = callguard("witness", command, "--config", config)
        assert (answer.code, "nowhere.pem" in answer.err) == (1, True)
