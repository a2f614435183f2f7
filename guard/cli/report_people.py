"""What people add to reports with their own keys: the overseer's certificate, the review's result.

1. `certify` opens the sealed subjects with the person's own key and holds them against the
   commitment, and the draft against the authority that people signed, before anything is signed.
2. Nothing is signed that was not shown. With ``--json`` the person says ``--yes`` beforehand.
3. The certificate holds the identifiers: it stays with the person, readable by them alone. What is
   filed with the guard is its SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from guard.cli.report_files import read_report
from guard.cli.signing import unsealed
from guard.core import canonical
from guard.core import envelope as dsse
from guard.core.authority import Authority, parse_authority
from guard.core.fields import format_time, parse_time
from guard.core.filing import Filing, FilingKind, encode_filing
from guard.core.reasons import Refused
from guard.core.statutes import CERTIFIED
from guard.core.window import Window

__all__ = ["certify", "review"]

# What of a draft people signed, under the same names in the authority.
_SIGNED: Final = (
    "legal_basis",
    "issuing_authority",
    "issuing_signer",
    "presenting_officer",
    "presenting_agency",
    "order_sha256",
    "subjects_commitment",
)
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
        authority = _authority(connection, draft)
        completed = _completed(invocation, draft, authority)
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
            grant_id=str(draft["grant_id"]),
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
            document=sha256(read_file(path)).hexdigest(),
            period=period,
            result=result,
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
    names = {*CERTIFIED, *_SIGNED, "grant_id", "authority_id"}
    if not names <= draft.keys() or not isinstance(draft["grant_id"], str):
        raise UsageTroubleError(f"{path} is no draft of one grant: make it with `report calea`")
    return draft


def _authority(connection: Connection, draft: Mapping[str, Any]) -> Authority:
    """Fetch the authority, and hold the draft against what people signed (rule 1)."""
    request = GetAuthorityRequest(authority_id=str(draft["authority_id"]))
    shown = connection.call(connection.authorities.GetAuthority, request).authority
    with checking("the authority"):
        authority = parse_authority(dsse.parse(shown.envelope, dsse.Kind.AUTHORITY).payload)
    wrong = [name for name in _SIGNED if draft[name] != getattr(authority, name)]
    if authority.id != draft["authority_id"] or wrong:
        raise TroubleError(
            "the draft does not say what the authority says: "
            f"{', '.join(wrong) or 'another id'}; have it made anew"
        )
    return authority


def _completed(
    invocation: Invocation, draft: Mapping[str, Any], authority: Authority
) -> dict[str, Any]:
    with asking():
        subjects = unsealed(authority, invocation.profile)
    kept = {name: each for name, each in draft.items() if name != "signature_lines"}
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
    invocation.output.console.print(
        grid([(title, str(said[name] or "-")) for name, title in CERTIFIED.items()])
    )
