"""The command: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.clock import SystemClock
from agents.core.decision import Deny, Obligation, Permit, Question, Scope
from agents.core.ngcodec import NgDict
from agents.decisions.server import serving
from agents.recorder import operators
from agents.status import NAME
from guard.core.level import Level
from guard.core.reasons import Reason

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "config/agent.toml").read_text()
TOLD: dict[str, Any] = {
    "node": "node-1",
    "guard": "guard.example:7443",
    "version": "0.1.0",
    "session": True,
    "trust_version": 3,
    "revision": 17,
    "clock": "good",
    "armed": [],
    "receipts_waiting": 2,
    "segments_waiting": 1,
    "spool_bytes": 99,
    "sentry": {
        "mode": "observe",
        "tier": "detect",
        "sweep": "kernel",
        "scope": "node",
        "reach": "node",
        "namespaces": 3,
        "sweeps": 9,
        "last_sweep_ms": 120,
        "findings": 2,
    },
    "messages_lost": 0,
}


GRANT = "3b0d8c9a-5e2f-4d1b-8f6e-2a7c1d9e0f43"
NASTY = "'; touch /tmp/owned #`id`$(id)\"\\"


def command(
    *arguments: str, text: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agents", *arguments],
        capture_output=True,
        input=text,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
        env=os.environ | environment,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for name in ("state", "spool"):
        (tmp_path / name).mkdir(mode=0o700)
    text = EXAMPLE.replace("/var/lib/callguard-agent/", "").replace("/run/callguard-agent/", "run/")
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return path


def answering(folder: Path, told: dict[str, Any]) -> threading.Thread:
    """Answer one question as a running agent does."""
    import socket

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = Path.cwd()
    os.chdir(folder)
    try:
        listener.bind(NAME)
    finally:
        os.chdir(before)
    listener.listen()

    def answer() -> None:
        with listener, listener.accept()[0] as asking:
            asking.sendall(json.dumps(told).encode())

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return thread


def test_a_bad_configuration_is_wrong_usage(config: Path):
    """Exit status 2 and one line that names the file and the key."""
    config.write_text(EXAMPLE + "\nverify = false\n")
    for verb in ("run", "status"):
        done = command(verb, "--config", str(config))

        assert done.returncode == 2
        assert done.stderr == f"error: {config}: unknown key tls.verify\n"


def test_what_keeps_it_from_starting_is_one_line(config: Path):
    """Exit status 1, no traceback; what it logged before is JSON."""
    done = command("run", "--config", str(config))

    assert done.returncode == 1
    *logged, line = done.stderr.splitlines()
    assert all(json.loads(each)["event"] == "no_realtime" for each in logged)
    assert line.startswith("error: the agent does not start: cannot read ")
    assert line.endswith("signing.pem: No such file or directory")


def test_no_agent_is_an_agent_that_cannot_be_reached(config: Path):
    """Exit status 4."""
    done = command("status", "--config", str(config))

    assert done.returncode == 4
    assert done.stderr.startswith("error: no agent answers in ")


def test_status_for_machines_and_for_people(config: Path):
    """One JSON object, or a few plain lines."""
    armed = {
        "grant": "3b0d8c9a-5e2f-4d1b-8f6e-2a7c1d9e0f43",
        "level": "content",
        "calls": 1,
        "packets": 250,
        "bytes": 50_000,
        "drops": 0,
        "lease_until": "2026-11-23T22:00:30+00:00",
    }
    answering(config.parent / "state", TOLD | {"armed": [armed]}).join(0)
    machine = command("status", "--config", str(config), "--json")
    assert machine.returncode == 0
    assert json.loads(machine.stdout)["armed"] == [armed]

    (config.parent / "state" / NAME).unlink()
    answering(config.parent / "state", TOLD)
    people = command("status", "--config", str(config))
    assert people.stdout.splitlines() == [
        "node-1 in session with guard.example:7443",
        "trust policy 3, revision 17",
        "clock: good",
        "waiting for the guard: 2 receipts, 1 segments, 99 bytes",
        "sentry: mode observe, tier detect; 2 findings; last sweep 120 ms ago in 3 namespaces",
        "nothing is armed",
    ]


@asynccontextmanager
async def deciding(config: Path, answer: Permit | Deny) -> AsyncIterator[list[Question]]:
    """Answer as a running agent does; yield what was asked."""
    asked: list[Question] = []

    def decide(question: Question) -> Permit | Deny:
        asked.append(question)
        return answer

    socket = config.parent / "run/decisions.sock"
    async with serving(socket, decide, lambda _: None):
        yield asked


def checked(config: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    fixed = ("check", "--config", str(config), "--who", "asterisk", "--what", "whole-call")
    return command(*fixed, *arguments, **more)


def checking(config: Path, *arguments: str, **more: str) -> Any:
    return asyncio.to_thread(checked, config, *arguments, **more)


async def test_a_permit_is_printed_with_what_it_demands(config: Path):
    """Exit status 0; grant, level, end and recipients, for people and for machines."""
    until = SystemClock().now().wall + timedelta(seconds=3600)
    obligation = Obligation(grant_id=GRANT, until=until, recipients=("age1one", "age1two"))
    permit = Permit(level=Level.CONTENT, obligations=(obligation,))
    async with deciding(config, permit) as asked:
        people = await checking(config, "--call-id", "call-1", "--from", "sip:a@h", "--to", "tel:1")
        machine = await checking(config, "--call-id", "call-1", "--json")

    assert (people.returncode, people.stderr) == (0, "")
    first, *rest = people.stdout.splitlines()
    assert first.startswith("permitted content; ask again within 3")
    assert rest == [
        f"grant {GRANT} until {until.isoformat()}",
        "  seal to age1one",
        "  seal to age1two",
    ]
    assert asked[0] == Question(
        recorder="asterisk",
        scope=Scope.WHOLE_CALL,
        node="node-1",
        call_id=b"call-1",
        identities=("sip:a@h", "tel:1"),
    )
    told = json.loads(machine.stdout)
    assert 3000 < told.pop("seconds") <= 3600
    assert told == {
        "permitted": True,
        "level": "content",
        "obligations": [
            {"grant": GRANT, "until": until.isoformat(), "recipients": ["age1one", "age1two"]}
        ],
    }


async def test_a_denial_says_why(config: Path):
    """Exit status 3, one line, and a JSON object for who wants one."""
    deny = Deny(reason=Reason.CALL_NOT_COVERED, sentence="no grant on this node covers the call")
    async with deciding(config, deny):
        people = await checking(config)
        machine = await checking(config, "--json")

    assert (people.returncode, people.stdout) == (3, "")
    line = "denied: call_not_covered: no grant on this node covers the call\n"
    assert people.stderr == machine.stderr == line
    assert json.loads(machine.stdout)["reason"] == "call_not_covered"


async def test_what_callers_choose_needs_no_shell(config: Path):
    """Environment, JSON and the SIP message itself bring the same, octet by octet."""
    deny = Deny(reason=Reason.CALL_NOT_COVERED, sentence="no")
    sip = f"INVITE sip:b@h SIP/2.0\r\nFrom: <sip:a@h>\r\nTo: <sip:b@h>\r\nCall-ID: {NASTY}\r\n\r\n"
    variables = ("--call-id-env", "X", "--from-env", "F", "--to-env", "T")
    async with deciding(config, deny) as asked:
        call = {"call_id": NASTY, "from": "sip:a@h", "to": "sip:b@h"}
        await checking(config, "--stdin", "json", text=json.dumps(call))
        await checking(config, *variables, X=NASTY, F="sip:a@h", T="sip:b@h")
        await checking(config, "--stdin", "sip", text=sip)
        await checking(config, "--call-id-env", "NOBODY_SETS_THIS")

    *same, unset = asked
    assert [each.call_id for each in same] == [NASTY.encode()] * 3
    assert [set(each.identities) for each in same] == [{"sip:a@h", "sip:b@h"}] * 3
    assert (unset.call_id, unset.identities) == (b"", ())


async def test_the_socket_may_be_named_where_the_configuration_may_not_be_read(config: Path):
    """A recorder's user needs the socket, not the agent's configuration."""
    deny = Deny(reason=Reason.CALL_NOT_COVERED, sentence="no")
    socket = str(config.parent / "run/decisions.sock")
    other = Path("/nonexistent/agent.toml")
    async with deciding(config, deny) as asked:
        done = await checking(other, "--socket", socket, "--node", "node-7")
        assert (await checking(other, "--socket", socket)).returncode == 2
    assert done.returncode == 3
    assert [each.node for each in asked] == ["node-7"]


@pytest.mark.parametrize(
    ("arguments", "text", "complaint"),
    [
        (("--call-id", "a", "--call-id-env", "PATH"), "", "a part of the call is named twice"),
        (("--stdin", "json", "--from", "sip:a@h"), "{}", "a part of the call is named twice"),
        (("--node", "a\udcff"), "", "who and node are plain words"),
        (("--stdin", "json"), "[]", "only call_id, from, to name a call"),
        (("--stdin", "sip"), "hello", "that is no SIP message"),
        (("--stdin", "json"), " " * 70_000, "standard input is too long to name a call"),
    ],
)
def test_an_unclear_question_is_wrong_usage(
    config: Path, arguments: tuple[str, ...], text: str, complaint: str
):
    """Exit status 2, before anybody is asked."""
    done = checked(config, *arguments, text=text)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {complaint}\n"


def test_nobody_to_ask_is_no_permit(config: Path):
    """Exit status 4 without an agent; 2 where the configuration lets nobody ask."""
    done = checked(config, "--call-id", "a")
    assert done.returncode == 4
    assert done.stderr.startswith("error: no agent answers at ")
    text = config.read_text()
    config.write_text(text[: text.index("[decisions]")] + text[text.index("[tls]") :])
    assert (checked(config, "--call-id", "a")).returncode == 2


@asynccontextmanager
async def relaying(config: Path, reply: NgDict | None) -> AsyncIterator[list[NgDict]]:
    """Answer operators' questions as an agent with a media relay does."""
    asked: list[NgDict] = []

    async def relay(question: NgDict, who: str) -> NgDict | None:
        assert who == f"uid {os.geteuid()}"
        asked.append(question)
        return reply

    async with operators.serving(config.parent / "state", relay):
        yield asked


