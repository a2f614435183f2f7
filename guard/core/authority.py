"""The authority: a warrant or a ticket, the only source of permission.

1. Which fields an authority has depends on its instrument: what a warrant must say
   (47 CFR 1.20004(a), TKÜV section 16(1)) it says, and a ticket does not pretend to an order.
   - every authority: id, instrument, reference, registrant, level, nodes, window, recipients,
     sealed subjects and their commitment; limits where wished;
   - ``interception_order``, ``pen_register``: legal basis, issuing authority and signer, presenting
     officer and agency, SHA-256 of the scanned order;
   - ``emergency``: the same, the order's digest only where there is a written order already;
   - ``ticket``, ``test``: a reason; a legal basis where wished.
2. Nodes, recipients and subjects are listed, never implied: an empty list is refused.
3. The registrant is in the signed text, so that who registered is signed too.
4. It may demand of its nodes that they enforce so much at least (`guard.core.enforcement`); without
   the demand any node will do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from guard.core import canonical
from guard.core.enforcement import Enforcement
from guard.core.envelope import MAX_ENVELOPE
from guard.core.fields import (
    DIGEST,
    NAME,
    UUID,
    Fields,
    encode_base64,
    require,
    require_match,
    require_text,
)
from guard.core.identities import require_recipient
from guard.core.instruments import WARRANTS, Instrument, parse_instrument, require_interception
from guard.core.level import Level
from guard.core.reasons import Reason, Refused
from guard.core.subjects import MAX_SEALED
from guard.core.window import Window, take_window, window_fields

MAX_NODES = 64
MAX_RECIPIENTS = 16
MAX_REFERENCE = 128
MAX_CALLS = 1_000_000
MAX_BYTES = 2**53 - 1

_ORDER: Final = (
    "legal_basis",
    "issuing_authority",
    "issuing_signer",
    "presenting_officer",
    "presenting_agency",
)
_TEXTS: Final = (*_ORDER, "order_sha256", "reason")
_REQUIRED: Final = {
    Instrument.INTERCEPTION_ORDER: frozenset({*_ORDER, "order_sha256"}),
    Instrument.PEN_REGISTER: frozenset({*_ORDER, "order_sha256"}),
    Instrument.EMERGENCY: frozenset(_ORDER),
    Instrument.TICKET: frozenset({"reason"}),
    Instrument.TEST: frozenset({"reason"}),
}
_OPTIONAL: Final = {
    Instrument.EMERGENCY: frozenset({"order_sha256"}),
    Instrument.TICKET: frozenset({"legal_basis"}),
    Instrument.TEST: frozenset({"legal_basis"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """One authority as signed. Well formed by construction; approved only by its signatures."""

    id: str
    instrument: Instrument
    reference: str
    registrant: str
    level: Level
    nodes: tuple[str, ...]
    window: Window
    recipients: tuple[str, ...]
    sealed_subjects: bytes = field(repr=False)
    subjects_commitment: str
    legal_basis: str | None = None
    issuing_authority: str | None = None
    issuing_signer: str | None = None
    presenting_officer: str | None = None
    presenting_agency: str | None = None
    order_sha256: str | None = None
    reason: str | None = None
    max_calls: int | None = None
    max_bytes: int | None = None
    enforcement: Enforcement | None = None

    def __post_init__(self) -> None:
        require_interception(self.instrument)
        require_match(self.id, UUID, "the authority's id")
        require_text(self.reference, "the authority's reference", longest=MAX_REFERENCE)
        require_match(self.registrant, NAME, "the authority's registrant")
        self._require_lists()
        self._require_texts()
        require(0 < len(self.sealed_subjects) <= MAX_SEALED, "the sealed subjects are too large")
        require_match(self.subjects_commitment, DIGEST, "the subjects' commitment")
        require(
            self.max_calls is None or 0 < self.max_calls <= MAX_CALLS,
            "the limit of calls is out of range",
        )
        require(
            self.max_bytes is None or 0 < self.max_bytes <= MAX_BYTES,
            "the limit of bytes is out of range",
        )

    @property
    def is_warrant(self) -> bool:
        """Whether it rests on a law's order rather than on a ticket."""
        return self.instrument in WARRANTS

    def require_enforced(self, enforced: Enforcement, node: str) -> None:
        """Refuse (NODE_NOT_ENFORCING) a node that enforces less than is demanded (4)."""
        if self.enforcement is not None and enforced < self.enforcement:
            raise Refused(
                Reason.NODE_NOT_ENFORCING,
                f"{node} enforces no more than {enforced}, and the authority demands "
                f"{self.enforcement}",
            )

    def _require_lists(self) -> None:
        for values, most, what in (
            (self.nodes, MAX_NODES, "nodes"),
            (self.recipients, MAX_RECIPIENTS, "recipients"),
        ):
            require(0 < len(values) <= most, f"the authority names no {what} or too many")
            require(len(set(values)) == len(values), f"the authority names one of its {what} twice")
        for node in self.nodes:
            require_match(node, NAME, "a node's name")
        for recipient in self.recipients:
            require_recipient(recipient)

    def _require_texts(self) -> None:
        given = frozenset(name for name in _TEXTS if getattr(self, name) is not None)
        required = _REQUIRED[self.instrument]
        admitted = required | _OPTIONAL.get(self.instrument, frozenset())
        for name in _TEXTS:  # (1)
            require(name in given or name not in required, f"the authority lacks its {name}")
            require(name not in given or name in admitted, f"a {self.instrument} has no {name}")
        for name in given:
            require_text(getattr(self, name), f"the authority's {name}")
        if self.order_sha256 is not None:
            require_match(self.order_sha256, DIGEST, "the order's digest")


