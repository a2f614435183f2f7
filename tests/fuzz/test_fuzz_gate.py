"""A short run of the gate's fuzzer, so that it keeps working and finds what is near."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="atheris has no wheel for this Python")

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_the_gate_holds_for_a_while(tmp_path: Path) -> None:
    """Thousands of guided inputs from both sides break none of the invariants of the target."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.fuzz.fuzz_gate",
            "-runs=10000",
            "-max_total_time=20",
            "-seed=1",
            "-max_len=4096",
            f"-artifact_prefix={tmp_path}/",
            str(corpus),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "Done" in run.stderr
