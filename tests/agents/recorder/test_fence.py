"""The fence on a real kernel: who gets through, who is told what, and what mends itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import textwrap

import pytest

from agents.recorder.fence import Fence, FenceError
from agents.recorder.fencerules import Fenced
from tests.agents.recorder.premises import LOCAL, OURS, OURS6, SOMEBODY

pytestmark = pytest.mark.privileged

NG, CLI, HTTP, OWN, FREE = 2223, 2224, 2225, 2299, 2300
REFUSED = {"ECONNREFUSED", "EPERM"}
FENCED = Fenced(ng=NG, address="127.0.0.1", port=OWN, owner=os.geteuid(), tcp=(CLI, HTTP))


@pytest.fixture(scope="module", autouse=True)
def relay(premises):
    premises.udp(NG)
    premises.tcp(NG, CLI, HTTP, FREE)


@pytest.fixture
async def fence(premises):
    made = Fence(FENCED)
    await made.install()
    yield made
    await made.remove()


@contextlib.asynccontextmanager
async def watched(fence):
    """Run the watch, and give what it reports."""
    reports = asyncio.Queue()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(fence.watch(reports.put_nowait))
        await asyncio.sleep(0)
        yield reports
        task.cancel()


async def test_without_a_fence_everybody_gets_through(premises):
    """What the other tests show is the fence's doing."""
    for address in LOCAL:
        assert premises.ask("DGRAM", address, NG, user=SOMEBODY) == "answered"
        assert premises.ask("STREAM", address, CLI, user=SOMEBODY) == "answered"
    assert premises.ask("DGRAM", OURS6, NG, other_host=True) == "answered"


@pytest.mark.parametrize("user", [0, SOMEBODY])
@pytest.mark.parametrize("address", LOCAL)
async def test_a_local_client_is_refused_at_once(premises, fence, address, user):
    """Root or not, over either version of IP, on every control port: refused, not left waiting."""
    assert premises.ask("DGRAM", address, NG, user=user) in REFUSED
    for port in (NG, CLI, HTTP):
        assert premises.ask("STREAM", address, port, user=user) in REFUSED
    assert premises.ask("STREAM", address, FREE, user=user) == "answered"


@pytest.mark.parametrize("address", [OURS, OURS6])
async def test_another_host_is_refused_at_once(premises, fence, address):
    """So is one that uses the port of the agent's own socket."""
    unspecified = "::" if ":" in address else "0.0.0.0"
    assert premises.ask("DGRAM", address, NG, other_host=True) in REFUSED
    own_port = {"source": (unspecified, OWN), "other_host": True}
    assert premises.ask("DGRAM", address, NG, **own_port) in REFUSED
    for port in (NG, CLI, HTTP):
        assert premises.ask("STREAM", address, port, other_host=True) in REFUSED
    assert premises.ask("STREAM", address, FREE, other_host=True) == "answered"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_the_agents_own_socket_talks_to_the_relay(premises, address):
    """It sends and is answered; nobody else does, from the same port elsewhere or in its absence."""
    own = Fence(Fenced(ng=NG, address=address, port=OWN, owner=0, tcp=(CLI,)))
    await own.install()
    try:
        assert premises.ask("DGRAM", address, NG, source=(address, OWN)) == "answered"
        assert premises.ask("DGRAM", address, NG, source=(address, OWN), user=SOMEBODY) in REFUSED
        if address == "127.0.0.1":
            assert premises.ask("DGRAM", address, NG, source=("127.0.0.2", OWN)) in REFUSED
        assert premises.ask("STREAM", address, NG, source=(address, OWN)) in REFUSED
    finally:
        await own.remove()


async def test_the_owner_of_the_socket_counts_where_the_agent_is_not_root(premises):
    """Root itself is not the agent's user."""
    own = Fence(Fenced(ng=NG, address="127.0.0.1", port=OWN, owner=SOMEBODY))
    await own.install()
    try:
        at = {"source": ("127.0.0.1", OWN)}
        assert premises.ask("DGRAM", "127.0.0.1", NG, user=SOMEBODY, **at) == "answered"
        assert premises.ask("DGRAM", "127.0.0.1", NG, user=0, **at) in REFUSED
    finally:
        await own.remove()


async def test_another_hosts_relay_is_not_fenced(premises, fence):
    """Nothing listens there, so the other host itself refuses: the packet went out."""
    premises.nft("add table inet seen; add chain inet seen o { type filter hook postrouting priority 0; };"
                 "add rule inet seen o ip daddr 10.78.0.2 udp dport 2223 counter")  # fmt: skip
    try:
        premises.ask("DGRAM", "10.78.0.2", NG)
        assert "packets 1 " in premises.nft("list table inet seen")
    finally:
        premises.nft("delete table inet seen")


async def test_a_standing_connection_ends(premises):
    """Who was connected to the CLI before the fence is out with the next packet."""
    with socket.create_connection(("127.0.0.1", CLI), 3) as client:
        fence = Fence(FENCED)
        await fence.install()
        try:
            with pytest.raises(ConnectionResetError):
                assert client.send(b"Q") == client.recv(1)
        finally:
            await fence.remove()


