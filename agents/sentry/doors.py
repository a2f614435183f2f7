"""The first tier or the second, as the sentry's thread uses it: proven, then read as attempts.

1. It observes, and stops nobody but the canaries and who else enters their cgroup, until it is
   told to enforce (`Doors.set_enforce`).
2. Who a process is, is read while it lives, and only if it is still the one that was reported (by
   the moment of its start). Of one that is gone there is its login user, which the kernel told.
3. Where the kernel takes no program there is nothing to read, and `status` says why.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.core.health import Program
from agents.core.judgement import AF_PACKET, SocketSeen
from agents.core.sentry import Attempt, Attempted, Holder
from agents.sentry import cgroups
from agents.sentry.processes import started
from agents.sentry.rogue import Deed, Rogue
from agents.sentry.tiers import Door, Tier, Tiers, weakest

__all__ = ["Doors"]

_RANK = {tier: rank for rank, tier in enumerate(Tier)}


class Doors:
    """Loaded when made; ``close`` it. One user at a time.

    ``identify`` says who a process is, by its id. ``within`` is the number of the cgroup where
    attempts count, None for the whole node. ``pins`` is the folder in which what enforces is
    pinned, so that it outlives the agent; None: it does not.
    """

    def __init__(
        self,
        identify: Callable[[int], Holder],
        *,
        within: int | None = None,
        pins: Path | None = None,
    ) -> None:
        self._identify = identify
        self._tiers = Tiers(within=within, folder=pins)
        self._top: Path | None = cgroups.mount()
        self._proven = dict.fromkeys(Door, Tier.DETECT)

    @property
    def filenos(self) -> tuple[int, ...]:
        """The descriptors that are readable when something was tried."""
        return self._tiers.filenos

    @property
    def canaries(self) -> frozenset[int]:
        """The number of the cgroup whose processes are canaries: one or none."""
        return self._tiers.canaries

    @property
    def lost(self) -> int:
        """How many attempts found no room to be reported in, since the start."""
        entrance = self._tiers.entrance
        return 0 if entrance is None else entrance.lost()

    def prove(self) -> None:
        """Have the canaries try every door. Blocks for a moment.

        Where a door holds less than before they try once more, and that counts: on a busy machine
        one may have been starved. Raises OSError, and has then proven nothing.
        """
        try:
            proven = self._tiers.prove()
            if any(_RANK[proven[door]] < _RANK[before] for door, before in self._proven.items()):
                proven = self._tiers.prove()
            self._proven = proven
        except OSError:
            self._proven = dict.fromkeys(Door, Tier.DETECT)
            raise

    def programs(self) -> tuple[Program, ...]:
        """Return what is in the kernel for it."""
        entrance = self._tiers.entrance
        return () if entrance is None else entrance.programs()

    def set_enforce(self, enforce: bool) -> None:  # noqa: FBT001  # one switch, named by it
        """Enforce from now on, or only observe. Raises KernelError."""
        self._tiers.set_enforce(enforce)

    def allow(self, cgroup_id: int, until_ns: int) -> None:
        """Let a cgroup's processes open what they like until then, while the stamp is fresh."""
        self._tiers.allow(cgroup_id, until_ns)

    def disallow(self, cgroup_id: int) -> None:
        """Take that back."""
        self._tiers.disallow(cgroup_id)

    def protect(self, cgroup_id: int) -> None:
        """Let nobody else trace or read the processes of a cgroup."""
        if self._tiers.entrance is not None:
            self._tiers.entrance.protect(cgroup_id)

    def unprotect(self, cgroup_id: int) -> None:
        """Take that back."""
        if self._tiers.entrance is not None:
            self._tiers.entrance.unprotect(cgroup_id)

    def beat(self, now_ns: int) -> None:
        """Put the agent's stamp."""
        self._tiers.beat(now_ns)

    def look(self, within: frozenset[int] | None = None) -> Attempted:
        """Return what was tried since the last time; ``within`` as for `Attempted`."""
        reports = self._tiers.reports()
        return Attempted(
            attempts=tuple(self._attempt(each) for each in reports if each.deed is not Deed.LOOK),
            unseen=any(each.deed is Deed.LOOK for each in reports),
            within=within,
        )

    def status(self) -> dict[str, Any]:
        """Say which tier holds, at each door and in all; from any thread."""
        told = {"refusal": self._tiers.refusal, "unpinned": self._tiers.unpinned}
        refusal = {name: why for name, why in told.items() if why}
        doors = {door.value: tier.value for door, tier in self._proven.items()}
        return {"tier": weakest(self._proven).value, "doors": doors, **refusal}

    def close(self) -> None:
        """Unload it."""
        self._tiers.close()

    def _attempt(self, rogue: Rogue) -> Attempt:
        packet = rogue.family == AF_PACKET
        seen = SocketSeen(
            pid=rogue.pid,
            uid=rogue.uid,
            cgroup=cgroups.path_of(rogue.cgroup_id, self._top),
            cgroup_id=rogue.cgroup_id,
            inode=0,
            netns=rogue.netns,
            family=rogue.family,
            type=rogue.type,
            protocol=0 if packet else rogue.protocol,
            ethertype=rogue.protocol if packet else 0,
            ifindex=0,
            comm=rogue.comm,
            started=rogue.started,
        )
        return Attempt(
            seen=seen,
            way=rogue.way.name.lower(),
            killed=rogue.deed is Deed.KILLED,
            holder=self._holder(rogue),
        )

    def _holder(self, rogue: Rogue) -> Holder:
        """Rule 2."""
        found = self._identify(rogue.pid)
        same = started(rogue.pid) == rogue.started  # asked after: what was read was its own
        return Holder(login_uid=rogue.login_uid, command=found.command if same else None)