def asking(config: Path, *arguments: str, **more: str) -> Any:
    return asyncio.to_thread(command, "relay", *arguments, "--config", str(config), **more)


async def test_an_operator_asks_the_relay(config: Path):
    """Exit status 0; facts for people, the relay's answer for machines."""
    tags: NgDict = {b"abc": {b"created": 7, b"medias": [{b"index": 1}]}}
    async with relaying(config, {b"result": b"ok", b"tags": tags}) as asked:
        people = await asking(config, "query", "call-1")
        machine = await asking(config, "query", "call-1", "--json")
        await asking(config, "query", "-", text=NASTY + "\n")

    assert (people.returncode, people.stderr) == (0, "")
    words = "tags:\n  abc:\n    created: 7\n    medias:\n      -\n        index: 1\n"
    assert people.stdout == words
    told = {"result": "ok", "tags": {"abc": {"created": 7, "medias": [{"index": 1}]}}}
    assert json.loads(machine.stdout) == told
    named = [each[b"call-id"] for each in asked]
    assert named == [b"call-1", b"call-1", NASTY.encode()]


async def test_a_terminal_obeys_no_caller(config: Path):
    """What callers choose is shown, not carried out."""
    async with relaying(config, {b"result": b"ok", b"calls": [b"\x1b[2Jx\n- y"]}):
        done = await asking(config, "list")

    assert done.stdout == "calls:\n  - \\x1b[2Jx\\n- y\n"


