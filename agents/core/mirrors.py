"""Which mirrors are the operator's own: they are left standing, and told nevertheless.

1. An entry is the name of an interface. Alone it declares the link itself, whose kind is to carry
   packets elsewhere (a VXLAN of the cloud, the macvlan of a container), or that it floods. With
   "/xdp" after it, it declares a program of XDP in front of that interface; with "/tc", the filters
   that mirror from it and the programs that filter at it.
2. What is declared becomes a finding of its own, `mirror_allowed`, with what it would have been. It
   is told as others are, once until it is gone: who borrows a declared name is on record too.
3. Nothing else can be declared: no rule of nftables or iptables, and no listener.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agents.core.sentryevents import Finding, What

__all__ = ["declared"]

_SUFFIXES: Final = {
    What.MIRROR_LINK: "",
    What.FLOODING: "",
    What.XDP: "/xdp",
    What.TC_MIRROR: "/tc",
    What.BPF_FOREIGN: "/tc",
}


def declared(finding: Finding, names: Mapping[int, str], mirrors: frozenset[str]) -> Finding:
    """Return a finding as what it is when these are declared; ``names`` are interfaces by index."""
    if not mirrors or finding.what not in _SUFFIXES:
        return finding
    where = dict(finding.where)
    name = where.get("name") or names.get(int(where.get("interface", 0)))
    if name is None or f"{name}{_SUFFIXES[finding.what]}" not in mirrors:
        return finding
    return Finding(What.MIRROR_ALLOWED, (("mirror", finding.what.value), *finding.where))
