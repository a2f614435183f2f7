"""What people file about the records: a certificate's digest, the result of a review.

1. A filing is signed by the person whom it names and speaks of one grant (`certificate`, by the
   overseer: 47 CFR 1.20004(a)) or of one report of a period (`review`, by whoever examined the
   sample: TKÜV section 17). What captured, or tried to, without a grant is named by its record.
2. The document itself stays with the person: it names subjects. Only its SHA-256 is filed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from guard.core import canonical
from guard.core.fields import (
    DIGEST,
    NAME,
    UUID,
    Fields,
    format_time,
    require,
    require_match,
    require_text,
)
from guard.core.merkle import MAX_SIZE
from guard.core.window import Window

__all__ = ["Filing", "FilingKind", "encode_filing", "parse_filing"]

MAX_FILING = 4096


class FilingKind(StrEnum):
    """What is filed."""

    CERTIFICATE = "certificate"
    REVIEW = "review"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filing:
    """One filing; `document` is the SHA-256, in hex, of what the person keeps.

    ``record`` is the index of the use that a certificate without a grant is about; ``sample`` that
    of the commitment whose sample was examined, if there was one.
    """

    kind: FilingKind
    by: str
    time: datetime
    document: str
    grant_id: str | None = None
    record: int | None = None
    period: Window | None = None
    result: str | None = None
    sample: int | None = None

    def __post_init__(self) -> None:
        require_match(self.by, NAME, "the filing's person")
        require_match(self.document, DIGEST, "the filed document's digest")
        certifies = self.kind is FilingKind.CERTIFICATE
        named = (self.grant_id is not None) + (self.record is not None)
        require(named == certifies, "a certificate, and no other, names one grant or record")
        require((self.period is None) == certifies, "a review names its period")
        require((self.result is None) == certifies, "a review has a result")
        require(not (certifies and self.sample is not None), "a certificate has no sample")
        if self.grant_id is not None:
            require_match(self.grant_id, UUID, "the filing's grant")
        if self.result is not None:
            require_text(self.result, "the review's result")


def encode_filing(filing: Filing) -> bytes:
    """Write the payload of a filing."""
    payload: dict[str, Any] = {
        "by": filing.by,
        "document": filing.document,
        "kind": filing.kind.value,
        "time": format_time(filing.time),
    }
    for name in ("grant_id", "record", "result", "sample"):
        if (value := getattr(filing, name)) is not None:
            payload[name] = value
    if filing.period is not None:
        payload["start"] = format_time(filing.period.not_before)
        payload["end"] = format_time(filing.period.not_after)
    return canonical.encode(payload)


def parse_filing(payload: bytes) -> Filing:
    """Read the payload of a filing; its signature is for whoever takes it in to check."""
    fields = Fields(canonical.decode(payload, limit=MAX_FILING), "filing")
    period = None
    if fields.has("start"):
        period = Window(not_before=fields.time("start"), not_after=fields.time("end"))
    filing = Filing(
        kind=fields.choice("kind", FilingKind),
        by=fields.text("by"),
        time=fields.time("time"),
        document=fields.text("document"),
        grant_id=fields.optional_text("grant_id"),
        record=fields.optional_integer("record", least=0, most=MAX_SIZE),
        period=period,
        result=fields.optional_text("result"),
        sample=fields.optional_integer("sample", least=0, most=MAX_SIZE),
    )
    fields.finish()
    return filing
