"""Which services are served, and with what: every one of them behind the gate."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from guard.api.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    authority_service_pb2,
    authority_service_pb2_grpc,
    capture_service_pb2,
    capture_service_pb2_grpc,
    incident_service_pb2,
    incident_service_pb2_grpc,
    node_service_pb2,
    node_service_pb2_grpc,
    trust_service_pb2,
    trust_service_pb2_grpc,
)
from guard.app.audit import Audit
from guard.app.authorities import Authorities
from guard.app.captures import Captures
from guard.app.evidence import EvidenceDesk
from guard.app.filings import Filings
from guard.app.incidents import IncidentDesk
from guard.app.notify import Notifier
from guard.app.office import Office
from guard.app.ports import Quorum
from guard.app.presence import Presence
from guard.app.receipts import Receipts
from guard.app.reconcile import Reconciler
from guard.app.refusals import Refusals
from guard.app.segments import Segments
from guard.app.shelf import Shelf
from guard.app.trust import Trust
from guard.core.reporting import Law
from guard.services.audit import AuditService
from guard.services.authn import Authenticator
from guard.services.authorities import AuthorityService
from guard.services.captures import CaptureService
from guard.services.gate import Gate
from guard.services.incidents import IncidentService
from guard.services.methods import require_complete
from guard.services.nodes import NodeService, NodeServices
from guard.services.trust import TrustService

__all__ = ["SERVICES", "Premises", "add_services"]

SERVICES: tuple[ServiceDescriptor, ...] = (
    *authority_service_pb2.DESCRIPTOR.services_by_name.values(),
    *capture_service_pb2.DESCRIPTOR.services_by_name.values(),
    *node_service_pb2.DESCRIPTOR.services_by_name.values(),
    *audit_service_pb2.DESCRIPTOR.services_by_name.values(),
    *incident_service_pb2.DESCRIPTOR.services_by_name.values(),
    *trust_service_pb2.DESCRIPTOR.services_by_name.values(),
    *health_pb2.DESCRIPTOR.services_by_name.values(),
    *reflection_pb2.DESCRIPTOR.services_by_name.values(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """What the services work with."""

    office: Office
    presence: Presence
    shelf: Shelf
    segments: Segments
    trust: Trust
    reconciler: Reconciler
    quorum: Quorum
    laws: tuple[Law, ...]
    notifiers: tuple[Notifier, ...]
    log: structlog.typing.FilteringBoundLogger

    def gate(self) -> Gate:
        """Make what every call passes."""
        return Gate(Authenticator(self.office), Refusals(self.office), self.log)


def add_services(server: grpc.aio.Server, premises: Premises) -> None:
    """Serve everything in ``SERVICES``; raises MethodsDisagreeError."""
    require_complete(SERVICES)
    office = premises.office
    authority_service_pb2_grpc.add_AuthorityServiceServicer_to_server(
        AuthorityService(Authorities(office)), server
    )
    capture_service_pb2_grpc.add_CaptureServiceServicer_to_server(
        CaptureService(Captures(office, premises.presence, premises.quorum), premises.shelf), server
    )
    node_service_pb2_grpc.add_NodeServiceServicer_to_server(
        NodeService(_node_services(premises)), server
    )
    audit_service_pb2_grpc.add_AuditServiceServicer_to_server(_audit_service(premises), server)
    incident_service_pb2_grpc.add_IncidentServiceServicer_to_server(
        IncidentService(_incident_desk(premises)), server
    )
    trust_service_pb2_grpc.add_TrustServiceServicer_to_server(TrustService(premises.trust), server)
    health_pb2_grpc.add_HealthServicer_to_server(health_aio.HealthServicer(), server)
    reflection.enable_server_reflection([each.full_name for each in SERVICES], server)


def _audit_service(premises: Premises) -> AuditService:
    office = premises.office
    return AuditService(
        Audit(office), premises.reconciler, Filings(office), premises.presence, premises.notifiers
    )


def _incident_desk(premises: Premises) -> IncidentDesk:
    return IncidentDesk(
        office=premises.office,
        audit=Audit(premises.office),
        laws=premises.laws,
        notifiers=premises.notifiers,
    )


def _node_services(premises: Premises) -> NodeServices:
    return NodeServices(
        office=premises.office,
        presence=premises.presence,
        desk=EvidenceDesk(premises.office),
        receipts=Receipts(premises.office),
        segments=premises.segments,
        trust=premises.trust,
        reconciler=premises.reconciler,
        log=premises.log,
    )
