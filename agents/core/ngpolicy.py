"""What becomes of one decoded message of the SIP proxy, by the table and nothing else.

1. A message goes to the relay only as what is returned here: with nothing in it that the table
   does not pass.
2. In set-up messages what is stripped or gated is taken out and the call goes on: a recording that
   is denied never costs a call. The same holds for what stops something, which is never refused for
   a word that stands beside. In any other message a gated key or flag refuses the whole.
3. What the table does not know, or knows with another kind of value, refuses the message. So does a
   name that stands twice in different spellings, and a raw string that says anew what the message
   is or whom it is about, or uses brackets, which the relay reads in ways of its own.
4. `start recording` can be served by the agent's own recording when it is for the call as a whole;
   every other gated command cannot.
5. No text but a description is longer than `LONGEST`: the relay must be able to list its calls.
6. A call that is deleted ends within `LONGEST_DELAY`: the answer tells as much as an operator may
   ask, and must not be had of a call that goes on.
7. No value is ever in a judgement but in the message that passes; an unknown name is kept for the
   answer to whoever asked, out of sight of the log and the record.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from agents.core.ngcodec import NgDict, NgValue
from agents.core.ngtable import (
    CODEC_OPERATIONS,
    EXTENTS,
    NOT_RAW,
    PARTS,
    RAW_WORDS,
    SETUP,
    Entry,
    Kind,
    Treatment,
    flag,
    form,
    key,
    verb,
)

RECORDING = "start recording"
_OCTETS: frozenset[type] = frozenset({bytes})
_NUMBERS: frozenset[type] = frozenset({bytes, int})
_TAGS = frozenset({b"from-tag", b"to-tag"})
LONGEST = 1024
"""Octets of a Call-ID, a tag or another value."""
LONGEST_DELAY = 60
"""Seconds; rtpengine's own default is 30."""
_DELAY = "delete-delay"
_NAME = re.compile(rb"[!-~ ]{1,40}")


@dataclass(frozen=True, slots=True)
class Removed:
    """A key or flag that was taken out, by its name in the table."""

    name: str
    treatment: Treatment


@dataclass(frozen=True, slots=True)
class Passed:
    """The message may go to the relay, as it is here."""

    verb: str
    message: NgDict = field(repr=False)
    removed: tuple[Removed, ...]
    treatment: Treatment


@dataclass(frozen=True, slots=True)
class Gated:
    """The message yields content; `sealable` when the agent may answer it with its own recording.

    `why` says why it is not sealable; empty when it is.
    """

    verb: str
    sealable: bool
    why: str = ""
    removed: tuple[Removed, ...] = ()


@dataclass(frozen=True, slots=True)
class OperatorOnly:
    """The message asks what only operators may ask, elsewhere."""

    verb: str


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """The message goes nowhere. `name` is from the table; `unknown` is as written (rule 7)."""

    why: str
    verb: str | None
    name: str | None
    unknown: str | None = field(default=None, repr=False)


class _Refusal(Exception):  # noqa: N818 - caught in this module
    def __init__(self, why: str, name: str | None = None, unknown: bytes | None = None) -> None:
        super().__init__(why)
        self.why, self.name = why, name
        shown = unknown is not None and _NAME.fullmatch(unknown)
        self.unknown = unknown.decode() if unknown is not None and shown else None


def judge(message: NgDict) -> Passed | Gated | OperatorOnly | RefusedMessage:
    """Say what becomes of a message."""
    command = message.get(b"command")
    if not isinstance(command, bytes):
        return RefusedMessage("the message names no command", None, None)
    known = verb(command)
    if known is None:
        return _refused(_Refusal("the table does not know the command", None, command), None)
    name, treatment = known
    if treatment is Treatment.OPERATOR_ONLY:
        return OperatorOnly(name)
    if treatment is Treatment.GATED and name != RECORDING:
        return Gated(name, sealable=False, why="what the command yields leaves unsealed")
    return _sift(message, name, treatment)


