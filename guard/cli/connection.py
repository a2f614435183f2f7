"""The way to the guard: mutual TLS 1.3 and one place where statuses become exits.

1. The channel trusts the profile's CA alone and demands the name ``guard``, whatever the address.
   No proxy of the environment is used and no way without TLS exists.
2. A status says what the guard meant: PERMISSION_DENIED and UNAUTHENTICATED are denials, with the
   reason of the `Denial` in the details; UNAVAILABLE and DEADLINE_EXCEEDED mean that nobody
   answered, the guard or, with a `Denial`, its witnesses; the rest is trouble in its own words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpc
from grpc_status import rpc_status

from guard.api.v1.audit_service_pb2 import (
    Finding,
    ListFindingsRequest,
    ListNodesRequest,
    NodeStanding,
)
from guard.api.v1.audit_service_pb2_grpc import AuditServiceStub
from guard.api.v1.authority_service_pb2 import Authority, ListAuthoritiesRequest
from guard.api.v1.authority_service_pb2_grpc import AuthorityServiceStub
from guard.api.v1.capture_service_pb2 import Capture, ListCapturesRequest
from guard.api.v1.capture_service_pb2_grpc import CaptureServiceStub
from guard.api.v1.incident_service_pb2 import ListIncidentsRequest, ListIncidentsResponse
from guard.api.v1.incident_service_pb2_grpc import IncidentServiceStub
from guard.api.v1.reason_pb2 import Denial
from guard.api.v1.reason_pb2 import Reason as WireReason
from guard.api.v1.trust_service_pb2_grpc import TrustServiceStub
from guard.cli.certificates import GUARD_NAME
from guard.cli.durations import stamp
from guard.cli.exits import DeniedError, Failure, TroubleError, UnreachableError
from guard.cli.output import plain
from guard.cli.profile import Profile, read_certificate
from guard.cli.translate import wire_name
from guard.clock import SystemClock
from guard.core.reasons import Reason

__all__ = ["Connection"]

Answer = TypeVar("Answer")

_PAGE = 500
_PATIENCE = 30.0  # seconds; a decision takes milliseconds, a guard under load some more
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.ssl_target_name_override", GUARD_NAME),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]
_HINTS = (
    ("expired", "a certificate has expired: renew it"),
    ("certificate", "the certificates do not fit: check tls_cert, tls_key and ca_cert"),
    ("ssl", "the TLS handshake failed: check tls_cert, tls_key and ca_cert"),
    ("socket closed", "it closed the connection: is tls_cert issued by its CA and still valid?"),
    ("refused", "nothing listens there: is the guard running?"),
    ("deadline", "no answer in time: is the guard overloaded or the network cut?"),
)


class Connection:
    """The guard's services as one person may call them."""

    def __init__(self, profile: Profile) -> None:
        credentials = grpc.ssl_channel_credentials(
            root_certificates=profile.public(profile.ca_cert),
            private_key=profile.private_tls_key(),
            certificate_chain=profile.public(profile.tls_cert),
        )
        self.address = profile.guard
        self._profile = profile
        self._channel = grpc.secure_channel(profile.guard, credentials, options=_OPTIONS)
        self.authorities = AuthorityServiceStub(self._channel)
        self.captures = CaptureServiceStub(self._channel)
        self.audit = AuditServiceStub(self._channel)
        self.incidents = IncidentServiceStub(self._channel)
        self.trust = TrustServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def call(self, method: Callable[..., Answer], request: object) -> Answer:
        """Ask once; raises a `Failure`."""
        with self._failures():
            return method(request, timeout=_PATIENCE)

    def stream(self, method: Callable[..., Iterable[Answer]], request: object) -> Iterator[Answer]:
        """Yield what the guard streams; raises a `Failure`, also in the middle."""
        with self._failures():
            yield from method(request)

    def list_authorities(self, limit: int) -> list[Authority]:
        """Return the newest authorities, page after page; raises a `Failure`."""
        found: list[Authority] = []
        token = ""
        while len(found) < limit:
            size = min(limit - len(found), _PAGE)
            request = ListAuthoritiesRequest(page_size=size, page_token=token)
            answer = self.call(self.authorities.ListAuthorities, request)
            found += answer.authorities
            if not (token := answer.next_page_token):
                break
        return found

    def list_captures(self, limit: int, *, authority: str = "") -> list[Capture]:
        """Return the newest captures, of one authority or of all; raises a `Failure`."""
        found: list[Capture] = []
        token = ""
        while len(found) < limit:
            size = min(limit - len(found), _PAGE)
            request = ListCapturesRequest(authority_id=authority, page_size=size, page_token=token)
            answer = self.call(self.captures.ListCaptures, request)
            found += answer.captures
            if not (token := answer.next_page_token):
                break
        return found

    def list_findings(self) -> list[Finding]:
        """Return what the guard's reconciliation has open; raises a `Failure`."""
        return list(self.call(self.audit.ListFindings, ListFindingsRequest()).findings)

    def list_nodes(self) -> list[NodeStanding]:
        """Return how each node of the trust policy stands; raises a `Failure`."""
        return list(self.call(self.audit.ListNodes, ListNodesRequest()).nodes)

    def list_incidents(self, *, only_open: bool) -> ListIncidentsResponse:
        """Return all incidents, page after page, and the hooks; raises a `Failure`."""
        whole = ListIncidentsResponse()
        while True:
            token = whole.next_page_token
            request = ListIncidentsRequest(only_open=only_open, page_token=token)
            answer = self.call(self.incidents.ListIncidents, request)
            del whole.hooks[:]
            whole.MergeFrom(answer)
            whole.next_page_token = answer.next_page_token
            if not answer.next_page_token:
                return whole

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise self._failure(error) from error

    def _failure(self, error: grpc.RpcError) -> Failure:
        code = error.code()
        words = plain(error.details() or code.name.lower())
        if code is grpc.StatusCode.UNAVAILABLE and (denial := _denial(error, "")).reason:
            return UnreachableError(
                f"{denial}; the guard's log says which. What runs goes on and can be stopped"
            )
        if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
            why = self._own_certificate() or _hint(words)
            return UnreachableError(f"cannot reach the guard at {self.address}: {why}")
        if code is grpc.StatusCode.PERMISSION_DENIED:
            return _denial(error, words)
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return DeniedError(Reason.CALLER_ROLE_WRONG.value, words)
        if code is grpc.StatusCode.NOT_FOUND:
            return TroubleError(
                f"the guard says: {words}; list what there is with the `list` commands"
            )
        return TroubleError(f"the guard answered {code.name.lower()}: {words}")

    def _own_certificate(self) -> str | None:
        """Say so when this side's certificate is over: TLS 1.3 tells the client nothing of it."""
        end = read_certificate(self._profile.tls_cert).not_valid_after_utc
        if end > SystemClock.now():
            return None
        return (
            f"your certificate ended on {stamp(end)}: have it renewed (callguard certificate renew)"
        )


def _denial(error: grpc.RpcError, words: str) -> DeniedError:
    try:
        status = rpc_status.from_call(cast("grpc.Call", error))  # every error of a call is one
    except ValueError:  # the details contradict the status
        status = None
    for detail in status.details if status is not None else ():
        denial = Denial()
        if detail.Unpack(denial) and denial.reason:
            reason = wire_name(WireReason, denial.reason, "REASON_")
            return DeniedError(reason, plain(denial.sentence) or words)
    return DeniedError("unspecified" if words else "", words)


def _hint(words: str) -> str:
    known = words.casefold()
    return next((hint for sign, hint in _HINTS if sign in known), words)
