"""Who calls: from the client certificate of the TLS connection to somebody in the trust policy.

1. TLS has verified that the certificate is the authority's and that the peer holds its key. The
   identity is the certificate's SPIFFE id: exactly one URI among its alternative names, exactly as
   in the trust policy in force. Nothing in the request says who the caller is.
2. TLS looks at a certificate once, at the handshake. So its end is looked at again for every
   message, against the guard's clock, and so is the identity, against the policy of that moment.
3. A certificate that cannot be read, has expired, or names nobody in the policy makes the caller
   unknown; which of these it was goes to the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509

from guard.app.office import Office
from guard.core.trust import GuardIdentity, NodeIdentity, Principal
from guard.services.methods import CallerKind

__all__ = ["Authenticator", "Caller", "Certificate", "UnknownCallerError", "read_certificate"]


class UnknownCallerError(Exception):
    """Nobody whom the trust policy knows, or nobody any more (rule 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What counts of a client certificate."""

    spiffe_id: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody in the trust policy, and what kinds of caller that makes them."""

    identity: Principal | NodeIdentity | GuardIdentity
    kinds: frozenset[CallerKind]

    @property
    def name(self) -> str:
        """The name in the trust policy."""
        return self.identity.name

    @property
    def principal(self) -> Principal:
        """The person; only where the method's row admits nobody else."""
        if not isinstance(self.identity, Principal):
            raise UnknownCallerError("the caller is no person")
        return self.identity

    @property
    def node(self) -> NodeIdentity:
        """The node; only where the method's row admits nobody else."""
        if not isinstance(self.identity, NodeIdentity):
            raise UnknownCallerError("the caller is no node")
        return self.identity


@lru_cache(4096)
def read_certificate(pem: bytes) -> Certificate:
    """Read a certificate that TLS has verified; raises UnknownCallerError."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        (spiffe_id,) = uris
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise UnknownCallerError("the certificate does not carry exactly one URI") from error
    if not spiffe_id.startswith("spiffe://"):
        raise UnknownCallerError("the certificate does not carry a SPIFFE id")
    return Certificate(
        spiffe_id=spiffe_id,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


class Authenticator:
    """Names the caller behind a certificate, now."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def caller(self, pem: bytes) -> Caller:
        """Return who calls; raises UnknownCallerError (rule 3)."""
        certificate = read_certificate(pem)
        now = self._office.clock.now()
        if not certificate.not_before <= now < certificate.not_after:
            raise UnknownCallerError("the client certificate is not valid now")
        policy, spiffe_id = self._office.policy, certificate.spiffe_id
        if person := policy.principal_by_spiffe(spiffe_id):
            kinds = frozenset(CallerKind(role.value) for role in person.roles)
            return Caller(identity=person, kinds=kinds)
        if node := policy.node_by_spiffe(spiffe_id):
            return Caller(identity=node, kinds=frozenset({CallerKind.NODE}))
        if guard := policy.guard_by_spiffe(spiffe_id):
            return Caller(identity=guard, kinds=frozenset({CallerKind.GUARD}))
        raise UnknownCallerError("the trust policy does not know this SPIFFE id")
