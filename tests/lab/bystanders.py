"""What else runs on a node and must come to no harm beside the sentry: each real, each at its work.

Every piece is started inside the network's slice as the service that it is on a node, and says
itself whether it worked.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.network import Network, end

__all__ = ["ALLOWED", "chrony", "container_rules", "dhcp_client", "keepalived", "lldpd", "ping"]

ALLOWED = ("dhclient.service", "lldpd.service")
"""Those that hear whole interfaces and so need to be allowed by their unit's name."""

_KEEPALIVED = """
global_defs {
    router_id lab
    vrrp_garp_master_delay 1
}
vrrp_instance lab {
    state MASTER
    interface voice-a
    virtual_router_id 51
    priority 100
    advert_int 0.2
    virtual_ipaddress {
        10.77.1.240/24
    }
}
"""
# What the client's own script would do to the whole machine, this one does to the interface alone.
_LEASED = """#!/bin/sh
case "$reason" in
BOUND|RENEW|REBIND|REBOOT) ip addr replace "$new_ip_address/24" dev "$interface" ;;
esac
"""
_CONTAINERS = """
table ip lab-nat {
    chain PREROUTING { type nat hook prerouting priority dstnat; tcp dport 8080 dnat to 172.30.0.2:80; }
    chain POSTROUTING { type nat hook postrouting priority srcnat; ip saddr 172.30.0.0/24 masquerade; }
}
table ip lab-filter {
    chain FORWARD { type filter hook forward priority 0; ct state established,related accept; }
}
"""


def ping(network: Network) -> None:
    """Ask both families for an echo, five times each; raises when one fails."""
    for address in ("10.77.1.2", "fd77:1::2"):
        network.run("node", "ping", "-c", "5", "-i", "0.2", "-W", "2", address)


@contextmanager
def dhcp_client(network: Network, folder: Path) -> Iterator[Callable[[], bool]]:
    """Lease an address on a network of its own, again every few seconds.

    Yield what tells whether a lease was had and renewed.
    """
    folder.mkdir()
    network.run(
        "node", "ip", "link", "add", "lease0", "type", "veth",
        "peer", "name", "lease1", "netns", network.name("caller"),
    )  # fmt: skip
    network.run("node", "ip", "link", "set", "lease0", "up")
    network.run("caller", "ip", "link", "set", "lease1", "up")
    network.run("caller", "ip", "addr", "add", "10.77.4.1/24", "dev", "lease1")
    script = folder / "leased"
    script.write_text(_LEASED)
    script.chmod(0o755)
    server = network.start(
        "caller", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0",
        "--bind-interfaces", "--interface=lease1", "--dhcp-authoritative", "--user=root",
        "--dhcp-range=10.77.4.10,10.77.4.99,2m", f"--dhcp-leasefile={folder / 'given'}",
        f"--pid-file={folder / 'dnsmasq.pid'}",
    )  # fmt: skip
    leases = folder / "leases"
    client = network.start(
        "node", "dhclient", "-4", "-d", "-v", "-sf", str(script), "-lf", str(leases),
        "-pf", str(folder / "dhclient.pid"), "-cf", "/dev/null", "lease0", unit="dhclient.service",
    )  # fmt: skip

    def leased() -> bool:
        had = leases.exists() and "fixed-address 10.77.4." in leases.read_text()
        return had and client.poll() is None

    try:
        yield leased
    finally:
        end(client)
        end(server)
        network.run("node", "ip", "link", "del", "lease0")


@contextmanager
def keepalived(network: Network, folder: Path) -> Iterator[Callable[[], bool]]:
    """Announce a virtual address by VRRP; yield what tells whether it is held."""
    folder.mkdir()
    config = folder / "keepalived.conf"
    config.write_text(_KEEPALIVED)
    running = network.start(
        "node", "keepalived", "--dont-fork", "--log-console", "--vrrp", "-f", str(config),
        "-p", str(folder / "pid"), "-r", str(folder / "vrrp.pid"), unit="keepalived.service",
    )  # fmt: skip

    def master() -> bool:
        held = "10.77.1.240" in network.run("node", "ip", "addr", "show", "dev", "voice-a")
        return held and running.poll() is None

    try:
        yield master
    finally:
        end(running)


