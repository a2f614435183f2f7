"""``callguard authority``: list, show, approve, revoke.

1. Whoever signs sees first what is signed: `approve` unseals the subjects with the person's own
   key, holds them against the commitment, and asks.
2. What the rules deny is denied here in the guard's words, with the same status; the guard decides
   all the same.
3. No output but that of `approve` and `show` names subjects, and no error does.
"""

from __future__ import annotations

import click

from guard.api.v1.authority_service_pb2 import (
    AddSignatureRequest,
    GetAuthorityRequest,
    RevokeAuthorityRequest,
)
from guard.api.v1.authority_service_pb2 import Authority as Shown
from guard.cli.connection import Connection
from guard.cli.drafting import require_selectable
from guard.cli.durations import stamp
from guard.cli.exits import TroubleError, UsageTroubleError, asking, checking
from guard.cli.ids import ID
from guard.cli.invocation import Group, Invocation, passes
from guard.cli.output import table
from guard.cli.plain_words import consequence, grid, lines_of, members_of
from guard.cli.signing import require_may_approve, signed_by, unsealed, unsealed_if_mine
from guard.cli.translate import authority_json, authority_state, moment
from guard.core.approval import Inspection, inspect
from guard.core.trust import Principal, TrustPolicy

__all__ = ["authority"]


@click.group(cls=Group)
def authority() -> None:
    """List, show, approve and revoke authorities."""


@authority.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@passes
def list_(invocation: Invocation, limit: int) -> None:
    """List authorities, newest first."""
    with invocation.connected() as connection:
        found = connection.list_authorities(limit)
    rows = [_row(shown) for shown in found]
    headings = ("id", "reference", "instrument", "level", "nodes", "state", "until", "missing")
    invocation.output.done(
        {"authorities": [authority_json(shown) for shown in found]},
        table(headings, rows) if rows else "No authority is registered.",
    )


def _row(shown: Shown) -> tuple[str, ...]:
    until = stamp(moment(shown.not_after))
    state = authority_state(shown)
    nodes = ", ".join(shown.nodes)
    return (
        *(shown.id, shown.reference, shown.instrument, shown.level),
        *(nodes, state, until, shown.missing),
    )


@authority.command("show")
@click.argument("id_", metavar="ID", type=ID)
@passes
def show(invocation: Invocation, id_: str) -> None:
    """Show one authority: verified, and with its subjects if they are sealed to you."""
    with invocation.connected() as connection:
        policy = invocation.policy(connection).policy
        shown = _get(connection, id_)
    if not shown.envelope:
        headings = ("id", "reference", "instrument", "level", "nodes", "state", "until", "missing")
        words = list(zip(headings, _row(shown), strict=True))
        words.append(("persons", "shown to those who approve and audit, and to who opened it"))
        invocation.output.done(authority_json(shown), grid(words))
        return
    with checking("the authority"):
        inspection = inspect(shown.envelope, policy, now=invocation.now())
        _require_asked_for(inspection, id_)
        subjects = unsealed_if_mine(inspection.authority, invocation.profile)
    words = [("Id", id_), ("State", authority_state(shown))]
    machine = authority_json(shown) | members_of(inspection, policy, subjects)
    words += lines_of(inspection, policy, subjects)
    invocation.output.done(machine, grid(words))


def _get(connection: Connection, id_: str) -> Shown:
    request = GetAuthorityRequest(authority_id=id_)
    return connection.call(connection.authorities.GetAuthority, request).authority


def _require_asked_for(inspection: Inspection, id_: str) -> None:
    if inspection.authority.id != id_:
        raise TroubleError("the guard sent another authority than the one asked for; refused")


@authority.command("approve")
@click.argument("id_", metavar="ID", type=ID)
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@passes
def approve(invocation: Invocation, id_: str, *, yes: bool) -> None:
    """Show what is about to be signed, ask, and sign it as the second person."""
    if invocation.json_only and not yes:
        raise UsageTroubleError("--json cannot ask: read the authority first, then give --yes")
    signer = invocation.profile.signer()
    with invocation.connected() as connection:
        policy = invocation.policy(connection).policy
        envelope = _get(connection, id_).envelope
        now = invocation.now()
        with checking("the authority"):
            inspection = inspect(envelope, policy, now=now)
        _require_asked_for(inspection, id_)
        with asking():
            person = require_may_approve(envelope, inspection, policy, signer.public_key, now=now)
        _show_before_signing(invocation, inspection, policy, person)
        if not yes:
            click.confirm("Sign it?", abort=True, err=True)
        with asking():
            mine = signed_by(envelope, policy, signer, now=invocation.now())
        request = AddSignatureRequest(authority_id=id_, key_id=mine.keyid, signature=mine.sig)
        after = connection.call(connection.authorities.AddSignature, request).authority
    invocation.output.done(
        authority_json(after),
        f"Signed by {person.name}. {after.reference} is {authority_state(after)}"
        f"{f'; missing: {after.missing}' if after.missing else ''}.",
    )


def _show_before_signing(
    invocation: Invocation, inspection: Inspection, policy: TrustPolicy, person: Principal
) -> None:
    with asking():
        subjects = unsealed(inspection.authority, invocation.profile)
        require_selectable(
            inspection.authority.instrument, inspection.authority.level, subjects, policy
        )
    if not invocation.json_only:
        invocation.output.say(f"You are about to sign, as {person.name}:")
        invocation.output.say("")
        invocation.output.console.print(grid(list(lines_of(inspection, policy, subjects))))
        invocation.output.say("")
        invocation.output.say(consequence(inspection, policy, person, now=invocation.now()))


@authority.command("revoke")
@click.argument("id_", metavar="ID", type=ID)
@click.option("--why", required=True, help="In a few words, for the record. Name no subject.")
@passes
def revoke(invocation: Invocation, id_: str, why: str) -> None:
    """End an authority and every capture under it, at once and for good. Never asks."""
    with invocation.connected() as connection:
        request = RevokeAuthorityRequest(authority_id=id_, why=why)
        after = connection.call(connection.authorities.RevokeAuthority, request).authority
    invocation.output.done(
        authority_json(after),
        f"{after.reference or id_} is {authority_state(after)}. Captures under it end now; see: "
        f"callguard capture list --authority {id_}",
    )
