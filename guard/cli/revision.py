"""From one version of the trust policy and a roster to the next version.

1. Who and what is not mentioned stays as before; rules and log always do.
2. A known person who brings a new key keeps the old one on record, ended now. A signature is worth
   what its key is worth when it is used, so what was signed with it must be signed again.
3. What the result may be is `guard.core.trust`'s to say: it refuses two people with one key.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from guard.cli.certificates import spiffe_id
from guard.cli.exits import UsageTroubleError
from guard.cli.roster import NodeEntry, Person, Roster, WitnessList
from guard.core.enforcement import SentryMode
from guard.core.logpolicy import LogPolicy, parse_log_policy, policy_text
from guard.core.signingkey import public_part
from guard.core.trust import NodeIdentity, Principal, SigningKey, TrustPolicy
from guard.core.window import Window

__all__ = ["changes", "names_in", "next_version", "revised"]

_KEY_LIFE = timedelta(days=2 * 365)


def revised(policy: TrustPolicy, roster: Roster, *, now: datetime) -> TrustPolicy:
    """Return the policy as the roster changes it, under the same version.

    Raises UsageTroubleError for somebody to be removed who is not there and for somebody new
    without keys; Refused for a policy that may not be (rule 3).
    """
    now = now.replace(microsecond=0)
    people = {each.name: each for each in policy.principals if each.name not in roster.remove}
    nodes = {each.name: each for each in policy.nodes if each.name not in roster.remove}
    if strangers := roster.remove - names_in(policy):
        raise UsageTroubleError(f"nobody of that name to remove: {', '.join(sorted(strangers))}")
    people |= {each.name: _principal(each, people.get(each.name), now) for each in roster.people}
    nodes |= {each.name: _node(each, nodes.get(each.name)) for each in roster.nodes}
    return replace(
        policy,
        issued_at=now,
        expires_at=now + roster.lasts,
        principals=tuple(people.values()),
        nodes=tuple(nodes.values()),
        log=_log(policy.log, roster.witnesses),
        roots=roster.roots or policy.roots,
        test_subjects=policy.test_subjects
        if roster.test_subjects is None
        else roster.test_subjects,
    )


def names_in(policy: TrustPolicy) -> frozenset[str]:
    """Return the names of the people and nodes of a policy."""
    people = (each.name for each in policy.principals)
    return frozenset((*people, *(each.name for each in policy.nodes)))


def next_version(policy: TrustPolicy, roster: Roster, *, now: datetime) -> TrustPolicy:
    """Return the version after ``policy``, as the roster changes it; raises as `revised`."""
    return replace(revised(policy, roster, now=now), version=policy.version + 1)


def _log(before: LogPolicy, witnesses: WitnessList | None) -> LogPolicy:
    if witnesses is None:
        return before
    return parse_log_policy(policy_text(before.vkey, witnesses.vkeys, witnesses.quorum))


def _principal(person: Person, before: Principal | None, now: datetime) -> Principal:
    half = person.half
    if half is None:
        if before is None:
            raise _keyless(person.name)
        return replace(before, roles=person.roles)
    keys = before.signing_keys if before else ()
    publics = {public_part(each.key) for each in keys if each.valid.contains(now)}
    if public_part(half.key) not in publics:
        fresh = SigningKey(key=half.key, valid=Window(not_before=now, not_after=now + _KEY_LIFE))
        keys = (*(_ended(each, now) for each in keys), fresh)
    return Principal(
        name=person.name,
        spiffe_id=spiffe_id("person", person.name),
        roles=person.roles,
        signing_keys=keys,
        recipient=half.recipient,
    )


def _ended(key: SigningKey, now: datetime) -> SigningKey:
    if not key.valid.contains(now) or key.valid.not_before >= now:
        return key
    return replace(key, valid=Window(not_before=key.valid.not_before, not_after=now))


def _node(entry: NodeEntry, before: NodeIdentity | None) -> NodeIdentity:
    half = entry.half
    if half is None:
        if before is None:
            raise _keyless(entry.name)
        return replace(before, sentry=entry.sentry or before.sentry)
    return NodeIdentity(
        name=entry.name,
        spiffe_id=spiffe_id("node", entry.name),
        key=half.key,
        recipient=half.recipient,
        sentry=entry.sentry or (before.sentry if before else SentryMode.OBSERVE),
    )


def _keyless(name: str) -> UsageTroubleError:
    return UsageTroubleError(
        f"{name} is new and has no keys: give signing_key and recipient, or name the deployment's "
        "folder with --deployment to make them"
    )


def changes(before: TrustPolicy | None, after: TrustPolicy) -> list[str]:
    """Say in words what ``after`` changes, test subjects only by their number."""
    lines: list[str] = []
    for what, old, new in (
        ("person", before.principals if before else (), after.principals),
        ("node", before.nodes if before else (), after.nodes),
        ("guard", before.guards if before else (), after.guards),
    ):
        was, now = ({each.name: each for each in each_side} for each_side in (old, new))
        lines += [f"+ {what} {_words(now[name])}" for name in now if name not in was]
        lines += [f"- {what} {name}" for name in was if name not in now]
        lines += [
            f"~ {what} {_words(now[name])}"
            for name in now
            if name in was and was[name] != now[name]
        ]
    parts = ("roots", "log", "instruments", "checkpoint_max_age", "clock_tolerance")
    if before:
        lines += [
            f"~ {part}{_numbers(after, part)}"
            for part in parts
            if getattr(before, part) != getattr(after, part)
        ]
    if not before or before.test_subjects != after.test_subjects:
        lines.append(f"~ test list: {len(after.test_subjects)} subjects")
    return lines


def _numbers(policy: TrustPolicy, part: str) -> str:
    match part:
        case "roots":
            return f": {policy.roots.threshold} of {len(policy.roots.keys)} must sign from then on"
        case "log":
            return f": {policy.log.words()} must cosign"
    return ""


def _words(entry: object) -> str:
    if isinstance(entry, NodeIdentity):
        return f"{entry.name}, its sentry: {entry.sentry}"
    if not isinstance(entry, Principal):
        return str(getattr(entry, "name", ""))
    roles = ", ".join(sorted(role.value for role in entry.roles))
    return f"{entry.name} ({roles}), {len(entry.signing_keys)} signing key(s)"
