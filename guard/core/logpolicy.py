"""Whom a checkpoint must be signed and cosigned by: C2SP tlog-policy.

1. The text is line by line `log`, `witness`, `group` and `quorum`, as the specification says.
   Octets other than tab, newline, printable ASCII and those above 0x7F are refused.
2. We have one log, so exactly one `log` line is read.
3. `quorum none` is refused: cosigning cannot be switched off.
4. No public key stands in it twice, whatever its names, the log's among them: nobody counts twice.
5. A name is defined on a line before it is used, and is a member of one group at most.
6. At most 32 witnesses and 32 groups, in at most 128 KiB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from guard.core.note import KeyType, VerifierKey, encode_vkey, parse_vkey
from guard.core.reasons import Reason, Refused

__all__ = ["Group", "LogPolicy", "Witness", "majority", "parse_log_policy", "policy_text"]

MAX_POLICY: Final = 128 * 1024
MOST: Final = 32
_OCTETS: Final = re.compile(rb"[\t\n\x20-\x7e\x80-\xff]*")
_COUNT: Final = re.compile(r"[1-9][0-9]{0,5}")
_NONE: Final = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A witness's key under its name in the policy, and where it listens, or ""."""

    name: str
    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Names of which at least `least` must have witnessed."""

    name: str
    least: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPolicy:
    """A policy; made by `parse_log_policy`, equal when its text is."""

    text: str
    key: VerifierKey = field(compare=False)
    witnesses: tuple[Witness, ...] = field(compare=False)
    groups: tuple[Group, ...] = field(compare=False)
    quorum: str = field(compare=False)

    @property
    def origin(self) -> str:
        """The log's name, the first line of its checkpoints."""
        return self.key.name

    @property
    def vkey(self) -> str:
        """The log's public key, a C2SP vkey."""
        return encode_vkey(self.key)

    def is_met(self, cosigners: AbstractSet[str]) -> bool:
        """Say whether these witnesses, by their names in the policy, make the quorum."""
        met = set(cosigners) & {witness.name for witness in self.witnesses}
        for group in self.groups:  # Members stand before their groups (rule 5).
            if sum(member in met for member in group.members) >= group.least:
                met.add(group.name)
        return self.quorum in met

    def met_since(self, times: Mapping[str, datetime]) -> datetime | None:
        """Return the latest time such that those who cosigned then or later make the quorum.

        `times` says by name when each cosigned last. None when they do not make it.
        """
        for time in sorted(set(times.values()), reverse=True):
            if self.is_met({name for name, cosigned in times.items() if cosigned >= time}):
                return time
        return None

    def words(self) -> str:
        """Say the quorum in words, as `2 of 3 witnesses`."""
        group = next((each for each in self.groups if each.name == self.quorum), None)
        if group is None:
            return "1 of 1 witness" if len(self.witnesses) == 1 else f"witness {self.quorum}"
        nested = {each.name for each in self.groups} & set(group.members)
        of = "parties" if nested else "witnesses"
        return f"{group.least} of {len(group.members)} {of}"


def parse_log_policy(text: str) -> LogPolicy:
    """Read a policy. Raises Refused(DOCUMENT_MALFORMED)."""
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise _malformed("is not the text of any octets") from error
    if len(data) > MAX_POLICY or not _OCTETS.fullmatch(data):
        raise _malformed("is too large or holds other characters")
    reading = _Reading()
    for line in text.split("\n"):
        words = line.replace("\t", " ").split(" ")
        words = [word for word in words if word]
        if words and not words[0].startswith("#"):
            reading.take(words)
    return reading.finish(text)


def policy_text(log: str, witnesses: Sequence[str], quorum: int) -> str:
    """Write the policy of a log of which `quorum` of these witnesses must cosign.

    `log` and `witnesses` are vkeys. Keys under one name are one witness. The names in the policy
    are those of the keys. Raises Refused for what makes no policy.
    """
    names: dict[str, list[str]] = {}
    for vkey in witnesses:
        names.setdefault(parse_vkey(vkey).name, []).append(vkey)
    lines = [f"log {log}", *_witness_lines(names)]
    if len(names) == 1 and quorum == 1:
        lines.append(f"quorum {next(iter(names))}")
    else:
        lines += [f"group witnesses {quorum} {' '.join(names)}", "quorum witnesses"]
    text = "\n".join(lines) + "\n"
    parse_log_policy(text)
    return text


