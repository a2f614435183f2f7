"""Registering authorities, collecting signatures on them, revoking them.

1. Whoever registers or signs must be the caller: the signature's key belongs to the principal of
   the client certificate.
2. The state follows from the signatures alone (`approval.inspect`), never from a flag that
   somebody set. The stored state says what the guard acts on; an agent believes only the envelope.
3. Registering the identical authority again repeats the answer. So does adding the same signature
   and revoking what is revoked. Another authority under a known id is denied.
4. Revoking stops every live capture under the authority in the same transaction; it needs no
   signature, no witness and no agent.
5. The record of a registration holds every signed field, what 47 CFR 1.20004(a) and TKÜV section
   16(1) ask to be on record, and the signed envelope itself, the subjects sealed in it: whoever may
   read records can check the people's signatures, and learns no subject. So does the record of one
   that was denied.
6. Everybody is shown what `guard.core.sight` lets them see. What is not to be seen does not exist
   for the one who asks. Who revokes it, as everybody may, is told that it is revoked and no more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from guard.app.changes import AuthorityRow, Change, PutAuthority, PutCapture
from guard.app.denial import UnknownError
from guard.app.office import Office
from guard.app.ports import Plan, Reads
from guard.core import approval, canonical, lifecycle
from guard.core import envelope as dsse
from guard.core.approval import Inspection
from guard.core.authority import Authority
from guard.core.fields import encode_base64
from guard.core.instruments import EMERGENCY_UNSIGNED
from guard.core.lifecycle import AuthorityEvent, AuthorityState, CaptureEvent
from guard.core.reasons import Reason, Refused
from guard.core.record import Record, RecordKind
from guard.core.sight import Sight, sight
from guard.core.trust import Principal, TrustPolicy

__all__ = ["Authorities", "AuthorityView", "stop_captures"]

OPEN = frozenset({AuthorityState.REGISTERED, AuthorityState.PROVISIONAL, AuthorityState.APPROVED})


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityView:
    """An authority for display: the row, what its envelope says, who signed, what is missing.

    ``seen`` False: of it only id and state are for the one who asked.
    """

    row: AuthorityRow
    authority: Authority
    signers: tuple[str, ...]
    missing: str
    seen: bool = True


@dataclass(frozen=True, slots=True)
class Authorities:
    """The use cases around authorities."""

    office: Office

    async def register(self, envelope: bytes, caller: Principal, *, ticket: bool) -> AuthorityView:
        """Register a warrant, or open a ticket; raises Denied."""
        digest = dsse.digest(envelope)

        def rule(view: Reads, index: int, now: datetime) -> Plan[AuthorityRow]:
            policy = self.office.require_policy(now)
            found = approval.inspect(envelope, policy, now=now)
            _require_registrant(found, caller, ticket=ticket)
            known = view.authority(found.authority.id)
            if known is not None:
                return Plan(result=_require_same(known, envelope))
            row = _row(found, envelope, policy, index)
            if now >= row.window_end:
                raise Refused(Reason.EXPIRED, "the authority's window is over")
            body = {"by": caller.name, "state": str(row.state), **_fields(envelope, digest)}
            record = self.office.record(RecordKind.AUTHORITY_REGISTERED, now, body)
            return Plan(result=row, records=(record,), changes=(PutAuthority(row),))

        method = "open_ticket" if ticket else "register_warrant"
        about = {"method": method, "principal": caller.name, **_offered(envelope, digest)}
        return self._view(await self.office.decide(rule, about))

    async def add_signature(
        self, authority_id: str, signature: dsse.Signature, caller: Principal
    ) -> AuthorityView:
        """Add the caller's own signature to a registered authority; raises Denied."""

        def rule(view: Reads, index: int, now: datetime) -> Plan[AuthorityRow]:
            policy = self.office.require_policy(now)
            row = _require_authority(view, authority_id)
            _require_own_key(policy, signature, caller)
            envelope = dsse.parse(row.envelope, dsse.Kind.AUTHORITY)
            if signature in envelope.signatures:
                return Plan(result=row)
            _require_open(row, now)
            signed = dsse.encode(dsse.with_signature(envelope, signature))
            found = approval.inspect(signed, policy, now=now)
            put = _row(found, signed, policy, index)
            body = {
                "authority_id": row.id,
                "authority_digest": dsse.digest(signed),
                "by": caller.name,
                "keyid": signature.keyid,
                "sig": encode_base64(signature.sig),
                "state": str(put.state),
            }
            record = self.office.record(RecordKind.AUTHORITY_APPROVED, now, body)
            return Plan(result=put, records=(record,), changes=(PutAuthority(put),))

        about = {
            "method": "add_signature",
            "principal": caller.name,
            "authority_id": authority_id,
        }
        return self._view(await self.office.decide(rule, about))

    async def revoke(self, authority_id: str, why: str, caller: Principal) -> AuthorityView:
        """End an authority and all under it; raises Denied only when there is none."""

        def rule(view: Reads, index: int, now: datetime) -> Plan[AuthorityRow]:
            row = _require_authority(view, authority_id)
            if row.state not in OPEN:
                return Plan(result=row)
            body = {"authority_id": row.id, "by": caller.name, "why": why}
            records = [self.office.record(RecordKind.AUTHORITY_REVOKED, now, body)]
            put = replace(
                row, state=lifecycle.advance(row.state, AuthorityEvent.REVOKE), revision=index
            )
            stopped, changes = stop_captures(
                self.office, view, row.id, now, index=index + 1, why="revoked"
            )
            return Plan(
                result=put, records=(*records, *stopped), changes=(PutAuthority(put), *changes)
            )

        about = {
            "method": "revoke_authority",
            "principal": caller.name,
            "authority_id": authority_id,
        }
        row = await self.office.decide(rule, about)
        shown = self._seen(row, caller)
        return shown or replace(_without_persons(self._view(row)), seen=False)

    def get(self, authority_id: str, viewer: Principal) -> AuthorityView:
        """Return one authority as the viewer may see it (rule 6); raises UnknownError."""
        with self.office.ledger.reads() as view:
            row = view.authority(authority_id)
        shown = None if row is None else self._seen(row, viewer)
        if shown is None:
            raise UnknownError("no such authority")
        return shown

    def page(
        self, viewer: Principal, *, limit: int, before: int | None
    ) -> tuple[list[AuthorityView], int | None]:
        """Return authorities changed before revision ``before``, newest first, as seen (rule 6).

        And where the next page begins, or None after the last.
        """
        with self.office.ledger.reads() as view:
            rows = view.authorities(limit=limit, before=before)
        seen = [shown for row in rows if (shown := self._seen(row, viewer)) is not None]
        return seen, rows[-1].revision if len(rows) == limit else None

    def _seen(self, row: AuthorityRow, viewer: Principal) -> AuthorityView | None:
        view = self._view(row)
        match sight(view.authority, viewer):
            case Sight.ALL:
                return view
            case Sight.WITHOUT_PERSONS:
                return _without_persons(view)
        return None

    def _view(self, row: AuthorityRow) -> AuthorityView:
        """Describe a row for display; a row that cannot be verified any more says so."""
        authority = self.office.readings.authority(row.envelope)
        signatures = dsse.parse(row.envelope, dsse.Kind.AUTHORITY).signatures
        owners = (self.office.policy.principal_by_keyid(each.keyid) for each in signatures)
        names = {owner.name if owner else "(no longer known)" for owner in owners}
        try:
            policy = self.office.policy
            signed = self.office.readings.signed(row.envelope, policy)
            missing = approval.inspect(signed, policy, now=self.office.clock.now()).missing
        except Refused as refused:
            missing = f"not valid any more: {refused.detail}"
        signers = sorted(names, key=lambda name: (name != authority.registrant, name))
        return AuthorityView(row=row, authority=authority, signers=tuple(signers), missing=missing)


