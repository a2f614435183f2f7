"""Keeps the relay's control ports to the agent: puts the fence up, looks at it, puts it up again.

What the fence is made of is written in `fencerules`. Here:

1. It goes up in one transaction, in place of what a former agent left: there is no instant at
   which the old one is gone and the new one is not there.
2. It outlives the agent: a relay whose agent died stays out of reach.
3. The kernel's word counts: after it went up, and whenever the kernel says that any rule changed,
   the tables are read and compared. A reading during which they changed is read again; tables of
   a generation that was found whole are not.
4. A fence that is not exactly ours is replaced first and reported then.
5. What cannot be done raises FenceError, which says what to do. Whoever runs the fence must not
   go on without it.

Whoever may change nftables (CAP_NET_ADMIN) can take the fence down for as long as it takes to
notice; that is why it is watched and reported, not merely put up.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, NoReturn, Self

from pyroute2.netlink import NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg
from pyroute2.netlink.nfnetlink.nftsocket import (
    NFT_MSG_GETCHAIN,
    NFT_MSG_GETGEN,
    NFT_MSG_GETRULE,
    NFT_MSG_GETTABLE,
    AsyncNFTSocket,
    nft_rule_msg,
)

from agents.recorder.fencerules import CHAINS, INET, PRIORITY, Fenced, Step, build, demolish, rules

__all__ = ["TABLE", "Fence", "FenceError"]

TABLE: Final = "callguard"

_PATIENCE = 2.0
_SETTLING = 0.02  # One transaction is many notices: look once.
_ANYWAY = 1.0
_ATTEMPTS = 5
_BEGIN, _END = 0x10, 0x11
_NETLINK_NETFILTER, _RULES_CHANGED = 12, 1 << 6  # NFNLGRP_NFTABLES is group 7.
_ADVICE = {
    errno.EPERM: "the agent needs CAP_NET_ADMIN, and no other program may own its table",
    errno.EACCES: "the agent needs CAP_NET_ADMIN in the relay's network namespace",
    errno.EINVAL: "the kernel needs nf_tables (CONFIG_NF_TABLES_INET)",
    errno.EPROTONOSUPPORT: "the kernel needs nf_tables (CONFIG_NF_TABLES_INET)",
    errno.EAFNOSUPPORT: "the kernel needs nf_tables (CONFIG_NF_TABLES_INET)",
    errno.EOPNOTSUPP: "the kernel needs nf_tables (CONFIG_NF_TABLES_INET)",
    errno.ENOENT: "the kernel needs nf_tables with reject (CONFIG_NFT_REJECT_INET)",
}


class FenceError(Exception):
    """The relay's control ports cannot be kept to the agent; the message says what to do."""


class Fence:
    """The fence of one relay, in the network namespace of the thread that runs the event loop."""

    def __init__(self, fenced: Fenced, *, table: str = TABLE) -> None:
        self._fenced = fenced
        self._table = table
        self._whole: int | None = None
        self._expected = {chain: [_read(rule) for rule in _sent(fenced, chain)] for chain in CHAINS}

    async def install(self) -> None:
        """Put the fence up, whether one stands or not (rule 1); raises FenceError."""
        async with _nftables("putting up the fence") as kernel:
            await _generation(kernel)  # Asks for leave: a refused transaction is not answered.
            await _transact(kernel, build(self._fenced, self._table))
        if breach := await self.check():  # Rule 3.
            raise FenceError(f"the fence went up, but {breach}; look at it with nft list ruleset")

    async def remove(self) -> None:
        """Take the fence down, whether one stands or not; raises FenceError."""
        async with _nftables("taking down the fence") as kernel:
            await _generation(kernel)
            await _transact(kernel, demolish(self._table))

    async def check(self) -> str:
        """Say in a few words what is wrong with the fence; an empty string when nothing is."""
        async with _nftables("reading the fence") as kernel:
            for _ in range(_ATTEMPTS):
                before = await _generation(kernel)
                if before == self._whole:
                    return ""
                breach = await self._breach(kernel)
                if await _generation(kernel) == before:
                    self._whole = before if not breach else None
                    return breach
        return "it changes faster than it can be read"

    async def watch(self, report: Callable[[str], None]) -> NoReturn:
        """Put the fence up again whenever it is not ours, and report what was wrong (rule 4).

        Runs until it is cancelled; raises FenceError when the fence cannot be put up or read.
        """
        with _Changes() as changes:
            while True:
                if breach := await self.check():
                    await self.install()
                    report(breach)
                await changes.wait()

    async def _breach(self, kernel: AsyncNFTSocket) -> str:
        ours = [
            each
            async for each in _dump(kernel, NFT_MSG_GETTABLE)
            if each.get_attr("NFTA_TABLE_NAME") == self._table
        ]
        if not ours:
            return "its table was gone"
        if ours[0].get_attr("NFTA_TABLE_FLAGS"):
            return "its table was switched off or taken over"
        hooks = {
            each.get_attr("NFTA_CHAIN_NAME"): _hook(each)
            async for each in _dump(kernel, NFT_MSG_GETCHAIN)
            if each.get_attr("NFTA_CHAIN_TABLE") == self._table
        }
        if hooks != {name: (hook, PRIORITY, 1, "filter") for name, hook in CHAINS.items()}:
            return "its chains were not ours"
        found: dict[str, list[Any]] = {name: [] for name in CHAINS}
        async for each in _dump(kernel, NFT_MSG_GETRULE):
            if each.get_attr("NFTA_RULE_TABLE") == self._table:
                found.setdefault(each.get_attr("NFTA_RULE_CHAIN"), []).append(_read(each))
        if not _holds(self._expected, found):
            return "its rules were not ours"
        return ""


