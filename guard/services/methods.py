"""Who may call what: the one table of the contract's methods.

1. A method without a row, and a row without a method, stop the server from starting.
2. A caller who is none of a row's kinds is turned away. There is no kind for "anybody".
3. ``decides`` marks the methods whose every refusal is put on record, the wrong role included.
   Those that show records are among them: who tried to read what is not theirs is on record too.
4. The comment of every method in ``proto/`` ends with the same words; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from google.protobuf.descriptor import ServiceDescriptor

__all__ = ["METHODS", "CallerKind", "Method", "MethodsDisagreeError", "require_complete"]


class CallerKind(StrEnum):
    """What a caller is, by the trust policy: a role of a person, a node, a guard."""

    LEGAL = "legal"
    OPERATOR = "operator"
    APPROVER = "approver"
    AUDITOR = "auditor"
    NODE = "node"
    GUARD = "guard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A row: the kinds of caller admitted, and whether the method decides something."""

    callers: frozenset[CallerKind]
    decides: bool = False


class MethodsDisagreeError(Exception):
    """The table and the services registered do not name the same methods."""


_LEGAL = frozenset({CallerKind.LEGAL})
_OPERATOR = frozenset({CallerKind.OPERATOR})
_APPROVER = frozenset({CallerKind.APPROVER})
_AUDITOR = frozenset({CallerKind.AUDITOR})
_NODE = frozenset({CallerKind.NODE})
_PEOPLE = _LEGAL | _OPERATOR | _APPROVER | _AUDITOR
_KNOWN = frozenset(CallerKind)
_API = "/guard.api.v1"

METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        f"{_API}.AuthorityService/RegisterWarrant": Method(callers=_LEGAL, decides=True),
        f"{_API}.AuthorityService/OpenTicket": Method(callers=_OPERATOR, decides=True),
        f"{_API}.AuthorityService/AddSignature": Method(callers=_LEGAL | _APPROVER, decides=True),
        f"{_API}.AuthorityService/RevokeAuthority": Method(
            callers=_LEGAL | _OPERATOR | _APPROVER, decides=True
        ),
        f"{_API}.AuthorityService/GetAuthority": Method(callers=_PEOPLE),
        f"{_API}.AuthorityService/ListAuthorities": Method(callers=_PEOPLE),
        f"{_API}.CaptureService/RequestCapture": Method(callers=_LEGAL | _OPERATOR, decides=True),
        f"{_API}.CaptureService/StopCapture": Method(
            callers=_LEGAL | _OPERATOR | _APPROVER, decides=True
        ),
        f"{_API}.CaptureService/WatchCapture": Method(callers=_PEOPLE),
        f"{_API}.CaptureService/ListCaptures": Method(callers=_PEOPLE),
        f"{_API}.CaptureService/FetchCapture": Method(callers=_LEGAL | _OPERATOR, decides=True),
        f"{_API}.NodeService/Session": Method(callers=_NODE),
        f"{_API}.AuditService/ReadRecords": Method(callers=_AUDITOR, decides=True),
        f"{_API}.AuditService/ListFindings": Method(callers=_PEOPLE),
        f"{_API}.AuditService/ListNodes": Method(callers=_PEOPLE),
        f"{_API}.AuditService/CommitSample": Method(callers=_AUDITOR, decides=True),
        f"{_API}.AuditService/FileCertificate": Method(callers=_LEGAL, decides=True),
        f"{_API}.AuditService/FileReview": Method(callers=_AUDITOR, decides=True),
        f"{_API}.AuditService/GetCheckpoint": Method(callers=_PEOPLE | _NODE),
        f"{_API}.AuditService/GetInclusionProof": Method(callers=_AUDITOR, decides=True),
        f"{_API}.AuditService/GetConsistencyProof": Method(callers=_PEOPLE | _NODE),
        f"{_API}.IncidentService/ListIncidents": Method(callers=_LEGAL | _AUDITOR),
        f"{_API}.IncidentService/GetIncident": Method(callers=_LEGAL | _AUDITOR),
        f"{_API}.IncidentService/AssessIncident": Method(callers=_LEGAL, decides=True),
        f"{_API}.TrustService/PublishTrustPolicy": Method(callers=_PEOPLE, decides=True),
        f"{_API}.TrustService/GetTrustPolicy": Method(callers=_PEOPLE | _NODE),
        "/grpc.health.v1.Health/Check": Method(callers=_KNOWN),
        "/grpc.health.v1.Health/Watch": Method(callers=_KNOWN),
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Method(callers=_PEOPLE),
    }
)


def require_complete(services: Iterable[ServiceDescriptor]) -> None:
    """Hold the table against the services to be served; raises MethodsDisagreeError (rule 1)."""
    served = {
        f"/{service.full_name}/{method.name}" for service in services for method in service.methods
    }
    if unlisted := served - METHODS.keys():
        raise MethodsDisagreeError(f"no row says who may call {min(unlisted)}")
    if unserved := METHODS.keys() - served:
        raise MethodsDisagreeError(f"nothing serves {min(unserved)}")
