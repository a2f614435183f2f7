"""The service of the contract that reads the log."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from guard.api.v1 import audit_service_pb2 as messages
from guard.api.v1.audit_service_pb2_grpc import AuditServiceServicer
from guard.app.audit import Audit, Reading
from guard.app.denial import MalformedError
from guard.app.filings import Filings
from guard.app.notify import Notifier
from guard.app.presence import Presence
from guard.app.reconcile import Reconciler
from guard.core.filing import FilingKind
from guard.core.record import Entry
from guard.services.gate import admission
from guard.services.translate import (
    MAX_PAGE_BYTES,
    required_period,
    required_text,
    to_finding,
    to_log_record,
    to_standing,
)

__all__ = ["AuditService"]


class AuditService(AuditServiceServicer):
    """Translates; ``guard.app.audit`` reads, ``reconcile`` finds, ``filings`` takes in."""

    def __init__(
        self,
        audit: Audit,
        reconciler: Reconciler,
        filings: Filings,
        presence: Presence,
        notifiers: tuple[Notifier, ...],
    ) -> None:
        self._audit = audit
        self._reconciler = reconciler
        self._filings = filings
        self._presence = presence
        self._notifiers = notifiers

    async def ReadRecords(
        self, request: messages.ReadRecordsRequest, _context: object
    ) -> AsyncIterator[messages.ReadRecordsResponse]:
        """Stream records."""
        if request.follow and request.end:
            raise MalformedError("a reading that follows has no end")
        reading = Reading(
            reader=admission().caller.principal,
            start=request.start,
            end=request.end or None,
            follow=request.follow,
            purpose=required_text(request.purpose, "purpose"),
        )
        async for first, entries in self._audit.read(reading):
            for answer in _answers(first, entries):
                yield answer

    async def ListFindings(
        self, _request: messages.ListFindingsRequest, _context: object
    ) -> messages.ListFindingsResponse:
        """List what is open."""
        found = await self._reconciler.open(admission().caller.principal)
        found += [trouble for each in self._notifiers if (trouble := each.trouble())]
        return messages.ListFindingsResponse(findings=[to_finding(each) for each in found])

    async def ListNodes(
        self, _request: messages.ListNodesRequest, _context: object
    ) -> messages.ListNodesResponse:
        """Say how the nodes stand."""
        found = await self._reconciler.nodes()
        connected = self._presence.connected
        nodes = [to_standing(node, each, connected=connected(node.name)) for node, each in found]
        return messages.ListNodesResponse(nodes=nodes)

    async def CommitSample(
        self, request: messages.CommitSampleRequest, _context: object
    ) -> messages.CommitSampleResponse:
        """Put a sample's commitment on record."""
        period = required_period(request.start, request.end)
        index = await self._filings.commit_sample(
            period, request.commitment, admission().caller.principal
        )
        return messages.CommitSampleResponse(index=index)

    async def FileCertificate(
        self, request: messages.FileCertificateRequest, _context: object
    ) -> messages.FileCertificateResponse:
        """File a certificate's digest."""
        index = await self._filings.file(
            request.envelope, FilingKind.CERTIFICATE, admission().caller.principal
        )
        return messages.FileCertificateResponse(index=index)

    async def FileReview(
        self, request: messages.FileReviewRequest, _context: object
    ) -> messages.FileReviewResponse:
        """File the result of a review."""
        index = await self._filings.file(
            request.envelope, FilingKind.REVIEW, admission().caller.principal
        )
        return messages.FileReviewResponse(index=index)

    async def GetCheckpoint(
        self, _request: messages.GetCheckpointRequest, _context: object
    ) -> messages.GetCheckpointResponse:
        """Return the newest checkpoint."""
        return messages.GetCheckpointResponse(checkpoint=self._audit.checkpoint())

    async def GetInclusionProof(
        self, request: messages.GetInclusionProofRequest, _context: object
    ) -> messages.GetInclusionProofResponse:
        """Prove that a record is in the log."""
        proof = await self._audit.inclusion(request.index, admission().caller.principal)
        return messages.GetInclusionProofResponse(proof=proof)

    async def GetConsistencyProof(
        self, request: messages.GetConsistencyProofRequest, _context: object
    ) -> messages.GetConsistencyProofResponse:
        """Prove that one checkpoint continues another."""
        hashes = self._audit.consistency(request.old_size, request.new_size)
        return messages.GetConsistencyProofResponse(hashes=hashes)


def _answers(first: int, entries: list[Entry]) -> Iterator[messages.ReadRecordsResponse]:
    """Put records into messages that every client takes."""
    answer, room = messages.ReadRecordsResponse(), MAX_PAGE_BYTES
    for index, entry in enumerate(entries, first):
        made = to_log_record(index, entry)
        room -= made.ByteSize()
        if room < 0 and answer.records:
            yield answer
            answer, room = messages.ReadRecordsResponse(), MAX_PAGE_BYTES - made.ByteSize()
        answer.records.append(made)
    yield answer
