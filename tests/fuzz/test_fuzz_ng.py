"""A short run of the NG fuzzer, so that it keeps working and finds what is near."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agents.core.ngcodec import Encoding, encode
from tests.agents.core.ngmessages import kamailio

pytest.importorskip("atheris", reason="atheris has no wheel for this Python")

ROOT = Path(__file__).parent.parent.parent


def sow(corpus: Path) -> None:
    """Write messages to start from: what a proxy sends, in both encodings and as a stream."""
    corpus.mkdir()
    for number, message in enumerate(
        (
            kamailio(),
            kamailio(b"answer", record_call=b"yes", flags=[b"record call", b"SIPREC"]),
            kamailio(b"delete", rtpp_flags=b"record-call=on label=a ICE=remove metadata=x"),
            {b"command": b"start recording", b"call-id": b"c", b"label": b"caller"},
            {b"command": b"ping"},
        )
    ):
        bencode = encode(message, Encoding.BENCODE)
        (corpus / f"{number}-bencode").write_bytes(bencode)
        (corpus / f"{number}-json").write_bytes(encode(message, Encoding.JSON))
        (corpus / f"{number}-stream").write_bytes((b"1_2 " + bencode) * 2)


@pytest.mark.slow
def test_codec_frames_and_policy_hold_for_a_while(tmp_path: Path) -> None:
    """Thousands of guided inputs break none of the invariants of the target."""
    sow(tmp_path / "corpus")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.fuzz.fuzz_ng",
            "-runs=20000",
            "-max_total_time=20",
            "-timeout=5",
            "-seed=1",
            "-max_len=2048",
            f"-artifact_prefix={tmp_path}/",
            str(tmp_path / "corpus"),
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
