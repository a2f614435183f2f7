"""What in a media relay's options lets content out, or metadata, or somebody in.

The agent's gate decides what is asked of the relay over its NG port. Some options make the relay
give without being asked, or open another way to ask. Each is a finding, with what to do about it:

1. ``content``: media, DTMF digits, or the keys that encrypt them leave the relay, or could.
2. ``metadata``: who calls whom, when and how leaves the relay.
3. ``control``: a port that takes orders, and that the fence does not close.
4. ``unknown``: an option that is in neither of the tables below. A relay that is newer than this
   file may let content out by a name that nobody here has heard of: it is never passed over.

Options of rtpengine 10.5 to 12. No finding repeats the value of an option.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agents.core.relayoptions import Options

__all__ = [
    "CHANGED_FILE",
    "HARMLESS",
    "Finding",
    "Risk",
    "control_ports",
    "judge",
    "judged",
    "names_calls",
]


class Risk(StrEnum):
    """What a finding is about (rules 1 to 4)."""

    CONTENT = "content"
    METADATA = "metadata"
    CONTROL = "control"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing to put right: a word for it, one sentence why, and what to do."""

    name: str
    risk: Risk
    why: str
    remedy: str


_CONTENT: Final = {
    "recording-dir": "The relay can write calls and their SDP to files.",
    "recording-method": "The relay can hand recorded packets to files or to /proc/rtpengine.",
    "record-egress": "The relay is set up to record what it sends.",
    "dtmf-log-dest": "The digits that callers press are sent over the network.",
    "dtmf-log-ng-tcp": "The digits that callers press are sent to every TCP client.",
    "log-facility-dtmf": "The digits that callers press are written to the system's log.",
    "log-srtp-keys": "The keys of encrypted calls are written to the log.",
    "debug-srtp": "Decrypted packets are written to the log.",
    "homer-enable-ng": "Every control message, with SDP and keys, is copied to a Homer server.",
    "redis": "The calls' state, with their keys, is written to a database.",
    "redis-write": "The calls' state, with their keys, is written to a database.",
    "redis-subscribe": "Calls and their keys are exchanged with other relays.",
    "subscribe-keyspace": "Calls and their keys are exchanged with other relays.",
    "templates": "Signalling templates can order recordings that no message asks for.",
    "vsc-start-rec": "A caller's digits start a recording.",
    "vsc-stop-rec": "A caller's digits steer a recording.",
    "vsc-start-stop-rec": "A caller's digits start a recording.",
    "vsc-pause-rec": "A caller's digits steer a recording.",
    "vsc-pause-resume-rec": "A caller's digits steer a recording.",
    "vsc-start-pause-resume-rec": "A caller's digits start a recording.",
    "janus-secret": "The Janus protocol lets its clients publish and subscribe to media.",
}
_METADATA: Final = {
    "homer": "Each call's RTCP, with its Call-ID, is sent to a Homer server.",
    "mqtt-host": "The running calls are published to a message broker.",
    "b2b-url": "Call-IDs are sent to another host when calls time out.",
    "log-facility-cdr": "A record of each call is written to the system's log.",
    "log-facility-rtcp": "Each call's RTCP is written to the system's log.",
    "iptables-chain": "Call-IDs stand in the comments of firewall rules.",
}
_PORTS: Final = {
    "listen-ng": "udp", "listen-udp": "udp", "listen-tcp": "tcp", "listen-tcp-ng": "tcp",
    "listen-cli": "tcp", "listen-http": "tcp", "listen-https": "tcp",
}  # fmt: skip
_HARMLESS = """
active-switchover amr-dtx audio-buffer-delay audio-buffer-length audio-player cn-payload
codec-num-threads codecs config-file config-section control-pmtu control-tos db-cache-expire
db-cache-reload db-media-cache db-media-expire db-media-reload delete-delay dtls-cert-cipher
dtls-ciphers dtls-mtu dtls-passive dtls-rsa-key-size dtls-signature dtmf-digit-delay
dtmf-no-log-injects dtmf-no-suppress dtx-buffer dtx-cn-params dtx-delay dtx-lag dtx-shift
endpoint-learning evs-dtx expiry-timer final-timeout foreground graphite graphite-interval
graphite-prefix graphite-timeout help homer-disable-rtcp-stats homer-id homer-ng-capture-proto
homer-protocol http-buf-size http-threads https-cert https-key idle-priority idle-scheduling
interface interfaces-config io-uring io-uring-buffers jb-adaptive jb-adaptive-max jb-adaptive-min
jb-clock-drift jitter-buffer kernel-player kernel-player-media log-facility log-format
log-mark-prefix log-mark-suffix log-name log-stderr max-bandwidth max-cpu max-dtx max-load
max-log-line-length max-recv-iters max-sessions measure-rtp media-files-expire media-files-reload
media-num-threads moh-attr-name moh-max-duration moh-max-repeats moh-prevent-double-hold mos
mqtt-cafile mqtt-capath mqtt-certfile mqtt-id mqtt-keepalive mqtt-keyfile mqtt-pass mqtt-port
mqtt-publish-interval mqtt-publish-qos mqtt-publish-scope mqtt-publish-topic mqtt-tls-alpn mqtt-user
mysql-host mysql-pass mysql-port mysql-query mysql-user nftables-append nftables-base-chain
nftables-chain nftables-family nftables-start nftables-status nftables-stop ng-client-retries
ng-client-timeout no-fallback no-log-timestamps no-redis-required num-threads offer-timeout pidfile
player-cache poller-per-thread port-max port-min preload-db-cache preload-db-media
preload-media-files priority recording-format redis-allowed-errors redis-cmd-timeout
redis-connect-timeout redis-delete-async redis-delete-async-interval redis-disable-time
redis-expires redis-format redis-num-threads redis-resolve-on-reconnect redis-tcp-keepalive-intvl
redis-tcp-keepalive-probes redis-tcp-keepalive-time reject-invalid-sdp reorder-codecs rtcp-interval
save-interface-ports scheduling silence-detect silent-timeout sip-source socket-cpu-affinity
software-id split-logs table thread-stack timeout timer-accuracy tos transcode-config version
xmlrpc-format
"""
HARMLESS: Final = frozenset(_HARMLESS.split())
"""Options that let nothing out by themselves; those that only say how need one that says where."""