def majority(count: int) -> int:
    """Return how many of `count` witnesses are more than half: two such sets share one."""
    return count // 2 + 1


def _witness_lines(names: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name, vkeys in names.items():
        if len(vkeys) == 1:
            yield f"witness {name} {vkeys[0]}"
            continue
        parts = [f"{name}#{number}" for number in range(1, len(vkeys) + 1)]
        yield from (f"witness {part} {vkey}" for part, vkey in zip(parts, vkeys, strict=True))
        yield f"group {name} any {' '.join(parts)}"


class _Reading:
    """What the lines have said so far."""

    def __init__(self) -> None:
        self._log: VerifierKey | None = None
        self._witnesses: list[Witness] = []
        self._groups: list[Group] = []
        self._quorum: str | None = None
        self._known: set[str] = set()
        self._used: set[str] = set()
        self._keys: set[bytes] = set()

    def take(self, words: list[str]) -> None:
        match words:
            case ["log", vkey] | ["log", vkey, _]:
                self._take_log(vkey)
            case ["witness", name, vkey]:
                self._take_witness(name, vkey, "")
            case ["witness", name, vkey, url]:
                self._take_witness(name, vkey, url)
            case ["group", name, least, *members]:
                self._take_group(name, least, members)
            case ["quorum", name]:
                self._take_quorum(name)
            case _:
                raise _malformed("has a line that is none of log, witness, group, quorum")

    def finish(self, text: str) -> LogPolicy:
        if self._log is None or self._quorum is None:
            raise _malformed("names no log or no quorum")
        return LogPolicy(
            text=text,
            key=self._log,
            witnesses=tuple(self._witnesses),
            groups=tuple(self._groups),
            quorum=self._quorum,
        )

    def _take_log(self, vkey: str) -> None:
        key = self._key(vkey)
        if self._log is not None or key.type is not KeyType.NOTE:  # Rule 2.
            raise _malformed("has more than one log, or a log's key of another type")
        self._log = key

    def _take_witness(self, name: str, vkey: str, url: str) -> None:
        key = self._key(vkey)
        if key.type is KeyType.NOTE or len(self._witnesses) == MOST:
            raise _malformed("has too many witnesses, or a witness's key of another type")
        self._define(name)
        self._witnesses.append(Witness(name=name, key=key, url=url))

    def _take_group(self, name: str, least: str, members: list[str]) -> None:
        if not members or len(self._groups) == MOST:
            raise _malformed("has an empty group or too many groups")
        unknown = set(members) - self._known
        if unknown or len(set(members)) < len(members) or self._used & set(members):  # Rule 5.
            raise _malformed("has a group of unknown names, or a name in two groups")
        self._used |= set(members)
        self._define(name)
        count = _count(least, len(members))
        self._groups.append(Group(name=name, least=count, members=tuple(members)))

    def _take_quorum(self, name: str) -> None:
        if self._quorum is not None or name not in self._known:  # Rule 3: none is never defined.
            raise _malformed("has no quorum that is defined before it, or two")
        self._quorum = name

    def _key(self, vkey: str) -> VerifierKey:
        key = parse_vkey(vkey)
        if key.public in self._keys:  # Rule 4.
            raise _malformed("has one public key twice")
        self._keys.add(key.public)
        return key

    def _define(self, name: str) -> None:
        if name == _NONE or name in self._known:
            raise _malformed("defines a name twice, or the name none")
        self._known.add(name)


def _count(least: str, members: int) -> int:
    if least in {"any", "all"}:
        return 1 if least == "any" else members
    if not _COUNT.fullmatch(least) or int(least) > members:
        raise _malformed("has a group with a threshold that cannot be met")
    return int(least)


def _malformed(detail: str) -> Refused:
    return Refused(Reason.DOCUMENT_MALFORMED, f"the log policy {detail}")
