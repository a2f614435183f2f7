"""Undoes what copies packets: what a finding names, and nothing beside it.

1. What stands is asked for by the number that the finding has of it, and read as it was when it
   was found. Only if the same finding comes of it (name, kind, program, target), it is undone; what
   has taken its place meanwhile is left alone.
2. True: what the finding names does not copy any more. False: it does, or cannot be undone here.
   A promiscuous link and a listener are undone by ending who holds the socket.
3. Of a filter or rule the whole is removed: copying is not taken out of the middle of one.
4. Everything here is for the thread that may enter namespaces (`namespaces`, rule 4).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Final

from agents.core.sentry import Finding, What
from agents.kernel.errors import KernelError
from agents.sentry.attached import PLACES
from agents.sentry.namespaces import Namespace
from agents.sentry.netlink import NetlinkError
from agents.sentry.undo_filters import remove_filter
from agents.sentry.undo_links import detach_xdp, remove_link
from agents.sentry.undo_programs import detach_program
from agents.sentry.undo_rules import remove_rule
from agents.sentry.undo_tables import remove_from_table

__all__ = ["undo"]


def _take_off(finding: Finding) -> bool:
    attached = dict(finding.where)["kind"] in PLACES
    return (detach_program if attached else remove_filter)(finding)


_UNDOING: Final[Mapping[What, Callable[[Finding], bool]]] = {
    What.MIRROR_LINK: remove_link,
    What.XDP: detach_xdp,
    What.TC_MIRROR: remove_filter,
    What.BPF_FOREIGN: _take_off,
    What.NFT_COPY: remove_rule,
    What.XT_COPY: remove_from_table,
}


def undo(finding: Finding, namespace: Namespace) -> bool:
    """Undo a finding of this namespace; say whether it does not copy any more (rule 2)."""
    undoing = _UNDOING.get(finding.what)
    if undoing is None:
        return False
    with contextlib.suppress(NetlinkError, KernelError, OSError), namespace.entered():
        return undoing(finding)
    return False
