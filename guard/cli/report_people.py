"""What people add to reports with their own keys: the overseer's certificate, the review's result.

1. `certify` opens the sealed subjects with the person's own key and holds them against the
   commitment, and of the draft all that repeats the authority against the one that people signed,
   before anything is signed. What was denied or captured without a grant has no authority to be
   held against; begin and end are the auditor's word from the node's receipts.
2. Nothing is signed that was not shown. With ``--json`` the person says ``--yes`` beforehand.
3. The certificate holds the identifiers: it stays with the person, readable by them alone. What is
   filed with the guard is its SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import click

from guard.api.v1.audit_service_pb2 import FileCertificateRequest, FileReviewRequest
from guard.api.v1.authority_service_pb2 import GetAuthorityRequest
from guard.cli.connection import Connection
from guard.cli.exits import TroubleError, UsageTroubleError, asking, checking
from guard.cli.invocation import Command, Invocation, passes
from guard.cli.log_sources import read_file
from guard.cli.plain_words import grid
from guard.cli.profile import write_whole
from guard.cli.report_files import LARGEST_REPORT, read_report
from guard.cli.signing import unsealed
from guard.core import canonical
from guard.core import envelope as dsse
from guard.core.approval import read_signed
from guard.core.authority import Authority
from guard.core.fields import format_time, parse_time
from guard.core.filing import Filing, FilingKind, encode_filing
from guard.core.note import decode_base64
from guard.core.reasons import Refused
from guard.core.statutes import CERTIFIED, signed_members
from guard.core.subjects import Subject, open_subjects
from guard.core.uses import Outcome
from guard.core.window import Window

__all__ = ["certify", "review"]

_NOT_CERTIFIED: Final = frozenset({"signature_lines", "sealed_subjects"})
_OUTCOMES: Final = {
    Outcome.RAN.value: "it ran",
    Outcome.NEVER_RAN.value: "IT NEVER RAN (never_ran): nothing was captured",
    Outcome.DENIED.value: "it was denied",
    Outcome.INCIDENT.value: "an incident: without a grant",
}
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command("certify", cls=Command)
@click.argument("path", metavar="FILE", type=_FILE)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE"
)
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@passes
def certify(invocation: Invocation, path: Path, out: Path, *, yes: bool) -> None:
    """Complete and sign the certification that an auditor drafted with `report calea`.

    You are the overseer: you were among those who registered or approved the authority.
    """
    if invocation.json_only and not yes:
        raise UsageTroubleError("--json cannot ask: read the draft first, then give --yes")
    if out.exists():
        raise UsageTroubleError(f"{out} is there already; name a new file")
    draft = _draft(path)
    with invocation.connected() as connection:
        completed = _completed(invocation, draft, _subjects(invocation, connection, draft))
        _show(invocation, completed)
        if not yes:
            click.confirm("Certify that it is complete and accurate?", abort=True, err=True)
        with asking():
            payload = canonical.encode(completed)
            signer = invocation.profile.signer()
            signed = dsse.encode(dsse.sign(payload, dsse.Kind.CERTIFICATE, signer))
        write_whole(out, signed)
        filing = Filing(
            kind=FilingKind.CERTIFICATE,
            by=invocation.profile.name,
            time=invocation.now().replace(microsecond=0),
            document=sha256(signed).hexdigest(),
            grant_id=draft["grant_id"],
            record=None if draft["grant_id"] else draft["record"],
        )
        request = FileCertificateRequest(envelope=_signed(invocation, filing))
        index = connection.call(connection.audit.FileCertificate, request).index
    invocation.output.done(
        {"out": str(out), "sha256": filing.document, "record": index},
        f"Certified by {filing.by}; the certificate is in {out}, its SHA-256 is record {index}.",
    )


@click.command("review", cls=Command)
@click.argument("path", metavar="FILE", type=_FILE)
@click.option("--result", required=True, help="In a sentence, for the record. Name no subject.")
@passes
def review(invocation: Invocation, path: Path, result: str) -> None:
    """File what you found when you examined the sample of a TKÜV report (section 17)."""
    report = read_report(path)
    try:
        start, end = parse_time(str(report["from"])), parse_time(str(report["to"]))
        period = Window(not_before=start, not_after=end)
    except (KeyError, Refused) as error:
        raise UsageTroubleError(f"{path} is no report of a period") from error
    with asking():
        filing = Filing(
            kind=FilingKind.REVIEW,
            by=invocation.profile.name,
            time=invocation.now().replace(microsecond=0),
            document=sha256(read_file(path, most=LARGEST_REPORT)).hexdigest(),
            period=period,
            result=result,
            sample=_sample(report),
        )
    with invocation.connected() as connection:
        request = FileReviewRequest(envelope=_signed(invocation, filing))
        index = connection.call(connection.audit.FileReview, request).index
    invocation.output.done(
        {"sha256": filing.document, "record": index}, f"The result is record {index}."
    )


def _signed(invocation: Invocation, filing: Filing) -> bytes:
    signer = invocation.profile.signer()
    return dsse.encode(dsse.sign(encode_filing(filing), dsse.Kind.FILING, signer))


def _draft(path: Path) -> Mapping[str, Any]:
    draft = read_report(path)
    names = {*CERTIFIED, *signed_members(None), "authorized", "sealed_subjects", "authority_id"}
    if (
        not {*names, "grant_id", "record", "outcome", "reason"} <= draft.keys()
        or type(draft["record"]) is not int
    ):
        raise UsageTroubleError(f"{path} is no draft of one use: make it with `report calea`")
    return draft


def _sample(report: Mapping[str, Any]) -> int | None:
    sample = report.get("sample")
    index = sample.get("index") if isinstance(sample, dict) else None
    return index if type(index) is int else None


def _subjects(
    invocation: Invocation, connection: Connection, draft: Mapping[str, Any]
) -> tuple[Subject, ...]:
    """Open the identifiers, of an authority that the draft was held against (rule 1)."""
    if draft["grant_id"]:
        authority = _authority(invocation, connection, draft)
        with asking():
            return unsealed(authority, invocation.profile)
    if draft["sealed_subjects"] is None:
        return ()
    with asking():
        sealed = decode_base64(str(draft["sealed_subjects"]))
        expected = str(draft["subjects_commitment"])
        return open_subjects(sealed, expected, [invocation.profile.identity()])


def _authority(
    invocation: Invocation, connection: Connection, draft: Mapping[str, Any]
) -> Authority:
    policy = invocation.policy(connection).policy
    request = GetAuthorityRequest(authority_id=str(draft["authority_id"]))
    shown = connection.call(connection.authorities.GetAuthority, request).authority
    with checking("the authority"):
        authority = read_signed(shown.envelope, policy).authority
    expected = signed_members(authority)
    wrong = [name for name, value in expected.items() if draft[name] != value]
    if authority.id != draft["authority_id"] or wrong:
        raise TroubleError(
            "the draft does not say what the authority says: "
            f"{', '.join(wrong) or 'another id'}; have it made anew"
        )
    return authority


def _completed(
    invocation: Invocation, draft: Mapping[str, Any], subjects: Sequence[Subject]
) -> dict[str, Any]:
    kept = {name: each for name, each in draft.items() if name not in _NOT_CERTIFIED}
    return {
        **kept,
        "identifiers": [{"kind": each.kind.value, "value": each.value} for each in subjects],
        "overseer": invocation.profile.name,
        "certified_at": format_time(invocation.now().replace(microsecond=0)),
    }


def _show(invocation: Invocation, completed: Mapping[str, Any]) -> None:
    if invocation.json_only:
        return
    said = dict(completed)
    said["identifiers"] = ", ".join(each["value"] for each in completed["identifiers"])
    invocation.output.say("You are about to certify:")
    words = [(title, str(said[name] or "-")) for name, title in CERTIFIED.items()]
    words.append(("With appropriate authorization", "yes" if said["authorized"] else "NO"))
    words.append(("What came of it", _outcome(said)))
    invocation.output.console.print(grid(words))


def _outcome(said: Mapping[str, Any]) -> str:
    outcome = _OUTCOMES.get(str(said["outcome"]), str(said["outcome"]))
    return f"{outcome}: {said['reason']}" if said["reason"] else outcome
