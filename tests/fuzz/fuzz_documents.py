"""Coverage-guided fuzzing of the readers of documents and of the log's formats.

Documents are envelope, authority, trust policy, grant, receipt, roots, subjects. The log's are note,
key, checkpoint, cosigned checkpoint, proof, witness request, log policy, tile, bundle, filing, and
a record's opening with the fact in it.

    python -m tests.fuzz.fuzz_documents -max_total_time=60 [CORPUS_DIR]

The invariant: a reader either returns what writes to the same bytes again, or raises ``Refused``,
never anything else; and no checkpoint is trusted but the one that log and witnesses signed. The
first byte chooses the reader; the golden vectors are the seeds.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import atheris
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

with atheris.instrument_imports(include=["guard.core"]):
    from guard.core import envelope as dsse
    from guard.core.authority import encode_authority, parse_authority
    from guard.core.checkpoint import (
        Checkpoint,
        cosign,
        cosigner_key,
        parse_checkpoint_text,
        sign_checkpoint,
        verify_checkpoint,
    )
    from guard.core.envelope import Kind
    from guard.core.facts import read_fact
    from guard.core.filing import encode_filing, parse_filing
    from guard.core.grant import encode_grant, parse_grant
    from guard.core.logpolicy import parse_log_policy, policy_text
    from guard.core.note import (
        KeyType,
        encode_vkey,
        parse_note,
        parse_vkey,
        verifier_key,
        with_signatures,
    )
    from guard.core.proof import encode_proof, parse_proof
    from guard.core.reasons import Refused
    from guard.core.receipt import encode_receipt, parse_receipt
    from guard.core.record import encode_opening, parse_opening
    from guard.core.subjects import parse_subjects
    from guard.core.tiles import encode_bundle, parse_bundle, parse_tile
    from guard.core.trust import encode_policy, encode_roots, parse_policy, parse_roots
    from guard.core.witnessing import encode_add_checkpoint, parse_add_checkpoint

VECTORS = Path(__file__).parent.parent / "vectors"
NOW = datetime(2026, 11, 23, 22, tzinfo=UTC)
LOG_KEY, WITNESS_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
HEAD = Checkpoint(origin="log.example", size=7, root=b"\x05" * 32)
LOG = verifier_key(HEAD.origin, KeyType.NOTE, LOG_KEY.public_key())
NOTE = parse_note(sign_checkpoint(HEAD, HEAD.origin, LOG_KEY))


def witness_keys() -> list[Any]:
    """Return an Ed25519 key, and an ML-DSA-44 key where there are any."""
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
    except ImportError:
        return [WITNESS_KEY]
    return [WITNESS_KEY, MLDSA44PrivateKey.from_seed_bytes(b"\x03" * 32)]


KEYS = witness_keys()
POLICY = parse_log_policy(
    policy_text(encode_vkey(LOG), [encode_vkey(cosigner_key("w.example", key)) for key in KEYS], 1)
)
COSIGNED = with_signatures(NOTE, [cosign(NOTE, "w.example", key, NOW) for key in KEYS]).encode()


def text(data: bytes) -> str:
    """Decode as the reader of a file does who does not look at what it says."""
    return data.decode("utf-8", "surrogateescape")


def raw(text: str) -> bytes:
    """Undo `text`."""
    return text.encode("utf-8", "surrogateescape")


def trusted(data: bytes) -> None:
    """Trust a checkpoint; only the one tree head was ever signed."""
    found = verify_checkpoint(data, policy=POLICY, now=NOW, max_age=timedelta(minutes=5))
    if (found.origin, found.size, found.root) != (HEAD.origin, HEAD.size, HEAD.root):
        raise AssertionError("a checkpoint is trusted that nobody signed")


def opened(data: bytes) -> None:
    """Read a record's opening, and what the record says."""
    record = parse_opening(data)
    if encode_opening(record) != data:
        raise AssertionError("an opening reads to what writes to other bytes")
    read_fact(7, record)


READERS: list[tuple[Callable[[bytes], Any], Callable[[Any], bytes] | None]] = [
    (lambda data: dsse.parse(data, Kind.AUTHORITY), dsse.encode),
    (parse_authority, encode_authority),
    (parse_policy, encode_policy),
    (parse_grant, encode_grant),
    (parse_receipt, encode_receipt),
    (parse_roots, encode_roots),
    (parse_subjects, None),
    (parse_note, lambda note: note.encode()),
    (lambda data: parse_vkey(text(data)), lambda key: raw(encode_vkey(key))),
    (lambda data: parse_checkpoint_text(text(data)), lambda head: raw(head.text())),
    (trusted, None),
    (parse_proof, encode_proof),
    (
        parse_add_checkpoint,
        lambda asked: encode_add_checkpoint(asked.old_size, asked.proof, asked.note.encode()),
    ),
    (lambda data: parse_log_policy(text(data)), lambda policy: raw(policy.text)),
    (parse_tile, b"".join),
    (parse_bundle, encode_bundle),
    (parse_filing, encode_filing),
    (opened, None),
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
    return made + log_seeds()


def log_seeds() -> list[bytes]:
    """Give each format of the log to the reader it is for."""
    proof = (VECTORS / "grant.tlog-proof").read_bytes()
    made = {
        7: [COSIGNED, parse_proof(proof).checkpoint],
        8: [raw(encode_vkey(each.key)) for each in POLICY.witnesses],
        9: [raw(HEAD.text())],
        10: [COSIGNED],
        11: [proof],
        12: [encode_add_checkpoint(5, [b"\x06" * 32], COSIGNED)],
        13: [raw(POLICY.text)],
        14: [b"\x07" * 96],
        15: [encode_bundle([b"a leaf", b"", b"another"])],
        16: [dsse.parse((VECTORS / "review.dsse.json").read_bytes(), Kind.FILING).payload],
        17: [parse_proof(proof).extra],
    }
    return [bytes([reader]) + seed for reader, seeds in made.items() for seed in seeds]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="callguard-fuzz-") as corpus:
        for number, seed in enumerate(seeds()):
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        atheris.Setup([*sys.argv, "-max_len=16384", corpus], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
