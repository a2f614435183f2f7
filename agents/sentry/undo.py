"""Undoes what copies packets: what a finding names, and nothing beside it.

1. What stands is asked for by the number that the finding has of it, and read as it was when it
   was found. Only if the same finding comes of it (name, kind, program, target), it is undone; what
   has taken its place meanwhile is left alone.
2. What is returned does not copy any more. All else does, or cannot be undone here. A promiscuous
   link and a listener are undone by ending who holds the socket.
3. Of a filter or rule the whole is removed: copying is not taken out of the middle of one.
4. The kernel takes its time for each change of links, rules and tables, so that many go in one. If
   that is refused, each half of them is tried, and so on, `_TRIES` times in all.
5. Everything here is for the thread that may enter namespaces (`namespaces`, rule 4).
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from agents.core.sentry import Finding, What
from agents.kernel.errors import KernelError
from agents.sentry.attached import PLACES
from agents.sentry.namespaces import Namespace
from agents.sentry.netlink import NetlinkError
from agents.sentry.undo_filters import remove_filter
from agents.sentry.undo_links import detach_xdp, learn, remove_link, remove_links
from agents.sentry.undo_programs import detach_program
from agents.sentry.undo_rules import remove_rules
from agents.sentry.undo_tables import remove_from_tables

__all__ = ["undo", "undo_all"]

_What = TypeVar("_What")
_TRIES: Final = 32


def _take_off(finding: Finding) -> bool:
    attached = dict(finding.where)["kind"] in PLACES
    return (detach_program if attached else remove_filter)(finding)


_ONE: Final[Mapping[What, Callable[[Finding], bool]]] = {
    What.MIRROR_LINK: remove_link,
    What.FLOODING: learn,
    What.XDP: detach_xdp,
    What.TC_MIRROR: remove_filter,
    What.BPF_FOREIGN: _take_off,
    What.NFT_COPY: lambda finding: remove_rules([finding]),
    What.XT_COPY: lambda finding: remove_from_tables([finding]),
}
_MANY: Final[Mapping[What, Callable[[Sequence[Finding]], bool]]] = {
    What.MIRROR_LINK: remove_links,
    What.NFT_COPY: remove_rules,
    What.XT_COPY: remove_from_tables,
}


def undo(finding: Finding, namespace: Namespace) -> bool:
    """Undo a finding of this namespace; say whether it does not copy any more (rule 2)."""
    return bool(undo_all([finding], namespace))


def undo_all(findings: Iterable[Finding], namespace: Namespace) -> frozenset[Finding]:
    """Undo findings of this namespace; return those that do not copy any more (rule 2)."""
    kinds: dict[What, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.what, []).append(finding)
    done: set[Finding] = set()
    with contextlib.suppress(OSError), namespace.entered():
        for what, several in kinds.items():
            done |= _undone(what, several)
    return frozenset(done)


def _undone(what: What, findings: list[Finding]) -> set[Finding]:
    """Rule 4."""
    one, many = _ONE.get(what), _MANY.get(what)
    if one is None:
        return set()
    if many is None:
        return {finding for finding in findings if _tried(one, finding)}
    return _in_parts(one, many, findings)


def _in_parts(
    one: Callable[[Finding], bool],
    many: Callable[[Sequence[Finding]], bool],
    findings: list[Finding],
) -> set[Finding]:
    done: set[Finding] = set()
    waiting = deque([findings])
    for _ in range(_TRIES):
        part = waiting.popleft() if waiting else []
        half = len(part) // 2
        if half == 0:
            done |= {finding for finding in part if _tried(one, finding)}
        elif _tried(many, part):
            done |= set(part)
        else:
            waiting += (part[:half], part[half:])
    return done


def _tried(undoing: Callable[[_What], bool], what: _What) -> bool:
    with contextlib.suppress(NetlinkError, KernelError, OSError):
        return undoing(what)
    return False
