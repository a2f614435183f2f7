"""What a command of ``callguard log`` reads: which log, under which policy, records from where.

1. With ``--log`` and ``--policy`` nothing else is needed: no profile, no guard, no network but the
   log's own address.
2. Without ``--policy`` the profile's trust policy counts. Without a profile either, it is the one
   that lies beside the log, and it is said that this proves nothing.
3. Records come from a file with ``--records``, else from the guard of the profile, which puts the
   reading on record. The roots that receipts are verified from are those of ``--roots``, else the
   profile's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from rich.console import Console
from rich.progress import Progress

from guard.cli.exits import TroubleError, UnreachableError, UsageTroubleError, checking
from guard.cli.invocation import Invocation, remembered_policies
from guard.cli.output import Output
from guard.cli.public_log import PublicLogFiles
from guard.core.logpolicy import LogPolicy, parse_log_policy
from guard.core.reasons import Refused
from guard.core.trust import PinnedRoots, advance, parse_roots

__all__ = [
    "at_log",
    "input_file",
    "log_policy",
    "pinned_roots",
    "read_file",
    "shown_progress",
    "under_policy",
    "with_records",
]

_LARGEST: Final = 64 << 20

_Command = TypeVar("_Command", bound=Callable[..., Any])


def input_file(name: str, text: str) -> Callable[[_Command], _Command]:
    """Return an option that names a file to read."""
    kind = click.Path(path_type=Path, dir_okay=False, exists=True)
    return click.option(name, type=kind, metavar="FILE", help=text)


at_log = click.option(
    "--log", "where", metavar="DIR|URL", help="The public log: its folder or http(s) address."
)
under_policy = input_file("--policy", "The tlog-policy: the keys of log and witnesses.")
with_records = input_file("--records", "Records kept by `log entries --out`.")


def read_file(path: Path, *, most: int = _LARGEST) -> bytes:
    """Return a file's content, of ``most`` octets at the most; raises TroubleError."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise TroubleError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > most:
        raise TroubleError(f"{path} is larger than {most >> 20} MiB: it is no file of this kind")
    return content


def log_policy(invocation: Invocation, files: PublicLogFiles, path: Path | None) -> LogPolicy:
    """Return the policy that counts (rules 1 and 2); raises a `Failure`."""
    if path is not None:
        return _parsed(read_file(path), str(path))
    if invocation.folder is not None:
        return _trusted(invocation)
    Output.note(
        "warning: the keys come from the log itself: whoever forged the one forged the other. "
        "Get the policy from somebody you trust and name it with --policy FILE."
    )
    return _parsed(files.policy(), f"{files.where}/policy")


def _parsed(data: bytes, name: str) -> LogPolicy:
    try:
        return parse_log_policy(data.decode("utf-8", "surrogateescape"))
    except Refused as refused:
        raise UsageTroubleError(f"{name}: {refused.detail}") from refused


def _trusted(invocation: Invocation) -> LogPolicy:
    """Return what the profile's trust policy says, the newest one if the guard is there."""
    try:
        with invocation.connected() as connection:
            return invocation.policy(connection).policy.log
    except UnreachableError as error:
        known = remembered_policies(invocation.profile)
        if not known:
            raise UnreachableError(f"{error}; or name the keys with --policy FILE") from error
        Output.note(f"{error}; the trust policy seen last counts")
    with checking("the trust policy"):
        roots = invocation.profile.pinned_roots()
        return advance(roots, list(known.values()), now=invocation.now()).policy.log


def pinned_roots(invocation: Invocation, path: Path | None) -> PinnedRoots:
    """Return the roots from which trust policies on record are followed (rule 3)."""
    if path is None and invocation.folder is None:
        raise UsageTroubleError(
            "records are verified from the roots of trust: name them with --roots FILE"
        )
    if path is None:
        return invocation.profile.pinned_roots()
    with checking(str(path)):
        return parse_roots(read_file(path))


@contextmanager
def shown_progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far something has come; nowhere else."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(what, total=total)
        yield lambda done: shown.update(task, completed=done)
