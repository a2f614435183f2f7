"""Telling the privacy team: hands notices to a hook, one after another, until each is taken.

1. What is to be told stands in the store since the transaction of its record (`guard.app.noting`),
   and what was told is put on record (`incident_notified`). So a guard that is killed at any moment
   goes on at its next start where it was; a notice may come twice, and none is lost.
2. Order is kept: while the oldest notice is not taken, no later one is handed over.
3. A hook that fails is tried again without end: after a second, then after twice as long each time,
   up to five minutes, each time shortened by up to a half by chance.
4. Nothing waits for a hook, and whatever it does is its own failure: the log, the captures and the
   other hook go on. `trouble` says so while it lasts.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import structlog

from guard.app.changes import PutIncident
from guard.app.noting import NOTICES
from guard.app.office import Office
from guard.app.ports import LedgerUnavailable, Plan, Reads
from guard.core.findings import Finding, FindingKind
from guard.core.incidents import Hook, Incident
from guard.core.notices import encode_notice
from guard.core.record import RecordKind
from guard.core.reporting import Law

__all__ = ["HookFailed", "Messenger", "Notifier", "pause"]

_SHORTEST: Final = 1.0
_LONGEST: Final = 300.0
_LOOK_EVERY: Final = 10.0
_PATIENCE: Final = 60.0
_COUNTED: Final = 1000


class HookFailed(Exception):  # noqa: N818  # what a hook did, told to the guard's operator
    """A hook did not take a notice; the message says why, and nothing of the notice or a secret."""


class Messenger(Protocol):
    """One way to tell the privacy team."""

    async def deliver(self, notice: bytes) -> None:
        """Hand over a notice and return when it was taken, within a minute. Raises HookFailed."""


def pause(failures: int, chance: float) -> float:
    """Return the seconds to wait after so many failures in a row; 0 <= chance < 1 (rule 3)."""
    longest = min(_LONGEST, _SHORTEST * 2.0 ** min(failures - 1, 32))
    return longest * (1 - chance / 2)


@dataclass(slots=True, kw_only=True)
class Notifier:
    """Tells one hook; ``run`` is called once."""

    office: Office
    hook: Hook
    messenger: Messenger
    laws: tuple[Law, ...]
    log: structlog.typing.FilteringBoundLogger
    _why: str | None = field(default=None, init=False)
    _failures: int = field(default=0, init=False)

    async def run(self) -> None:
        """Tell what is to be told, for good."""
        with self.office.bell.listen(NOTICES) as rung:
            while True:
                rung.clear()
                try:
                    told = await self.step()
                except HookFailed as failed:
                    await asyncio.sleep(self._failed(str(failed)))
                except LedgerUnavailable as error:
                    await asyncio.sleep(self._failed(f"the guard: {error}"))
                else:
                    if not told:
                        with suppress(TimeoutError):
                            async with asyncio.timeout(_LOOK_EVERY):
                                await rung.wait()

    async def step(self) -> bool:
        """Hand over the oldest notice that is due; say whether there was one.

        Raises HookFailed or LedgerUnavailable.
        """
        due = self._due(1)
        if not due:
            return False
        notice = encode_notice(due[0], self.office.policy.log.origin, self.laws)
        await self._deliver(notice)
        await self._put_on_record(due[0])
        self._why, self._failures = None, 0
        return True

    def trouble(self) -> Finding | None:
        """Return what people are shown while the hook fails; None while it does not (rule 4)."""
        waiting = self._due(_COUNTED) if self._why is not None else []
        if not waiting:
            return None
        more = " or more" if len(waiting) == _COUNTED else ""
        return Finding(
            kind=FindingKind.NOTICE_UNDELIVERED,
            since=waiting[0].first,
            number=waiting[0].id,
            detail=f"the privacy team cannot be told of incidents by the {self.hook}: {self._why}; "
            f"{len(waiting)}{more} to be told",
        )

    def _due(self, limit: int) -> list[Incident]:
        now = self.office.clock.now()
        with self.office.ledger.reads() as view:
            return view.untold(self.hook, now, limit=limit)

    async def _deliver(self, notice: bytes) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.messenger.deliver(notice)
        except HookFailed:
            raise
        except TimeoutError:
            raise HookFailed("no end within a minute") from None
        except Exception as error:  # rule 4: its text may hold anything
            raise HookFailed(f"a fault: {type(error).__name__}") from error

    async def _put_on_record(self, told: Incident) -> None:
        def plan(view: Reads, index: int) -> Plan[None]:
            row = view.incident(told.id)
            if row is None or row.told.get(self.hook, 0) >= told.count:
                return Plan(result=None)
            body = {"count": told.count, "hook": self.hook.value, "incident": told.id}
            now = self.office.clock.now()
            record = self.office.record(RecordKind.INCIDENT_NOTIFIED, now, body)
            put = replace(row, told={**row.told, self.hook: told.count}, revision=index)
            return Plan(result=None, records=(record,), changes=(PutIncident(put),))

        await self.office.execute(plan)

    def _failed(self, why: str) -> float:
        """Note a failure and return for how long to wait."""
        self._why = why
        self._failures += 1
        wait = pause(self._failures, self.office.entropy.new_salt()[0] / 256)
        self.log.error(
            "notice_undelivered", hook=self.hook.value, why=why, tries=self._failures, again_in=wait
        )
        return wait
