"""A thousand short calls through proxy and relay, summed up so that two runs can be compared.

Only what the two runs cannot have in common is taken out of the descriptions: ports and the numbers
of sessions. Addresses stay: they say whether the relay stands between the telephones.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import media
from tests.lab.calls import SCENARIOS
from tests.lab.heard import begin_to_count, voices
from tests.lab.network import Network
from tests.lab.proxy import PROXY

__all__ = ["CALLS", "PACKETS", "Summary", "make_calls", "talk"]

CALLS = 1000
PACKETS = 5
_RATE, _AT_ONCE = 25, 60
_PORTS = re.compile(r"(m=\w+ |a=rtcp:)\d+")
_VERSIONS = re.compile(r"^o=\S+ \d+ \d+", re.MULTILINE)


@dataclass
class Summary:
    """What happened: messages by side and kind, descriptions by shape, voice packets by way."""

    messages: dict[str, int] = field(default_factory=dict)
    descriptions: Counter[str] = field(default_factory=Counter)
    media: dict[str, int] = field(default_factory=dict)


def make_calls(network: Network, folder: Path, calls: int = CALLS) -> Summary:
    """Make the calls, one after the other, some of them at once; raises when one fails."""
    begin_to_count(network)
    for place in ("caller", "callee"):
        (folder / place).mkdir(parents=True)
        _write(folder / place, place)
    common = ("-nostdin", "-timeout", "150", "-trace_msg", "-trace_err", "-trace_counts")
    callee = network.start(
        "callee",
        *("sipp", "-sf", "callee.xml", "-i", "10.77.2.2", "-p", "5060", "-mi", "10.77.2.2"),
        *("-mp", "30000", "-m", str(calls), *common),
        cwd=folder / "callee",
    )
    network.run("callee", "sh", "-c", "until ss -lnu | grep -q 10.77.2.2:5060; do sleep 0.05; done")
    network.run(
        "caller",
        *("sipp", "-sf", "caller.xml", "-i", "10.77.1.2", "-p", "5060", "-mi", "10.77.1.2"),
        *("-mp", "20000", "-s", "+15550002", "-rsa", PROXY, "-m", str(calls)),
        *("-r", str(_RATE), "-l", str(_AT_ONCE), *common, "10.77.2.2:5060"),
        cwd=folder / "caller",
        timeout=170,
    )
    if callee.wait(30) not in {0, 99}:
        raise RuntimeError("the callee's sipp counts a failed call")
    summary = Summary(media=voices(network))
    for place in ("caller", "callee"):
        summary.messages |= _messages(folder / place, place)
        summary.descriptions.update(_descriptions(folder / place, place))
    return summary


def talk(calls: int = CALLS) -> dict[str, int]:
    """Return the ``media`` of so many calls when nothing is lost, crossed, or led past the relay."""
    heard = ("caller sends caller", "callee hears caller", "callee sends callee")
    silent = ("caller sends callee", "caller hears caller", "callee sends caller")
    silent += ("callee hears callee", "node forwards caller", "node forwards callee")
    return dict.fromkeys((*heard, "caller hears callee"), calls * PACKETS) | dict.fromkeys(
        silent, 0
    )


def _write(folder: Path, place: str) -> None:
    pattern = media.CALLER_VOICE if place == "caller" else media.CALLEE_VOICE
    media.write_voice(folder / f"{place}.pcap", pattern, PACKETS, ssrc=0xC)
    text = (SCENARIOS / f"{place}.xml").read_text()
    values = {"MIDCALL": "", "DTMF": "", "PADDING": "X-Padding: none", "TALK": "300"}
    values |= {"FROM": "+15557777", "CRYPTO": "a=ptime:20", "RING": ""}
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    (folder / f"{place}.xml").write_text(text)


def _messages(folder: Path, place: str) -> dict[str, int]:
    """Read sipp's own counts: what it sent and received, each kind; not what it sent again."""
    (file,) = folder.glob("*_counts.csv")
    with file.open() as opened:
        last = list(csv.DictReader(opened, delimiter=";"))[-1]
    return {
        f"{place} {name}": int(value)
        for name, value in last.items()
        if name and re.search(r"_(Sent|Recv)$", name) and value
    }


def _descriptions(folder: Path, place: str) -> list[str]:
    """Return every SDP, with what differs from call to call taken out."""
    (file,) = folder.glob("*_messages.log")
    found = re.findall(
        r"^v=0\r?\n(?:[a-z]=.*\r?\n)+", file.read_text(errors="replace"), re.MULTILINE
    )
    return [
        f"{place} " + _VERSIONS.sub("o=", _PORTS.sub(r"\1", each)).replace("\r", "")
        for each in found
    ]
