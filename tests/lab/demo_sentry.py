"""The demo's chapter about root on the node, who goes past everything with tcpdump.

It is told with the words of the demo: ``check``, ``say`` and ``shown``. The sentry may end processes
of the lab's slice alone.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.calls import Call
from tests.lab.deployment import Answer, Deployment
from tests.lab.gated import incidents
from tests.lab.network import end
from tests.lab.proxy import PROXY

__all__ = ["tell_sentry"]

_EMPTY = 24  # octets: the head of a pcap file alone
_TALKER = "+15557777"


def tell_sentry(
    lab: Deployment,
    folder: Path,
    check: Callable[[object, str], None],
    say: Callable[[str], None],
    shown: Callable[..., Answer],
) -> None:
    """Root runs tcpdump: seen while the sentry observes, stopped once it may enforce."""
    seen(lab, check)
    say("the root holders sign a trust policy: the sentry of node-1 may enforce")
    lab.let_sentry_enforce()
    stopped(lab, folder, check)
    shown(lab, "auditor-1", "log", "entries", "--kind", "incident")


def seen(lab: Deployment, check: Callable[[object, str], None]) -> None:
    """While the sentry observes."""
    assert lab.network
    tcpdump = lab.network.start("node", "tcpdump", "-n", "-i", "voice-a", "-w", "/dev/null")
    try:
        told = about(lab, tcpdump.pid)
    finally:
        end(tcpdump)
    check(
        told["would"] == "kill" and told["action"] == "reported",
        f"tcpdump as root, while the sentry observes, is on record: process {told['pid']}, "
        f"{told['kind']}, user {told['uid']}, command {told['command'][:12]}…",
    )


def stopped(lab: Deployment, folder: Path, check: Callable[[object, str], None]) -> None:
    """Once it enforces, with a call on the wire."""
    assert lab.network
    heard = folder / "heard.pcap"
    words = ("-n", "-U", "-i", "voice-a", "-w", str(heard))
    tcpdump = lab.network.start("node", "tcpdump", *words)
    Call(lab.network, folder / "calls/overheard", caller=_TALKER, proxy=PROXY).run()
    octets = heard.stat().st_size if heard.exists() else 0
    check(
        tcpdump.wait(10) == -signal.SIGKILL and octets <= _EMPTY,
        "the same tcpdump is stopped before it hears a packet of a call that talks to its end",
    )
    told = about(lab, tcpdump.pid)
    check(
        told["action"] == "killed",
        f"and that is on record, signed by the node: process {told['pid']} {told['action']}",
    )


def about(lab: Deployment, pid: int) -> dict[str, Any]:
    """Wait for the incident of one process."""

    def found() -> list[dict[str, Any]]:
        return [each for each in incidents(lab, "capture_socket") if each["pid"] == pid]

    return dict(lab.wait_for(found, "the capture is on record")[0])