@contextmanager
def chrony(network: Network, folder: Path) -> Iterator[Callable[[], bool]]:
    """Follow a clock of the other side, setting none; yield what tells whether it answers."""
    folder.mkdir(mode=0o755)
    server, client = folder / "server.conf", folder / "client.conf"
    common = f"cmdport 0\nbindcmdaddress /\npidfile {folder}/%s.pid\n"
    server.write_text(f"local stratum 5\nallow 10.77.1.0/24\n{common % 'server'}")
    client.write_text(
        f"server 10.77.1.2 iburst minpoll 0 maxpoll 0\n{common % 'client'}"
        f"logdir {folder}\nlog measurements\n"
    )
    running = [
        network.start(place, "chronyd", "-x", "-d", "-u", "root", "-f", str(config), unit=unit)
        for place, config, unit in (
            ("caller", server, ""),
            ("node", client, "chrony.service"),
        )
    ]

    def measured() -> bool:
        log = folder / "measurements.log"
        heard = log.exists() and "10.77.1.2" in log.read_text()
        return heard and all(each.poll() is None for each in running)

    try:
        yield measured
    finally:
        for each in running:
            end(each)


@contextmanager
def lldpd(network: Network) -> Iterator[Callable[[], bool]]:
    """Tell the neighbours who we are; yield what tells whether it runs and has said so."""
    Path("/run/lldpd").mkdir(exist_ok=True)  # It shuts itself in there.
    folder = Path(tempfile.mkdtemp(prefix="callguard-lldpd-"))
    folder.chmod(0o755)  # It reaches its socket as a user of its own.
    socket = folder / "lldpd.sock"
    running = network.start(
        "node", "lldpd", "-d", "-u", str(socket), "-I", "voice-a,voice-b", unit="lldpd.service"
    )

    def told() -> bool:
        if not socket.exists() or running.poll() is not None:
            return False
        said = network.run("node", "lldpcli", "-u", str(socket), "show", "statistics", check=False)
        sent = [line for line in said.splitlines() if "Transmitted:" in line]
        return bool(sent) and any(not line.endswith(" 0") for line in sent)

    try:
        yield told
    finally:
        end(running)
        shutil.rmtree(folder)


@contextmanager
def container_rules(network: Network) -> Iterator[None]:
    """Do to the node's networks what a container engine does: a bridge, a veth, NAT, both tools."""
    run = network.run
    run("node", "ip", "link", "add", "lab-br0", "type", "bridge")
    run("node", "ip", "link", "add", "lab-ve0", "type", "veth", "peer", "name", "lab-ve1")
    try:
        run("node", "ip", "link", "set", "lab-ve0", "master", "lab-br0")
        run("node", "ip", "addr", "add", "172.30.0.1/24", "dev", "lab-br0")
        for link in ("lab-br0", "lab-ve0", "lab-ve1"):
            run("node", "ip", "link", "set", link, "up")
        run("node", "nft", _CONTAINERS)
        words = ("-t", "nat", "-A", "POSTROUTING", "-s", "172.31.0.0/24", "-j", "MASQUERADE")
        run("node", "iptables-nft", *words)
        run("node", "iptables-nft", "-A", "FORWARD", "-i", "lab-br0", "-j", "ACCEPT")
        run("node", "iptables-nft", "-L", "-n")
        run("node", "nft", "list", "ruleset")
        yield
    finally:
        run("node", "ip", "link", "del", "lab-br0", check=False)
        run("node", "ip", "link", "del", "lab-ve0", check=False)
        for table in ("lab-nat", "lab-filter", "nat", "filter"):
            run("node", "nft", "delete", "table", "ip", table, check=False)


def soon(told: Callable[[], bool], what: str, seconds: float = 40) -> None:
    """Wait until a bystander has done its work."""
    over = time.monotonic() + seconds
    while time.monotonic() < over:
        if told():
            return
        time.sleep(0.1)
    raise AssertionError(f"{what} did not do its work")
