"""What an authority says, in plain words, for the person who is about to sign it or reads it.

Machines are told the same.

1. Everything that is signed is shown; nothing that is shown comes from anywhere but the signed
   text, the trust policy and the subjects that this person unsealed.
2. What a signature sets off is said before it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from guard.cli.durations import spoken, stamp
from guard.cli.output import plain
from guard.core.approval import Inspection
from guard.core.authority import Authority
from guard.core.enforcement import Enforcement
from guard.core.fields import format_time
from guard.core.instruments import EMERGENCY_UNSIGNED, Instrument
from guard.core.level import Level
from guard.core.subjects import Subject, SubjectKind
from guard.core.trust import Principal, TrustPolicy

__all__ = ["consequence", "grid", "lines_of", "members_of"]

_LEVELS = {
    Level.SIGNALLING: "signalling: who calls whom and when; no voice, no message text",
    Level.MEDIA_HEADERS: "media headers: signalling and packet headers; no voice, no message text",
    Level.CONTENT: "CONTENT: signalling and everything said",
}
_DEMANDS = {
    Enforcement.DETECT: "detect: nodes that at least find who captures without a grant",
    Enforcement.KILL: "kill: nodes that kill who captures without a grant, or prevent it",
    Enforcement.PREVENT: "prevent: only nodes whose kernel refuses capture without a grant",
}
_KINDS = {
    SubjectKind.SIP_URI: "SIP",
    SubjectKind.TELEPHONE: "telephone",
    SubjectKind.CALL_ID: "the call with Call-ID",
    SubjectKind.PEER_ADDRESS: "everybody at the address",
}


_STATED = (
    "max_calls",
    "max_bytes",
    "legal_basis",
    "issuing_authority",
    "issuing_signer",
    "presenting_officer",
    "presenting_agency",
    "order_sha256",
    "reason",
)


def lines_of(
    inspection: Inspection, policy: TrustPolicy, subjects: Sequence[Subject] | None
) -> Iterator[tuple[str, str]]:
    """Yield what the authority says, as label and words; ``subjects`` None: they stay sealed."""
    authority = inspection.authority
    window = authority.window
    yield "What", f"{authority.instrument.replace('_', ' ')} {authority.reference}"
    yield "How much", _LEVELS[authority.level]
    if subjects is None:
        yield "Whose calls", "sealed; only the nodes and those who approve can read it"
    for subject in subjects or ():
        yield "Whose calls", f"{_KINDS[subject.kind]} {subject.value}"
    yield "Where", ", ".join(authority.nodes)
    if authority.enforcement is not None:
        yield "Demands", _DEMANDS[authority.enforcement]
    yield "From", stamp(window.not_before)
    yield "Until", f"{stamp(window.not_after)}, {spoken(window.length)} in all"
    yield from _limits(authority)
    for recipient in authority.recipients:
        yield "Opened by", _holder(recipient, policy)
    yield from _basis(authority)
    yield "Registered", f"by {inspection.registrant.name}"
    yield "Approved", f"by {', '.join(each.name for each in inspection.approvers) or 'nobody yet'}"
    if inspection.missing:
        yield "Missing", inspection.missing


def members_of(
    inspection: Inspection, policy: TrustPolicy, subjects: Sequence[Subject] | None
) -> dict[str, Any]:
    """Return what `lines_of` yields, for machines; ``subjects`` None: they stay sealed."""
    authority = inspection.authority
    return {
        "id": authority.id,
        "instrument": authority.instrument.value,
        "reference": authority.reference,
        "level": authority.level.value,
        "nodes": list(authority.nodes),
        "not_before": format_time(authority.window.not_before),
        "not_after": format_time(authority.window.not_after),
        "subjects": None
        if subjects is None
        else [{"kind": each.kind.value, "value": each.value} for each in subjects],
        "recipients": [
            {"recipient": each, "name": _name(each, policy)} for each in authority.recipients
        ],
        "enforcement": authority.enforcement.value if authority.enforcement else None,
        **{name: getattr(authority, name) for name in _STATED},
        "registered_by": inspection.registrant.name,
        "approved_by": [each.name for each in inspection.approvers],
        "missing": inspection.missing,
    }


def _limits(authority: Authority) -> Iterator[tuple[str, str]]:
    if authority.max_calls is not None:
        yield "At most", f"{authority.max_calls} calls"
    if authority.max_bytes is not None:
        yield "At most", f"{authority.max_bytes} bytes"


def _basis(authority: Authority) -> Iterator[tuple[str, str]]:
    for label, words in (
        ("Legal basis", authority.legal_basis),
        ("Issued by", authority.issuing_authority),
        ("Signed by", authority.issuing_signer),
        ("Presented by", authority.presenting_officer),
        ("Agency", authority.presenting_agency),
        ("Order", f"SHA-256 {authority.order_sha256}" if authority.order_sha256 else None),
        ("Reason", authority.reason),
    ):
        if words is not None:
            yield label, words


def _holder(recipient: str, policy: TrustPolicy) -> str:
    name = _name(recipient, policy)
    return f"{name} ({recipient})" if name else f"{recipient} (nobody in the trust policy)"


def _name(recipient: str, policy: TrustPolicy) -> str | None:
    return next((each.name for each in policy.principals if each.recipient == recipient), None)


def consequence(
    inspection: Inspection, policy: TrustPolicy, approver: Principal, *, now: datetime
) -> str:
    """Say what happens when ``approver`` signs (rule 2)."""
    authority = inspection.authority
    wanted = policy.rule(authority.instrument).approvals - len(inspection.approvers) - 1
    if wanted > 0:
        return f"When {approver.name} signs, {wanted} more must sign before anything can start."
    begin = authority.window.not_before
    if authority.instrument is Instrument.EMERGENCY:
        state = "It is in force already" if begin <= now else f"It is in force from {stamp(begin)}"
        return (
            f"{state}, for {spoken(EMERGENCY_UNSIGNED)} at most. When {approver.name} signs it "
            "runs to its end, and what was captured can be fetched."
        )
    if authority.is_warrant:
        when = "at once" if begin <= now else f"at {stamp(begin)}"
        return (
            f"When {approver.name} signs it is in force: the capture starts by itself {when} on "
            f"{', '.join(authority.nodes)}."
        )
    return (
        f"When {approver.name} signs it is in force: {inspection.registrant.name} may start and "
        f"stop captures until {stamp(authority.window.not_after)}."
    )


def grid(lines: Sequence[tuple[str, str]]) -> Table:
    """Lay labels and words out in two columns; a label is not repeated."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    before = ""
    for label, words in lines:
        table.add_row("" if label == before else label, Text(plain(words)))
        before = label
    return table
