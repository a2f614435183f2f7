"""The services over the wire, from opening a ticket to fetching a segment."""

from __future__ import annotations

import uuid

import grpc
import pytest
from grpc_status import rpc_status

from guard.api.v1 import authority_service_pb2 as authority_messages
from guard.api.v1 import capture_service_pb2 as capture_messages
from guard.api.v1.authority_service_pb2_grpc import AuthorityServiceStub
from guard.api.v1.capture_service_pb2_grpc import CaptureServiceStub
from guard.api.v1.reason_pb2 import Denial, Reason
from guard.core import envelope as dsse
from guard.core.envelope import Kind
from tests.builders.serving import Serving


async def open_ticket(served: Serving) -> authority_messages.Authority:
    site = served.site
    request = authority_messages.OpenTicketRequest(envelope=site.register(site.authority()))
    stub = AuthorityServiceStub(served.channel("operator-1"))
    return (await stub.OpenTicket(request)).authority


async def approve(served: Serving, ticket: authority_messages.Authority, by: str) -> None:
    envelope = dsse.parse(ticket.envelope, Kind.AUTHORITY)
    made = served.site.people[by].signer.sign(dsse.pae(envelope))
    await AuthorityServiceStub(served.channel(by)).AddSignature(
        authority_messages.AddSignatureRequest(
            authority_id=ticket.id, key_id=made.keyid, signature=bytes.fromhex(made.signature)
        )
    )


def wish(authority_id: str = "", **changes: str) -> capture_messages.RequestCaptureRequest:
    fields = {"request_id": str(uuid.uuid4()), "authority_id": authority_id, "node": "node-1"}
    return capture_messages.RequestCaptureRequest(**(fields | changes))


async def test_a_denial_carries_its_reason(served: Serving) -> None:
    """PERMISSION_DENIED has a Denial in its details, with reason and sentence."""
    ticket = await open_ticket(served)
    stub = CaptureServiceStub(served.channel("operator-1"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.RequestCapture(wish(ticket.id))
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    status = rpc_status.from_call(raised.value)
    denial = Denial()
    assert status.details[0].Unpack(denial)
    assert denial.reason == Reason.REASON_APPROVALS_MISSING
    assert denial.sentence


async def test_a_ticket_from_opening_to_stopping(served: Serving) -> None:
    """Opened, approved, requested, listed, watched, stopped: each answers with the same capture."""
    ticket = await open_ticket(served)
    await approve(served, ticket, "lead-1")
    stub = CaptureServiceStub(served.channel("operator-1"))
    granted = await stub.RequestCapture(wish(ticket.id))
    assert granted.capture.state == capture_messages.CAPTURE_STATE_GRANTED
    listed = await stub.ListCaptures(capture_messages.ListCapturesRequest())
    assert [each.id for each in listed.captures] == [granted.capture.id]
    watching = stub.WatchCapture(
        capture_messages.WatchCaptureRequest(capture_id=granted.capture.id)
    )
    assert (await watching.read()).capture == listed.captures[0]
    await stub.StopCapture(capture_messages.StopCaptureRequest(capture_id=granted.capture.id))
    while (await watching.read()).capture.state != capture_messages.CAPTURE_STATE_STOPPING:
        pass  # It also tells, once a second, that nothing has changed.
    watching.cancel()


@pytest.mark.parametrize(
    "request_changes",
    [
        {"request_id": ""},
        {"request_id": "X"},
        {"authority_id": "'"},
        {"node": ""},
        {"level": "all"},
    ],
)
async def test_a_malformed_request_is_not_a_decision(
    served: Serving, request_changes: dict[str, str]
) -> None:
    """Empty or malformed fields are INVALID_ARGUMENT."""
    stub = CaptureServiceStub(served.channel("operator-1"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.RequestCapture(wish(**({"authority_id": str(uuid.uuid4())} | request_changes)))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_is_not_there_is_not_found(served: Serving) -> None:
    """Watching and stopping an unknown capture are NOT_FOUND."""
    stub = CaptureServiceStub(served.channel("operator-1"))
    unknown = str(uuid.uuid4())
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.StopCapture(capture_messages.StopCaptureRequest(capture_id=unknown))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    watching = stub.WatchCapture(capture_messages.WatchCaptureRequest(capture_id=unknown))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await watching.read()
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
