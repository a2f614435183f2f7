"""Taking in what people file about the records, and the commitments of samples.

1. A filing counts when its signer is the caller, with a key that is valid now, and it names the
   caller. A certificate speaks of a grant or a use that is on record, a review of a sample that is.
2. A sample is committed to after its period is over, under `guard.core.sampling`.
3. Each is on record before it is answered. The documents themselves stay with the people.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from guard.app.office import Office
from guard.app.ports import Plan, Reads
from guard.core import envelope as dsse
from guard.core.fields import DIGEST, encode_base64, format_time, require_match
from guard.core.filing import Filing, FilingKind, parse_filing
from guard.core.reasons import Reason, Refused
from guard.core.record import RecordKind
from guard.core.trust import Principal, TrustPolicy
from guard.core.uses import USE_KINDS
from guard.core.window import Window

__all__ = ["Filings"]

_RECORDS: Final = {
    FilingKind.CERTIFICATE: RecordKind.CERTIFICATE_FILED,
    FilingKind.REVIEW: RecordKind.REVIEW_FILED,
}

_SAMPLES: Final = frozenset({RecordKind.SAMPLE_COMMITTED})


@dataclass(frozen=True, slots=True)
class Filings:
    """The use cases of overseers and reviewers."""

    office: Office

    async def commit_sample(self, period: Window, commitment: str, caller: Principal) -> int:
        """Put a commitment on record and return its index; raises Denied (rule 2)."""

        def rule(_view: Reads, index: int, now: datetime) -> Plan[int]:
            require_match(commitment, DIGEST, "the commitment")
            if now < period.not_after:
                raise Refused(Reason.NOT_YET_VALID, "the period is not over yet")
            body = {
                "by": caller.name,
                "commitment": commitment,
                "end": format_time(period.not_after),
                "start": format_time(period.not_before),
            }
            record = self.office.record(RecordKind.SAMPLE_COMMITTED, now, body)
            return Plan(result=index, records=(record,))

        about = {"method": "commit_sample", "principal": caller.name}
        return await self.office.decide(rule, about)

    async def file(self, envelope: bytes, kind: FilingKind, caller: Principal) -> int:
        """Put a filing on record and return its index; raises Denied (rule 1)."""

        def rule(view: Reads, index: int, now: datetime) -> Plan[int]:
            filing = _verified(envelope, kind, caller, self.office.policy, now)
            _require_known(view, filing)
            body: dict[str, Any] = {
                "by": caller.name,
                "document": encode_base64(envelope),
                "document_digest": filing.document,
            }
            for name in ("grant_id", "record", "sample"):
                if (about := getattr(filing, name)) is not None:
                    body[name] = about
            record = self.office.record(_RECORDS[kind], now, body)
            return Plan(result=index, records=(record,))

        about = {"method": f"file_{kind}", "principal": caller.name}
        return await self.office.decide(rule, about)


def _require_known(view: Reads, filing: Filing) -> None:
    """Refuse (CAPTURE_UNKNOWN) a filing about what is not on record."""
    if filing.grant_id is not None and view.capture(filing.grant_id) is None:
        raise Refused(Reason.CAPTURE_UNKNOWN, "there is no such grant")
    for index, kinds in ((filing.record, USE_KINDS), (filing.sample, _SAMPLES)):
        if index is not None and not any(e.kind in kinds for e in view.entries(index, 1)):
            raise Refused(Reason.CAPTURE_UNKNOWN, "no such use or sample is on record")


def _verified(
    envelope: bytes, kind: FilingKind, caller: Principal, policy: TrustPolicy, now: datetime
) -> Filing:
    parsed = dsse.parse(envelope, dsse.Kind.FILING)
    valid = {each.key.keyid: each.key for each in caller.signing_keys if each.valid.contains(now)}
    if not dsse.verified_keyids(parsed, valid):
        raise Refused(Reason.SIGNATURE_INVALID, "the filing is not signed by its sender")
    filing = parse_filing(parsed.payload)
    if filing.by != caller.name or filing.kind is not kind:
        raise Refused(Reason.CALLER_ROLE_WRONG, "the filing is another person's or of another kind")
    policy.require_unexpired(now)
    return filing
