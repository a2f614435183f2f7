"""A command that is told: real programs that take notices, fail, hang and leave children behind."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from guard.app.notify import HookFailed
from guard.hooks.command import CommandHook

NOTICE = b'{"incident":17,"node":"node-1"}'


def script(folder: Path, body: str) -> str:
    made = folder / "hook"
    made.write_text(f"#!/bin/sh\n{body}\n")
    made.chmod(0o755)
    return str(made)


async def until(condition, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # nothing announces a process
            await asyncio.sleep(0.01)


async def test_the_notice_is_on_standard_input_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words are passed as they are, no shell reads them, and nothing of the guard's is inherited."""
    monkeypatch.setenv("CALLGUARD_SECRET", "s3cret")
    run = script(
        tmp_path,
        f"cat >{tmp_path}/in; cat /proc/$$/cmdline >{tmp_path}/words; "
        f"cat /proc/$$/environ >{tmp_path}/environment",
    )
    await CommandHook((run, "--to", "$(id) ; x")).deliver(NOTICE)

    assert (tmp_path / "in").read_bytes() == NOTICE
    words = (tmp_path / "words").read_bytes().split(b"\0")
    assert words[1:] == [run.encode(), b"--to", b"$(id) ; x", b""]
    variables = (tmp_path / "environment").read_bytes().rstrip(b"\0").split(b"\0")
    assert [each.split(b"=")[0] for each in variables] == [b"PATH"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("cat >/dev/null; exit 3", "ended with status 3"),
        ("exit 75", "ended with status 75"),
        ("kill -TERM $$", "ended by signal 15"),
        ("echo secret words >&2; exit 1", "ended with status 1"),
    ],
)
async def test_a_command_that_fails_has_not_taken_it(tmp_path: Path, body: str, why: str) -> None:
    """Its status says so, whether it read the notice or not; nothing that it prints is repeated."""
    with pytest.raises(HookFailed, match=why) as failed:
        await CommandHook((script(tmp_path, body),)).deliver(NOTICE * 10_000)
    assert "secret" not in str(failed.value)


async def test_a_command_that_needs_no_words_has_taken_it(tmp_path: Path) -> None:
    """Status 0 counts, also of one that closes its input unread."""
    await CommandHook((script(tmp_path, "exec <&-; exit 0"),)).deliver(NOTICE * 10_000)


@pytest.mark.parametrize(
    ("mode", "why"), [(None, "No such file"), (0o644, "Permission denied"), (0o755, "format error")]
)
async def test_what_is_no_program_is_said_so(tmp_path: Path, mode: int | None, why: str) -> None:
    """Missing, not executable, or nothing that the system can run."""
    made = tmp_path / "hook"
    if mode is not None:
        made.write_bytes(b"\0\0\0\0")
        made.chmod(mode)
    with pytest.raises(HookFailed, match=why):
        await CommandHook((str(made),)).deliver(NOTICE)


async def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """After its time; nothing of it is left to pile up."""
    pids = tmp_path / "pids"
    run = script(tmp_path, f"sleep 600 & echo $! $$ >{pids}; wait")
    begun = time.monotonic()
    with pytest.raises(HookFailed, match=r"did not end within 0\.5 s"):
        await CommandHook((run,), seconds=0.5).deliver(NOTICE)
    assert time.monotonic() - begun < 5
    for pid in map(int, pids.read_text().split()):
        await until(lambda pid=pid: gone(pid))


async def test_a_command_dies_with_the_delivery(tmp_path: Path) -> None:
    """A guard that stops leaves none behind."""
    pids = tmp_path / "pids"
    run = script(tmp_path, f"echo $$ >{pids}; exec sleep 600")
    delivery = asyncio.ensure_future(CommandHook((run,)).deliver(NOTICE))
    await until(lambda: pids.exists() and pids.read_text().strip())
    delivery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivery
    assert gone(int(pids.read_text()))


def gone(pid: int) -> bool:
    """Say whether a process runs no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
