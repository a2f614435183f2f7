"""What this node's doors were proven to hold, and with which challenge.

1. Before the first proof nothing is known. A node without doors detects at each, which needs no
   proof, and so answers every challenge.
2. The first proof is waited for. Later ones are held in a thread of their own, one at a time: a
   canary may keep still for seconds, and the sweeps must go on.
3. A proof that cannot be held leaves every door at detecting; one that fails in any other way ends
   the sentry.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from agents.core.health import Health, Program, unproven
from agents.sentry.doors import Doors
from agents.sentry.tiers import Door, Tier
from guard.core.enforcement import Enforcement, SentryMode, effective

__all__ = ["Proof"]


class Proof:
    """For one thread; ``ended`` is called in another one when a proof has come to its end."""

    def __init__(self, doors: Doors | None, ended: Callable[[], None]) -> None:
        self._doors = doors
        self._ended = ended
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._asked = ""
        self._challenge: str | None = None

    @property
    def busy(self) -> bool:
        """Whether the doors are in the hands of a proof."""
        return self._thread is not None

    def hold(self) -> None:
        """Prove the doors now."""
        self._prove()
        self._challenge = ""

    def begin(self, challenge: str) -> None:
        """Prove them anew; ``ended`` is called, and then `finish` has it."""
        self._asked = challenge
        self._thread = threading.Thread(target=self._run, name="sentry-proof", daemon=True)
        self._thread.start()

    def finish(self, *, wait: bool = False) -> bool:
        """Say whether a proof has come to its end since it was begun; raises what ended it."""
        if self._thread is None or (self._thread.is_alive() and not wait):
            return False
        self._thread.join()
        self._thread = None
        if self._failure is not None:
            raise self._failure
        self._challenge = self._asked
        return True

    def health(self, mode: SentryMode, programs: tuple[Program, ...]) -> Health:
        """Say what is in force (rule 1)."""
        if self._challenge is None:
            return unproven(mode)
        told = self._doors.status() if self._doors is not None else _detecting()
        proven = Enforcement(told["tier"])
        return Health(
            mode.value, effective(mode, proven).value, told["doors"], programs, self._challenge
        )

    def _run(self) -> None:
        try:
            self._prove()
        except BaseException as error:  # noqa: BLE001 - rule 3
            self._failure = error
        finally:
            self._ended()

    def _prove(self) -> None:
        if self._doors is not None:
            with suppress(OSError):  # rule 3
                self._doors.prove()


def _detecting() -> dict[str, Any]:
    doors = {door.value: Tier.DETECT.value for door in Door}
    return {"tier": Tier.DETECT.value, "doors": doors}
