"""What the sentry's rules are told, and what they command: `agents.core.sentry` applies them.

`enforcing` adds what is done about what was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from agents.core.judgement import SocketSeen

__all__ = [
    "Attempt",
    "Attempted",
    "Finding",
    "Holder",
    "Incident",
    "NamespaceGone",
    "NetworkChanged",
    "Sweep",
    "SweepDone",
    "WakeUp",
    "What",
]


class What(StrEnum):
    """What was found; the words of incidents."""

    CAPTURE_SOCKET = "capture_socket"
    """A socket that hears content is held by somebody who may not."""
    MIRROR_LINK = "mirror_link"
    """A link that is there to copy or to carry packets elsewhere is up."""
    PROMISCUOUS = "promiscuous"
    """A link takes what is not for it, and no bridge is the reason."""
    FLOODING = "flooding"
    """A bridge does not learn who is where, and so hands every packet to all of its ports."""
    TC_MIRROR = "tc_mirror"
    """A traffic filter mirrors or redirects packets."""
    XDP = "xdp"
    """A program stands in front of a link."""
    NFT_COPY = "nft_copy"
    """A rule of nftables (iptables-nft included) copies packets or hands them to a program."""
    XT_COPY = "xt_copy"
    """A rule of legacy iptables copies packets or hands them to a program."""
    NFLOG_BIND = "nflog_bind"
    """A group of NFLOG or a queue of NFQUEUE is listened to by somebody who may not."""
    BPF_FOREIGN = "bpf_foreign"
    """A BPF program, none of the agent's, reads packets as a traffic filter."""
    BPF_LOADED = "bpf_loaded"
    """A BPF program, none of the agent's, could read packets or memory, and hand it on."""
    MIRROR_ALLOWED = "mirror_allowed"
    """A mirror of the operator's own stands, by the agent's configuration: see `mirrors`."""
    SENTRY_BLIND = "sentry_blind"
    """The sentry may not see a part of what it is there to watch."""
    SENTRY_SCOPED = "sentry_scoped"
    """The sentry was told to watch or to act in a part of the node only: see
    `agents.config.SentryConfig`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something of a network that stands where ``where`` says, by names and numbers."""

    what: What
    where: tuple[tuple[str, str | int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who a process is: its login user (None without one), and its command's SHA-256 in hex."""

    login_uid: int | None
    command: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepDone:
    """All sockets that could hear content, and who the holders are that were told apart.

    ``within`` are the namespaces that count (their inodes); None: every one of the node.
    """

    sockets: tuple[SocketSeen, ...]
    holders: Mapping[int, Holder] = field(default_factory=dict)
    within: frozenset[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A socket that was asked for; its inode is 0.

    ``killed``: who asked for it is dead. ``denied``: there is no socket.
    """

    seen: SocketSeen
    way: str
    killed: bool
    denied: bool = False
    holder: Holder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """What was tried since the last time, oldest first; ``within`` as for `SweepDone`.

    ``unseen``: something was done that may have been an attempt, and only a sweep can tell.
    """

    attempts: tuple[Attempt, ...]
    unseen: bool = False
    within: frozenset[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkChanged:
    """One namespace: what stands there now, and what came and perhaps went since the last look."""

    netns: int
    standing: frozenset[Finding]
    passed: frozenset[Finding] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceGone:
    """Nothing is in this namespace any more."""

    netns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeUp:
    """`Sentry.next_deadline` has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Put this on record; the bounds of `incidents` apply."""

    what: What
    details: Mapping[str, str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Look at every socket now, then tell `SweepDone`.

    ``quick``: and at nothing else. ``unheld``: also at those that are mapped and no descriptor
    stands for, which takes time and otherwise has its own.
    """

    quick: bool = False
    unheld: bool = False
