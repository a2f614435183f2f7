"""Coverage-guided fuzzing of the document readers: envelope, authority, trust policy, grant, receipt.

    python -m tests.fuzz.fuzz_documents -max_total_time=60 [CORPUS_DIR]

The invariant: a reader either returns what writes to the same bytes again, or raises ``Refused``,
never anything else. The first byte chooses the reader; the golden vectors are the seeds.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["guard.core"]):
    from guard.core import envelope as dsse
    from guard.core.authority import encode_authority, parse_authority
    from guard.core.envelope import Kind
    from guard.core.grant import encode_grant, parse_grant
    from guard.core.reasons import Refused
    from guard.core.receipt import encode_receipt, parse_receipt
    from guard.core.subjects import parse_subjects
    from guard.core.trust import encode_policy, encode_roots, parse_policy, parse_roots

VECTORS = Path(__file__).parent.parent / "vectors"
READERS: list[tuple[Callable[[bytes], Any], Callable[[Any], bytes] | None]] = [
    (lambda data: dsse.parse(data, Kind.AUTHORITY), dsse.encode),
    (parse_authority, encode_authority),
    (parse_policy, encode_policy),
    (parse_grant, encode_grant),
    (parse_receipt, encode_receipt),
    (parse_roots, encode_roots),
    (parse_subjects, None),
]


def one_input(data: bytes) -> None:
    """Read one input with the reader that its first byte chooses."""
    if not data:
        return
    reader, writer = READERS[data[0] % len(READERS)]
    try:
        made = reader(data[1:])
    except Refused:
        return
    if writer is not None and writer(made) != data[1:]:
        raise AssertionError("a document reads to what writes to other bytes")


def seeds() -> list[bytes]:
    """Give each golden vector to the reader it is for."""
    payloads = {
        1: dsse.parse((VECTORS / "authority-warrant.dsse.json").read_bytes(), Kind.AUTHORITY),
        2: dsse.parse((VECTORS / "trust-policy.dsse.json").read_bytes(), Kind.TRUST_POLICY),
        3: dsse.parse((VECTORS / "grant.dsse.json").read_bytes(), Kind.GRANT),
        4: dsse.parse((VECTORS / "receipt.dsse.json").read_bytes(), Kind.RECEIPT),
    }
    made = [bytes([reader]) + envelope.payload for reader, envelope in payloads.items()]
    made.append(b"\x00" + (VECTORS / "authority-ticket.dsse.json").read_bytes())
    made.append(b"\x05" + (VECTORS / "roots.json").read_bytes())
    made.append(b"\x06" + (VECTORS / "subjects.json").read_bytes())
    return made


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="callguard-fuzz-") as corpus:
        for number, seed in enumerate(seeds()):
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        atheris.Setup([*sys.argv, "-max_len=16384", corpus], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
