"""Proofs in the text form of c2sp.org/tlog-proof@v1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.proof import LogProof, encode_proof, parse_proof
from guard.core.reasons import Reason, Refused

HASH = "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ="
CHECKPOINT = b"example.com/fancylog\n109482\nsFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n\n\xe2\x80\x94 example.com/fancylog hI2DJw==\n"
TEXT = f"c2sp.org/tlog-proof@v1\nextra YWdl\nindex 73894\n{HASH}\n{HASH}\n\n".encode() + CHECKPOINT
PROOFS = st.builds(
    LogProof,
    index=st.integers(0, 2**63 - 1),
    hashes=st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple),
    checkpoint=st.binary(max_size=200),
    extra=st.binary(max_size=200),
)


def test_the_specifications_form_is_read():
    """The form of the specification's example is taken apart and put together unchanged."""
    proof = parse_proof(TEXT)
    assert (proof.index, len(proof.hashes), proof.extra) == (73894, 2, b"age")
    assert proof.checkpoint == CHECKPOINT
    assert encode_proof(proof) == TEXT


def test_extra_data_may_be_absent():
    """Without extra data the line is omitted."""
    text = TEXT.replace(b"extra YWdl\n", b"")
    assert parse_proof(text).extra == b""
    assert encode_proof(parse_proof(text)) == text


@given(PROOFS)
def test_proofs_are_read_as_written(proof):
    """Whatever a proof holds, reading its text gives it back."""
    assert parse_proof(encode_proof(proof)) == proof


@given(st.binary(max_size=100), st.integers(0, len(TEXT)), st.integers(0, 40))
def test_there_is_one_spelling(junk, place, cut):
    """Any text that is read as a proof is the text that is written for it."""
    data = TEXT[:place] + junk + TEXT[place + cut :]
    try:
        proof = parse_proof(data)
    except Refused:
        return
    assert encode_proof(proof) == data


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"@v1", b"@v2"),
        (b"extra YWdl", b"extra "),
        (b"extra YWdl", b"extra YWd"),
        (b"extra YWdl", b"Extra YWdl"),
        (b"index 73894\n", b""),
        (b"index 73894", b"index 073894"),
        (b"index 73894", b"index -1"),
        (b"index 73894", b"index 9223372036854775808"),
        (b"index 73894\n", b"index 73894\r\n"),
        (HASH.encode(), HASH[:-4].encode()),
        (HASH.encode() + b"\n", (HASH + "\n").encode() * 40),
        (TEXT, b""),
        (TEXT, b"\n\n"),
        (TEXT, b"c2sp.org/tlog-proof@v1\n\n" + CHECKPOINT),
        (TEXT, b"c2sp.org/tlog-proof@v1\nextra YWdl\n\n" + CHECKPOINT),
        (b"\n\n" + CHECKPOINT, b"\n" + CHECKPOINT.replace(b"\n\n", b"\n")),
        (CHECKPOINT, b"x" * 300_000),
        (b"index", "\u0131ndex".encode()),
    ],
)
def test_malformed_proofs_are_refused(old, new):
    """A proof is its lines in order, bounded, and nothing else."""
    assert old in TEXT
    with pytest.raises(Refused) as caught:
        parse_proof(TEXT.replace(old, new))
    assert caught.value.reason is Reason.DOCUMENT_MALFORMED


def test_extra_data_is_not_shown():
    """No representation of a proof holds its extra data."""
    assert "age" not in repr(parse_proof(TEXT))
