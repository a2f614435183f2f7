"""``callguard trust``: show, propose, sign, publish.

1. A proposal is an envelope without signatures in a file. Each root holder signs that file, on a
   machine of the holder's choice, offline; the guard is needed only to fetch and to publish.
2. Whoever signs sees what changes against the version in force, and is asked.
3. `publish` holds the result against this profile's own trust first: what the guard would refuse is
   refused here.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from guard.api.v1.trust_service_pb2 import PublishTrustPolicyRequest
from guard.cli.deployment import Deployment
from guard.cli.durations import spoken, stamp
from guard.cli.exits import TroubleError, UsageTroubleError, asking, checking
from guard.cli.folders import make_signing_key
from guard.cli.invocation import Group, Invocation, passes
from guard.cli.plain_words import grid
from guard.cli.profile import write_whole
from guard.cli.revision import changes, next_version
from guard.cli.roster import read_roster
from guard.core.envelope import Envelope, Kind, add_signature, encode, parse, verified_keyids
from guard.core.note import encode_vkey
from guard.core.signingkey import public_part
from guard.core.trust import InstrumentRule, TrustPolicy, advance, encode_policy, parse_policy
from guard.keys import KeyFileError, load_signer

__all__ = ["trust"]

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=Group)
def trust() -> None:
    """Show, propose, sign and publish the trust policy."""


@trust.command("show")
@passes
def show(invocation: Invocation) -> None:
    """Fetch the trust policy, verify it against your pinned roots, and show it."""
    with invocation.connected() as connection:
        policy = invocation.policy(connection).policy
    invocation.output.done(json.loads(encode_policy(policy)), grid(list(_lines(policy))))


def _lines(policy: TrustPolicy) -> list[tuple[str, str]]:
    lines = [
        ("Version", f"{policy.version}, issued {stamp(policy.issued_at)}"),
        ("Expires", stamp(policy.expires_at)),
        ("Roots", f"{policy.roots.threshold} of {len(policy.roots.keys)} must sign"),
    ]
    lines += [
        ("People", f"{each.name} ({', '.join(sorted(each.roles))})") for each in policy.principals
    ]
    lines += [("Nodes", f"{each.name}, its sentry: {each.sentry}") for each in policy.nodes]
    lines += [("Guards", each.name) for each in policy.guards]
    lines += [("Log", policy.log.vkey)]
    lines += [("Witnesses", encode_vkey(each.key)) for each in policy.log.witnesses]
    lines += [("Quorum", policy.log.words())]
    lines += [
        ("Instruments", f"{instrument}: {_rule_words(rule)}")
        for instrument, rule in policy.instruments.items()
    ]
    return [*lines, ("Test list", f"{len(policy.test_subjects)} subjects")]


def _rule_words(rule: InstrumentRule) -> str:
    return (
        f"{', '.join(sorted(rule.levels))}; registered by {rule.registrant}, {rule.approvals} "
        f"approval(s) by {rule.approver}; {spoken(rule.longest)} at the longest"
    )


@trust.command("propose")
@click.argument("roster", type=_FILE)
@click.option(
    "--deployment",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Go on from the newest version in DIR/trust, and make folders there for the new.",
)
@click.option("--base", type=_FILE, metavar="FILE", help="Go on from this signed version.")
@click.option("--out", type=_FILE, metavar="FILE", help="Where to put the proposal.")
@passes
def propose(
    invocation: Invocation,
    roster: Path,
    deployment: Path | None,
    base: Path | None,
    out: Path | None,
) -> None:
    """Write the next version as ROSTER (TOML, see config/roster.example.toml) changes it."""
    wanted, now = read_roster(roster), invocation.now()
    place = Deployment(deployment) if deployment else None
    before = _base(invocation, place, base)
    target = out or (place.folder / "trust" / f"{before.version + 1}.json" if place else None)
    if target is None:
        raise UsageTroubleError("say where to put the proposal with --out")
    if target.exists():
        raise UsageTroubleError(f"{target} exists already; sign it, or remove it first")
    if place:
        wanted = place.admit(wanted, before, place.site(), now=now)
    with asking():
        after = next_version(before, wanted, now=now)
        proposal = Envelope(payload=encode_policy(after), kind=Kind.TRUST_POLICY, signatures=())
    write_whole(target, encode(proposal), mode=0o644)
    lines = changes(before, after)
    rotation = " (of the old and of the new roots)" if before.roots != after.roots else ""
    invocation.output.done(
        {"file": str(target), "version": after.version, "changes": lines},
        "\n".join(
            [
                f"Version {after.version} is proposed in {target}:",
                *(f"  {line}" for line in lines),
                f"Next, {before.roots.threshold} root holders, each with a key{rotation}:",
                f"  callguard trust sign {target} --root KEYFILE",
            ]
        ),
    )


def _base(invocation: Invocation, place: Deployment | None, base: Path | None) -> TrustPolicy:
    if base is None and place is not None:
        if not place.policies:
            raise UsageTroubleError(f"{place.folder} has no trust policy; was it made by init?")
        base = place.policies[-1]
    if base is None:
        with invocation.connected() as connection:
            return invocation.policy(connection).policy
    policy = _policy_of(_read(base))
    if _signed_by(_read(base), policy) < policy.roots.threshold:
        raise UsageTroubleError(f"{base} is not signed by enough roots yet; sign or remove it")
    return policy


def _read(path: Path) -> Envelope:
    try:
        with checking(str(path)):
            return parse(path.read_bytes(), Kind.TRUST_POLICY)
    except OSError as error:
        raise UsageTroubleError(f"cannot read {path}: {error.strerror}") from error


def _policy_of(envelope: Envelope) -> TrustPolicy:
    with checking("the trust policy"):
        return parse_policy(envelope.payload)


def _signed_by(envelope: Envelope, policy: TrustPolicy) -> int:
    """Count the roots of ``policy`` that signed; a signature by anybody else does not count."""
    keys = {key.keyid: key for key in policy.roots.keys}
    own = tuple(each for each in envelope.signatures if each.keyid in keys)
    with checking("the trust policy"):
        return len(
            verified_keyids(
                Envelope(payload=envelope.payload, kind=envelope.kind, signatures=own), keys
            )
        )


def _lacking(envelope: Envelope, policy: TrustPolicy) -> int:
    return max(0, policy.roots.threshold - _signed_by(envelope, policy))


@trust.command("sign")
@click.argument("file", type=_FILE)
@click.option("--root", "key", type=_FILE, required=True, metavar="KEYFILE", help="A root's key.")
@click.option("--base", type=_FILE, metavar="FILE", help="Show what changes against this version.")
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@passes
def sign(invocation: Invocation, file: Path, *, key: Path, base: Path | None, yes: bool) -> None:
    """Show what a proposal says, ask, and add a root holder's signature to FILE."""
    if invocation.json_only and not yes:
        raise UsageTroubleError("--json cannot ask: read the proposal first, then give --yes")
    envelope = _read(file)
    policy = _policy_of(envelope)
    before = _policy_of(_read(base)) if base else None
    for line in (f"Trust policy, version {policy.version}:", *changes(before, policy)):
        invocation.output.say(line)
    if not yes:
        click.confirm("Sign it?", abort=True, err=True)
    try:
        signer = load_signer(key)
    except KeyFileError as error:
        raise TroubleError(str(error)) from error
    with asking():
        signed = add_signature(envelope, signer)
    write_whole(file, encode(signed), mode=0o644)
    count = _signed_by(signed, policy)
    missing = max(_lacking(signed, each) for each in (policy, before) if each)
    invocation.output.done(
        {"file": str(file), "version": policy.version, "signatures": count, "missing": missing},
        f"{count} of {policy.roots.threshold} signatures of its roots. "
        + (f"{missing} more to come." if missing else _publishing(file)),
    )


