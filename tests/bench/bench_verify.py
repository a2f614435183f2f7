"""How long a node takes to verify a grant's evidence in full, beside its bare signatures."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.core.verifier import NodeContext, verify_evidence
from guard.core.enforcement import Enforcement
from tests.builders.deployment import Deployment

BUDGET_MS = 1.5
ROUNDS = 400
# Two people's on the authority, the guard's, the log's and one witness's.
SIGNATURES = 5


def rows() -> Iterator[dict[str, Any]]:
    """Measure both in turns, so that what else the machine does meets both alike."""
    verify, bare = _verification(), _signatures()
    ours, peer = [], []
    for _ in range(ROUNDS):
        ours.append(_milliseconds(verify))
        peer.append(_milliseconds(bare))
    mine, theirs = statistics.median(ours), statistics.median(peer)
    yield {
        "name": f"full verification of a grant's evidence, median; peer: {SIGNATURES} bare Ed25519",
        "unit": "ms",
        "ours": mine,
        "peer": theirs,
        "ratio": mine / theirs,
        "budget": BUDGET_MS,
        "met": mine <= BUDGET_MS,
    }


def _verification() -> Callable[[], object]:
    deployment = Deployment()
    evidence = deployment.evidence(deployment.approved())
    context = NodeContext(
        name="node-1",
        identities=[deployment.nodes["node-1"].identity],
        ended=frozenset(),
        revoked=frozenset(),
        guard_time=deployment.now,
        enforced=Enforcement.DETECT,
    )
    return lambda: verify_evidence(evidence, deployment.trusted, context, now=deployment.now)


def _signatures() -> Callable[[], object]:
    key = Ed25519PrivateKey.generate()
    message = os.urandom(1500)
    signature, public = key.sign(message), key.public_key()

    def verify() -> None:
        for _ in range(SIGNATURES):
            public.verify(signature, message)

    return verify


def _milliseconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000
