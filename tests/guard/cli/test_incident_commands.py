"""``callguard incidents`` and its hook, on a guard that runs, fails to tell, and is killed."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from guard.api.v1 import incident_service_pb2 as messages
from guard.cli.incident_words import status_lines
from guard.core.receipt import ReceiptKind
from tests.guard.cli.node import Node
from tests.guard.cli.running import Answer, Running

Callguard = Callable[..., Answer]
NOW = datetime(2026, 11, 23, 22, tzinfo=UTC)
HOOK = """#!/bin/sh
while [ -e {folder}/hold ]; do sleep 0.05; done
[ -e {folder}/broken ] && exit 9
notice=$(cat)
printf '%s\\n' "$notice" >>{folder}/told
"""


class Hooked(Running):
    """A deployment whose guard tells a command, which the test holds up or breaks."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.hook = folder / "hook"
        self.hook.mkdir(mode=0o700)
        script = self.hook / "tell"
        script.write_text(HOOK.format(folder=self.hook))
        script.chmod(0o700)
        with (folder / "guard/guard.toml").open("a") as config:
            config.write(f'\n[notify]\ncommand = ["{script}"]\n')

    def told(self) -> list[dict[str, Any]]:
        """Return what the command has taken, oldest first."""
        path = self.hook / "told"
        return list(map(json.loads, path.read_text().splitlines())) if path.exists() else []


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Hooked]:
    """Run a deployment for one test."""
    running = Hooked(tmp_path / "d")
    try:
        running.start()
        yield running
    finally:
        (running.hook / "hold").unlink(missing_ok=True)
        running.stop_all()


def listed(running: Running, callguard: Callguard, by: str = "legal-1") -> list[dict[str, Any]]:
    words = ("--profile", running.person(by), "incidents", "list", "--all", "--json")
    return callguard(*words).json()["incidents"]


def until_listed(running: Running, callguard: Callguard, *kinds: str) -> list[dict[str, Any]]:
    """Wait until incidents of these kinds are listed, and return all of these kinds."""

    def all_there() -> list[dict[str, Any]]:
        found = [each for each in listed(running, callguard) if each["kind"] in kinds]
        return found if {each["kind"] for each in found} == set(kinds) else []

    return running.wait(all_there, f"{kinds} are listed")


def test_the_command_is_told_and_people_say_what_it_comes_to(
    own: Hooked, callguard: Callguard
) -> None:
    """The whole way: a node states, the hook is told, legal assesses, the auditor sees it."""

    def as_(person: str, *words: str | Path) -> Answer:
        return callguard("--profile", own.person(person), *words)

    with Node(own.folder / "nodes/node-1") as node:
        node.state(ReceiptKind.INCIDENT, None, what="capture_socket", pid=4711)
        begun = time.monotonic()
        own.wait(own.told, "the command is told")
        assert time.monotonic() - begun < 5
    (notice,) = own.told()
    number = str(notice["incident"])
    assert (notice["kind"], notice["node"]) == ("capture_socket", "node-1")
    assert "4711" not in json.dumps(notice)

    shown = as_("auditor-1", "incidents", "show", number)
    words = " ".join(shown.out.split())
    assert "capture_socket on node-1" in words
    assert "gdpr_notification (GDPR Art. 33(1), supervisory authority): until" in words
    assert "calea_report" in words
    assert "within a reasonable time" in words
    assert "pid: 4711" in words

    status = " ".join(as_("auditor-1", "status").out.split())
    assert "Incidents 1 not assessed Notices by command: well" in status
    assert "Incidents" not in as_("operator-1", "status").out

    reported = ("--reported-to", "BSI", "--clock", "nis2_early_warning")
    assert (
        as_("auditor-1", "incidents", "assess", number, *reported).denied() == "caller_role_wrong"
    )
    assert as_("operator-1", "incidents", "list").denied() == "caller_role_wrong"
    assert as_("lead-1", "incidents", "show", number).denied() == "caller_role_wrong"
    assert as_("legal-1", "incidents", "assess", number, *reported).code == 0
    dismissed = as_(
        "legal-2", "incidents", "assess", number, "--not-reportable", "a drill", "--json"
    )
    (incident,) = dismissed.json()["incidents"]
    verdicts = {e["clock"]: e["assessment"]["verdict"] for e in incident["clocks"]}
    assert verdicts.pop("nis2_early_warning") == "reported"
    assert set(verdicts.values()) == {"not_reportable"}

    assert as_("legal-1", "incidents", "list", "--json").json() == {"incidents": []}
    assert "a drill (by legal-2, record" in as_("auditor-1", "incidents", "show", number).out
    records = as_("auditor-1", "log", "entries", "--kind", "incident_assessed", "--json").json()
    assert [each["body"]["by"] for each in records["records"]] == ["legal-1", "legal-2"]


def test_a_guard_killed_before_the_delivery_tells_at_its_next_start(
    own: Hooked, callguard: Callguard
) -> None:
    """The record is there, the command hangs, the guard dies: afterwards the command is told."""
    (own.hook / "hold").touch()
    with Node(own.folder / "nodes/node-1") as node:
        node.state(ReceiptKind.INCIDENT, None, what="capture_socket")
        (before,) = until_listed(own, callguard, "capture_socket")
    assert own.told() == []
    own.kill("guard")
    # The command that hung finds the killed guard's notice on its input: it may still deliver.
    (own.hook / "broken").touch()
    (own.hook / "hold").unlink()
    time.sleep(0.3)
    (own.hook / "broken").unlink()
    assert own.told() == []
    own.start_guard()
    own.wait(own.told, "the command is told")
    notice = own.told()[0]
    assert (notice["incident"], notice["first"]) == (before["id"], before["first"])


