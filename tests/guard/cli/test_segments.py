"""Fetching and opening sealed segments."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from guard.api.v1.capture_service_pb2 import FetchCaptureResponse, SegmentHeader
from guard.cli.deployment import Deployment
from guard.cli.exits import TroubleError
from guard.cli.profile import load_profile
from guard.cli.segments import Kept, keep_segments, missing, open_segments
from guard.core.envelope import Kind, encode, sign
from guard.core.receipt import FIRST_PREVIOUS, Receipt, ReceiptKind, encode_receipt
from guard.core.trust import TrustPolicy
from guard.keys import load_signer
from tests.guard.cli.running import NOW

CAPTURE = "6f1c1b7e-5a0e-4c07-9f3c-6f6a1c2d3e4f"


def block(kind: int, body: bytes) -> bytes:
    """Write one pcapng block, little-endian."""
    body += bytes(-len(body) % 4)
    length = (12 + len(body)).to_bytes(4, "little")
    return kind.to_bytes(4, "little") + length + body + length


def section(packet: bytes) -> bytes:
    """Write a pcapng section with one interface and one packet."""
    header = bytes.fromhex("4d3c2b1a 0100 0000") + b"\xff" * 8
    size = len(packet).to_bytes(4, "little")
    return (
        block(0x0A0D0D0A, header)
        + block(1, bytes.fromhex("0100 0000 00000400"))
        + block(6, bytes(12) + size + size + packet)
    )


@pytest.fixture
def node(demo: Deployment) -> CryptoSigner:
    """Return the signer of node-1."""
    return load_signer(demo.folder / "nodes/node-1/signing.key")


@pytest.fixture
def identity(demo: Deployment) -> pyrage.x25519.Identity:
    """Return the sealing key of operator-1."""
    return load_profile(demo.folder / "people/operator-1").identity()


def receipt(sealed: bytes, number: int = 1) -> Receipt:
    """State that node-1 sealed these bytes."""
    return Receipt(
        node="node-1",
        sequence=1,
        previous=FIRST_PREVIOUS,
        kind=ReceiptKind.SEALED,
        time=NOW,
        grant_id=CAPTURE,
        details={
            "number": number,
            "sha256": hashlib.sha256(sealed).hexdigest(),
            "size": len(sealed),
            "packets": 1,
            "bytes": 100,
            "drops": 0,
            "first": "2026-11-23T22:00:00Z",
            "last": "2026-11-23T22:00:00Z",
        },
    )


def pieces(
    sealed: bytes, said: Receipt, signer: CryptoSigner, **header: object
) -> Iterator[FetchCaptureResponse]:
    """Stream one segment in chunks of a hundred bytes."""
    fields = {
        "capture_id": CAPTURE,
        "number": said.details["number"],
        "size": len(sealed),
        "sha256": hashlib.sha256(sealed).digest(),
        "receipt": encode(sign(encode_receipt(said), Kind.RECEIPT, signer)),
    } | header
    yield FetchCaptureResponse(header=SegmentHeader(**fields))  # type: ignore[arg-type]
    for start in range(0, len(sealed), 100):
        yield FetchCaptureResponse(chunk=sealed[start : start + 100])


def test_segments_are_kept_and_open_to_one_file(
    tmp_path: Path, policy: TrustPolicy, node: CryptoSigner, identity: pyrage.x25519.Identity
) -> None:
    """Two segments become two sealed files and one capture with both sections, all private."""
    sections = [section(b"first"), section(b"second")]
    sealed = [pyrage.encrypt(each, [identity.to_public()]) for each in sections]
    stream = (
        piece
        for number, each in enumerate(sealed, 1)
        for piece in pieces(each, receipt(each, number), node)
    )
    kept = list(keep_segments(CAPTURE, stream, tmp_path, policy))
    assert [each.path.read_bytes() for each in kept] == sealed
    assert [(each.number, each.node, each.packets) for each in kept] == [
        (1, "node-1", 1),
        (2, "node-1", 1),
    ]
    target = tmp_path / "x.pcapng"
    open_segments(kept, identity, target)
    assert target.read_bytes() == b"".join(sections)
    assert len(list(tmp_path.iterdir())) == 3
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    if shutil.which("tshark"):
        read = subprocess.run(["tshark", "-r", target], capture_output=True, text=True, check=True)
        assert len(read.stdout.splitlines()) == 2


def refused(stream: Iterator[FetchCaptureResponse], folder: Path, policy: TrustPolicy) -> str:
    """Fetch, see it refused and nothing left, and return what was said."""
    with pytest.raises(TroubleError) as raised:
        list(keep_segments(CAPTURE, stream, folder, policy))
    assert list(folder.iterdir()) == []
    return str(raised.value)


SEALED = b"sealed bytes" * 50


def test_changed_bytes_are_refused(tmp_path: Path, policy: TrustPolicy, node: CryptoSigner) -> None:
    """One bit flipped on the way is seen; the file is not kept."""
    stream = list(pieces(SEALED, receipt(SEALED), node))
    stream[3].chunk = bytes([stream[3].chunk[0] ^ 1]) + stream[3].chunk[1:]
    assert "is not what the guard announced" in refused(iter(stream), tmp_path, policy)


def test_bytes_left_out_or_added_are_refused(
    tmp_path: Path, policy: TrustPolicy, node: CryptoSigner
) -> None:
    """A stream that is shorter or longer than announced is refused."""
    stream = list(pieces(SEALED, receipt(SEALED), node))
    assert "announced" in refused(iter(stream[:-1]), tmp_path, policy)
    assert "announced" in refused(iter([*stream, stream[-1]]), tmp_path, policy)


def test_a_guard_that_changes_header_and_bytes_alike_is_refused(
    tmp_path: Path, policy: TrustPolicy, node: CryptoSigner
) -> None:
    """Other bytes with a matching header do not match what the node signed."""
    other = SEALED[::-1]
    stream = pieces(other, receipt(SEALED), node)
    assert "not the one that node node-1 sealed" in refused(stream, tmp_path, policy)


def test_a_segment_of_another_capture_is_refused(
    tmp_path: Path, policy: TrustPolicy, node: CryptoSigner
) -> None:
    """A true receipt for another grant, or another kind of receipt, does not vouch for this one."""
    other = replace(receipt(SEALED), grant_id=CAPTURE.replace("6", "7"))
    assert "not the one" in refused(pieces(SEALED, other, node), tmp_path, policy)
    armed = replace(receipt(SEALED), kind=ReceiptKind.ARMED)
    assert "not the one" in refused(pieces(SEALED, armed, node), tmp_path, policy)
    assert "another capture" in refused(
        pieces(SEALED, receipt(SEALED), node, capture_id="../../etc/x"), tmp_path, policy
    )


def test_a_receipt_by_anybody_else_is_refused(
    demo: Deployment, tmp_path: Path, policy: TrustPolicy, node: CryptoSigner
) -> None:
    """The guard's own key, a person's key and a node nobody knows do not sign receipts."""
    for key in ("guard/signing.key", "people/operator-1/signing.key"):
        signer = load_signer(demo.folder / key)
        words = refused(pieces(SEALED, receipt(SEALED), signer), tmp_path, policy)
        assert "signature_invalid" in words
    stranger = replace(receipt(SEALED), node="node-2")
    assert "signature_invalid" in refused(pieces(SEALED, stranger, node), tmp_path, policy)


def test_an_unsigned_receipt_is_refused(
    tmp_path: Path, policy: TrustPolicy, node: CryptoSigner
) -> None:
    """An envelope without signatures vouches for nothing."""
    bare = replace(sign(encode_receipt(receipt(SEALED)), Kind.RECEIPT, node), signatures=())
    stream = pieces(SEALED, receipt(SEALED), node, receipt=encode(bare))
    assert "signature_invalid" in refused(stream, tmp_path, policy)


def test_a_gap_is_said(tmp_path: Path, policy: TrustPolicy, node: CryptoSigner) -> None:
    """Segments that did not come before the last one are named."""
    stream = [piece for number in (2, 5) for piece in pieces(SEALED, receipt(SEALED, number), node)]
    kept = list(keep_segments(CAPTURE, stream, tmp_path, policy))
    assert missing(kept) == [1, 3, 4]
    assert missing(kept[:0]) == []


def test_a_segment_sent_again_is_refused(
    tmp_path: Path, policy: TrustPolicy, node: CryptoSigner
) -> None:
    """The same number twice, or a lower one after a higher, is refused."""
    for numbers in ((1, 1), (2, 1)):
        stream = [piece for n in numbers for piece in pieces(SEALED, receipt(SEALED, n), node)]
        with pytest.raises(TroubleError, match="twice"):
            list(keep_segments(CAPTURE, stream, tmp_path, policy))


def kept_of(sealed: bytes, tmp_path: Path, policy: TrustPolicy, node: CryptoSigner) -> list[object]:
    """Fetch one segment."""
    stream = pieces(sealed, receipt(sealed), node)
    return list(keep_segments(CAPTURE, stream, tmp_path, policy))


@pytest.mark.parametrize("cut", [1, 50, 70_000, 140_000])
def test_a_segment_cut_short_does_not_open(
    cut: int,
    tmp_path: Path,
    policy: TrustPolicy,
    node: CryptoSigner,
    identity: pyrage.x25519.Identity,
) -> None:
    """Wherever the sealed file ends too early it is refused, and no plaintext stays."""
    sealed = pyrage.encrypt(section(b"x" * 200_000), [identity.to_public()])[:-cut]
    kept = kept_of(sealed, tmp_path, policy, node)
    with pytest.raises(TroubleError, match="cut short or altered"):
        open_segments(kept, identity, tmp_path / "x.pcapng")  # type: ignore[arg-type]
    assert [path.suffix for path in tmp_path.iterdir()] == [".age"]


def test_a_segment_for_somebody_else_does_not_open(
    demo: Deployment, tmp_path: Path, policy: TrustPolicy, node: CryptoSigner
) -> None:
    """Another person's key opens nothing, and the error says why."""
    mine, theirs = (
        load_profile(demo.folder / "people" / name).identity() for name in ("lead-1", "legal-1")
    )
    sealed = pyrage.encrypt(section(b"x"), [theirs.to_public()])
    kept = kept_of(sealed, tmp_path, policy, node)
    with pytest.raises(TroubleError, match="not sealed to your key"):
        open_segments(kept, mine, tmp_path / "x.pcapng")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"no pcapng at all",
        section(b"x")[:-4],
        section(b"x") + b"tail",
        section(b"x")[:-4] + bytes(4),
        block(6, bytes(20)),
        section(b"x")[:28] + bytes(40),
    ],
)
def test_what_is_no_whole_section_is_refused(
    plaintext: bytes,
    tmp_path: Path,
    policy: TrustPolicy,
    node: CryptoSigner,
    identity: pyrage.x25519.Identity,
) -> None:
    """Sealed well but not a whole pcapng section: refused, and nothing is left open."""
    kept = kept_of(pyrage.encrypt(plaintext, [identity.to_public()]), tmp_path, policy, node)
    with pytest.raises(TroubleError, match="whole pcapng section"):
        open_segments(kept, identity, tmp_path / "x.pcapng")  # type: ignore[arg-type]
    assert [path.suffix for path in tmp_path.iterdir()] == [".age"]


