"""The lines of the README that an outsider follows work as they stand, over plain HTTP."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from guard.clock import SystemClock
from tests.guard.cli.auditing import Case
from tests.guard.cli.running import ROOT, Answer

ADDRESS = "https://carrier.example/log"
ELSEWHERE = ("log follow", "report sample-check")  # They have tests of their own: no end, a report.


def lines() -> list[str]:
    """Return the commands of the section, the variable's value in its place."""
    section = re.search(
        r"## Verify us\n.*?```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert section
    _, variable, *commands = [line.split("  #")[0].strip() for line in section[1].splitlines()]
    name, value = variable.split("=", 1)
    return [each.replace(f"${name}", shlex.split(value)[0]) for each in commands]


def test_each_line_works(
    case: Case,
    serve: Callable[..., str],
    callguard: Callable[..., Answer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the order in which they stand, knowing nothing but the policy and the address."""
    case.log.publish(case.entries, SystemClock.now())
    me = tmp_path / "me"
    me.mkdir()
    (me / "policy").write_text(case.log.site.policy.log.text)
    monkeypatch.chdir(me)
    url = serve(case.log.folder)
    told = lines()
    assert len(told) == 8
    for line in told:
        program, *words = shlex.split(line.replace(ADDRESS, url))
        assert program == "callguard"
        if " ".join(words[:2]) not in ELSEWHERE:
            answer = callguard(*words)
            assert answer.code == 0, (line, answer)