class _Changes:
    """Hears from the kernel that nftables changed, whoever changed it."""

    def __enter__(self) -> Self:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        except OSError as error:
            raise _refused("watching the fence", error.errno) from error
        try:
            self._socket.setblocking(False)
            self._socket.bind((0, _RULES_CHANGED))
        except OSError as error:
            self._socket.close()
            raise _refused("watching the fence", error.errno) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def wait(self) -> None:
        """Return soon after a change, and now and then without one."""
        # An overrun (ENOBUFS) is a change, too; nothing is told from the notices themselves.
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_ANYWAY):
                await asyncio.get_running_loop().sock_recv(self._socket, 1)
        await asyncio.sleep(_SETTLING)
        with contextlib.suppress(OSError):
            while True:
                self._socket.recv(1)


@contextlib.asynccontextmanager
async def _nftables(step: str) -> AsyncIterator[AsyncNFTSocket]:
    try:
        async with asyncio.timeout(_PATIENCE), AsyncNFTSocket(nfgen_family=INET) as kernel:
            yield kernel
    except NetlinkError as error:
        raise _refused(step, error.code) from error
    except TimeoutError as error:
        raise FenceError(f"{step}: the kernel does not answer; see its log (dmesg)") from error
    except OSError as error:
        raise _refused(step, error.errno) from error


def _refused(step: str, code: int | None) -> FenceError:
    name = errno.errorcode.get(code or 0, f"error {code}")
    advice = _ADVICE.get(code or 0, "look at the kernel's log (dmesg) and at nft list ruleset")
    return FenceError(f"{step}: {name}; {advice}")


async def _generation(kernel: AsyncNFTSocket) -> int:
    flags = NLM_F_REQUEST | NLM_F_ACK
    answers = await kernel.request_get(nfgen_msg(), NFT_MSG_GETGEN, flags)
    # Read to its end: an abandoned answer would be taken for the next one's.
    numbers: list[int] = [each.get_attr("NFTA_GEN_ID") async for each in answers]
    return numbers[0]


async def _dump(kernel: AsyncNFTSocket, what: int) -> AsyncIterator[Any]:
    answers = await kernel.request_get(nfgen_msg(), what, NLM_F_REQUEST | NLM_F_DUMP)
    async for each in answers:
        yield each


async def _transact(kernel: AsyncNFTSocket, steps: list[Step]) -> None:
    messages = [_edge(_BEGIN)]
    for kind, creates, message in steps:
        message["header"]["type"] = NFNL_SUBSYS_NFTABLES << 8 | kind
        more = NLM_F_CREATE | NLM_F_APPEND if creates else 0
        message["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | more
        messages.append(message)
    messages.append(_edge(_END))
    async for _ in kernel.nlm_request_batch(messages):
        pass


def _edge(kind: int) -> nfgen_msg:
    message = nfgen_msg()
    message["res_id"] = NFNL_SUBSYS_NFTABLES
    message["header"]["type"] = kind
    message["header"]["flags"] = NLM_F_REQUEST
    return message


def _hook(chain: Any) -> tuple[Any, ...] | None:  # noqa: ANN401 - pyroute2 has no types
    hook = chain.get_attr("NFTA_CHAIN_HOOK")
    if hook is None:
        return None
    number, priority = (hook.get_attr(f"NFTA_HOOK_{name}") for name in ("HOOKNUM", "PRIORITY"))
    return (
        number,
        priority,
        chain.get_attr("NFTA_CHAIN_POLICY"),
        chain.get_attr("NFTA_CHAIN_TYPE"),
    )


def _sent(fenced: Fenced, chain: str) -> list[Any]:
    """Return the rules of a chain as they would be read back."""
    messages = []
    for expressions in rules(fenced, chain):
        written = nft_rule_msg()
        written["attrs"] = [("NFTA_RULE_EXPRESSIONS", expressions)]
        written.encode()
        message = nft_rule_msg(written.data)
        message.decode()
        messages.append(message)
    return messages


def _read(rule: Any) -> list[Any]:  # noqa: ANN401 - pyroute2 has no types
    return [_plain(each) for each in rule.get_attr("NFTA_RULE_EXPRESSIONS") or ()]


def _plain(value: Any) -> Any:  # noqa: ANN401 - pyroute2 has no types
    attributes = value.get("attrs") if hasattr(value, "get") else None
    if not attributes:
        return value
    return {each[0]: _plain(each[1]) for each in attributes}


def _holds(expected: Any, found: Any) -> bool:  # noqa: ANN401 - a tree
    """Compare trees; a later kernel may say more about an expression, but not other things."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(
            key in found and _holds(value, found[key]) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(expected) == len(found)
            and all(map(_holds, expected, found))
        )
    return bool(expected == found)
