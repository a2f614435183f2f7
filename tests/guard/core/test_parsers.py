"""Every reader of documents against bytes that are none: refused, or read to what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.core import canonical
from guard.core import envelope as dsse
from guard.core.approval import inspect, require_approved
from guard.core.authority import encode_authority, parse_authority
from guard.core.envelope import Kind
from guard.core.grant import encode_grant, parse_grant
from guard.core.instruments import Instrument
from guard.core.reasons import Refused
from guard.core.receipt import (
    FIRST_PREVIOUS,
    Receipt,
    ReceiptKind,
    encode_receipt,
    parse_receipt,
)
from guard.core.subjects import encode_subjects, parse_subjects
from guard.core.trust import advance, encode_policy, encode_roots, parse_policy, parse_roots
from tests.builders.deployment import Deployment, new_id, sign, subject

DEPLOYMENT = Deployment()
APPROVED = DEPLOYMENT.approved(Instrument.INTERCEPTION_ORDER)
GRANT = DEPLOYMENT.grant(APPROVED)
RECEIPT = Receipt(
    node="node-1",
    sequence=1,
    previous=FIRST_PREVIOUS,
    kind=ReceiptKind.DISARMED,
    time=DEPLOYMENT.now,
    grant_id=new_id(),
    details={"reason": "expired", "packets": 3},
)
READERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "authority": (dsse.parse(APPROVED, Kind.AUTHORITY).payload, parse_authority),
    "grant": (encode_grant(GRANT), parse_grant),
    "receipt": (encode_receipt(RECEIPT), parse_receipt),
    "policy": (encode_policy(DEPLOYMENT.policy), parse_policy),
    "roots": (encode_roots(DEPLOYMENT.pinned), parse_roots),
    "subjects": (encode_subjects(bytes(32), [subject()]), parse_subjects),
    "authority envelope": (APPROVED, lambda data: dsse.parse(data, Kind.AUTHORITY)),
}
# What encodes again what a reader has read: reading must not lose anything.
WRITERS: dict[str, Callable[[Any], bytes]] = {
    "authority": encode_authority,
    "grant": encode_grant,
    "receipt": encode_receipt,
    "policy": encode_policy,
    "roots": encode_roots,
    "authority envelope": dsse.encode,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def read(name: str, data: bytes) -> None:
    """Read the bytes; whatever is read must write to the same bytes, all else be ``Refused``."""
    try:
        made = READERS[name][1](data)
    except Refused:
        return
    if name in WRITERS:
        assert WRITERS[name](made) == data


@pytest.mark.parametrize("name", READERS)
def test_the_honest_one(name: str) -> None:
    """The unchanged document is read."""
    data, reader = READERS[name]
    assert reader(data)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=50)
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes(name: str, data: bytes) -> None:
    """Arbitrary bytes are refused and nothing else happens."""
    read(name, data)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=100)
@given(data=st.data())
def test_mutated_bytes(name: str, data: st.DataObject) -> None:
    """A document with bytes changed, cut out or put in is refused or means what it says."""
    mutated = bytearray(READERS[name][0])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        length = data.draw(st.integers(0, 4))
        mutated[at : at + length] = data.draw(st.binary(max_size=4))
        if not mutated:
            break
    read(name, bytes(mutated))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the ways to every value inside."""
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    for key, each in inner:
        found += places(each, (*path, key))
    return found


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=100)
@given(data=st.data())
def test_mutated_values(name: str, data: st.DataObject) -> None:
    """A document in which any value is another, of any type, is refused or means what it says."""
    value = json.loads(READERS[name][0])
    path = data.draw(st.sampled_from(places(value)))
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    action = data.draw(st.sampled_from(["replace", "remove", "double"]))
    if action == "replace":
        holder[path[-1]] = data.draw(JSON)
    elif action == "remove":
        del holder[path[-1]]
    elif isinstance(holder, list):
        holder.append(holder[path[-1]])
    else:
        holder[f"{path[-1]}s"] = holder[path[-1]]
    try:
        mutated = canonical.encode(value)
    except Refused:
        return
    read(name, mutated)


@settings(max_examples=100)
@given(data=st.data())
def test_a_mutated_authority_is_never_approved(data: st.DataObject) -> None:
    """However the bytes of an approved authority are changed, nothing approves what was changed."""
    mutated = bytearray(APPROVED)
    at = data.draw(st.integers(0, len(mutated) - 1))
    mutated[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Refused):
        require_approved(bytes(mutated), DEPLOYMENT.policy, now=DEPLOYMENT.now)


@settings(max_examples=60)
@given(data=st.data())
def test_a_mutated_policy_is_never_trusted(data: st.DataObject) -> None:
    """However the bytes of a signed policy are changed, nothing trusts it."""
    mutated = bytearray(DEPLOYMENT.policy_envelope)
    at = data.draw(st.integers(0, len(mutated) - 1))
    mutated[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Refused):
        advance(DEPLOYMENT.pinned, [bytes(mutated)], now=DEPLOYMENT.now)


@settings(max_examples=60)
@given(data=st.data())
def test_signed_nonsense(data: st.DataObject) -> None:
    """Nonsense that the people themselves signed is refused, and nothing else happens."""
    value = json.loads(READERS["authority"][0])
    name = data.draw(st.sampled_from(sorted(value)))
    value[name] = data.draw(JSON)
    signers = [DEPLOYMENT.people[who].signer for who in ("legal-1", "legal-2")]
    try:
        envelope = sign(canonical.encode(value), Kind.AUTHORITY, signers)
        inspect(envelope, DEPLOYMENT.policy, now=DEPLOYMENT.now)
    except Refused:
        return
    assert name in {"reference", "legal_basis", "max_calls", "max_bytes", "subjects_commitment"} | {
        "issuing_authority",
        "issuing_signer",
        "presenting_officer",
        "presenting_agency",
        "sealed_subjects",
        "id",
        "order_sha256",
    }
