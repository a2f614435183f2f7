"""How the command ends."""

from __future__ import annotations

from collections.abc import Callable

import click
import pytest

from guard.cli import main as command
from guard.cli.exits import DiscrepancyError
from guard.core.reasons import Reason, Refused
from tests.guard.cli.running import Answer

Callguard = Callable[..., Answer]


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `callguard status` raise."""

    def fail() -> None:
        raise error

    monkeypatch.setitem(
        command.callguard.commands, "status", click.Command("status", callback=fail)
    )


def test_a_fault_is_one_line_without_its_text(
    callguard: Callguard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error ends with status 1, its place, no traceback, and not its own words."""
    failing(monkeypatch, ValueError("+4930231251234"))
    answer = callguard("status")
    assert answer.code == 1
    assert answer.err.count("\n") == 1
    assert "ValueError at" in answer.err
    assert "231251234" not in answer.err
    assert "Traceback" not in answer.err


def test_a_refusal_nobody_expected_is_a_denial(
    callguard: Callguard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the rules refuse ends with status 3 and its reason."""
    failing(monkeypatch, Refused(Reason.REPLAYED, "seen before"))
    answer = callguard("status")
    assert answer.denied() == "replayed"
    assert answer.err == "denied: replayed: seen before\n"


def test_a_discrepancy_names_its_kind(
    callguard: Callguard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found wrong ends with status 3, in one line, and in JSON by its kind."""
    failing(monkeypatch, DiscrepancyError("log_forked", "two logs of one name"))
    answer = callguard("status")
    assert (answer.code, answer.err) == (3, "discrepancy: log_forked: two logs of one name\n")
    said = callguard("--json", "status").json()
    assert said == {"error": "two logs of one name", "discrepancy": "log_forked", "status": 3}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_stopping_is_no_traceback(
    error: BaseException, callguard: Callguard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control-C ends with status 1 and the honest word."""
    failing(monkeypatch, error)
    answer = callguard("status")
    assert answer.code == 1
    assert answer.err.strip().startswith("stopped; ")
    assert ("all the same" in answer.err) == isinstance(error, KeyboardInterrupt)
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    "words",
    [("nothing",), ("authority",), ("--nothing",), ("ticket", "open"), ("log", "prove", "x")],
)
def test_wrong_usage_is_status_2(words: tuple[str, ...], callguard: Callguard) -> None:
    """An unknown command or option, a missing or mistyped value and a bare group are wrong usage."""
    answer = callguard(*words)
    assert answer.code == 2
    assert answer.err


@pytest.mark.parametrize(
    "words",
    [("--json", "nothing"), ("audit", "ended", "no-id", "--json"), ("log", "--json", "prove", "x")],
)
def test_wrong_usage_is_told_to_machines(words: tuple[str, ...], callguard: Callguard) -> None:
    """With --json what is wrong is one object on standard output, as of any other failure."""
    answer = callguard(*words)
    assert (answer.code, answer.json()["status"], answer.json()["reason"]) == (2, 2, None)
    assert answer.json()["error"] in answer.err


def test_words_too_many_are_not_repeated(callguard: Callguard) -> None:
    """Half a number that stands alone for want of quotes is not printed again."""
    answer = callguard("authority", "show", "+49", "231251234")
    assert answer.code == 2
    assert "231251234" not in answer.err


@pytest.mark.parametrize(
    "words",
    [
        *((), ("authority",), ("capture",), ("log",), ("trust",), ("ticket", "open"), ("init",)),
        *(("warrant", "register"), ("witness", "serve"), ("serve",), ("capture", "fetch")),
    ],
)
def test_every_command_explains_itself(words: tuple[str, ...], callguard: Callguard) -> None:
    """--help of each shows the shared options and ends with status 0."""
    answer = callguard(*words, "--help")
    assert answer.code == 0
    assert "--json" in answer.out
    assert "--profile" in answer.out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("serve", "--config", "/nowhere.toml"), "/nowhere.toml"),
        (("witness", "serve", "--config", "/nowhere.toml"), "/nowhere.toml"),
        (("trust", "sign", "/nowhere.json", "--root", "/nowhere.key"), "/nowhere.json"),
        (("warrant", "register", "/nowhere.toml"), "/nowhere.toml"),
        (("trust", "propose", "/nowhere.toml"), "/nowhere.toml"),
    ],
)
def test_a_file_that_is_not_there_is_named(
    words: tuple[str, ...], complaint: str, callguard: Callguard
) -> None:
    """A missing file is wrong usage, in one line with its name."""
    answer = callguard(*words)
    assert answer.code == 2
    assert complaint in answer.err
    assert answer.err.count("\n") == 1


def test_the_version_is_told_without_an_installation(callguard: Callguard) -> None:
    """--version works from a checkout too."""
    answer = callguard("--version")
    assert answer.code == 0
    assert answer.out.startswith("callguard, version ")
