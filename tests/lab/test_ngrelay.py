"""The running relay is asked what it knows, and the table must know all of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which

import pytest

from agents.core.ngcodec import NgDict
from agents.core.ngpolicy import Passed, judge
from agents.core.ngtable import FLAGS, KEYS, Treatment, flag, key
from tests.agents.core import ngfacts
from tests.agents.core.ngmessages import SDP
from tests.lab.ngrelay import PROGRAM, NgRelay, missing

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

# Said of a name, in these words, by every version from 10.5 on.
UNKNOWN = re.compile(r"Unknown (?:dictionary key|flag) encountered: '(.*?)'")
NAME = re.compile(rb"(?<=\0)[A-Za-z][A-Za-z0-9 ._-]{1,39}(?=\0)")
OFFER: NgDict = {b"command": b"offer", b"call-id": b"nobody", b"from-tag": b"nothing"}
AT_ONCE = 100


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NgRelay]:
    """Yield a relay of the module's own."""
    if missing():
        pytest.skip(missing())
    with NgRelay(tmp_path_factory.mktemp("relay")) as started:
        yield started


def candidates() -> list[bytes]:
    """Return every string of the program that could be a name, and the table's in all spellings."""
    program = Path(which(PROGRAM) or "").read_bytes()
    names = {*NAME.findall(program), *KEYS, *FLAGS}
    names |= {name.encode() for name in ngfacts.KEYS_OF_DEVELOPMENT | ngfacts.FLAGS_OF_DEVELOPMENT}
    for separator in (b" ", b"_"):
        names |= {name.replace(b"-", separator) for name in names}
    names |= {name.upper() for name in names} | {name.lower() for name in names}
    return sorted(names - OFFER.keys() - {b"sdp", b"SDP"})


def known(
    relay: NgRelay, names: list[bytes], message: Callable[[list[bytes]], NgDict]
) -> set[bytes]:
    """Return the names of which the relay does not say that it does not know them."""
    unknown: set[str] = set()
    for start in range(0, len(names), AT_ONCE):
        before = relay.log.stat().st_size
        answer = relay.ask(message(names[start : start + AT_ONCE]))
        assert answer[b"error-reason"] == b"No SDP body in message"
        unknown |= set(UNKNOWN.findall(relay.said(before)))
    return {name for name in names if name.decode("latin-1") not in unknown}


def test_the_relay_knows_the_commands_of_its_version_and_no_others(relay: NgRelay) -> None:
    """So that the lists of facts are facts."""
    for name in ngfacts.VERBS_10_5.values():
        assert relay.ask({b"command": name.encode()}).get(b"error-reason") != (
            b"Unrecognized command"
        ), name
    for name in ngfacts.VERBS_11_AND_12 | ngfacts.VERBS_SINCE:
        assert relay.ask({b"command": name.encode()}) == {
            b"result": b"error",
            b"error-reason": b"Unrecognized command",
        }, name


def test_the_relay_has_no_key_that_the_table_does_not_know(relay: NgRelay) -> None:
    """Every string of the program is tried as a key."""
    names = known(relay, candidates(), lambda part: OFFER | dict.fromkeys(part, b"x"))
    assert len(names) > 100
    assert names >= {b"record call", b"record-call", b"media-echo", b"xmlrpc-callback", b"metadata"}
    assert {name for name in names if key(name) is None} == set()


def test_the_relay_has_no_flag_that_the_table_does_not_know(relay: NgRelay) -> None:
    """Every string of the program is tried as a flag."""
    hyphens = sorted({name.replace(b" ", b"-") for name in candidates()})  # 10.5 writes them so
    names = known(relay, hyphens, lambda part: OFFER | {b"flags": list(part)})
    assert len(names) > 100
    assert names >= {b"record-call", b"SIPREC", b"trust-address"}
    assert {name for name in names if flag(name) is None} == set()


def spellings(name: bytes) -> set[bytes]:
    """Write a name of the table in the ways that one version of the relay or another takes."""
    words = name.replace(b"-", b" ")
    capital = words.replace(b"dtmf", b"DTMF").replace(b"vsc", b"VSC").replace(b"xmlrpc", b"XMLRPC")
    return {name, words, capital, capital.replace(b" ", b"-"), words.replace(b" ", b"_")}


def test_no_spelling_makes_the_relay_record(relay: NgRelay) -> None:
    """Each is tried as it is, to see that the trial is one, and then as it passes."""
    recorded: set[bytes] = set()
    forbidden = {name for name, entry in KEYS.items() if entry.treatment is not Treatment.PASS}
    for name in sorted(set().union(*map(spellings, forbidden))):
        for extra in ({name: b"yes"}, {name: b"on"}, {b"flags": [b"trust-address", name]}):
            message = OFFER | {b"sdp": SDP} | extra
            if b"recordings" in relay.ask(message | {b"call-id": b"ungated"}):
                recorded.add(name)
            judged = judge(message)
            assert isinstance(judged, Passed)
            before = files(relay)
            answer = relay.ask(judged.message)
            assert answer.keys() == {b"result", b"sdp"}, name
            assert files(relay) == before, name
            relay.ask({b"command": b"delete", b"call-id": b"ungated", b"delete delay": 0})
            relay.ask({b"command": b"delete", b"call-id": b"nobody", b"delete delay": 0})
    assert recorded == {b"record call", b"record-call"}


def files(relay: NgRelay) -> set[Path]:
    """Return what the relay has recorded."""
    return {path for path in relay.spool.rglob("*.pcap") if path.is_file()}
