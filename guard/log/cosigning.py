"""Collecting cosignatures: every new checkpoint is shown to all witnesses of the trust policy.

1. In a round all witnesses are asked for the same checkpoint, side by side: were each asked for the
   newest it could get, no two would ever sign the same one.
2. The round ends when the quorum is there. The checkpoint is verified as an agent would verify it,
   the log is published up to it, it is stored, and then announced. So what cannot be published is
   never handed out as evidence; stopping and revoking need no evidence and go on.
3. A round begins when there is a newer checkpoint, but no sooner than 50 ms after the one before
   began, so that a burst of decisions shares its rounds; and when the newest cosigned one is older
   than half of the policy's `checkpoint_max_age`; so an idle log's evidence stays fresh.
4. A slow or silent witness holds up nobody but itself, and is asked again when it has answered or
   its time is over.
5. A failed round is tried again, after 0.2 seconds at first and 5 seconds at most. Nothing is ever
   taken as cosigned instead: without a quorum no new grant can be armed.
6. Whoever is about to grant asks first whether a quorum answers (`reached`). A round within the
   last half second is answer enough; else one is held at once, whatever pause was being kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from guard.app.ports import Clock, LedgerUnavailable
from guard.core.checkpoint import TrustedCheckpoint, parse_checkpoint, verify_checkpoint
from guard.core.logpolicy import LogPolicy
from guard.core.note import NoteSignature, VerifierKey, parse_note, with_signatures
from guard.core.reasons import Refused
from guard.core.trust import TrustPolicy
from guard.log.publishing import NotPublished, PublicLog
from guard.log.sequencer import Sequencer
from guard.log.witnessclient import Prove, WitnessClient, WitnessFailed

_LOG = structlog.get_logger("callguard.cosigning")
_ROUND: Final = 3.0
_FIRST_PAUSE: Final = 0.2
_BETWEEN_ROUNDS: Final = 0.05
_LONGEST_PAUSE: Final = 5.0
_FRESH: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessEndpoint:
    """Where the witness with this key name listens."""

    name: str
    url: str


class _Problem:
    """What is wrong with one part; a change for the worse or the better is logged once."""

    def __init__(self, failed: str, recovered: str, **about: str) -> None:
        self._failed, self._recovered, self._about = failed, recovered, about
        self.text = ""

    def report(self, text: str) -> None:
        """Note what is wrong now, or nothing."""
        if text and text != self.text:
            _LOG.warning(self._failed, **self._about, why=text)
        elif self.text and not text:
            _LOG.info(self._recovered, **self._about)
        self.text = text


class _Asked:
    """One witness: its client, whether it is being asked, and what is wrong with it."""

    def __init__(self, endpoint: WitnessEndpoint) -> None:
        self.client = WitnessClient(endpoint.name, endpoint.url, timeout=_ROUND)
        self.busy = False
        self.problem = _Problem("witness_failed", "witness_recovered", witness=endpoint.name)

    def ask(
        self, checkpoint: bytes, keys: Sequence[VerifierKey], prove: Prove
    ) -> Sequence[NoteSignature]:
        """Return the cosignatures, or none after saying why there are none."""
        try:
            lines = self.client.cosign(checkpoint, keys, prove)
        except WitnessFailed as error:
            self.problem.report(str(error))
            return ()
        self.problem.report("")
        return lines

    def free(self) -> None:
        """Note that the witness has answered."""
        self.busy = False


class Cosigner:
    """Keeps a freshly cosigned checkpoint in the ledger.

    `policy()` is the trust policy in force; `public` is where the log is published; `announce` is
    called on the event loop with every newer cosigned checkpoint, after it was stored.
    """

    def __init__(
        self,
        ledger: Sequencer,
        endpoints: Sequence[WitnessEndpoint],
        *,
        policy: Callable[[], TrustPolicy],
        public: PublicLog,
        clock: Clock,
        announce: Callable[[bytes], None],
    ) -> None:
        self._ledger = ledger
        self._witnesses = [_Asked(endpoint) for endpoint in endpoints]
        self._policy = policy
        self._public = public
        self._clock = clock
        self._announce = announce
        self._wake = asyncio.Event()
        self._newest: TrustedCheckpoint | None = None
        self._asked = asyncio.Event()
        self._questions: list[asyncio.Future[bool]] = []
        self._answered: float | None = None
        self._pool = ThreadPoolExecutor(max(1, len(endpoints)), thread_name_prefix="witness")
        # Of its own: slow witnesses may keep all of the others busy.
        self._files = ThreadPoolExecutor(1, thread_name_prefix="publishing")
        self._publishing = _Problem("log_not_published", "log_published_again")

    @property
    def problems(self) -> dict[str, str]:
        """Return what is wrong with which witness, and under `log_dir` with the publishing."""
        every = {asked.client.name: asked.problem.text for asked in self._witnesses}
        every["log_dir"] = self._publishing.text
        return {name: text for name, text in every.items() if text}

    async def run(self) -> None:
        """Collect cosignatures until cancelled."""
        loop = asyncio.get_running_loop()
        self._ledger.listen(lambda: _wake_up(loop, self._wake))
        pause = _FIRST_PAUSE
        try:
            while True:
                self._wake.clear()
                began = loop.time()
                if await self.round():
                    pause = _FIRST_PAUSE
                    await self._until_needed()
                    await asyncio.sleep(began + _BETWEEN_ROUNDS - loop.time())
                else:
                    await self._pause(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._files.shutdown(wait=False, cancel_futures=True)

    async def reached(self) -> bool:
        """Say whether a quorum answered a moment ago, or does now (rule 6)."""
        loop = asyncio.get_running_loop()
        if self._answered is not None and loop.time() - self._answered <= _FRESH:
            return True
        question: asyncio.Future[bool] = loop.create_future()
        self._questions.append(question)
        self._asked.set()
        self._wake.set()
        try:
            async with asyncio.timeout(_ROUND + _FRESH):
                return await question
        except TimeoutError:
            return False

    async def round(self) -> bool:
        """Ask once if there is a need; return whether the newest checkpoint is cosigned."""
        questions, self._questions = self._questions, []
        self._asked.clear()
        answered = False
        try:
            answered = await self._round(asked=bool(questions))
        except (Refused, LedgerUnavailable) as error:
            _LOG.warning("checkpoint_not_cosigned", why=str(error))
        finally:
            for question in questions:
                if not question.done():
                    question.set_result(answered)
        return answered

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until somebody asks (rule 6)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._asked.wait()

    async def _round(self, *, asked: bool) -> bool:
        with self._ledger.reads() as view:
            checkpoint = view.checkpoint()
            cosigned = view.cosigned_checkpoint()
        if checkpoint is None:
            return not asked
        if not asked and not self._is_needed(checkpoint, cosigned):
            return True
        policy = self._policy()
        lines = await self._collect(checkpoint, policy)
        note = with_signatures(parse_note(checkpoint), lines).encode()
        newest = self._verify(note, policy)
        if not await self._publish(note, policy):
            return False
        await self._ledger.store_cosigned(note, size=newest.size)
        self._newest = newest
        self._answered = asyncio.get_running_loop().time()
        self._announce(note)
        return True

    async def _publish(self, note: bytes, policy: TrustPolicy) -> bool:
        """Publish on a thread, which is done with one checkpoint before it begins the next."""
        loop, public = asyncio.get_running_loop(), self._public
        try:
            await loop.run_in_executor(self._files, public.publish, note, self._ledger, policy)
        except NotPublished as error:
            self._publishing.report(str(error))
            return False
        self._publishing.report("")
        return True

    def _is_needed(self, checkpoint: bytes, cosigned: bytes | None) -> bool:
        policy, size = self._policy(), parse_checkpoint(checkpoint).size
        if cosigned is None or min(parse_checkpoint(cosigned).size, self._public.size) < size:
            return True
        try:
            self._newest = self._verify(cosigned, policy)
        except Refused:
            return True
        return self._age() >= policy.checkpoint_max_age / 2

    def _verify(self, note: bytes, policy: TrustPolicy) -> TrustedCheckpoint:
        return verify_checkpoint(
            note,
            policy=policy.log,
            now=self._clock.now(),
            max_age=policy.checkpoint_max_age,
        )

    def _age(self) -> timedelta:
        newest: datetime | None = self._newest.cosigned_at if self._newest else None
        return timedelta.max if newest is None else self._clock.now() - newest

    async def _until_needed(self) -> None:
        half = self._policy().checkpoint_max_age / 2
        # The wall clock may be set; the wait is counted by another, and never longer than this.
        left = half if self._newest is None else half - self._age()
        wait = min(max(left, timedelta(0)), half).total_seconds()
        try:
            async with asyncio.timeout(wait):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _collect(self, checkpoint: bytes, policy: TrustPolicy) -> list[NoteSignature]:
        """Ask every free witness, side by side, until the quorum is there or time is over."""
        free = [w for w in self._witnesses if not w.busy and _keys(policy.log, w.client.name)]
        asked = {self._ask(w, checkpoint, _keys(policy.log, w.client.name)) for w in free}
        lines: list[NoteSignature] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(_ROUND):
                while asked and not policy.log.is_met(_cosigners(policy.log, lines)):
                    done, asked = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                    lines += [line for future in done for line in future.result()]
        return lines

    def _ask(
        self, witness: _Asked, checkpoint: bytes, keys: Sequence[VerifierKey]
    ) -> asyncio.Future[Sequence[NoteSignature]]:
        """Ask one witness on a thread; it is busy until it has answered (rule 4)."""
        witness.busy = True
        future = asyncio.get_running_loop().run_in_executor(
            self._pool, witness.ask, checkpoint, keys, self._ledger.consistency
        )
        future.add_done_callback(lambda _future: witness.free())
        return future


def _keys(policy: LogPolicy, name: str) -> list[VerifierKey]:
    """Return the keys of the witness whose keys are called so."""
    return [each.key for each in policy.witnesses if each.key.name == name]


def _cosigners(policy: LogPolicy, lines: Sequence[NoteSignature]) -> set[str]:
    """Return by their names in the policy whose lines these are."""
    ids = {(line.name, line.key_id) for line in lines}
    return {each.name for each in policy.witnesses if (each.key.name, each.key.key_id) in ids}


def _wake_up(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    # A loop that was closed has nobody left who waits.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(event.set)