def test_killed_again_and_again_it_loses_no_notice(own: Hooked, callguard: Callguard) -> None:
    """At moments of chance after the record: every incident of the log is told, with its id."""
    kinds = [f"kind_{number}" for number in range(5)]
    chance = random.Random(4711)
    for kind in kinds:
        with Node(own.folder / "nodes/node-1") as node:
            node.state(ReceiptKind.INCIDENT, None, what=kind)
            until_listed(own, callguard, kind)
            time.sleep(chance.random() * 0.02)
            own.kill("guard")
        own.start_guard()
    known = {each["id"]: each["kind"] for each in until_listed(own, callguard, *kinds)}

    def told() -> dict[int, str]:
        return {each["incident"]: each["kind"] for each in own.told()}

    own.wait(lambda: known.items() <= told().items(), "all of them are told")
    assert len(known) == len(kinds)
    first = [each["incident"] for each in own.told()]
    assert sorted(set(first)) == list(dict.fromkeys(first)), "told in the order of the log"


def test_a_hook_that_fails_shows_in_the_status(own: Hooked, callguard: Callguard) -> None:
    """To everybody, since when and why, until it takes; the log and the guard go on meanwhile."""
    (own.hook / "broken").touch()

    def findings(by: str) -> list[dict[str, Any]]:
        found = callguard("--profile", own.person(by), "status", "--json").json()["findings"]
        return [each for each in found if each["kind"] == "notice_undelivered"]

    with Node(own.folder / "nodes/node-1") as node:
        node.state(ReceiptKind.INCIDENT, None, what="capture_socket")
        (found,) = own.wait(lambda: findings("operator-1"), "the failure is shown")
        (incident,) = until_listed(own, callguard, "capture_socket")
        assert found["since"] == incident["first"]
        assert "the command ended with status 9; 1 to be told" in found["detail"]
        words = callguard("--profile", own.person("legal-1"), "status").out
        assert "by command: FAILING" in words
        assert "notice_undelivered since" in words

        node.state(ReceiptKind.INCIDENT, None, what="xdp")
        until_listed(own, callguard, "xdp")
        (own.hook / "broken").unlink()
        own.wait(lambda: len(own.told()) == 2, "both are told")
        own.wait(lambda: not findings("operator-1"), "it is over")
    assert [each["kind"] for each in own.told()] == ["capture_socket", "xdp"]


def test_what_makes_no_sense_is_wrong_usage(own: Hooked, callguard: Callguard) -> None:
    """Before anybody is asked."""
    assess = ("--profile", own.person("legal-1"), "incidents", "assess")
    for words in (
        ("1",),
        ("--not-reportable", "a drill"),
        ("1", "--not-reportable", "a", "--reported-to", "b"),
        ("1", "--reported-to", "BSI"),
        ("1", "--not-reportable", "a", "--at", "2026-11-23"),
        ("1", "--not-reportable", "a", "--clock", "hipaa"),
        ("x", "--not-reportable", "a"),
    ):
        assert callguard(*assess, *words).code == 2, words
    unknown = callguard(*assess, "4711", "--not-reportable", "a drill")
    assert (unknown.code, "no such incident" in unknown.err) == (1, True)


def overdue(number: int) -> messages.Incident:
    clock = messages.Clock(name="gdpr_notification", provision="GDPR Art. 33(1)", to="authority")
    clock.due.FromDatetime(NOW - timedelta(hours=3))
    clock.overdue = True
    incident = messages.Incident(id=number, kind="capture_socket", node="node-1", open=True)
    incident.clocks.append(clock)
    incident.clocks.add(name="calea_report", provision="47 CFR 1.20003", to="agencies")
    return incident


def test_what_is_overdue_is_shouted() -> None:
    """Each clock by name, since when and how long; a great many do not fill the screen."""
    hooks = [messages.NoticeHook(name="webhook")]
    answer = messages.ListIncidentsResponse(incidents=[overdue(17)], hooks=hooks)
    words = (
        "incident 17, capture_socket on node-1: gdpr_notification (GDPR Art. 33(1), authority): "
        "OVERDUE since 2026-11-23 19:00:00 UTC, 3h"
    )
    assert list(status_lines(answer, NOW)) == [
        ("Incidents", "1 not assessed, 1 CLOCKS OVERDUE"),
        ("OVERDUE", words),
        ("Notices", "by webhook: well"),
    ]
    many = messages.ListIncidentsResponse(incidents=map(overdue, range(30)))
    lines = list(status_lines(many, NOW))
    assert len(lines) == 13
    assert lines[-2:] == [
        ("OVERDUE", "and 20 more: callguard incidents list"),
        ("Notices", "nobody is told: no hook is configured ([notify] in guard.toml)"),
    ]
    assert next(status_lines(messages.ListIncidentsResponse(), NOW)) == (
        "Incidents",
        "none to assess",
    )