PIECES = st.lists(
    st.one_of(
        st.builds(
            lambda size, number, data, own: FetchCaptureResponse(
                header=SegmentHeader(
                    capture_id=CAPTURE if own else "other",
                    number=number,
                    size=size,
                    sha256=data,
                    receipt=data,
                )
            ),
            st.integers(-(2**63), 2**63 - 1),
            st.integers(-(2**31), 2**31 - 1),
            st.binary(max_size=64),
            st.booleans(),
        ),
        st.builds(lambda data: FetchCaptureResponse(chunk=data), st.binary(max_size=64)),
        st.just(FetchCaptureResponse()),
    ),
    max_size=8,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stream=PIECES)
def test_no_stream_of_a_hostile_guard_leaves_a_file(
    stream: list[FetchCaptureResponse], tmp_path: Path, policy: TrustPolicy
) -> None:
    """Whatever pieces come, without a node's receipt nothing is kept, and the error is ours."""
    try:
        kept = list(keep_segments(CAPTURE, iter(stream), tmp_path, policy))
    except TroubleError:
        kept = []
    assert kept == []
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 200), junk=st.binary(max_size=40), at=st.integers(0, 200))
def test_no_plaintext_but_whole_blocks_is_joined(
    cut: int,
    junk: bytes,
    at: int,
    tmp_path: Path,
    identity: pyrage.x25519.Identity,
) -> None:
    """A section cut or overwritten anywhere is joined only when its blocks still add up."""
    data = bytearray(section(b"x" * 40))
    data[at : at + len(junk)] = junk
    sealed = pyrage.encrypt(bytes(data[: len(data) - cut]), [identity.to_public()])
    (tmp_path / "s.age").write_bytes(sealed)
    segment = Kept(
        number=1,
        path=tmp_path / "s.age",
        size=len(sealed),
        sha256="",
        node="node-1",
        packets=1,
        drops=0,
    )
    target = tmp_path / "x.pcapng"
    target.unlink(missing_ok=True)
    try:
        size = open_segments([segment], identity, target)
    except TroubleError:
        assert not target.exists()
    else:
        assert size == target.stat().st_size
        assert target.read_bytes()[:4] == bytes.fromhex("0a0d0d0a")
    assert {path.name for path in tmp_path.iterdir()} <= {"s.age", "x.pcapng"}