@trust.command("key")
@click.argument("file", type=_FILE)
@click.option("--new", is_flag=True, help="Make a new Ed25519 key in FILE first.")
@passes
def key(invocation: Invocation, file: Path, *, new: bool) -> None:
    """Print the public half of a signing key, as a roster names it."""
    try:
        if new:
            make_signing_key(file)
        public = public_part(load_signer(file).public_key)
    except KeyFileError as error:
        raise TroubleError(str(error)) from error
    except OSError as error:
        raise TroubleError(f"cannot make {file}: {error.strerror}") from error
    invocation.output.done({"file": str(file), "public": public}, public)


def _publishing(file: Path) -> str:
    return (
        f"Next: callguard trust publish {file}\n"
        "As long as the policy in force names nobody, nobody can publish: copy it to the guard's "
        "trust.json instead and start the guard again."
    )


@trust.command("publish")
@click.argument("file", type=_FILE)
@passes
def publish(invocation: Invocation, file: Path) -> None:
    """Put a signed version in force."""
    envelope = encode(_read(file))
    with invocation.connected() as connection:
        current = invocation.policy(connection)
        with asking():
            advance(current, [envelope], now=invocation.now())
        request = PublishTrustPolicyRequest(envelope=envelope)
        version = connection.call(connection.trust.PublishTrustPolicy, request).version
        invocation.policy(connection)
    invocation.output.done(
        {"version": version}, f"Version {version} is in force; nodes get it within seconds."
    )
