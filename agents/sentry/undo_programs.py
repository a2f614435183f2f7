"""Takes a program off the place where `attached` found it (see `undo`).

1. A link that holds it is made to let go. One that no link holds is detached by its own number,
   which the kernel compares with what stands there.
2. Of a namespace's flow dissector the kernel does not tell the link: it is the one of the same
   program and namespace.
"""

from __future__ import annotations

import os
from typing import Final

from agents.core.sentryevents import Finding
from agents.sentry.attached import LINKED, PLACES
from agents.sentry.programs import (
    NETNS_LINK,
    Attached,
    attached_to,
    detach,
    detach_from,
    links,
)

__all__ = ["detach_program"]

_HERE: Final = "/proc/thread-self/ns/net"


def detach_program(finding: Finding) -> bool:
    """Take the program off that a finding names, in the calling thread's namespace."""
    where = dict(finding.where)
    kind = str(where["kind"])
    place, linked = PLACES[kind], kind in LINKED
    named = Attached(int(where["program"]), int(where["link"]))
    interface = int(where.get("interface", 0))
    here = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = interface or here
        if named not in attached_to(target, place, linked=linked):
            return True
        link = named.link if linked else _of_namespace(named.program, os.fstat(here).st_ino)
        if link:
            detach(link)
        else:  # A namespace is not named when it is detached from: it is the one we are in.
            detach_from(interface, place, named.program)
        return named not in attached_to(target, place, linked=linked)
    finally:
        os.close(here)


def _of_namespace(program: int, namespace: int) -> int:
    """Rule 2; 0 when there is none."""
    named = (NETNS_LINK, program, namespace)
    return next((each.id for each in links() if (each.kind, each.program, each.place) == named), 0)
