"""A short run of the fuzzer of mirrors, so that it keeps working and finds what is near."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.sentry.xtables import FAMILIES, INFO
from tests.agents.sentry.test_copies import link, mirred, rule, tc
from tests.agents.sentry.test_netlink import attribute, message
from tests.agents.sentry.test_xtables import chain, entry, verdict

pytest.importorskip("atheris", reason="atheris has no wheel for this Python")

ROOT = Path(__file__).parent.parent.parent


def seeds() -> Iterator[bytes]:
    """Yield what the readers understand: a link, a filter, a rule, two tables, a list."""
    told = (
        link(kind="vxlan", promiscuity=1, xdp=3),
        tc(b"u32", attribute(7, attribute(1, mirred(2, 9)))),
        tc(b"bpf", attribute(7, b"x.o\0") + attribute(11, bytes((33, 0, 0, 0)))),
        rule(b"log", attribute(1, b"\0\5")),
    )
    yield b"\0" + b"".join(message(kind, payload) for kind, payload in told)
    for layout in FAMILIES.values():
        rules = entry(layout, b"TEE") + verdict(layout, 0) + chain(layout, b"mine")
        head = INFO.pack(b"filter", 8, 0, 0, 0, 0, 0, *bytes(5), 3, len(rules))
        yield b"\x80" + head + rules
    yield b"\xff    5  30310 0 2 65535    100  1\n"


@pytest.mark.slow
def test_readers_of_the_kernel_hold_for_a_while(tmp_path: Path) -> None:
    """Thousands of guided inputs break none of the invariants of the target."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds()):
        (corpus / str(number)).write_bytes(seed)
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.fuzz.fuzz_mirrors",
            "-runs=10000",
            "-max_total_time=20",
            "-seed=1",
            "-max_len=2048",
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
