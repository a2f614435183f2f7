"""What is looked at beside the relay's messages: its process, its options, its files.

1. The relay's process is held from when it is met: its end is known at once. Where the agent may
   not see it, that is reported, and the relay's silence tells instead.
2. Its options are judged each time it is met; what they let out is reported with what to do.
3. A file in a recording folder is a recording by nobody's order: emptied, removed, reported, and
   the relay is told to stop. A folder that cannot be watched is reported and tried again.
4. The kernel's files about calls, which hold their keys, are closed to others and reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import NoReturn

from agents.config import RelayConfig
from agents.core.relaycommands import Report
from agents.core.relayconfig import CHANGED_FILE, Finding, judge, names_calls
from agents.recorder.recordingfolders import Recording, RecordingFolderError, RecordingFolders
from agents.recorder.relayfiles import tighten
from agents.recorder.relayprocess import RelayError, RelayProcess

__all__ = ["RelayWatch"]

_AGAIN = 5.0


class RelayWatch:
    """``report`` puts on record; ``stop`` has the relay stop what it records of a call."""

    def __init__(
        self,
        config: RelayConfig,
        *,
        report: Callable[[Report], None],
        stop: Callable[[bytes], None],
    ) -> None:
        self._config = config
        self._report = report
        self._stop = stop
        self._process: RelayProcess | None = None

    async def meet(self) -> None:
        """Find the process of a relay that answers, and judge its options (rules 1, 2 and 4)."""
        self.close()
        try:
            self._process = await asyncio.to_thread(RelayProcess.find, self._config.control.port)
            findings = await asyncio.to_thread(self._findings)
        except RelayError as error:
            self._report(Report("relay_unseen", None, {"why": str(error)}))
            return
        for each in findings:
            details = {"found": each.name, "risk": each.risk.value, "do": each.remedy}
            self._report(Report("relay_configuration", None, details))

    async def exited(self) -> None:
        """Return when the relay's process has ended; never, where it cannot be seen."""
        if self._process is None:
            await asyncio.Event().wait()
        else:
            await self._process.exited()

    async def watch_folders(self) -> NoReturn:
        """Empty the recording folders, always (rule 3)."""
        folders = RecordingFolders(self._config.recording_folders)
        try:
            while True:
                try:
                    await folders.watch(self._found)
                except RecordingFolderError as error:
                    self._report(Report("recording_folder_unwatched", None, {"why": str(error)}))
                    await asyncio.sleep(_AGAIN)
        finally:
            folders.close()

    def close(self) -> None:
        """Let go of the process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _findings(self) -> Iterable[Finding]:
        found = list(tighten())
        if self._process is None:
            return found
        told = self._process.told()
        fenced = {self._config.control.port, *self._config.closed_ports}
        found += judge(told.options, udp=fenced, tcp=fenced)
        found += names_calls(told.options)
        return [*found, CHANGED_FILE] if told.changed else found

    def _found(self, recording: Recording) -> None:
        if recording.call_id is not None:
            self._stop(recording.call_id)
        done = "removed" if recording.emptied else "unlinked"
        details: dict[str, str | int] = {
            "folder": str(recording.folder),
            "file": recording.name,
            "size": recording.size,
            "done": done,
        }
        self._report(Report("recording_found", recording.call_id, details))