def _sift(message: NgDict, name: str, treatment: Treatment) -> Passed | Gated | RefusedMessage:
    """Say what becomes of a message whose command allows for more than one answer."""
    sieve = _Sieve(lenient=name in SETUP or treatment is not Treatment.PASS)
    try:
        kept = sieve.message(message)
    except _Refusal as refusal:
        return _refused(refusal, name)
    removed = tuple(sieve.removed)
    if treatment is not Treatment.GATED:
        return Passed(name, kept, removed, treatment)
    part = not PARTS.isdisjoint(sieve.names)
    why = "the recording is asked for a part of the call" if part else ""
    return Gated(name, not part, why, removed)


def call_id(message: NgDict) -> bytes | None:
    """Return the call that a message is about; None when it names none, or in no octets."""
    named = message.get(b"call-id")
    if named is None:
        named = next((named for each, named in message.items() if form(each) == b"call-id"), None)
    return named if isinstance(named, bytes) else None


def tags(message: NgDict) -> frozenset[bytes]:
    """Return the tags by which a message that passed names parties to the call."""
    return frozenset(
        value for each, value in message.items() if form(each) in _TAGS and isinstance(value, bytes)
    )


def _refused(refusal: _Refusal, name: str | None) -> RefusedMessage:
    return RefusedMessage(refusal.why, name, refusal.name, refusal.unknown)


class _Sieve:
    """One message going through the table."""

    __slots__ = ("_lenient", "_once", "names", "removed")

    def __init__(self, *, lenient: bool) -> None:
        self._lenient = lenient
        self._once: set[str] = set()  # the keys that pass: each may be given once
        self.names: set[str] = set()
        self.removed: list[Removed] = []

    def message(self, message: NgDict) -> NgDict:
        """Return what passes of the dictionary; the same object when all of it does."""
        changed: dict[bytes, NgValue | None] = {}
        once = self._once
        for each, value in message.items():
            entry = key(each)
            if entry is None:
                raise _Refusal("the table does not know a key", None, each)
            kind = entry.kind
            if entry.treatment is not Treatment.PASS:
                self._remove(entry)
                changed[each] = None
                continue
            if entry.name in once:
                raise _twice(entry)
            once.add(entry.name)
            if kind is Kind.TEXT and type(value) is bytes:  # Most are.
                _require_short(entry, value)
                continue
            if kind is Kind.FLAGS or kind is Kind.RAW:
                left = self._words(entry, value)
                if left is not value:
                    changed[each] = left
            else:
                _require_fitting(entry, value)
        self.names |= self._once
        if not changed:
            return message
        sifted = {**message, **changed}
        return {each: value for each, value in sifted.items() if value is not None}

    def _remove(self, entry: Entry) -> None:
        if entry.treatment is Treatment.GATED and not self._lenient:
            raise _Refusal("the message would yield content", entry.name)
        self.names.add(entry.name)
        self.removed.append(Removed(entry.name, entry.treatment))

    def _words(self, entry: Entry, value: NgValue) -> NgValue | None:
        """Return what passes of flags or of the raw string; None when nothing is left.

        It is the same object when all of it passes.
        """
        flags = entry.kind is Kind.FLAGS
        if isinstance(value, list) and flags:
            kept = [word for word in value if self._flag(word)]
            return value if len(kept) == len(value) else kept or None
        if not isinstance(value, bytes):
            raise _wrong(entry)
        separator, passes = (b",", self._flag) if flags else (b" ", self._raw)
        words = [word for word in value.split(separator) if word]
        left = separator.join(word for word in words if passes(word))
        return value if left == value else left or None

    def _flag(self, word: NgValue) -> bool:
        """Say whether a flag passes."""
        if type(word) is not bytes:
            raise _Refusal("a flag is not octets", "flags")
        entry = flag(word)
        if entry is None:
            raise _Refusal("the table does not know a flag", None, word)
        if entry.treatment is Treatment.PASS:
            return True
        self._remove(entry)
        return False

    def _raw(self, word: bytes) -> bool:
        """Say whether a word of the raw string passes: a flag, or a key with its value (rule 3)."""
        if b"[" in word or b"]" in word:
            raise _Refusal("the raw string uses brackets", "rtpp-flags")
        name, _, value = word.partition(b"=")
        if not value:  # To the relay, a name with an equals sign and nothing after it is a flag.
            return form(name) in RAW_WORDS or self._flag(name)
        entry = key(name)
        if entry is None:
            if _is_codec_option(name):
                return True
            raise _Refusal("the table does not know a key", None, name)
        if entry.treatment is not Treatment.PASS:
            self._remove(entry)
            return False
        if entry.name in NOT_RAW or entry.kind is Kind.CODECS or entry.kind is Kind.NESTED:
            raise _Refusal("the raw string gives what only the dictionary gives", entry.name)
        if entry.kind is Kind.EXTENT or entry.kind is Kind.NUMBER:
            _require_fitting(entry, value)
        if entry.kind is not Kind.TEXTS:  # Of those, each word adds to the ones before.
            if entry.name in self._once:
                raise _twice(entry)
            self._once.add(entry.name)
        return True


