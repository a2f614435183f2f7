"""How the media relay (rtpengine) was told its options: command line and ini file, merged.

1. The command line is read as GLib reads it: ``--name=value``, ``--name value``, ``-x value``,
   ``-xvalue``, clusters of letters, and nothing after ``--``. A flag takes no value.
2. The file is read as GLib reads it: one section, ``name = value``, the last of two wins, ``#``
   begins a comment line, several values are separated by semicolons.
3. What the command line names, the file has no say in.
4. A flag in the file that is not ``true`` or ``1`` is off, and as good as not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

__all__ = ["DEFAULT_FILE", "FLAGS", "Options", "from_arguments", "from_file", "merged"]

Options = Mapping[str, tuple[str, ...]]
"""Values by option name, in their order; a flag that is on has the value ``true``."""

DEFAULT_FILE: Final = "/etc/rtpengine/rtpengine.conf"

_FLAGS = """
active-switchover codecs debug-srtp dtls-passive dtmf-log-ng-tcp dtmf-no-log-injects
dtmf-no-suppress foreground help homer-disable-rtcp-stats homer-enable-ng io-uring jb-adaptive
jb-clock-drift log-srtp-keys log-stderr measure-rtp moh-prevent-double-hold nftables-append
nftables-start nftables-status nftables-stop no-fallback no-log-timestamps no-redis-required
player-cache poller-per-thread record-egress redis-resolve-on-reconnect reject-invalid-sdp
save-interface-ports sip-source split-logs version
"""
FLAGS: Final = frozenset(_FLAGS.split())
_LETTERS: Final = {
    "h": "help", "v": "version", "E": "log-stderr", "f": "foreground", "F": "no-fallback",
    "S": "save-interface-ports", "q": "no-redis-required", "L": "log-level", "p": "pidfile",
    "t": "table", "i": "interface", "k": "subscribe-keyspace", "l": "listen-tcp",
    "u": "listen-udp", "n": "listen-ng", "N": "listen-tcp-ng", "c": "listen-cli", "g": "graphite",
    "G": "graphite-interval", "T": "tos", "o": "timeout", "s": "silent-timeout",
    "a": "final-timeout", "m": "port-min", "M": "port-max", "r": "redis", "w": "redis-write",
    "y": "redis-delete-async", "b": "b2b-url", "x": "xmlrpc-format", "d": "delete-delay",
}  # fmt: skip
_ON = "true"


def from_arguments(arguments: Sequence[str]) -> Options:
    """Read a command line without its first word, the program (rule 1)."""
    found: dict[str, tuple[str, ...]] = {}
    left = iter(arguments)
    for word in left:
        if word == "--":
            break
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if not equals:
                value = _ON if name in FLAGS else next(left, "")
            found[name] = (*found.get(name, ()), value)
        elif word.startswith("-"):
            for name, value in _cluster(word[1:], left):
                found[name] = (*found.get(name, ()), value)
    return found


def _cluster(letters: str, left: Iterable[str]) -> Iterable[tuple[str, str]]:
    for at, letter in enumerate(letters):
        name = _LETTERS.get(letter, letter)
        if name in FLAGS:
            yield name, _ON
        else:
            yield name, letters[at + 1 :] or next(iter(left), "")
            return


def from_file(text: str, section: str = "rtpengine") -> Options:
    """Read the options of one section of an ini file (rules 2 and 4)."""
    found: dict[str, tuple[str, ...]] = {}
    inside = False
    for each in text.splitlines():
        line = each.strip()
        if line.startswith("[") and line.endswith("]"):
            inside = line[1:-1] == section
        elif inside and line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            if equals:
                found[name.strip()] = _values(value)
    on = {(_ON,), ("1",)}
    return {
        name: (_ON,) if name in FLAGS else values
        for name, values in found.items()
        if name not in FLAGS or values in on
    }


def _values(value: str) -> tuple[str, ...]:
    values = [each.strip() for each in value.split(";")]
    return tuple(each for each in values if each) or ("",)


def merged(arguments: Options, file: Options) -> Options:
    """Put the two together (rule 3)."""
    return {**file, **arguments}