async def test_the_relays_error_is_a_denial(config: Path):
    """Exit status 3, one line; the relay's answer for machines."""
    words: NgDict = {b"result": b"error", b"error-reason": b"Unknown call-id"}
    async with relaying(config, words):
        people = await asking(config, "query", "call-1")
        machine = await asking(config, "query", "call-1", "--json")

    assert (people.returncode, people.stdout) == (3, "")
    assert people.stderr == "error: the relay: Unknown call-id\n"
    assert machine.returncode == 3
    assert json.loads(machine.stdout) == {"result": "error", "error-reason": "Unknown call-id"}


async def test_nobody_tells_of_the_relay(config: Path):
    """Exit status 4 without an agent, and with one whose relay is silent."""
    async with relaying(config, None):
        silent = await asking(config, "statistics")
    alone = await asking(config, "list")

    assert (silent.returncode, silent.stderr) == (4, "error: the media relay does not answer\n")
    assert alone.returncode == 4
    assert alone.stderr.startswith("error: no agent with a media relay answers in ")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("query",), ""),
        (("list", "call-1"), ""),
        (("delete", "call-1"), ""),
        (("query", "-"), "\n"),
        (("query", "-"), "a\nb\n"),
        (("query", "-"), "c" * 3000),
    ],
)
async def test_an_operators_unclear_question_is_wrong_usage(
    config: Path, arguments: tuple[str, ...], text: str
):
    """Exit status 2, and nobody is asked."""
    async with relaying(config, {b"result": b"ok"}) as asked:
        assert (await asking(config, *arguments, text=text)).returncode == 2
    assert asked == []


def test_the_units_paths_are_the_examples():
    """The unit makes the folders that the example names, and gives no capability beside these."""
    unit = (ROOT / "config/systemd/callguard-agent.service").read_text()

    assert "StateDirectory=callguard-agent callguard-agent/state callguard-agent/spool" in unit
    for line in ("CapabilityBoundingSet=", "AmbientCapabilities="):
        (found,) = [each for each in unit.splitlines() if each.startswith(line)]
        assert set(found.removeprefix(line).split()) == {
            "CAP_BPF",
            "CAP_NET_RAW",
            "CAP_NET_ADMIN",
            # What the sentry sees by:
            "CAP_SYS_ADMIN",
            "CAP_PERFMON",
            "CAP_SYS_PTRACE",
            "CAP_DAC_READ_SEARCH",
            # What it ends by, where it enforces:
            "CAP_KILL",
        }
