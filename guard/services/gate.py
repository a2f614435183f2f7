"""What every call passes: authenticate, authorise, log; and how every call ends.

1. The order is: who is it, may they call this, then the method. A caller without the role for a
   deciding method is put on record; one whom the trust policy does not know is only logged, at most
   ten lines in ten seconds with the number left out, because anybody with a certificate of the
   authority could otherwise fill the log.
2. In a stream, both are looked at again for every message in either direction, and in a quiet one
   by the service that waits. So a stream outlives neither its client's certificate nor its client's
   place in the trust policy.
3. A log line holds the method, the caller's name, the status and the time taken: nothing of the
   request, nothing of the answer.
4. Cancellation passes through untouched. Every other error ends in ``guard.services.status``; one
   that nobody foresaw is logged with its type and place and without its text.
5. When the guard stops, streams end at their next message, so that it need not break them off.
"""

from __future__ import annotations

import inspect
import time
import traceback
from asyncio import Event
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import structlog
from google.rpc import code_pb2
from grpc_status import rpc_status

from guard.app.denial import Denied
from guard.app.refusals import Refusals
from guard.core.decision import Deny
from guard.core.reasons import Reason
from guard.services.authn import Authenticator, Caller, UnknownCallerError
from guard.services.methods import METHODS, Method
from guard.services.status import StoppingError, innermost, is_foreseen, to_status

__all__ = ["Admission", "Context", "Gate", "admission"]

if TYPE_CHECKING:  # Generic for the checker only.
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
    Interceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    Handler, Context = grpc.RpcMethodHandler, grpc.aio.ServicerContext
    Interceptor = grpc.aio.ServerInterceptor

_WINDOW = 10.0
_MOST_LINES = 10
_CODES = {value: name for name, value in code_pb2.Code.items()}


class Admission:
    """One call's permission to go on; asked again for every message (rule 2)."""

    __slots__ = ("_authenticator", "_pem", "_row", "_stopping", "caller")

    def __init__(
        self, authenticator: Authenticator, pem: bytes, row: Method, stopping: Event
    ) -> None:
        self._authenticator = authenticator
        self._stopping = stopping
        self._pem = pem
        self._row = row
        self.caller: Caller = authenticator.caller(pem)

    def renew(self) -> Caller:
        """Look at the caller again; raises UnknownCallerError, Denied or StoppingError."""
        if self._stopping.is_set():
            raise StoppingError
        self.caller = self._authenticator.caller(self._pem)
        if not self.permits():
            raise Denied(
                Deny(reason=Reason.CALLER_ROLE_WRONG, sentence="the caller's role has changed")
            )
        return self.caller

    def permits(self) -> bool:
        """Say whether the caller is of a kind that the method's row admits."""
        return not self._row.callers.isdisjoint(self.caller.kinds)


_ADMISSION: ContextVar[Admission] = ContextVar("admission")


def admission() -> Admission:
    """Return the admission of the call in hand."""
    return _ADMISSION.get()


