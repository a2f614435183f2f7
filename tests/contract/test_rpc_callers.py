"""Every method of the contract as every kind of caller, over TLS.

The methods come from the descriptors of what is served, the expectation from the words of the
contract's own comments; the table in the code is held against both.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_status import rpc_status

from guard.api.v1 import audit_service_pb2 as audit_messages
from guard.api.v1.audit_service_pb2_grpc import AuditServiceStub
from guard.api.v1.reason_pb2 import Denial, Reason
from guard.services.listener import SERVICES
from guard.services.methods import METHODS, CallerKind, MethodsDisagreeError, require_complete
from tests.builders.deployment import Deployment
from tests.builders.serving import Serving

ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    "legal-1": CallerKind.LEGAL,
    "operator-1": CallerKind.OPERATOR,
    "lead-1": CallerKind.APPROVER,
    "auditor-1": CallerKind.AUDITOR,
    "node-1": CallerKind.NODE,
    "guard-1": CallerKind.GUARD,
}
# Nodes serve this on a socket of their own: whom the guard admits does not count there, so its table
# has no row for it. `tests/agents/decisions` holds who may open that socket.
SERVED_BY_NODES = {"DecisionService"}
PEOPLE = {kind.value for kind in CallerKind} - {"node", "guard"}
Ending = tuple[grpc.StatusCode, str]
METHOD_DESCRIPTORS = {
    f"/{service.full_name}/{method.name}": method
    for service in SERVICES
    for method in service.methods
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Serving]:
    async with Serving(tmp_path_factory.mktemp("guard")) as serving:
        yield serving


async def call(channel: grpc.aio.Channel, name: str, method: MethodDescriptor) -> Ending:
    """Call a method with an empty request and return how it ended."""
    request = GetMessageClass(method.input_type)()
    codec = {
        "request_serializer": GetMessageClass(method.input_type).SerializeToString,
        "response_deserializer": GetMessageClass(method.output_type).FromString,
    }
    try:
        if method.client_streaming:
            streaming = channel.stream_stream(name, **codec)(iter([request]), timeout=5)
            await streaming.read()
            streaming.cancel()
        elif method.server_streaming:
            streaming = channel.unary_stream(name, **codec)(request, timeout=5)
            await streaming.read()
            streaming.cancel()
        else:
            await channel.unary_unary(name, **codec)(request, timeout=5)
    except grpc.aio.AioRpcError as error:
        return error.code(), _reason(error)
    return grpc.StatusCode.OK, ""


def _reason(error: grpc.aio.AioRpcError) -> str:
    status, denial = rpc_status.from_call(error), Denial()
    if status is None or not status.details:
        return ""
    assert status.details[0].Unpack(denial)
    return Reason.Name(denial.reason)


def comments() -> Iterator[tuple[str, set[str]]]:
    """Yield each method of the contract and the kinds of caller that its comment admits."""
    for file in sorted((ROOT / "proto/guard/api/v1").glob("*_service.proto")):
        text = file.read_text()
        service = re.search(r"^service (\w+)", text, re.MULTILINE)[1]
        if service in SERVED_BY_NODES:
            continue
        for comment, name in re.findall(r"((?:^  //.*\n)+)  rpc (\w+)", text, re.MULTILINE):
            words = " ".join(comment.replace("//", " ").split())
            (rule,) = re.findall(r"The caller must (.*)$", words)
            kinds = {kind for kind in PEOPLE if re.search(rf"\b{kind}\b", rule)}
            if "hold a role" in rule:
                kinds = set(PEOPLE)
            if "be a node" in rule:
                kinds.add("node")
            yield f"/guard.api.v1.{service}/{name}", kinds


def test_the_table_says_what_the_contract_says() -> None:
    """Each comment's last sentence names exactly the kinds of the method's row."""
    said = dict(comments())
    ours = {name for name in METHODS if name.startswith("/guard.")}
    assert said.keys() == ours
    for name, kinds in said.items():
        assert kinds == {kind.value for kind in METHODS[name].callers}, name


def test_the_guard_serves_every_service_but_those_of_nodes() -> None:
    """What nodes serve the guard does not, and the contract says who may call it there."""
    files = sorted((ROOT / "proto/guard/api/v1").glob("*_service.proto"))
    texts = {
        re.search(r"^service (\w+)", text, re.MULTILINE)[1]: text
        for text in map(Path.read_text, files)
    }
    ours = {each.name for each in SERVICES if each.full_name.startswith("guard.")}
    assert texts.keys() - ours == SERVED_BY_NODES
    for service in SERVED_BY_NODES:
        words = " ".join(texts[service].replace("//", " ").split())
        assert "The caller must be a process of the node that may open the agent's socket." in words


def test_a_method_without_a_row_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does a row without a method."""
    require_complete(SERVICES)
    with pytest.raises(MethodsDisagreeError, match="nothing serves"):
        require_complete(SERVICES[1:])
    name = "/guard.api.v1.TrustService/GetTrustPolicy"
    rest = {key: row for key, row in METHODS.items() if key != name}
    monkeypatch.setattr("guard.services.methods.METHODS", rest)
    with pytest.raises(MethodsDisagreeError, match=name):
        require_complete(SERVICES)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", METHOD_DESCRIPTORS)