def _is_codec_option(name: bytes) -> bool:
    """Say whether a name with a value is a codec's, as in ``transcode=PCMA``."""
    looked_up = form(name)
    return looked_up == b"transcode" or (
        looked_up.startswith(b"codec-") and looked_up[6:] in CODEC_OPERATIONS
    )


def _twice(entry: Entry) -> _Refusal:
    return _Refusal("a key stands twice", entry.name)


def _wrong(entry: Entry) -> _Refusal:
    return _Refusal(f"the value of a key is not {entry.kind.value}", entry.name)


def _fits(kind: Kind, value: NgValue) -> bool:
    """Say whether a value is of a kind other than flags and the raw string."""
    if kind is Kind.TEXT:
        return type(value) is bytes
    if kind is Kind.TEXTS or kind is Kind.NUMBER or kind is Kind.NUMBERS:
        taken = _OCTETS if kind is Kind.TEXTS else _NUMBERS
        listed = type(value) is list and kind is not Kind.NUMBER
        return taken.issuperset(map(type, value if listed else (value,)))  # type: ignore[arg-type]
    if kind is Kind.EXTENT:
        return isinstance(value, bytes) and value in EXTENTS
    if not isinstance(value, dict):
        return False
    if kind is Kind.NESTED:
        return _octets_below(value)
    return all(
        form(each) in CODEC_OPERATIONS and _fits(Kind.TEXTS, member)
        for each, member in value.items()
    )


def _require_short(entry: Entry, value: bytes) -> None:
    """Rule 5."""
    if len(value) > LONGEST and entry.name != "sdp":
        raise _Refusal("a value is too long", entry.name)


def _require_fitting(entry: Entry, value: NgValue) -> None:
    """Rules 3 and 6."""
    if not _fits(entry.kind, value):
        raise _wrong(entry)
    if entry.name == _DELAY and _number(value) > LONGEST_DELAY:
        raise _Refusal("a call that is deleted does not go on for so long", _DELAY)


def _number(value: NgValue) -> int:
    """Read a number as the relay does; what is none counts as too many."""
    try:
        return int(value) if isinstance(value, int | bytes) else LONGEST_DELAY + 1
    except ValueError:
        return LONGEST_DELAY + 1


def _octets_below(value: NgValue) -> bool:
    """Say whether there are only octets at the ends of dictionaries and lists."""
    if isinstance(value, dict):
        return all(_octets_below(member) for member in value.values())
    if isinstance(value, list):
        return all(_octets_below(item) for item in value)
    return isinstance(value, bytes)
