"""Real witnesses on threads of their own, on loopback ports."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from pathlib import Path

from guard.app.ports import Clock
from guard.core.checkpoint import CosigningKey
from guard.core.note import VerifierKey
from guard.witness.config import WitnessConfig
from guard.witness.server import Bounds, serve
from guard.witness.state import WitnessUnusable


class SetClock:
    """A clock that shows what it is set to."""

    def __init__(self, time: datetime = datetime(2026, 11, 23, 22, tzinfo=UTC)) -> None:
        self.time = time

    def now(self) -> datetime:
        return self.time


class RunningWitness:
    """A witness of these logs, keeping its state in a folder, until `stop`."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        key: CosigningKey,
        logs: tuple[VerifierKey, ...],
        clock: Clock,
        port: int = 0,
        more_keys: tuple[CosigningKey, ...] = (),
        bounds: Bounds | None = None,
    ) -> None:
        self._bounds = bounds or Bounds()
        self._config = WitnessConfig(
            host="127.0.0.1",
            port=port,
            name=name,
            key_file=folder / "witness.pem",
            state_dir=folder / "state",
            logs=logs,
        )
        self._keys, self._clock = (key, *more_keys), clock
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._started.wait(10)
        if self._failure is not None:
            raise self._failure

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Stop it; once is enough."""
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        async def main() -> None:
            task = asyncio.current_task()
            assert task is not None
            self._loop, self._task = asyncio.get_running_loop(), task
            await serve(
                self._config,
                keys=self._keys,
                clock=self._clock,
                ready=self._ready,
                bounds=self._bounds,
            )

        try:
            asyncio.run(main())
        except asyncio.CancelledError:
            pass
        except (WitnessUnusable, OSError) as error:
            self._failure = error
            self._started.set()

    def _ready(self, port: int) -> None:
        self.port = port
        self._started.set()