@pytest.mark.parametrize("priority", ["-2147483648", "0", "2147483646"])
async def test_a_foreign_accept_does_not_help(premises, fence, priority):
    """Neither does one that is asked before, nor one that came to the same place later."""
    for hook in ("input", "output"):
        premises.nft(f"add table inet open; add chain inet open {hook} "
                     f"{{ type filter hook {hook} priority {priority}; policy accept; }};"
                     f"add rule inet open {hook} udp dport {NG} accept")  # fmt: skip
    try:
        assert await fence.check() == ""
        assert premises.ask("DGRAM", "127.0.0.1", NG) in REFUSED
        assert premises.ask("DGRAM", OURS, NG, other_host=True) in REFUSED
    finally:
        premises.nft("delete table inet open")


async def test_a_translated_port_does_not_help(premises, fence):
    """A rule that turns another port into the relay's leads to the fence."""
    premises.nft("add table inet turn;"
                 "add chain inet turn o { type nat hook output priority -100; };"
                 "add chain inet turn p { type nat hook prerouting priority -100; };"
                 f"add rule inet turn o udp dport 5555 redirect to :{NG};"
                 f"add rule inet turn p udp dport 5555 redirect to :{NG}")  # fmt: skip
    try:
        assert premises.ask("DGRAM", "127.0.0.1", 5555, user=SOMEBODY) != "answered"
        assert premises.ask("DGRAM", OURS, 5555, other_host=True) != "answered"
    finally:
        premises.nft("delete table inet turn")


async def test_it_goes_up_again_over_what_was_left(premises, fence):
    """Installing is idempotent and replaces a table of the name, whatever is in it."""
    before = premises.nft("list table inet callguard")
    premises.nft("add chain inet callguard more; insert rule inet callguard input accept")
    await fence.install()
    assert premises.nft("list table inet callguard") == before
    assert await fence.check() == ""


async def test_it_comes_down_twice(premises, fence):
    """Removing what is not there is no error."""
    await fence.remove()
    await fence.remove()
    assert await fence.check() == "its table was gone"
    assert "callguard" not in premises.nft("list ruleset")


TAMPERING = {
    "flush ruleset": "its table was gone",
    "delete table inet callguard": "its table was gone",
    "flush table inet callguard": "its rules were not ours",
    "flush chain inet callguard output": "its rules were not ours",
    "insert rule inet callguard output accept": "its rules were not ours",
    "add rule inet callguard input accept": "its rules were not ours",
    "add chain inet callguard more": "its chains were not ours",
    "add chain inet callguard input { policy drop; }": "its chains were not ours",
    "add table inet callguard { flags dormant; }": "its table was switched off or taken over",
}


@pytest.mark.parametrize(("command", "breach"), TAMPERING.items())
async def test_whoever_changes_it_it_is_restored_and_reported(premises, fence, command, breach):
    """Each kind of change is told from the others; a second one is noticed like the first."""
    async with watched(fence) as reports:
        for _ in range(2):
            premises.nft(command)
            async with asyncio.timeout(1):
                assert await reports.get() == breach
            assert premises.ask("DGRAM", "127.0.0.1", NG) in REFUSED
    assert await fence.check() == ""


async def test_a_changed_rule_is_noticed(premises, fence):
    """The number of rules is right, and one of them lets another port through."""
    listed = premises.nft("-a", "list", "chain", "inet", "callguard", "input")
    handle = next(line.rsplit(" ", 1)[1] for line in listed.splitlines() if f"dport {CLI}" in line)
    premises.nft(
        f"replace rule inet callguard input handle {handle} tcp dport 99 reject with tcp reset"
    )
    assert await fence.check() == "its rules were not ours"


async def test_foreign_changes_are_not_reported(premises, fence):
    """A busy firewall beside the fence wakes the watch and nothing else."""
    async with watched(fence) as reports:
        for _ in range(5):
            premises.nft("add table inet beside; delete table inet beside")
        premises.nft("delete table inet callguard")
        async with asyncio.timeout(1):
            assert await reports.get() == "its table was gone"
        assert reports.empty()


def test_without_the_privilege_it_says_what_to_do(premises):
    """At once, and in one sentence."""
    program = textwrap.dedent("""
        import asyncio
        from agents.recorder.fence import Fence
        from agents.recorder.fencerules import Fenced
        fence = Fence(Fenced(ng=2223, address="127.0.0.1", port=2299, owner=1))
        for call in (fence.install, fence.check, fence.remove):
            try:
                asyncio.run(call())
            except Exception as error:
                print(type(error).__name__, error)
    """)
    bare = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")
    done = subprocess.run((*bare, sys.executable, "-c", program), capture_output=True, text=True,
                          timeout=20, check=True)  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("FenceError") and "CAP_NET_ADMIN" in line for line in lines)


async def test_the_watch_ends_when_the_fence_cannot_stand(premises, fence):
    """Somebody else owns the table: fail closed."""
    owner = await asyncio.create_subprocess_exec("nft", "-i", stdin=asyncio.subprocess.PIPE)
    try:
        await fence.remove()
        owner.stdin.write(b"add table inet callguard { flags owner; }\n")
        async with asyncio.timeout(5):
            while await fence.check() == "its table was gone":
                pass
            with pytest.raises(FenceError, match="own"):
                await fence.watch(pytest.fail)
    finally:
        owner.stdin.close()
        await owner.wait()


@pytest.mark.parametrize(
    "wrong", [{"ng": 0}, {"port": 70000}, {"port": NG}, {"udp": (OWN,)}, {"address": "localhost"}]
)
def test_what_cannot_work_is_refused(wrong):
    with pytest.raises(ValueError, match=r"port|address"):
        Fenced(**{"ng": NG, "address": "127.0.0.1", "port": OWN, "owner": 0, **wrong})
