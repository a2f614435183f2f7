"""``callguard warrant register`` and ``callguard ticket open``.

1. What the rules deny is denied here in the guard's words, with the same status; the guard decides
   all the same.
2. Subjects given as options can be seen by others on this machine in the list of processes; a file
   or standard input cannot. No output of these commands names them.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TextIO

import click

from guard.api.v1.authority_service_pb2 import Authority as Shown
from guard.api.v1.authority_service_pb2 import OpenTicketRequest, RegisterWarrantRequest
from guard.cli.connection import Connection
from guard.cli.drafting import Draft, sealed_and_signed
from guard.cli.durations import DURATION
from guard.cli.exits import asking
from guard.cli.invocation import Group, Invocation, passes
from guard.cli.subject_options import subjects_from
from guard.cli.translate import authority_json
from guard.cli.warrants import read_warrant
from guard.core.enforcement import Enforcement
from guard.core.instruments import Instrument, Role, requester
from guard.core.level import Level
from guard.core.window import Window

__all__ = ["ticket", "warrant"]


@click.group(cls=Group)
def warrant() -> None:
    """Register warrants: any authority that rests on an order, and tests."""


@click.group(cls=Group)
def ticket() -> None:
    """Open troubleshooting tickets."""


@warrant.command("register")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@passes
def register(invocation: Invocation, file: Path) -> None:
    """Seal, sign and register the warrant in FILE (TOML, see config/warrant.example.toml)."""
    _register(invocation, read_warrant(file, now=invocation.now()))


@ticket.command("open")
@click.option("--reference", required=True, help="The ticket's number.")
@click.option("--reason", required=True, help="What is being looked for.")
@click.option("--node", "nodes", required=True, multiple=True, help="On which node; repeatable.")
@click.option(
    "--level",
    type=click.Choice([Level.SIGNALLING.value, Level.MEDIA_HEADERS.value]),
    required=True,
    help="How much: never voice.",
)
@click.option("--number", "numbers", multiple=True, help="A telephone number; repeatable.")
@click.option("--uri", "uris", multiple=True, help="A SIP URI; repeatable.")
@click.option("--call-id", "call_ids", multiple=True, help="A Call-ID; repeatable.")
@click.option(
    "--peer", "peers", multiple=True, help="An address, with or without port; repeatable."
)
@click.option(
    "--subjects-file",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help="Read subjects from FILE, - for standard input: lines like `number +15550001`. Others on "
    "this machine can see options in the list of processes, but not this.",
)
@click.option(
    "--for", "lasts", type=DURATION, required=True, metavar="SPAN", help="How long, like 2h."
)
@click.option("--recipient", "recipients", multiple=True, help="Who may open it.  [default: you]")
@click.option("--max-calls", type=click.IntRange(min=1), help="End after so many calls.")
@click.option("--max-bytes", type=click.IntRange(min=1), help="End after so many bytes.")
@click.option(
    "--enforcement",
    type=click.Choice([each.value for each in Enforcement]),
    help="Demand nodes that do at least this about capture without a grant.",
)
@passes
def open_ticket(  # noqa: PLR0913 - one parameter for each option
    invocation: Invocation,
    *,
    reference: str,
    reason: str,
    nodes: tuple[str, ...],
    level: str,
    numbers: tuple[str, ...],
    uris: tuple[str, ...],
    call_ids: tuple[str, ...],
    peers: tuple[str, ...],
    subjects_file: TextIO | None,
    lasts: timedelta,
    recipients: tuple[str, ...],
    max_calls: int | None,
    max_bytes: int | None,
    enforcement: str | None,
) -> None:
    """Open a ticket: seal, sign and register it. Somebody else must approve it."""
    begin = invocation.now().replace(microsecond=0)
    given = {"number": numbers, "uri": uris, "call-id": call_ids, "peer": peers}
    draft = Draft(
        instrument=Instrument.TICKET,
        reference=reference,
        level=Level(level),
        nodes=nodes,
        window=Window(not_before=begin, not_after=begin + lasts),
        recipients=recipients or (invocation.profile.name,),
        subjects=subjects_from(given, subjects_file),
        reason=reason,
        max_calls=max_calls,
        max_bytes=max_bytes,
        enforcement=None if enforcement is None else Enforcement(enforcement),
    )
    _register(invocation, draft)


def _register(invocation: Invocation, draft: Draft) -> None:
    profile = invocation.profile
    with invocation.connected() as connection:
        policy = invocation.policy(connection).policy
        with asking():
            sealed = sealed_and_signed(
                draft, policy, profile.name, profile.signer(), now=invocation.now()
            )
        shown = _send(connection, draft.instrument, sealed.envelope)
    invocation.output.done(
        authority_json(shown),
        f"Registered {shown.instrument} {shown.reference} as {shown.id}.\n"
        f"{f'Missing: {shown.missing}. ' if shown.missing else ''}"
        f"Next: somebody else runs: callguard authority approve {shown.id}",
    )


def _send(connection: Connection, instrument: Instrument, envelope: bytes) -> Shown:
    if requester(instrument) is Role.OPERATOR:
        ticket_request = OpenTicketRequest(envelope=envelope)
        return connection.call(connection.authorities.OpenTicket, ticket_request).authority
    request = RegisterWarrantRequest(envelope=envelope)
    return connection.call(connection.authorities.RegisterWarrant, request).authority
