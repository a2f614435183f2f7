"""What people file, and the commitments of samples: taken in from the right person, once it may."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from guard.app.denial import Denied
from guard.app.filings import Filings
from guard.core import envelope as dsse
from guard.core.filing import Filing, FilingKind, encode_filing
from guard.core.reasons import Reason
from guard.core.window import Window
from tests.builders.deployment import new_id, sign
from tests.builders.house import House


def filing(house: House, grant_id: str, by: str = "legal-1", signed_by: str | None = None) -> bytes:
    """Make a certificate's filing."""
    made = Filing(
        kind=FilingKind.CERTIFICATE,
        by=by,
        time=house.clock.now(),
        document="ab" * 32,
        grant_id=grant_id,
    )
    signer = house.site.people[signed_by or by].signer
    return sign(encode_filing(made), dsse.Kind.FILING, [signer])


async def reason(house: House, envelope: bytes, kind: FilingKind, by: str) -> Reason:
    before = len(house.records())
    with pytest.raises(Denied) as denied:
        await Filings(house.office).file(envelope, kind, house.site.principal(by))
    assert house.kinds()[before:] == ["request_denied"]
    return denied.value.deny.reason


async def test_a_certificate_is_filed_by_its_signer(house: House) -> None:
    """Its digest and the signed filing are on record; others' and unknown ones are denied."""
    grant_id = (await house.capture(await house.approved())).row.id
    filings, legal = Filings(house.office), house.site.principal("legal-1")
    index = await filings.file(filing(house, grant_id), FilingKind.CERTIFICATE, legal)
    record = house.records()[index]
    assert (record.kind, record.body["by"]) == ("certificate_filed", "legal-1")
    assert record.body["document_digest"] == "ab" * 32
    kind = FilingKind.CERTIFICATE
    assert await reason(house, filing(house, new_id()), kind, "legal-1") is Reason.CAPTURE_UNKNOWN
    other = filing(house, grant_id, by="legal-1", signed_by="legal-2")
    assert await reason(house, other, kind, "legal-1") is Reason.SIGNATURE_INVALID
    own = filing(house, grant_id, by="legal-2")
    assert await reason(house, own, kind, "legal-1") is Reason.SIGNATURE_INVALID
    named = filing(house, grant_id, by="legal-2", signed_by="legal-1")
    assert await reason(house, named, kind, "legal-1") is Reason.CALLER_ROLE_WRONG
    review = FilingKind.REVIEW
    assert (
        await reason(house, filing(house, grant_id), review, "legal-1") is Reason.CALLER_ROLE_WRONG
    )
    assert await reason(house, b"{}", kind, "legal-1") is Reason.DOCUMENT_MALFORMED


async def test_a_sample_is_committed_to_after_its_period(house: House) -> None:
    """Not before it is over; the commitment is a digest; its index is told."""
    now = house.clock.now()
    over = Window(not_before=now - timedelta(days=90), not_after=now)
    filings = Filings(house.office)
    index = await filings.commit_sample(over, "ab" * 32, house.auditor)
    body = house.records()[index].body
    assert (body["commitment"], body["by"]) == ("ab" * 32, "auditor-1")
    open_ = Window(not_before=now - timedelta(days=90), not_after=now + timedelta(seconds=1))
    for period, commitment, expected in (
        (open_, "ab" * 32, Reason.NOT_YET_VALID),
        (over, "xyz", Reason.DOCUMENT_MALFORMED),
    ):
        with pytest.raises(Denied) as denied:
            await filings.commit_sample(period, commitment, house.auditor)
        assert denied.value.deny.reason is expected


async def test_what_is_filed_is_about_something_on_record(house: House) -> None:
    """A use by its record, a sample by its commitment; any other record is neither."""
    with pytest.raises(Denied):
        await house.capture(new_id())
    now = house.clock.now()
    period = Window(not_before=now - timedelta(days=90), not_after=now)
    filings = Filings(house.office)
    denied, sample = (
        len(house.records()) - 1,
        await filings.commit_sample(period, "ab" * 32, house.auditor),
    )

    def made(kind: FilingKind, by: str, **about: Any) -> bytes:
        one = Filing(kind=kind, by=by, time=now, document="ab" * 32, **about)
        return sign(encode_filing(one), dsse.Kind.FILING, [house.site.people[by].signer])

    legal, certificate = house.site.principal("legal-1"), FilingKind.CERTIFICATE
    index = await filings.file(made(certificate, "legal-1", record=denied), certificate, legal)
    assert house.records()[index].body["record"] == denied
    said = {"period": period, "result": "as ordered"}
    good = made(FilingKind.REVIEW, "auditor-1", sample=sample, **said)
    index = await filings.file(good, FilingKind.REVIEW, house.auditor)
    assert house.records()[index].body["sample"] == sample
    for wrong in (sample, 10_000):
        envelope = made(certificate, "legal-1", record=wrong)
        assert await reason(house, envelope, certificate, "legal-1") is Reason.CAPTURE_UNKNOWN
    for wrong in (denied, 10_000):
        envelope = made(FilingKind.REVIEW, "auditor-1", sample=wrong, **said)
        found = await reason(house, envelope, FilingKind.REVIEW, "auditor-1")
        assert found is Reason.CAPTURE_UNKNOWN