def encode_authority(authority: Authority) -> bytes:
    """Write the payload of an authority."""
    fields: dict[str, Any] = {
        "id": authority.id,
        "instrument": authority.instrument.value,
        "level": authority.level.value,
        "nodes": list(authority.nodes),
        "recipients": list(authority.recipients),
        "reference": authority.reference,
        "registrant": authority.registrant,
        "sealed_subjects": encode_base64(authority.sealed_subjects),
        "subjects_commitment": authority.subjects_commitment,
    }
    optional = (*_TEXTS, "max_bytes", "max_calls")
    fields |= {name: value for name in optional if (value := getattr(authority, name)) is not None}
    if authority.enforcement is not None:
        fields["enforcement"] = authority.enforcement.value
    return canonical.encode(fields | window_fields(authority.window))


def parse_authority(payload: bytes) -> Authority:
    """Read the payload of an authority; its signatures are ``approval``'s to check.

    Raises ``Refused``: DOCUMENT_MALFORMED, INSTRUMENT_UNKNOWN, STORED_DATA_ONLY,
    WINDOW_TOO_LONG for an empty window, RECIPIENT_NOT_PERMITTED.
    """
    fields = Fields(canonical.decode(payload, limit=MAX_ENVELOPE), "authority")
    instrument = parse_instrument(fields.text("instrument"))
    authority = Authority(
        id=fields.text("id"),
        instrument=instrument,
        reference=fields.text("reference"),
        registrant=fields.text("registrant"),
        level=fields.choice("level", Level),
        nodes=fields.text_list("nodes", least=1, most=MAX_NODES),
        window=take_window(fields),
        recipients=fields.text_list("recipients", least=1, most=MAX_RECIPIENTS),
        sealed_subjects=fields.binary("sealed_subjects", longest=MAX_SEALED),
        subjects_commitment=fields.text("subjects_commitment"),
        max_calls=fields.optional_integer("max_calls", least=1, most=MAX_CALLS),
        max_bytes=fields.optional_integer("max_bytes", least=1, most=MAX_BYTES),
        enforcement=_take_enforcement(fields),
        **{name: fields.optional_text(name) for name in _TEXTS},
    )
    fields.finish()
    return authority


def _take_enforcement(fields: Fields) -> Enforcement | None:
    return fields.choice("enforcement", Enforcement) if fields.has("enforcement") else None
