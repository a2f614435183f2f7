"""The auditor's commands with a guard that runs, and the public log that it keeps."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guard.cli.running import ROOT, Answer, Running

Callguard = Callable[..., Answer]


@pytest.fixture
def auditor(live: Running, callguard: Callguard) -> Callguard:
    return lambda *words: callguard("--profile", live.person("auditor-1"), "log", *words)


@pytest.fixture
def outsider(live: Running, callguard: Callguard) -> Callguard:
    def call(*words: str | Path) -> Answer:
        log = live.folder / "log"
        return callguard("log", *words, "--log", log, "--policy", log / "policy")

    return call


def test_an_export_is_verified_by_an_outsider(
    live: Running, auditor: Callguard, outsider: Callguard, tmp_path: Path
) -> None:
    """Kept by an auditor, verified with the public log and the pinned roots alone."""
    kept = tmp_path / "records"
    said = auditor("entries", "--out", kept, "--json")
    assert said.code == 0, said
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert auditor("entries", "--out", kept).code == 2
    roots = live.person("auditor-1") / "roots.json"
    answer = outsider("verify", "--records", kept, "--roots", roots, "--json")
    assert answer.code == 0, answer
    assert answer.json()["records"]["count"] == said.json()["count"]
    lines = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join(lines[:-1]))
    answer = outsider("verify", "--records", kept, "--roots", roots)
    assert answer.err.startswith("discrepancy: record_missing: "), answer


def test_an_auditor_verifies_tiles_and_the_guards_records(
    live: Running, auditor: Callguard
) -> None:
    """With a profile and no policy, its trust policy counts and its guard shows the records."""
    answer = auditor("verify", "--log", live.folder / "log", "--json")
    assert answer.code == 0, answer
    assert answer.json()["records"]["trust_policies"] >= 1


def test_the_guard_is_followed(live: Running, auditor: Callguard) -> None:
    """Whatever is read is on record, so the reading itself comes first."""
    before = auditor("checkpoint", "--json").json()["size"]
    process = subprocess.Popen(
        [sys.executable, "-m", "guard", "log", "follow", "--json"],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "CALLGUARD_PROFILE": str(live.person("auditor-1")),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        first = json.loads(process.stdout.readline())
        assert (first["index"] >= before, first["kind"]) == (True, "records_read")
        auditor("entries", "--limit", "1")
        kinds, last = [], first["index"]
        while "records_read" not in kinds:
            shown = json.loads(process.stdout.readline())
            kinds.append(shown["kind"])
            assert shown["index"] == last + 1
            last += 1
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=30)
        assert process.returncode == 0, words
        assert "stopped" in words
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