class Gate(Interceptor):
    """Wraps every method's handler, once."""

    def __init__(
        self,
        authenticator: Authenticator,
        refusals: Refusals,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._authenticator = authenticator
        self._refusals = refusals
        self._log = log
        self._wrapped: dict[str, Handler] = {}
        self._lines: list[float] = []
        self._left_out = 0
        self._stopping = Event()

    def close(self) -> None:
        """End every stream at its next message (rule 5)."""
        self._stopping.set()

    # A method that nobody serves has no handler; the stubs leave that out.
    async def intercept_service(  # type: ignore[override]
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the wrapped handler of a method."""
        method = handler_call_details.method
        if (known := self._wrapped.get(method)) is not None:
            return known
        handler = await continuation(handler_call_details)
        row = METHODS.get(method)
        if handler is None or row is None:
            return None
        self._wrapped[method] = wrapped = self._wrap(method, row, handler)
        return wrapped

    def _wrap(self, method: str, row: Method, handler: Handler) -> Handler:
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            run = self._unary(method, row, handler.unary_unary)
            return grpc.unary_unary_rpc_method_handler(run, **codec)
        if handler.unary_stream:
            run = self._stream(method, row, handler.unary_stream)
            return grpc.unary_stream_rpc_method_handler(run, **codec)
        if handler.stream_stream:
            run = self._stream(method, row, handler.stream_stream)
            return grpc.stream_stream_rpc_method_handler(run, **codec)
        raise TypeError(f"{method} has a shape that nothing here handles")

    def _unary(self, method: str, row: Method, behavior: Callable[..., Any]) -> Callable[..., Any]:
        async def run(request: object, context: Context) -> object:
            started, name = time.perf_counter(), ""
            try:
                admitted = self._recognise(row, context)
                name = admitted.caller.name
                await self._admit(method, row, admitted)
                answer: object = await behavior(request, context)
            except Exception as error:  # noqa: BLE001 - rule 4: it becomes a status
                await self._end(method, name, started, context, error)
            self._log.info("call", method=method, caller=name, code="OK", ms=_ms(started))
            return answer

        return run

    def _stream(self, method: str, row: Method, behavior: Callable[..., Any]) -> Callable[..., Any]:
        async def run(incoming: Any, context: Context) -> None:  # noqa: ANN401 - one or many
            started, name = time.perf_counter(), ""
            try:
                admitted = self._recognise(row, context)
                name = admitted.caller.name
                await self._admit(method, row, admitted)
                if hasattr(incoming, "__aiter__"):
                    incoming = _renewing(incoming, admitted)
                if inspect.isasyncgenfunction(behavior):
                    async for answer in behavior(incoming, context):
                        admitted.renew()
                        await context.write(answer)
                else:
                    await behavior(incoming, context)
            except Exception as error:  # noqa: BLE001 - rule 4: it becomes a status
                await self._end(method, name, started, context, error)
            self._log.info("stream", method=method, caller=name, code="OK", ms=_ms(started))

        return run

    def _recognise(self, row: Method, context: Context) -> Admission:
        certificates = tuple(context.auth_context().get("x509_pem_cert", ()))
        if len(certificates) != 1:
            raise UnknownCallerError("there is no client certificate")
        return Admission(self._authenticator, bytes(certificates[0]), row, self._stopping)

    async def _admit(self, method: str, row: Method, admitted: Admission) -> None:
        if not admitted.permits():
            raise Denied(await self._turn_away(method, row, admitted.caller))
        _ADMISSION.set(admitted)

    async def _turn_away(self, method: str, row: Method, caller: Caller) -> Deny:
        if row.decides:
            return await self._refusals.wrong_role(method, caller.name)
        return Deny(
            reason=Reason.CALLER_ROLE_WRONG,
            sentence=f"{caller.name} does not hold a role that may do this",
        )

    async def _end(
        self, method: str, name: str, started: float, context: Context, error: Exception
    ) -> NoReturn:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        status = to_status(error)
        cause = innermost(error)
        fields = {"method": method, "caller": name, "code": _CODES[status.code]}
        if isinstance(cause, UnknownCallerError):
            self._unknown(method, str(cause), context.peer())
        elif is_foreseen(error):
            self._log.info("refused", **fields, reason=_reason(cause), ms=_ms(started))
        else:
            place = traceback.extract_tb(cause.__traceback__)[-1]
            where = f"{place.filename}:{place.lineno}"
            self._log.error("fault", **fields, error=type(cause).__name__, where=where)
        # grpc-stubs lacks abort_with_status, which always raises.
        await context.abort_with_status(rpc_status.to_status(status))  # type: ignore[attr-defined]
        raise error

    def _unknown(self, method: str, why: str, peer: str) -> None:
        """Log an unknown caller, within bounds (rule 1)."""
        now = time.monotonic()
        self._lines = [line for line in self._lines if now - line < _WINDOW]
        if len(self._lines) >= _MOST_LINES:
            self._left_out += 1
            return
        self._lines.append(now)
        left_out, self._left_out = self._left_out, 0
        self._log.warning("unknown_caller", method=method, why=why, peer=peer, left_out=left_out)


async def _renewing(incoming: AsyncIterator[object], admitted: Admission) -> AsyncIterator[object]:
    async for message in incoming:
        admitted.renew()
        yield message


def _reason(error: BaseException) -> str:
    return str(error.deny.reason) if isinstance(error, Denied) else type(error).__name__


def _ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