def _without_persons(view: AuthorityView) -> AuthorityView:
    return replace(view, row=replace(view.row, envelope=b""), signers=())


def stop_captures(
    office: Office, view: Reads, authority_id: str, now: datetime, *, index: int, why: str
) -> tuple[list[Record], list[Change]]:
    """Stop every capture under an authority; record ``index`` is that of the first stop."""
    kind = RecordKind.CAPTURE_EXPIRED if why == "expired" else RecordKind.CAPTURE_STOPPED
    records: list[Record] = []
    changes: list[Change] = []
    for row in view.live_captures(authority_id=authority_id):
        state = lifecycle.advance(row.state, CaptureEvent.STOP)
        if state is row.state:
            continue  # It is stopping already, for the reason that it has.
        put = replace(row, state=state, why=why, revision=index + len(records))
        body = {
            "authority_id": row.authority_id,
            "grant_id": row.id,
            "node": row.node,
            "why": why,
        }
        records.append(office.record(kind, now, body))
        changes.append(PutCapture(put))
    return records, changes


def _row(found: Inspection, envelope: bytes, policy: TrustPolicy, index: int) -> AuthorityRow:
    """Make the row that the signatures call for (rule 2)."""
    state, window = AuthorityState.REGISTERED, found.authority.window
    if not found.missing:
        state = lifecycle.advance(state, AuthorityEvent.APPROVE)
    elif len(found.approvers) >= policy.rule(found.authority.instrument).approvals:
        state = lifecycle.advance(state, AuthorityEvent.ADMIT)
        window = window.cut(EMERGENCY_UNSIGNED)
    return AuthorityRow(
        id=found.authority.id,
        envelope=envelope,
        state=state,
        registrant=found.registrant.name,
        revision=index,
        window_end=window.not_after,
    )


