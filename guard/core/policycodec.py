"""The trust policy as a document: canonical JSON and back.

Lists of people, nodes, guards, keys and instruments keep the order they were signed in; roles and
levels are sorted, so that a policy has one spelling.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from guard.core import canonical
from guard.core.enforcement import SentryMode
from guard.core.envelope import MAX_ENVELOPE
from guard.core.fields import Fields, encode_seconds, format_time, require
from guard.core.identities import (
    GuardIdentity,
    NodeIdentity,
    Principal,
    Roots,
)
from guard.core.instruments import (
    MOST_APPROVALS,
    Instrument,
    InstrumentRule,
    Role,
    parse_instrument,
)
from guard.core.level import Level
from guard.core.logpolicy import MAX_POLICY, parse_log_policy
from guard.core.policy import TrustPolicy
from guard.core.signingkey import (
    key_fields,
    signing_key_fields,
    take_key,
    take_signing_key,
)
from guard.core.subjects import subject_fields, take_subject

_MOST_PEOPLE = 1000
_MOST_MACHINES = 1000
_MOST_KEYS = 16
_DAY = 86_400
_MOST_SECONDS = 400 * _DAY
_LARGEST = 2**53 - 1

_E = TypeVar("_E", bound=StrEnum)
_T = TypeVar("_T")


def encode_policy(policy: TrustPolicy) -> bytes:
    """Write the payload of a trust policy."""
    return canonical.encode(
        {
            "checkpoint_max_age_seconds": encode_seconds(policy.checkpoint_max_age),
            "clock_tolerance_seconds": encode_seconds(policy.clock_tolerance),
            "expires_at": format_time(policy.expires_at),
            "guards": [_guard_fields(each) for each in policy.guards],
            "instruments": _rules_fields(policy.instruments),
            "issued_at": format_time(policy.issued_at),
            "log_policy": policy.log.text,
            "nodes": [_node_fields(each) for each in policy.nodes],
            "principals": [_principal_fields(each) for each in policy.principals],
            "roots": roots_fields(policy.roots),
            "test_subjects": [subject_fields(each) for each in policy.test_subjects],
            "version": policy.version,
        }
    )


def parse_policy(payload: bytes) -> TrustPolicy:
    """Read the payload of a trust policy; its signatures are ``trust.advance``'s to check."""
    fields = Fields(canonical.decode(payload, limit=MAX_ENVELOPE), "policy")
    policy = TrustPolicy(
        version=fields.integer("version", least=1, most=_LARGEST),
        issued_at=fields.time("issued_at"),
        expires_at=fields.time("expires_at"),
        roots=take_roots(fields.child("roots")),
        principals=tuple(
            _take_principal(each)
            for each in fields.objects("principals", least=0, most=_MOST_PEOPLE)
        ),
        nodes=tuple(
            _take_node(each) for each in fields.objects("nodes", least=0, most=_MOST_MACHINES)
        ),
        guards=tuple(
            _take_guard(each) for each in fields.objects("guards", least=1, most=_MOST_KEYS)
        ),
        log=parse_log_policy(fields.document("log_policy", longest=MAX_POLICY)),
        instruments=_take_rules(fields),
        test_subjects=tuple(
            take_subject(each)
            for each in fields.objects("test_subjects", least=0, most=_MOST_PEOPLE)
        ),
        checkpoint_max_age=fields.seconds(
            "checkpoint_max_age_seconds", least=1, most=_MOST_SECONDS
        ),
        clock_tolerance=fields.seconds("clock_tolerance_seconds", least=1, most=_MOST_SECONDS),
    )
    fields.finish()
    return policy


def roots_fields(roots: Roots) -> dict[str, Any]:
    """Write roots as their fields."""
    return {"keys": [key_fields(key) for key in roots.keys], "threshold": roots.threshold}


