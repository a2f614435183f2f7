"""Why something is denied or refused: the one vocabulary of guard, agent and command line.

The names equal those of ``proto/guard/api/v1/reason.proto`` without its prefix.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """A named reason. The contract, ``reason.proto``, says in a sentence what each means."""

    DOCUMENT_MALFORMED = "document_malformed"
    INSTRUMENT_UNKNOWN = "instrument_unknown"
    STORED_DATA_ONLY = "stored_data_only"
    TRUST_POLICY_UNTRUSTED = "trust_policy_untrusted"
    TRUST_POLICY_EXPIRED = "trust_policy_expired"
    TRUST_POLICY_ROLLED_BACK = "trust_policy_rolled_back"
    SIGNATURE_INVALID = "signature_invalid"
    SIGNER_KEY_NOT_VALID = "signer_key_not_valid"
    SIGNER_ROLE_WRONG = "signer_role_wrong"
    SIGNER_NOT_DISTINCT = "signer_not_distinct"
    APPROVALS_MISSING = "approvals_missing"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    WINDOW_TOO_LONG = "window_too_long"
    LEVEL_NOT_PERMITTED = "level_not_permitted"
    AUTHORITY_UNKNOWN = "authority_unknown"
    REVOKED = "revoked"
    STATE_NOT_PERMITTED = "state_not_permitted"
    NODE_NOT_NAMED = "node_not_named"
    GRANT_WRONG_NODE = "grant_wrong_node"
    GRANT_WRONG_AUTHORITY = "grant_wrong_authority"
    GRANT_UNTRUSTED = "grant_untrusted"
    GRANT_WINDOW_EXCEEDED = "grant_window_exceeded"
    LOG_PROOF_INVALID = "log_proof_invalid"
    CHECKPOINT_UNTRUSTED = "checkpoint_untrusted"
    WITNESS_QUORUM_MISSING = "witness_quorum_missing"
    CHECKPOINT_STALE = "checkpoint_stale"
    REPLAYED = "replayed"
    SUBJECTS_UNREADABLE = "subjects_unreadable"
    SUBJECTS_MISMATCH = "subjects_mismatch"
    SUBJECT_NOT_PERMITTED = "subject_not_permitted"
    SUBJECT_NOT_ON_TEST_LIST = "subject_not_on_test_list"
    CLOCK_IN_DOUBT = "clock_in_doubt"
    CALLER_ROLE_WRONG = "caller_role_wrong"
    ALREADY_RUNNING = "already_running"
    CAPTURE_UNKNOWN = "capture_unknown"
    EMBARGOED = "embargoed"
    RECIPIENT_NOT_PERMITTED = "recipient_not_permitted"
    NODE_UNKNOWN = "node_unknown"
    ALREADY_REGISTERED = "already_registered"
    NODE_UNABLE = "node_unable"
    CALL_NOT_COVERED = "call_not_covered"
    SCOPE_NOT_PERMITTED = "scope_not_permitted"
    NODE_UNTRUSTED = "node_untrusted"
    NODE_NOT_ENFORCING = "node_not_enforcing"


class Refused(Exception):  # noqa: N818  the word of the design
    """Something failed verification.

    ``detail`` is one sentence for people; it never holds a subject, a key or content.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