def _fields(envelope: bytes, digest: str) -> dict[str, Any]:
    """Return the signed fields for the record, and the envelope (rule 5)."""
    payload = dsse.parse(envelope, dsse.Kind.AUTHORITY).payload
    said = canonical.decode(payload, limit=dsse.MAX_ENVELOPE)
    del said["sealed_subjects"]
    return {
        "authority": said,
        "authority_digest": digest,
        "authority_id": said["id"],
        "envelope": encode_base64(envelope),
    }


def _offered(envelope: bytes, digest: str) -> dict[str, Any]:
    """Return what was asked to be registered, for the record of a denial (rule 5)."""
    try:
        return {"envelope_digest": digest, **_fields(envelope, digest)}
    except (Refused, KeyError):
        return {"envelope_digest": digest}  # Not an authority at all: nothing in it can be shown.


def _require_authority(view: Reads, authority_id: str) -> AuthorityRow:
    row = view.authority(authority_id)
    if row is None:
        raise Refused(Reason.AUTHORITY_UNKNOWN, "there is no such authority")
    return row


def _require_registrant(found: Inspection, caller: Principal, *, ticket: bool) -> None:
    if found.registrant.name != caller.name:
        raise Refused(Reason.CALLER_ROLE_WRONG, "the caller is not the registrant who signed")
    if found.authority.is_warrant is ticket:
        raise Refused(
            Reason.SIGNER_ROLE_WRONG, "warrants are registered, tickets and tests are opened"
        )


def _require_same(known: AuthorityRow, envelope: bytes) -> AuthorityRow:
    """Return the known row when this is the same document, however many signed since (rule 3)."""
    old = dsse.parse(known.envelope, dsse.Kind.AUTHORITY)
    new = dsse.parse(envelope, dsse.Kind.AUTHORITY)
    if old.payload != new.payload or not set(new.signatures) <= set(old.signatures):
        raise Refused(Reason.ALREADY_REGISTERED, "an authority with this id is registered")
    return known


def _require_own_key(policy: TrustPolicy, signature: dsse.Signature, caller: Principal) -> None:
    owner = policy.principal_by_keyid(signature.keyid)
    if owner is None:
        raise Refused(Reason.SIGNATURE_INVALID, "the key is not in the trust policy")
    if owner.name != caller.name:
        raise Refused(Reason.CALLER_ROLE_WRONG, "the caller is not the person who signed")


def _require_open(row: AuthorityRow, now: datetime) -> None:
    if row.state is AuthorityState.REVOKED:
        raise Refused(Reason.REVOKED, "the authority was revoked")
    if row.state is AuthorityState.EXPIRED or now >= row.window_end:
        raise Refused(Reason.EXPIRED, "the authority's window is over")
    if row.state is AuthorityState.APPROVED:
        raise Refused(Reason.STATE_NOT_PERMITTED, "every signature is there already")