def take_roots(fields: Fields) -> Roots:
    """Take the fields of roots."""
    roots = Roots(
        threshold=fields.integer("threshold", least=1, most=_MOST_KEYS),
        keys=tuple(
            _alone(take_key(each), each)
            for each in fields.objects("keys", least=1, most=_MOST_KEYS)
        ),
    )
    fields.finish()
    return roots


def _principal_fields(principal: Principal) -> dict[str, Any]:
    return {
        "name": principal.name,
        "recipient": principal.recipient,
        "roles": sorted(role.value for role in principal.roles),
        "signing_keys": [signing_key_fields(each) for each in principal.signing_keys],
        "spiffe_id": principal.spiffe_id,
    }


def _take_principal(fields: Fields) -> Principal:
    principal = Principal(
        name=fields.text("name"),
        spiffe_id=fields.text("spiffe_id"),
        roles=_take_set(fields, "roles", Role),
        signing_keys=tuple(
            take_signing_key(each)
            for each in fields.objects("signing_keys", least=1, most=_MOST_KEYS)
        ),
        recipient=fields.text("recipient"),
    )
    return _alone(principal, fields)


def _node_fields(node: NodeIdentity) -> dict[str, Any]:
    return {
        "key": key_fields(node.key),
        "name": node.name,
        "recipient": node.recipient,
        "sentry": node.sentry.value,
        "spiffe_id": node.spiffe_id,
    }


def _take_node(fields: Fields) -> NodeIdentity:
    key = fields.child("key")
    node = NodeIdentity(
        name=fields.text("name"),
        spiffe_id=fields.text("spiffe_id"),
        key=_alone(take_key(key), key),
        recipient=fields.text("recipient"),
        sentry=fields.choice("sentry", SentryMode),
    )
    return _alone(node, fields)


def _guard_fields(guard: GuardIdentity) -> dict[str, Any]:
    return {"key": key_fields(guard.key), "name": guard.name, "spiffe_id": guard.spiffe_id}


def _take_guard(fields: Fields) -> GuardIdentity:
    key = fields.child("key")
    guard = GuardIdentity(
        name=fields.text("name"),
        spiffe_id=fields.text("spiffe_id"),
        key=_alone(take_key(key), key),
    )
    return _alone(guard, fields)


def _rules_fields(rules: Mapping[Instrument, InstrumentRule]) -> list[dict[str, Any]]:
    return [
        {
            "approvals": rule.approvals,
            "approver": rule.approver.value,
            "instrument": instrument.value,
            "lease_seconds": encode_seconds(rule.lease),
            "levels": sorted(level.value for level in rule.levels),
            "longest_seconds": encode_seconds(rule.longest),
            "registrant": rule.registrant.value,
        }
        for instrument, rule in rules.items()
    ]


def _take_rules(fields: Fields) -> dict[Instrument, InstrumentRule]:
    rules = [
        (parse_instrument(each.text("instrument")), _take_rule(each))
        for each in fields.objects("instruments", least=1, most=len(Instrument))
    ]
    made = dict(rules)
    require(len(made) == len(rules), "the policy has two rules for one instrument")
    return made


def _take_rule(fields: Fields) -> InstrumentRule:
    rule = InstrumentRule(
        levels=_take_set(fields, "levels", Level),
        registrant=fields.choice("registrant", Role),
        approver=fields.choice("approver", Role),
        approvals=fields.integer("approvals", least=0, most=MOST_APPROVALS),
        longest=fields.seconds("longest_seconds", least=1, most=_MOST_SECONDS),
        lease=fields.seconds("lease_seconds", least=1, most=_MOST_SECONDS),
    )
    return _alone(rule, fields)


def _take_set(fields: Fields, name: str, choices: type[_E]) -> frozenset[_E]:
    values = fields.text_list(name, least=1, most=len(choices))
    require(list(values) == sorted(values), f"the policy's {name} are not in order")
    known = {choice.value: choice for choice in choices}
    require(known.keys() >= set(values), f"the policy's {name} hold something unknown")
    return frozenset(known[value] for value in values)


def _alone(made: _T, fields: Fields) -> _T:
    fields.finish()
    return made
