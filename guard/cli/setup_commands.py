"""``callguard init`` and ``callguard certificate renew``."""

from __future__ import annotations

from pathlib import Path

import click

from guard.cli.deployment import ADDRESS, ORIGIN, WITNESSES, Deployment, Site, create, split_address
from guard.cli.durations import stamp
from guard.cli.exits import UsageTroubleError
from guard.cli.invocation import Command, Group, Invocation, passes
from guard.cli.output import table
from guard.cli.roster import DEMO, NOBODY, read_roster
from guard.core.fields import format_time

__all__ = ["certificate", "init"]


@click.command(cls=Command)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--demo", is_flag=True, help="Make the accounts, one node and a test list too.")
@click.option(
    "--roster",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Make the people and nodes of this TOML file (config/roster.example.toml).",
)
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="HOST:PORT",
    help="Where the guard is dialled; the first is where it listens.  [default: 127.0.0.1:7443]",
)
@click.option(
    "--witness-address",
    "witnesses",
    multiple=True,
    metavar="HOST:PORT",
    help="Where a witness listens; most must cosign.  [default: 127.0.0.1:7480, 127.0.0.1:7481]",
)
@click.option("--origin", default=ORIGIN, metavar="NAME", show_default=True, help="The log.")
@passes
def init(
    invocation: Invocation,
    folder: Path,
    *,
    demo: bool,
    roster: Path | None,
    addresses: tuple[str, ...],
    witnesses: tuple[str, ...],
    origin: str,
) -> None:
    """Make a new deployment in DIR: roots, trust policy, identities and configuration."""
    if demo and roster is not None:
        raise UsageTroubleError("give --demo or --roster, not both")
    site = Site(addresses=addresses or (ADDRESS,), witnesses=witnesses or WITNESSES, origin=origin)
    for address in (*site.addresses, *site.witnesses):
        split_address(address)
    chosen = DEMO if demo else read_roster(roster) if roster else NOBODY
    create(folder, chosen, site, now=invocation.now())
    people = sorted(person.name for person in chosen.people)
    nodes = sorted(node.name for node in chosen.nodes)
    invocation.output.done(
        {"folder": str(folder), "people": people, "nodes": nodes, "guard": site.addresses[0]},
        _next_steps(folder, people, nodes, witnesses=len(site.witnesses)),
    )


@click.group(cls=Group)
def certificate() -> None:
    """Renew the TLS certificates of a deployment."""


@certificate.command("renew")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True))
@click.argument("names", metavar="[NAME]...", nargs=-1)
@passes
def renew(invocation: Invocation, folder: Path, names: tuple[str, ...]) -> None:
    """Give everybody in the deployment DIR, or those named, new TLS keys and certificates.

    They last 397 days. Signing and sealing keys stay. Carry the new tls.key and tls.crt to where
    the folders are in use; guard and agents take them up while they run.
    """
    deployment = Deployment(folder)
    holders = deployment.holders()
    if strangers := set(names) - holders.keys():
        raise UsageTroubleError(f"nobody here is called {', '.join(sorted(strangers))}")
    ends = {
        name: deployment.renew(holders[name], now=invocation.now()) for name in names or holders
    }
    invocation.output.done(
        {"renewed": {name: format_time(end) for name, end in ends.items()}},
        table(("name", "certificate until"), ((name, stamp(end)) for name, end in ends.items())),
    )


def _next_steps(folder: Path, people: list[str], nodes: list[str], *, witnesses: int) -> str:
    lines = [
        f"A deployment is in {folder}.",
        "",
        "Start it:",
        *(
            f"  callguard witness serve --config {folder}/witness/witness-{number}/witness.toml"
            for number in range(1, witnesses + 1)
        ),
        f"  callguard serve --config {folder / 'guard/guard.toml'}",
        *(
            f"  callguard-agent run --config {folder / 'nodes' / node / 'agent.toml'}"
            for node in nodes
        ),
    ]
    if people:
        lines += [
            "",
            f"People ({', '.join(people)}):",
            f"  callguard --profile {folder / 'people' / people[0]} status",
        ]
    else:
        lines += [
            "",
            "Nobody is named yet. Write a roster (config/roster.example.toml), then:",
            f"  callguard trust propose roster.toml --deployment {folder}",
        ]
    lines += [
        "",
        f"Afterwards take the keys in {folder / 'roots'} offline, to three people; two of them",
        "sign each new trust policy. Take the witnesses to other people's machines.",
    ]
    return "\n".join(lines)
