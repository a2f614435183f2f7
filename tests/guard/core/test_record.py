"""Records, their leaves and their openings."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core import canonical
from guard.core.note import encode_base64
from guard.core.reasons import Reason, Refused
from guard.core.record import (
    Entry,
    Record,
    RecordKind,
    encode_body,
    encode_opening,
    entry_of,
    leaf,
    parse_opening,
)

TIME = datetime(2026, 11, 23, 22, tzinfo=UTC)
SALT = bytes(range(32))
SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=9)
JSON = SCALARS | st.lists(SCALARS, max_size=2)
RECORDS = st.builds(
    Record,
    kind=st.sampled_from(RecordKind),
    time=st.integers(0, 6_000_000_000_000_000).map(
        lambda n: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=n)
    ),
    body=st.dictionaries(st.sampled_from(["node", "grant_id", "reason", "x"]), JSON),
    salt=st.binary(min_size=32, max_size=32),
)


def record(**changed) -> Record:
    fields = {
        "kind": RecordKind.CAPTURE_GRANTED,
        "time": TIME,
        "body": {"node": "node-1", "grant_id": "g"},
        "salt": SALT,
    }
    return Record(**(fields | changed))


def test_the_leaf_is_as_written():
    """The golden leaf: kind, time and the salted digest of the canonical body, nothing else."""
    body = b'{"grant_id":"g","node":"node-1"}'
    digest = sha256(SALT + body).hexdigest()
    expected = f'{{"digest":"{digest}","kind":"capture_granted","time":"2026-11-23T22:00:00Z"}}'
    assert encode_body(record()) == body
    assert leaf(record()) == expected.encode()


@given(RECORDS)
def test_the_leaf_is_canonical_json(made):
    """The leaf, spelled out for speed, is what RFC 8785 makes of its three members."""
    found = json.loads(leaf(made))
    assert found.keys() == {"digest", "kind", "time"}
    assert canonical.encode(found) == leaf(made)


@given(RECORDS)
def test_openings_are_read_as_written(made):
    """An opening gives back the record, and so the same leaf."""
    again = parse_opening(encode_opening(made))
    assert again == made
    assert leaf(again) == leaf(made)


@given(RECORDS)
def test_entries_are_read_as_written(made):
    """The stored parts give back the record."""
    assert entry_of(made).record() == made


@given(RECORDS, st.data())
def test_another_record_has_another_leaf(made, data):
    """Whatever part of a record changes, its leaf changes."""
    part = data.draw(st.sampled_from(["kind", "time", "body", "salt"]))
    other = data.draw(RECORDS.filter(lambda r: getattr(r, part) != getattr(made, part)))
    parts = {name: getattr(made, name) for name in ("kind", "time", "body", "salt")}
    changed = Record(**(parts | {part: getattr(other, part)}))
    # True and 1 are equal to Python and two values to JSON.
    if encode_body(changed) != encode_body(made) or part != "body":
        assert leaf(changed) != leaf(made)


def test_equal_bodies_have_unlike_leaves():
    """Two salts hide that two records say the same."""
    assert leaf(record()) != leaf(record(salt=bytes(32)))


OPENING = {
    "body": encode_base64(b"{}"),
    "kind": "incident",
    "salt": encode_base64(SALT),
    "time": "2026-11-23T22:00:00Z",
}


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "unheard_of"},
        {"kind": 7},
        {"salt": encode_base64(SALT[:-1])},
        {"salt": "no base64"},
        {"body": encode_base64(b"[]")},
        {"body": encode_base64(b"{ }")},
        {"body": encode_base64(b'{"a":1,"a":1}')},
        {"time": "2026-11-23 22:00:00Z"},
        {"time": "2026-11-23T22:00:00.000000Z"},
        {"time": "2026-11-23T24:00:00Z"},
        {"time": "2026-11-23T22:00:00+00:00"},
        {"more": "text"},
    ],
)
def test_malformed_openings_are_refused(changed):
    """Every part of an opening has one spelling, and there are no other parts."""
    assert parse_opening(canonical.encode(OPENING)).body == {}
    with pytest.raises(Refused) as caught:
        parse_opening(canonical.encode(OPENING | changed))
    assert caught.value.reason is Reason.DOCUMENT_MALFORMED


@pytest.mark.parametrize("missing", sorted(OPENING))
def test_an_opening_misses_nothing(missing):
    """An opening without one of its parts is refused."""
    with pytest.raises(Refused):
        parse_opening(canonical.encode({k: v for k, v in OPENING.items() if k != missing}))


def test_a_record_is_bounded():
    """A body above 512 KiB is not written, and not read."""
    body = {"x": "y" * 530_000}
    with pytest.raises(Refused):
        encode_body(record(body=body))
    large = canonical.encode(body)
    digest = sha256(SALT + large).digest()
    with pytest.raises(Refused, match="larger"):
        Entry("incident", "2026-11-23T22:00:00Z", digest, SALT, large).record()


def test_an_erased_record_leaves_its_leaf():
    """Without salt and body the leaf is what it was, and there is nothing left to read."""
    whole = entry_of(record())
    erased = whole._replace(salt=None, body=None)
    assert (erased.erased, whole.erased) == (True, False)
    assert erased.leaf() == whole.leaf()
    erased.check()
    with pytest.raises(Refused, match="erased"):
        erased.record()


@pytest.mark.parametrize("changed", [{"salt": bytes(32)}, {"body": b"{}"}, {"digest": bytes(32)}])
def test_parts_that_do_not_belong_together_are_refused(changed):
    """Another salt, body or digest than was hashed is noticed before anything is read."""
    entry = entry_of(record(body={"a": 1}))._replace(**changed)
    with pytest.raises(Refused, match="digest"):
        entry.check()
    with pytest.raises(Refused, match="digest"):
        entry.record()


@pytest.mark.parametrize("body", [{"\u00e9": 1}, {"x": 0.5}, {"x": 2**53}, {"x": "\ud800"}])
def test_what_cannot_be_read_is_not_written(body):
    """A body that the reader would refuse is refused before it is in the log."""
    with pytest.raises(Refused):
        encode_body(record(body=body))


@pytest.mark.parametrize(
    "changed",
    [
        {"salt": b"short"},
        {"time": TIME.replace(tzinfo=None)},
        {"time": datetime(2026, 11, 23, 22, tzinfo=timezone(timedelta(hours=1)))},
    ],
)
def test_a_record_is_made_right(changed):
    """A short salt and a time that is not UTC are mistakes of the caller."""
    with pytest.raises(ValueError, match="a record's"):
        record(**changed)


def test_a_record_does_not_show_its_body():
    """No representation of a record holds its body or salt."""
    assert "node-1" not in repr(record())
    assert "salt" not in repr(record())
