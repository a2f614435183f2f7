"""Who sends and who hears whose voice: counted by the kernel, where the telephones are.

sipp says how many calls it made, not how many packets reached it. The counters tell caller's voice
from callee's by its pattern, so that an echo or a crossed line does not count as a conversation. What the node forwards went past
the relay: the node routes between the telephones, so a call whose set-up the relay never saw talks.
"""

from __future__ import annotations

import json

from tests.lab import media
from tests.lab.network import Network

__all__ = ["begin_to_count", "voices"]

_TABLE = "callguard-lab"
_VOICES = {"caller": media.CALLER_VOICE, "callee": media.CALLEE_VOICE}
_HOOKS = {
    "caller": {"sends": "output", "hears": "input"},
    "callee": {"sends": "output", "hears": "input"},
    "node": {"forwards": "forward"},
}
_AFTER_HEADERS = (8 + 12) * 8  # bits of UDP and RTP header
_COMPARED = 16  # octets, the longest that nftables compares


def begin_to_count(network: Network) -> None:
    """Count from nought, at the telephones and on the node."""
    for place, hooks in _HOOKS.items():
        rules = [f"add table inet {_TABLE}", f"delete table inet {_TABLE}"]
        rules.append(f"add table inet {_TABLE}")
        for name, hook in hooks.items():
            rules.append(
                f"add chain inet {_TABLE} {name} {{ type filter hook {hook} priority 0; }}"
            )
            rules += [
                f"add rule inet {_TABLE} {name} meta l4proto udp"
                f" @th,{_AFTER_HEADERS},{_COMPARED * 8} 0x{voice[:_COMPARED].hex()}"
                f' counter comment "{place} {name} {who}"'
                for who, voice in _VOICES.items()
            ]
        network.run(place, "nft", "-f", "-", input="\n".join(rules) + "\n")


def voices(network: Network) -> dict[str, int]:
    """Return packets since the count began, such as ``{"callee hears caller": 50}``, none left out."""
    found: dict[str, int] = {}
    for place in _HOOKS:
        listed = json.loads(network.run(place, "nft", "--json", "list", "table", "inet", _TABLE))
        for entry in listed["nftables"]:
            if rule := entry.get("rule"):
                (counter,) = [each["counter"] for each in rule["expr"] if "counter" in each]
                found[rule["comment"]] = counter["packets"]
    return found
