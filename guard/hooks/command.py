"""A command that is told of incidents.

1. It is run without a shell, with the words of the configuration and nothing else: the notice comes
   on standard input, so that nobody reads it in the list of processes.
2. Its environment is a `PATH`: neither a secret of the guard's nor anything of the notice is in it.
   What it prints goes nowhere.
3. It has taken the notice when it ends with status 0. It has half a minute; then it is killed with
   all of its process group, and so it is when the guard stops.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from typing import Final

from guard.app.notify import HookFailed

__all__ = ["CommandHook"]

_SECONDS: Final = 30.0
_ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class CommandHook:
    """Runs a command for each notice."""

    def __init__(self, words: tuple[str, ...], *, seconds: float = _SECONDS) -> None:
        self._words = words
        self._seconds = seconds

    async def deliver(self, notice: bytes) -> None:
        """Run the command once; raises HookFailed."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._words,
                stdin=PIPE,
                stdout=DEVNULL,
                stderr=DEVNULL,
                env=_ENVIRONMENT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "not a command"
            raise HookFailed(f"the command cannot be run: {why}") from error
        try:
            async with asyncio.timeout(self._seconds):
                # One that ends without reading it all is judged by its status.
                await process.communicate(notice)
        except TimeoutError:
            raise HookFailed(f"the command did not end within {self._seconds:g} s") from None
        finally:
            await _end(process)
        if process.returncode != 0:
            raise HookFailed(_words(process.returncode))


async def _end(process: Process) -> None:
    """Kill the group of a command that has not ended (rule 3)."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own group, made for it: see `deliver`
        await process.wait()


def _words(status: int | None) -> str:
    if status is not None and status < 0:
        return f"the command was ended by signal {-status}"
    return f"the command ended with status {status}"
