"""One node's media relay, as rules: the gate, the agent's recordings, and what is looked for.

1. The gate admits no new call before the relay was looked through (`relaysweep`).
2. Every question of the agent goes through the gate's cookies; its answer comes back to who asked.
3. What the gate refuses or takes out of a message is put on record, with verb, call and asker.
4. No answer, to nobody, tells of the agent's own recordings.
5. The adapter calls in from one thread and carries out what comes back, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping

from agents.core.ngcodec import NgDict
from agents.core.nggate import (
    Asker,
    GateCommand,
    NgGate,
    Passing,
    Reached,
    Refusal,
    ToAsker,
    Told,
    ToRelay,
    Trimmed,
)
from agents.core.owntags import OwnTags
from agents.core.recordings import Recordings
from agents.core.relaycommands import AskRelay, OperatorTold, RelayCommand, Report
from agents.core.relaysweep import Sweep
from agents.core.relayview import clean

__all__ = ["Relay"]

_SWEEP, _RECORDINGS, _OPERATOR = "sweep", "recordings", "operator"


class Relay:
    """``new_cookie``: see `NgGate`. Times are boot-clock nanoseconds.

    ``through``: whether the calls that a grant covers are recorded through the relay, or otherwise.
    """

    def __init__(self, new_cookie: Callable[[], bytes], *, through: bool = True) -> None:
        self._through_it = through
        tags = OwnTags(new_cookie)
        self._mark = tags.mark
        self._gate = NgGate(new_cookie, tags.mark, self._is_recorded)
        self._recordings = Recordings(tags)
        self._sweep = Sweep(tags)
        self._sealed: dict[bytes, set[str]] = {}

    @property
    def ready(self) -> bool:
        """Whether new calls are admitted."""
        return self._gate.ready

    @property
    def recordings(self) -> int:
        """How many calls are being recorded."""
        return len(self._recordings)

    def _is_recorded(self, call_id: bytes) -> bool:
        return not self._through_it or self._recordings.stands(call_id)

    # -- what the node wants ----------------------------------------------------------------------

    def record(self, call_id: bytes, grant_id: str, now: int) -> list[RelayCommand]:
        """Let a live content grant have a call."""
        self._sealed.setdefault(call_id, set()).add(grant_id)
        self._gate.seal(call_id)
        if not self._through_it:
            return []
        return self._do(self._recordings.want(call_id, grant_id, now), now)

    def release(self, call_id: bytes, grant_id: str, now: int) -> list[RelayCommand]:
        """Let a grant have a call no more."""
        grants = self._sealed.get(call_id, set())
        grants.discard(grant_id)
        if not grants:
            self._sealed.pop(call_id, None)
            self._gate.unseal(call_id)
        return self._do(self._recordings.let_go(call_id, grant_id, now), now)

    # -- what comes in ----------------------------------------------------------------------------

    def asked(self, asker: Asker, data: bytes, now: int) -> list[RelayCommand]:
        """Take one message of a client."""
        return self._through(self._gate.asked(asker, data, now), now)

    def answered(self, data: bytes, now: int) -> list[RelayCommand]:
        """Take one datagram of the relay."""
        return self._through(self._gate.answered(data, now), now)

    def operator(self, question: NgDict, token: Hashable, now: int) -> list[RelayCommand]:
        """Ask something for an operator of the node; `OperatorTold` brings the answer."""
        return self._do([AskRelay(question, token)], now, _OPERATOR)

    def sinks(self, serial: int, ports: tuple[int, ...] | None, now: int) -> list[RelayCommand]:
        """Take the ports of the sinks that `OpenSinks` asked for; None: there are none."""
        return self._do(self._recordings.sinks(serial, ports, now), now)

    def relay_gone(self) -> list[RelayCommand]:
        """Take note that the relay has ended."""
        self._gate.ready = False
        self._sweep.relay_gone()
        gone = list(self._recordings.relay_gone())
        unanswered = self._gate.forget_pending()
        return [*gone, *self._through(unanswered, 0)]

    def relay_found(self, now: int) -> list[RelayCommand]:
        """Look through a relay that was not there before."""
        self._gate.ready = False
        self._recordings.relay_found(now)
        return self._do(self._sweep.relay_found(), now, _SWEEP)

    # -- time -------------------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        """Return when `wake_up` has something to do."""
        dues = (
            self._gate.next_deadline(),
            self._recordings.next_deadline(),
            self._sweep.next_deadline(),
        )
        return min((due for due in dues if due is not None), default=None)

    def wake_up(self, now: int, arrived: Mapping[int, int]) -> list[RelayCommand]:
        """Do what is due; ``arrived``: see `Recordings.wake_up`."""
        commands = self._through(self._gate.expire(now), now)
        commands += self._do(self._recordings.wake_up(now, arrived), now)
        return commands + self._do(self._sweep.wake_up(now), now, _SWEEP)

    # -- between the parts ------------------------------------------------------------------------

    def _through(self, commands: Iterable[GateCommand], now: int) -> list[RelayCommand]:
        done: list[RelayCommand] = []
        for command in commands:
            match command:
                case ToRelay() | ToAsker():
                    done.append(command)
                case Passing():
                    self._recordings.passing(command, now)
                case Reached():
                    done += self._do(self._recordings.reached(command, now), now)
                case Told(token=token, reply=reply):
                    done += self._told(token, reply, now)
                case Refusal() | Trimmed():
                    done.append(_report(command))
        return done

    def _told(self, token: object, reply: NgDict | None, now: int) -> list[RelayCommand]:
        if not isinstance(token, tuple):
            return []
        if token[0] == _OPERATOR:
            return [OperatorTold(token[1], clean(reply, self._mark))]
        if token[0] == _SWEEP:
            told = self._sweep.told(token[1], reply, now)
            self._gate.ready = self._sweep.done
            return self._do(told, now, _SWEEP)
        return self._do(self._recordings.told(token[1], reply, now), now)

    def _do(
        self, commands: Iterable[RelayCommand], now: int, whose: str = _RECORDINGS
    ) -> list[RelayCommand]:
        done: list[RelayCommand] = []
        for command in commands:
            if isinstance(command, AskRelay):
                asked = self._gate.ask(command.question, (whose, command.token), now)
                done += self._through(asked, now)
            else:
                done.append(command)
        return done


def _report(found: Refusal | Trimmed) -> Report:
    """Rule 3."""
    details: dict[str, str | int] = {"who": found.asker.where}
    if found.verb is not None:
        details["verb"] = found.verb
    if found.name is not None:
        details["name"] = found.name
    if isinstance(found, Refusal):
        what = "message_refused" if found.verb is None else "recording_refused"
        return Report(what, found.call_id, details | {"why": found.why})
    return Report("recording_trimmed", found.call_id, details)