CHANGED_FILE: Final = Finding(
    name="config-file",
    risk=Risk.UNKNOWN,
    why="The configuration file was changed after the relay started, which may have read another.",
    remedy="Look at what was changed and restart the relay.",
)

_LOG_LEVEL = re.compile(r"log-level(-[a-z]+)?")
_PORT = re.compile(r"(?:.*:)?([0-9]{1,5})")
_QUIET = 6


def judged(name: str) -> bool:
    """Tell whether an option is in one of the tables."""
    tables = (_CONTENT, _METADATA, _PORTS, HARMLESS)
    return any(name in table for table in tables) or _LOG_LEVEL.fullmatch(name) is not None


def control_ports(options: Options) -> set[tuple[str, int]]:
    """Return protocol and port of every control port that the options open and that is legible."""
    return {
        (protocol, int(match[1]))
        for name, protocol in _PORTS.items()
        for value in options.get(name, ())
        if (match := _PORT.fullmatch(value))
    }


def judge(options: Options, *, udp: Collection[int], tcp: Collection[int]) -> tuple[Finding, ...]:
    """Return what the options let out; ``udp`` and ``tcp`` are the ports that the fence closes."""
    fenced = {"udp": udp, "tcp": tcp}
    found: list[Finding] = []
    for name, values in sorted(options.items()):
        if name in _CONTENT or name in _METADATA:
            found.extend(_lets_out(name))
        elif name in _PORTS:
            found.extend(_opens(name, values, fenced[_PORTS[name]]))
        elif _LOG_LEVEL.fullmatch(name):
            found.extend(_tells(name, values))
        elif name not in HARMLESS:
            found.append(_unheard_of(name))
    return tuple(found)


def names_calls(options: Options) -> tuple[Finding, ...]:
    """Return whether the relay's log names the calls that it is asked about, by its levels.

    At level 6, its default, every question is logged with the call: also the agent's own, which
    are asked of calls that a grant is for.
    """
    level = (options.get("log-level-control") or options.get("log-level") or ("6",))[-1]
    if level.isascii() and level.lstrip("-").isdigit() and int(level) < _QUIET:
        return ()
    return (
        Finding(
            name="log-level-control",
            risk=Risk.METADATA,
            why="The relay's log names every call that it is asked about, the recorded ones too.",
            remedy=f"Set log-level-control to {_QUIET - 1} or lower and restart the relay.",
        ),
    )


def _lets_out(name: str) -> Iterator[Finding]:
    risk = Risk.CONTENT if name in _CONTENT else Risk.METADATA
    why = _CONTENT.get(name) or _METADATA[name]
    yield Finding(name=name, risk=risk, why=why, remedy=_without(name))


def _opens(name: str, values: tuple[str, ...], fenced: Collection[int]) -> Iterator[Finding]:
    for value in values:
        match = _PORT.fullmatch(value)
        if match and int(match[1]) in fenced:
            continue
        port = f"port {match[1]}" if match else "a port that cannot be read from its value"
        yield Finding(
            name=name,
            risk=Risk.CONTROL,
            why=f"The relay takes orders on {port}, which the fence does not close.",
            remedy="Name the port to the agent as one of the relay's, or take the option out.",
        )


def _tells(name: str, values: tuple[str, ...]) -> Iterator[Finding]:
    level = values[-1] if values else ""
    if level.isascii() and level.isdigit() and int(level) <= _QUIET:
        return
    if level.startswith("-") and level[1:].isdigit():
        return
    yield Finding(
        name=name,
        risk=Risk.CONTENT,
        why="Whole control messages, with SDP and keys, are written to the log.",
        remedy=f"Set {name} to {_QUIET} or lower and restart the relay.",
    )


def _unheard_of(name: str) -> Finding:
    shown = name if re.fullmatch(r"[a-zA-Z0-9-]{1,40}", name) else "an option"
    return Finding(
        name=shown,
        risk=Risk.UNKNOWN,
        why="The relay has an option that this version of the agent does not know.",
        remedy=f"Take {shown} out, or use an agent that knows it.",
    )


def _without(name: str) -> str:
    return f"Take {name} out of the relay's command line and configuration file and restart it."