async def test_a_method_admits_its_callers_and_nobody_else(served: Serving, name: str) -> None:
    """Known callers of another kind are denied for their role, the others reach the method."""
    for caller, kind in KINDS.items():
        code, reason = await call(served.channel(caller), name, METHOD_DESCRIPTORS[name])
        assert code not in {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL}, caller
        if kind in METHODS[name].callers:
            assert reason != "REASON_CALLER_ROLE_WRONG", caller
        else:
            denied = (grpc.StatusCode.PERMISSION_DENIED, "REASON_CALLER_ROLE_WRONG")
            assert (code, reason) == denied, caller


def strangers(served: Serving) -> Iterator[tuple[str, grpc.aio.Channel, set[grpc.StatusCode]]]:
    """Yield channels of those whom nothing may admit, and how they may be turned away."""
    unknown = {grpc.StatusCode.UNAUTHENTICATED}
    closed = {grpc.StatusCode.UNAVAILABLE}
    known = served.site.people["legal-1"].spiffe_id
    other = Serving(served.folder, Deployment())
    yield "no certificate", served.channel_for(None), closed
    yield "another authority", served.channel_for(other.authority.leaf(known)), closed
    expired = served.leaf("legal-1", life=timedelta(seconds=-1), begun=timedelta(hours=2))
    yield "an expired certificate", served.channel_for(expired), closed
    for what, uris in (
        ("an unknown id", ["spiffe://callguard.test/legal-9"]),
        ("no URI", []),
        ("two URIs", [known, served.site.people["lead-1"].spiffe_id]),
        ("an id in another spelling", [known.upper()]),
        ("an id with a suffix", [known + "/"]),
        ("no SPIFFE id", ["https://callguard.test/legal-1"]),
    ):
        yield what, served.channel_for(served.authority.leaf(*uris)), unknown


@pytest.mark.asyncio(loop_scope="module")
async def test_strangers_reach_no_method(served: Serving) -> None:
    """Without a certificate of the authority that names somebody in the policy: nothing."""
    for what, channel, codes in strangers(served):
        for name, method in METHOD_DESCRIPTORS.items():
            code, _ = await call(channel, name, method)
            assert code in codes, (what, name)
            if codes == {grpc.StatusCode.UNAVAILABLE}:
                break  # There is no connection, so there is no method either.
        await channel.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_known_callers_refusal_is_on_record_a_strangers_is_not(served: Serving) -> None:
    """Asking for a decision without the role leaves who and what in the log; strangers nothing."""
    stub = AuditServiceStub(served.channel("auditor-1"))

    async def records() -> list[Any]:
        request = audit_messages.ReadRecordsRequest(purpose="test")
        listed = [each async for page in stub.ReadRecords(request) for each in page.records]
        return [each for each in listed if each.kind != "records_read"]

    name = "/guard.api.v1.CaptureService/RequestCapture"
    before = len(await records())
    await call(served.channel("auditor-1"), name, METHOD_DESCRIPTORS[name])
    record = (await records())[before:]
    assert [each.kind for each in record] == ["request_denied"]
    assert b'"principal":"auditor-1"' in record[0].body
    assert b'"method":"request_capture"' in record[0].body
    stranger = served.channel_for(served.authority.leaf("spiffe://callguard.test/legal-9"))
    await call(stranger, name, METHOD_DESCRIPTORS[name])
    await stranger.close()
    assert len(await records()) == before + 1
