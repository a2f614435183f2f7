"""Which addresses the offers and answers of one call leave in force (RFC 3261, 3264, 3311, 3262).

An exchange is one INVITE (with its provisional answers, its final answer and its ACK), UPDATE or
PRACK. An author is the side, by its tag, that described where it wants media. Every hop of a call
is a transaction of its own, by the branch of its topmost Via, so a relay's addresses count beside
those of the parties.

1. What is described counts at once: an offer before its answer, an early answer before the final.
2. An exchange that succeeds replaces what its authors said in exchanges before it. One that fails
   leaves what was before; of a forked INVITE a failure takes back what that branch said.
3. Of forks each counts until one answers with success; then those that did not are lost. An author
   who is in several dialogs keeps what the one furthest behind still needs.
4. Messages that come twice, late or out of order change nothing: a provisional answer says nothing
   against a final one of its transaction, nor an old exchange against a new one.
5. BYE ends its dialog when it is answered, or when nobody answers it in time.
6. All memory is bounded; when there are too many exchanges the oldest is forgotten and stays so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agents.core.flow import FlowKey
from agents.core.packet import Datagram
from agents.core.sip import SipMessage

MOST_EXCHANGES = 32
MOST_SAID = 64
MOST_DIALOGS = 64

Tag = str
Transaction = tuple[str, bytes, bytes]
Dialog = frozenset[Tag]
_ExchangeId = tuple[Tag, int]

# RFC 3261 §8.1.1.7, in lower case.
_COOKIE = "z9hg4bk"

OFFERED, PROVISIONAL, FINAL = 0, 1, 2


@dataclass(slots=True)
class _Said:
    rank: int
    keys: frozenset[FlowKey]


@dataclass(slots=True)
class _Exchange:
    requester: Tag
    number: int
    generation: int
    initial: bool
    said: dict[tuple[Tag, Transaction], _Said] = field(default_factory=dict)
    responders: set[Tag] = field(default_factory=set)
    winners: set[Tag] = field(default_factory=set)
    transactions: set[Transaction] = field(default_factory=set)
    won: set[Transaction] = field(default_factory=set)
    failed: set[Transaction] = field(default_factory=set)

    @property
    def dead(self) -> bool:
        """Whether it ended without success: on every branch, or at once within a dialog."""
        if self.winners or not self.failed:
            return False
        return not self.initial or self.transactions <= self.failed

    @property
    def pending(self) -> bool:
        return not self.winners and not self.dead

    def lost(self) -> set[Tag]:
        """Return those who answered a forked INVITE that another won (3)."""
        return self.responders - self.winners if self.initial and self.winners else set()

    def dialogs(self) -> Iterator[Dialog]:
        """Yield the dialogs that this exchange made or belongs to."""
        if not self.dead or not self.initial:
            for responder in self.winners or self.responders:
                yield frozenset((self.requester, responder))

    def has_said(self, author: Tag) -> bool:
        return any(who == author for who, _ in self.said)


class Offers:
    """The exchanges of one call."""

    def __init__(self) -> None:
        self._exchanges: dict[_ExchangeId, _Exchange] = {}
        self._generation = 0
        # Dialogs known from requests within them that describe nothing.
        self._met: set[Dialog] = set()
        self._ended: set[Dialog] = set()
        self._forgotten: dict[Tag, int] = {}
        self.established = False

    def described(
        self, request: _ExchangeId, author: Tag, where: Transaction, rank: int,
        keys: frozenset[FlowKey],
    ) -> None:  # fmt: skip
        """Take what an author said in a transaction of a known exchange (1, 4)."""
        exchange = self._exchanges.get(request)
        if exchange is None:
            return
        said = exchange.said.get((author, where))
        if said is None:
            if len(exchange.said) < MOST_SAID:
                exchange.said[author, where] = _Said(rank, keys)
        elif rank > said.rank:
            exchange.said[author, where] = _Said(rank, keys)
        elif rank == said.rank and len(said.keys) < MOST_SAID:
            said.keys |= keys

    def requested(self, request: _ExchangeId, peer: Tag, where: Transaction) -> None:
        """Take note of a request: `peer` is the tag of its To, empty outside of a dialog."""
        exchange = self._exchange(request, initial=not peer)
        if exchange is not None and len(exchange.transactions) < MOST_SAID:
            exchange.transactions.add(where)
            if peer:
                exchange.responders.add(peer)

    def answered(
        self, request: _ExchangeId, peer: Tag, where: Transaction, status: int, *, invite: bool
    ) -> None:
        """Take note of an answer to a request, by the status of the response."""
        exchange = self._exchange(request, initial=invite)
        if exchange is None or len(exchange.transactions | {where}) > MOST_SAID:
            return
        exchange.transactions.add(where)
        if status < 300:  # noqa: PLR2004 - RFC 3261 §7.2: above are failures
            if status > 100 and len(exchange.responders) < MOST_DIALOGS:  # noqa: PLR2004 - 100 is of the hop
                exchange.responders.add(peer)
            if status >= 200 and peer in exchange.responders:  # noqa: PLR2004 - below are provisional
                exchange.winners.add(peer)
                exchange.won.add(where)
                exchange.failed.discard(where)
                self.established |= invite or not self._ringing()
        elif where not in exchange.won:
            exchange.failed.add(where)
            if exchange.initial and exchange.dead:
                self._forget_early(exchange)

    def has_offer(self, request: _ExchangeId) -> bool:
        """Whether the requester described anything in this exchange."""
        exchange = self._exchanges.get(request)
        return exchange is not None and exchange.has_said(request[0])

    def met(self, dialog: Dialog) -> None:
        """Take note of a request within a dialog that describes nothing."""
        if len(self._met) < MOST_DIALOGS:
            self._met.add(dialog)

    def knows(self, dialog: Dialog) -> bool:
        """Whether a dialog is one of this call that goes on."""
        return dialog in self._live_dialogs()

    def ended(self, dialog: Dialog) -> None:
        """Take note that a dialog is over (5)."""
        if len(self._ended) < MOST_DIALOGS:
            self._ended.add(dialog)

    @property
    def alive(self) -> bool:
        """Whether any dialog goes on or may still come."""
        return self._ringing() or bool(self._live_dialogs())

    def wanted(self) -> set[FlowKey]:
        """Return the addresses in force, those of the newest exchange first to count."""
        dialogs = self._live_dialogs()
        lost = self._lost()
        floors: dict[Tag, int] = {}
        found: set[FlowKey] = set()
        for exchange in self._exchanges.values():
            for (author, where), said in exchange.said.items():
                if not self._in_force(exchange, author, where, dialogs, lost):
                    continue
                if author not in floors:
                    floors[author] = self._floor(author, dialogs)
                if exchange.generation >= floors[author]:
                    found |= said.keys
        return found

    def _exchange(self, request: _ExchangeId, *, initial: bool) -> _Exchange | None:
        exchange = self._exchanges.get(request)
        if exchange is None:
            requester, number = request
            if number <= self._forgotten.get(requester, -1):
                return None
            self._generation += 1
            exchange = _Exchange(requester, number, self._generation, initial)
            self._exchanges[request] = exchange
            self._prune()
        return exchange

    def _ringing(self) -> bool:
        return any(each.initial and each.pending for each in self._exchanges.values())

    def _prune(self) -> None:
        """Forget the oldest exchange, and remember that it is forgotten (6)."""
        if len(self._exchanges) > MOST_EXCHANGES:
            oldest = self._exchanges.pop(next(iter(self._exchanges)))
            if len(self._forgotten) >= MOST_DIALOGS:
                self._forgotten.clear()
            known = self._forgotten.get(oldest.requester, -1)
            self._forgotten[oldest.requester] = max(known, oldest.number)
            for winner in oldest.winners:
                self.met(frozenset((oldest.requester, winner)))

    def _forget_early(self, exchange: _Exchange) -> None:
        """Drop what was said within the early dialogs of an INVITE that failed."""
        early = {frozenset((exchange.requester, each)) for each in exchange.responders}
        self._met -= early
        for request, other in list(self._exchanges.items()):
            if not other.initial and any(each in early for each in other.dialogs()):
                del self._exchanges[request]

    def _lost(self) -> set[Tag]:
        lost = {tag for each in self._exchanges.values() for tag in each.lost()}
        return lost - {
            tag for each in self._exchanges.values() if each.initial for tag in each.winners
        }

    def _live_dialogs(self) -> set[Dialog]:
        known = {dialog for each in self._exchanges.values() for dialog in each.dialogs()}
        lost = self._lost()
        return {each for each in (known | self._met) - self._ended if each.isdisjoint(lost)}

    def _in_force(
        self, exchange: _Exchange, author: Tag, where: Transaction, dialogs: set[Dialog],
        lost: set[Tag],
    ) -> bool:  # fmt: skip
        """Whether what an author said in an exchange was not taken back (2, 3, 5)."""
        if exchange.dead or author in lost:
            return False
        if exchange.initial and where in exchange.failed:
            return False
        if author != exchange.requester:
            return frozenset((exchange.requester, author)) in dialogs
        return (exchange.initial and exchange.pending) or any(
            each in dialogs for each in exchange.dialogs()
        )

    def _floor(self, author: Tag, dialogs: set[Dialog]) -> int:
        """Return the generation before which nothing that an author said counts (2, 3)."""
        newest = {dialog: 0 for dialog in dialogs if author in dialog}
        for exchange in self._exchanges.values():
            if not exchange.has_said(author):
                continue
            for winner in exchange.winners:
                dialog = frozenset((exchange.requester, winner))
                if dialog in newest:
                    newest[dialog] = max(newest[dialog], exchange.generation)
        waiting = [
            each.generation
            for each in self._exchanges.values()
            if each.initial and each.pending and each.requester == author
        ]
        return min((*newest.values(), *waiting), default=0)


def transaction(message: SipMessage, datagram: Datagram) -> Transaction:
    """Name the hop and transaction of a message: by branch, or before RFC 3261 by its two ends."""
    branch = message.branch
    if branch.lower().startswith(_COOKIE) and len(branch) > len(_COOKIE):
        return branch, b"", b""
    ends = (datagram.src, datagram.dst)
    client, server = ends if message.status is None else ends[::-1]
    return "", client, server
