"""The table knows every command, key and flag that the relay knows.

The versions' names come from a list of facts, those of the version that is installed from the
program itself. `tests/lab/test_ngrelay.py` asks the running program.
"""

from __future__ import annotations

import re
import shutil
from functools import cache
from pathlib import Path

import pytest

from agents.core.ngtable import VERBS, Treatment, flag, key, verb
from tests.agents.core import ngfacts

PASSES = {"ping", "offer", "answer", "delete", "block DTMF", "unblock DTMF", "block media",
          "unblock media", "silence media", "unsilence media"}  # fmt: skip
NAME = re.compile(rb"[A-Za-z][A-Za-z0-9 ._-]{1,39}")


def installed() -> Path:
    """Return the program of Debian's package, or skip loudly."""
    found = shutil.which("rtpengine")
    if found is None:
        pytest.skip("NOT RUN: needs rtpengine: install Debian's package rtpengine-daemon")
    return Path(found)


@cache
def strings(program: Path) -> tuple[bytes, ...]:
    return tuple(re.findall(rb"[^\0]+", program.read_bytes()))


def names_around(program: Path, word: bytes) -> set[str]:
    """Return the run of strings that look like names in which a name stands in the program."""
    all_of_it = strings(program)
    first = last = all_of_it.index(word)
    while NAME.fullmatch(all_of_it[first - 1]):
        first -= 1
    while NAME.fullmatch(all_of_it[last + 1]):
        last += 1
    return {name.decode() for name in all_of_it[first : last + 1]}


def test_every_command_of_every_version_has_a_treatment() -> None:
    """And no other command is in the table: none is there by mistake."""
    every = {*ngfacts.VERBS_10_5.values(), *ngfacts.VERBS_11_AND_12, *ngfacts.VERBS_SINCE}
    assert set(VERBS) == every
    assert len(every - {"CLI"}) == 33  # which is what the development version counts, with 12's
    assert {name for name in every if VERBS[name] is Treatment.PASS} == PASSES


@pytest.mark.parametrize("name", sorted(ngfacts.KEYS_OF_DEVELOPMENT))
def test_every_key_of_the_development_version(name: str) -> None:
    """With hyphens and with spaces."""
    assert key(name.encode())
    assert key(name.replace("-", " ").encode()) == key(name.encode())


@pytest.mark.parametrize("name", sorted(ngfacts.FLAGS_OF_DEVELOPMENT | ngfacts.OF_PROXIES))
def test_every_flag_of_the_development_version(name: str) -> None:
    """With hyphens and with spaces."""
    assert flag(name.encode())
    assert flag(name.replace("-", " ").encode()) == flag(name.encode())


def test_the_installed_program_has_no_command_that_the_table_does_not_know() -> None:
    """Its commands stand together, and after them the short name of each, shown or not."""
    found = names_around(installed(), b"start recording")
    short = {name for name in found if name in ngfacts.VERBS_10_5 or name[:1].isupper()}
    assert short == set(ngfacts.VERBS_10_5), "the relay counts commands that the table lacks"
    assert {name for name in found - short if verb(name.encode()) is None} == set()
    assert all(verb(name.encode()) for name in ngfacts.VERBS_10_5.values())


def test_the_installed_program_has_no_name_that_the_table_does_not_know() -> None:
    """Its keys, its flags and their values stand together; the values are a list of facts."""
    found = names_around(installed(), b"xmlrpc-callback")
    assert len(found) > 150, "the names are somewhere else in this program"
    assert found >= {"record-call", "record call", "media-echo", "SIPREC", "transport-protocol"}
    unknown = {name for name in found if not (key(name.encode()) or flag(name.encode()))}
    assert unknown - ngfacts.VALUES_10_5 == set()
