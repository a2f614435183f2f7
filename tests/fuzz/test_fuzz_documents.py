"""A short run of the document fuzzer, so that it keeps working and finds what is near."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="atheris has no wheel for this Python")

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_the_readers_hold_for_a_while(tmp_path: Path) -> None:
    """Forty thousand guided inputs from the golden vectors find no way past ``Refused``."""
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.fuzz.fuzz_documents",
            "-runs=40000",
            "-max_total_time=30",
            "-seed=1",
            f"-artifact_prefix={tmp_path}/",
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
