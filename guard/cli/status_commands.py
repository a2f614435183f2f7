"""``callguard status`` and ``callguard node list``: who am I, who is there, is all well.

1. What the guard has found open (`guard.core.findings`) is shown and is no failure of the command.
2. A log without its witnesses keeps nothing else from being shown; the command ends with status 3
   then. A log that contradicts what was seen before ends it at once: its guard is not believed.
3. Auditor and legal see how many incidents wait for an assessment, and every clock that is overdue.
"""

from __future__ import annotations

from collections import Counter

import click

from guard.api.v1.audit_service_pb2 import Finding
from guard.cli.connection import Connection
from guard.cli.durations import spoken, stamp
from guard.cli.exits import DiscrepancyError
from guard.cli.incident_words import incident_json, status_lines
from guard.cli.invocation import Command, Group, Invocation, passes
from guard.cli.log_verification import PASSING, Seen, checked_checkpoint, remember
from guard.cli.node_words import node_json, node_lines
from guard.cli.output import plain, table
from guard.cli.plain_words import grid
from guard.cli.profile import read_certificate
from guard.cli.translate import capture_state, moment
from guard.core.fields import format_time
from guard.core.instruments import Role
from guard.core.signingkey import public_part
from guard.core.trust import TrustPolicy

__all__ = ["node", "status"]

_NEWEST = 2000
_TOLD = {Role.AUDITOR, Role.LEGAL}
_LIVE = {"granted", "armed", "stopping"}


@click.command(cls=Command)
@passes
def status(invocation: Invocation) -> None:
    """Say who you are, and whether guard, trust policy and log are well."""
    profile = invocation.profile
    key = profile.signer().public_key
    recipient = str(profile.identity().to_public())
    with invocation.connected() as connection:
        policy = invocation.policy(connection).policy
        seen = _log(invocation, connection, policy)
        live = sum(_live_by_node(connection).values())
        found = connection.list_findings()
        nodes = connection.list_nodes()
        known = policy.principal_by_keyid(key.keyid)
        roles = sorted(known.roles) if known else []
        told = None
        if not _TOLD.isdisjoint(roles):  # Rule 3.
            told = connection.list_incidents(only_open=True)
    until, now = read_certificate(profile.tls_cert).not_valid_after_utc, invocation.now()
    machine = {
        "name": profile.name,
        "roles": roles,
        "signing_key": public_part(key),
        "recipient": recipient,
        "guard": profile.guard,
        "trust_version": policy.version,
        "trust_expires_at": format_time(policy.expires_at),
        "certificate_expires_at": format_time(until),
        **_log_json(seen),
        "live_captures": live,
        "nodes": [node_json(each) for each in nodes],
        "findings": [_finding_json(each) for each in found],
        **({"incidents": [incident_json(each) for each in told.incidents]} if told else {}),
    }
    lines = [
        ("You", f"{profile.name} ({', '.join(roles) or 'not in the trust policy'})"),
        ("Signing key", public_part(key)),
        ("Recipient", recipient),
        ("Certificate", f"until {stamp(until)}, {spoken(until - now)} left"),
        ("Guard", f"{profile.guard}, answers"),
        ("Trust policy", f"version {policy.version}, until {stamp(policy.expires_at)}"),
        ("Log", _log_words(seen)),
        ("Captures", f"{live} live"),
        *node_lines(nodes),
        ("Findings", f"{len(found)} open" if found else "none open"),
        *(("", _finding_line(each)) for each in found),
        *(status_lines(told, now) if told else ()),
    ]
    invocation.output.done(machine, grid(lines))
    if isinstance(seen, DiscrepancyError):
        invocation.end(seen)


def _log(
    invocation: Invocation, connection: Connection, policy: TrustPolicy
) -> Seen | DiscrepancyError:
    """Return the log's newest checkpoint, or why none counts for now (rule 2)."""
    try:
        seen = checked_checkpoint(connection, invocation.profile, policy, now=invocation.now)
    except DiscrepancyError as error:
        if error.kind not in PASSING:
            raise
        return error
    remember(invocation.profile, seen)
    return seen


def _log_json(seen: Seen | DiscrepancyError) -> dict[str, object]:
    if isinstance(seen, DiscrepancyError):
        return {"log_size": None, "log_cosigned_at": None, "log_discrepancy": seen.kind}
    at = format_time(seen.head.cosigned_at)
    return {"log_size": seen.head.size, "log_cosigned_at": at, "log_discrepancy": None}


def _log_words(seen: Seen | DiscrepancyError) -> str:
    if isinstance(seen, DiscrepancyError):
        return f"not cosigned: {seen}"
    return f"{seen.head.size} records, cosigned {stamp(seen.head.cosigned_at)}"


def _finding_json(found: Finding) -> dict[str, object]:
    return {
        "kind": plain(found.kind),
        "node": plain(found.node),
        "grant_id": found.grant_id,
        "authority_id": found.authority_id,
        "number": found.number if found.HasField("number") else None,
        "since": format_time(moment(found.since)),
        "detail": plain(found.detail),
    }


def _finding_line(found: Finding) -> str:
    since = stamp(moment(found.since))
    about = f"{found.node}: " if found.node and found.node not in found.detail else ""
    return f"{found.kind} since {since}: {about}{found.detail}"


def _live_by_node(connection: Connection) -> Counter[str]:
    found = connection.list_captures(_NEWEST)
    return Counter(shown.node for shown in found if capture_state(shown) in _LIVE)


@click.group(cls=Group)
def node() -> None:
    """See the nodes."""


@node.command("list")
@passes
def list_(invocation: Invocation) -> None:
    """List the nodes of the trust policy and how many captures are live on each."""
    with invocation.connected() as connection:
        policy = invocation.policy(connection).policy
        live = _live_by_node(connection)
    rows = [(each.name, each.spiffe_id, live[each.name]) for each in policy.nodes]
    invocation.output.done(
        {"nodes": [dict(zip(("name", "spiffe_id", "live"), row, strict=True)) for row in rows]},
        table(("name", "identity", "live captures"), ((a, b, str(c)) for a, b, c in rows)),
    )
