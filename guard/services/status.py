"""From what a use case raises to what goes over the wire.

1. A denial is PERMISSION_DENIED with a ``Denial`` in the details of the ``google.rpc.Status``; one
   for want of witnesses is UNAVAILABLE with the same details: it is nobody's fault, ask again.
2. INVALID_ARGUMENT: the request cannot be understood. NOT_FOUND: no such thing. UNAVAILABLE:
   nothing was decided, ask again. UNAUTHENTICATED: the trust policy does not know the caller.
3. Anything else is INTERNAL with the same three words for everybody: no text of an error that
   nobody foresaw leaves the guard.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from google.protobuf import any_pb2
from google.rpc import code_pb2, status_pb2

from guard.api.v1 import reason_pb2
from guard.app.denial import Denied, ErasedMeanwhileError, MalformedError, UnknownError
from guard.app.ports import LedgerUnavailable
from guard.app.shelf import ShelfError
from guard.core.decision import Deny
from guard.core.reasons import Reason, Refused
from guard.services.authn import UnknownCallerError
from guard.services.translate import to_reason

__all__ = ["StoppingError", "innermost", "is_foreseen", "to_status"]


class StoppingError(Exception):
    """The guard is on its way down; ask again when it is back."""


_UNFORESEEN: Final = (code_pb2.INTERNAL, "an internal error")
_FIXED: Final[Mapping[type[Exception], tuple[int, str]]] = MappingProxyType(
    {
        ErasedMeanwhileError: (
            code_pb2.ABORTED,
            "the retention of some records ended while they were read: read them again",
        ),
        LedgerUnavailable: (code_pb2.UNAVAILABLE, "the ledger is not available: nothing was done"),
        ShelfError: (code_pb2.UNAVAILABLE, "a segment's file is not available"),
        StoppingError: (code_pb2.UNAVAILABLE, "the guard is stopping"),
        UnknownCallerError: (code_pb2.UNAUTHENTICATED, "the caller is not known"),
    }
)


def to_status(error: BaseException) -> status_pb2.Status:
    """Return the status that answers an error."""
    error = innermost(error)
    if isinstance(error, Denied):
        return _denial(error.deny)
    if isinstance(error, MalformedError):
        return _status(code_pb2.INVALID_ARGUMENT, str(error))
    if isinstance(error, Refused):
        return _status(code_pb2.INVALID_ARGUMENT, str(error))
    if isinstance(error, UnknownError):
        return _status(code_pb2.NOT_FOUND, str(error))
    for kind, (code, text) in _FIXED.items():
        if isinstance(error, kind):
            return _status(code, text)
    return _status(*_UNFORESEEN)


def is_foreseen(error: BaseException) -> bool:
    """Say whether the error has an answer of its own; others are faults of the guard."""
    known = (Denied, MalformedError, Refused, UnknownError, *_FIXED)
    return isinstance(innermost(error), known)


def innermost(error: BaseException) -> BaseException:
    """Return the first error inside the groups in which task groups wrap them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _denial(deny: Deny) -> status_pb2.Status:
    detail = any_pb2.Any()
    detail.Pack(reason_pb2.Denial(reason=to_reason(deny.reason), sentence=deny.sentence))
    message = f"{deny.reason}: {deny.sentence}"
    lacking = deny.reason is Reason.WITNESS_QUORUM_MISSING
    code = code_pb2.UNAVAILABLE if lacking else code_pb2.PERMISSION_DENIED
    return status_pb2.Status(code=code, message=message, details=[detail])


def _status(code: int, message: str) -> status_pb2.Status:
    return status_pb2.Status(code=code, message=message)
