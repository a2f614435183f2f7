"""The chain of receipts: numbered, linked, kept until accepted."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from securesystemslib.signer import CryptoSigner

from agents.core.receipts import Chain, Draft
from guard.core import envelope
from guard.core.receipt import FIRST_PREVIOUS, ReceiptKind, encode_receipt

GRANT = "3b0d8c9a-5e2f-4d1b-8f6e-2a7c1d9e0f43"
DRAFT = Draft(kind=ReceiptKind.ARMED, time=datetime(2026, 11, 23, 22, tzinfo=UTC), grant_id=GRANT)


@pytest.fixture(scope="module")
def signer() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


def extend(chain: Chain, signer: CryptoSigner) -> bytes:
    receipt = chain.next(DRAFT)
    return chain.add(
        envelope.encode(envelope.sign(encode_receipt(receipt), envelope.Kind.RECEIPT, signer))
    ).envelope


def test_each_receipt_holds_the_one_before(signer: CryptoSigner):
    """Numbers without a gap from 1, digests of the signed envelopes."""
    chain = Chain("node-1")
    first = chain.next(DRAFT)
    signed = extend(chain, signer)
    second = chain.next(DRAFT)

    assert (first.sequence, first.previous) == (1, FIRST_PREVIOUS)
    assert (second.sequence, second.previous) == (2, envelope.digest(signed))
    assert first.node == "node-1"


def test_what_is_not_accepted_is_sent_again_in_order(signer: CryptoSigner):
    """Acceptance covers every number up to the one named."""
    chain = Chain("node-1")
    for _ in range(4):
        extend(chain, signer)
    chain.accepted(2)

    assert [link.sequence for link in chain.unaccepted] == [3, 4]
    chain.accepted(9)
    assert chain.unaccepted == ()
    assert chain.sequence == 4


def test_a_restart_goes_on_where_the_chain_stood(signer: CryptoSigner):
    """The newest kept link is enough to continue."""
    chain = Chain("node-1")
    for _ in range(3):
        extend(chain, signer)
    restored = Chain.restore("node-1", list(chain.unaccepted[1:]))

    assert restored.sequence == 3
    assert restored.next(DRAFT) == chain.next(DRAFT)
    assert [link.sequence for link in restored.unaccepted] == [2, 3]
    assert Chain.restore("node-1", []).sequence == 0
