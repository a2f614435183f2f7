"""The network namespaces that count, each with its watch (`netwatch`).

1. A namespace that cannot be watched is counted as not seen, and is there all the same for what is
   listed in it.
2. What is announced is readable at the epoll given; a watch leaves it before it is closed.
3. Everything here is for the one thread that may enter namespaces.
4. Nobody announces that a program or link of BPF stands in front of an interface now. When one came
   or went on the node, every namespace is looked at.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Sequence

from agents.core.sentry import NamespaceGone, NetworkChanged
from agents.sentry.inventory import Inventory
from agents.sentry.namespaces import Namespace, Namespaces
from agents.sentry.netwatch import NetWatch

__all__ = ["Networks"]


class Networks:
    """Those of the names given, None: every one; ``close`` lets go of them.

    ``mirrors`` are the operator's own.
    """

    def __init__(
        self, scope: Sequence[str] | None, mirrors: frozenset[str], epoll: select.epoll
    ) -> None:
        self._scope = scope
        self._mirrors = mirrors
        self._epoll = epoll
        self._namespaces = Namespaces(scope)
        self.inventory = Inventory()
        self._watches: dict[int, NetWatch] = {}
        self._unwatched: set[int] = set()
        self._came: list[Namespace] = []
        self._gone: list[Namespace] = []

    def __len__(self) -> int:
        """Count those that are watched."""
        return len(self._watches)

    @property
    def all(self) -> tuple[Namespace, ...]:
        """Those that are open, watched or not."""
        return self._namespaces.all

    @property
    def within(self) -> frozenset[int] | None:
        """The inodes of those that count; None: every one's."""
        return None if self._scope is None else frozenset(each.inode for each in self.all)

    @property
    def unseen(self) -> int:
        """How many are not seen, or not watched (rule 1)."""
        return self._namespaces.unseen or len(self._unwatched)

    def namespace(self, inode: int) -> Namespace | None:
        """Return the one with this inode, if it is watched."""
        watch = self._watches.get(inode)
        return None if watch is None else watch.namespace

    def find(self) -> None:
        """Look which there are, without looking into them."""
        came, gone = self._namespaces.refresh()
        self._came = [each for each in self._came if each not in gone] + came
        self._gone += gone

    def refresh(self) -> Iterator[NamespaceGone | NetworkChanged]:
        """Look which there are; tell those that went, and what stands in those that came."""
        self.find()
        while self._gone:
            namespace = self._gone.pop(0)
            self._unwatch(namespace)
            yield NamespaceGone(netns=namespace.inode)
        while self._came:
            namespace = self._came.pop(0)
            if (watch := self._watch(namespace)) is not None:
                yield watch.look()

    def announced(self, ready: set[int], *, anew: bool) -> Iterator[NetworkChanged]:
        """Tell what stands where something was announced; ``anew``: everywhere."""
        for watch in tuple(self._watches.values()):
            if anew or ready & set(watch.filenos):
                yield watch.look()

    def polled(self) -> Iterator[NetworkChanged]:
        """Tell what is never announced (rule 4)."""
        anew = self.inventory.look()
        for watch in tuple(self._watches.values()):
            yield watch.look() if anew else watch.poll()

    def close(self) -> None:
        """Let go of all."""
        for namespace in self._namespaces.all:
            self._unwatch(namespace)

    def _watch(self, namespace: Namespace) -> NetWatch | None:
        try:
            watch = NetWatch(namespace, self._mirrors)
        except OSError:
            self._unwatched.add(namespace.inode)
            return None
        for descriptor in watch.filenos:
            self._epoll.register(descriptor, select.EPOLLIN)
        self._watches[namespace.inode] = watch
        return watch

    def _unwatch(self, namespace: Namespace) -> None:
        self._unwatched.discard(namespace.inode)
        watch = self._watches.pop(namespace.inode, None)
        if watch is None:
            namespace.close()
            return
        for descriptor in watch.filenos:
            self._epoll.unregister(descriptor)
        watch.close()
