"""Log policies: what is read, what is refused, and whose cosignatures make a quorum."""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import chain, combinations
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from guard.core.logpolicy import majority, parse_log_policy, policy_text
from guard.core.reasons import Reason, Refused
from tests.builders.deployment import vkey
from tests.guard.core.refusals import refuses

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(1, 9)]
LOG = vkey("log.example/a", 1, KEYS[0])
WITNESSES = [vkey(f"w{n}.example", 4, key) for n, key in enumerate(KEYS[1:], 1)]
NOW = datetime(2026, 11, 26, tzinfo=UTC)


def text(*lines: str, count: int = 3) -> str:
    """Write a policy of the log and so many witnesses, then these lines."""
    witnesses = (f"witness w{n} {each}" for n, each in enumerate(WITNESSES[:count], 1))
    return "\n".join([f"log {LOG}", *witnesses, *lines, ""])


def every(names: list[str]) -> Any:
    return chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))


def test_two_levels_of_groups() -> None:
    """Two of the first three and one of the other two, whatever else has cosigned."""
    policy = parse_log_policy(
        text(
            "# whose they are",
            "group ours 2 w1 w2 w3",
            "\tgroup theirs  any w4 w5 ",
            "",
            "group both all ours theirs",
            "quorum both",
            count=5,
        )
    )
    for names in every(["w1", "w2", "w3", "w4", "w5"]):
        ours, theirs = len({"w1", "w2", "w3"} & set(names)), len({"w4", "w5"} & set(names))
        assert policy.is_met(set(names)) is (ours >= 2 and theirs >= 1)
    assert not policy.is_met({"ours", "theirs", "both", "none"})
    assert policy.words() == "2 of 2 parties"


@given(st.integers(1, 7), st.data())
def test_k_of_n_is_read_as_written(count: int, data: st.DataObject) -> None:
    """What `policy_text` writes is met by any k of the n witnesses and by no fewer."""
    least = data.draw(st.integers(1, count))
    policy = parse_log_policy(policy_text(LOG, WITNESSES[:count], least))
    names = [witness.name for witness in policy.witnesses]
    cosigners = set(data.draw(st.lists(st.sampled_from(names), unique=True)))
    assert policy.is_met(cosigners) is (len(cosigners) >= least)
    assert (policy.origin, policy.vkey) == ("log.example/a", LOG)
    assert parse_log_policy(policy.text) == policy


@given(st.dictionaries(st.sampled_from(["w1", "w2", "w3"]), st.integers(0, 9)))
def test_since_when_the_quorum_is_met(ages: dict[str, int]) -> None:
    """It is met since the time of the second newest cosignature, for two of three."""
    policy = parse_log_policy(text("group q 2 w1 w2 w3", "quorum q"))
    times = {name: NOW - timedelta(seconds=age) for name, age in ages.items()}
    expected = sorted(times.values(), reverse=True)[1] if len(times) > 1 else None
    assert policy.met_since(times) == expected


def test_one_witness_with_two_keys_counts_once() -> None:
    """Two keys under one name are two ways to be one witness."""
    twice = vkey("w1.example", 4, KEYS[7])
    policy = parse_log_policy(policy_text(LOG, [WITNESSES[0], twice, WITNESSES[1]], 2))
    assert not policy.is_met({"w1.example#1", "w1.example#2"})
    assert policy.is_met({"w1.example#2", "w2.example"})
    with refuses(Reason.DOCUMENT_MALFORMED):
        policy_text(LOG, [WITNESSES[0], twice], 2)


@pytest.mark.parametrize(
    "policy",
    [
        "",
        f"log {LOG}\n",
        text(),
        text("quorum none"),
        text("quorum w9"),
        text("quorum w1", "quorum w1"),
        text("quorum q", "group q any w1"),
        text("group q any", "quorum w1"),
        text("group q 0 w1 w2", "quorum q"),
        text("group q 3 w1 w2", "quorum q"),
        text("group q 01 w1 w2", "quorum q"),
        text("group q most w1 w2", "quorum q"),
        text("group q all w1 w1", "quorum q"),
        text("group q all w1 none", "quorum q"),
        text("group q all q w1", "quorum q"),
        text("group a any w1 w2", "group q all a w2", "quorum q"),
        text("group w1 any w2", "quorum w1"),
        text("group none any w1 w2", "quorum w1"),
        text(f"witness again {WITNESSES[0]}", "quorum w1"),
        text(f"witness alias {vkey('other.example', 4, KEYS[1])}", "quorum w1"),
        text(f"witness self {vkey('self.example', 4, KEYS[0])}", "quorum w1"),
        text(f"witness note {vkey('n.example', 1, KEYS[7])}", "quorum w1"),
        text(f"log {vkey('log.example/b', 1, KEYS[7])}", "quorum w1"),
        text("quorum w1").replace(LOG, vkey("log.example/a", 4, KEYS[0])),
        text("quorum w1").replace(f"log {LOG}\n", ""),
        text("quorum w1 w2"),
        text("Quorum w1"),
        text("quorum w1", "\x00"),
        text("quorum w1\r"),
        text("quorum w1", "\x7f"),
        text("quorum w1", "#" + "x" * 131_072),
        text("quorum w1", *(f"group g{n} any w1" for n in range(2))),
    ],
    ids=range(32),
)
def test_what_is_no_policy(policy: str) -> None:
    """A policy that breaks a rule is refused, above all one that asks nobody."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        parse_log_policy(policy)


def test_urls_comments_and_bytes_above_ascii_are_read() -> None:
    """What the specification admits is admitted; the URL is kept."""
    policy = parse_log_policy(
        f"log {LOG} https://log.example/a\n # é\nwitness é {WITNESSES[0]} https://w\nquorum é\n"
    )
    assert (policy.witnesses[0].url, policy.quorum) == ("https://w", "é")
    assert policy.words() == "1 of 1 witness"


def test_majorities_overlap() -> None:
    """Any two majorities share a witness."""
    assert [majority(count) for count in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]


def spelled(name: str, data: bytes) -> str:
    keyid = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4].hex()
    return f"{name}+{keyid}+{base64.b64encode(data).decode()}"


PUBLIC = KEYS[0].public_key().public_bytes_raw()


@pytest.mark.parametrize(
    "log",
    [
        "log",
        "log+00000000+AAAA",
        LOG.replace("log.example/a+", "other+"),
        LOG.upper(),
        LOG + "=",
        spelled("log", b"\x01" + PUBLIC[1:]),
        spelled("log", b"\x02" + PUBLIC),
        spelled("log", b""),
        spelled("", b"\x01" + PUBLIC),
    ],
)
def test_what_is_no_vkey(log: str) -> None:
    """A vkey with another id, type, length or spelling is refused."""
    with refuses(Reason.DOCUMENT_MALFORMED):
        parse_log_policy(f"log {log}\nwitness w {WITNESSES[0]}\nquorum w\n")


@given(st.text(alphabet=st.sampled_from(" \t\nlogwitnesgrupqm12#+é"), max_size=200))
def test_no_text_crashes_the_reader(garbage: str) -> None:
    """Whatever is read is a policy or a refusal."""
    for candidate in (garbage, text("quorum w1") + garbage):
        with suppress(Refused):
            assert not parse_log_policy(candidate).is_met(set())


def test_a_text_of_no_octets_is_refused() -> None:
    """Half of a surrogate pair stands for no octet, and a name of a stray octet names nobody."""
    stray = WITNESSES[3].replace("w4", "w\udc98")
    for line in ("# \ud800", f"witness w9 {stray}"):
        with pytest.raises(Refused):
            parse_log_policy(text(line, "quorum w1"))
