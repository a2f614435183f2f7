"""What holds for every call and every stream: identity, again and again, and quiet errors."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest
from cryptography import x509

from guard.api.v1 import capture_service_pb2 as capture_messages
from guard.api.v1 import trust_service_pb2 as trust_messages
from guard.api.v1.capture_service_pb2_grpc import CaptureServiceStub
from guard.api.v1.trust_service_pb2_grpc import TrustServiceStub
from guard.app.captures import Captures
from tests.builders.serving import Serving, write_leaf
from tests.guard.services.test_captures import approve, open_ticket, wish


async def watch(served: Serving, channel: grpc.aio.Channel) -> grpc.aio.UnaryStreamCall:
    """Begin to watch a granted capture through the channel."""
    ticket = await open_ticket(served)
    await approve(served, ticket, "lead-1")
    stub = CaptureServiceStub(served.channel("operator-1"))
    capture_id = (await stub.RequestCapture(wish(ticket.id))).capture.id
    request = capture_messages.WatchCaptureRequest(capture_id=capture_id)
    watching = CaptureServiceStub(channel).WatchCapture(request)
    await watching.read()
    return watching


async def drain(watching: grpc.aio.UnaryStreamCall) -> grpc.StatusCode:
    """Read until the stream is over."""
    try:
        while await watching.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code()
    return await watching.code()


async def test_a_stream_ends_with_its_clients_certificate(served: Serving) -> None:
    """TLS looks once; the guard looks for every message, in a running stream and a new call."""
    channel = served.channel_for(served.leaf("auditor-1", life=timedelta(minutes=30)))
    watching = await watch(served, channel)
    served.clock.shift = timedelta(minutes=31)
    assert await drain(watching) is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await TrustServiceStub(channel).GetTrustPolicy(trust_messages.GetTrustPolicyRequest())
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    await channel.close()


async def test_a_stream_ends_when_the_trust_policy_drops_its_caller(served: Serving) -> None:
    """Whoever leaves the policy is unknown from the next message on, on open connections too."""
    watching = await watch(served, served.channel("auditor-1"))
    policy = served.site.policy
    others = tuple(each for each in policy.principals if each.name != "auditor-1")
    newer = served.site.sign_policy(replace(policy, version=2, principals=others))
    request = trust_messages.PublishTrustPolicyRequest(envelope=newer)
    stub = TrustServiceStub(served.channel("legal-1"))
    assert (await stub.PublishTrustPolicy(request)).version == 2
    assert await drain(watching) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_stream_survives_a_policy_that_keeps_its_caller(served: Serving) -> None:
    """A newer policy ends nobody's stream who is still in it."""
    watching = await watch(served, served.channel("auditor-1"))
    newer = served.site.sign_policy(replace(served.site.policy, version=2))
    request = trust_messages.PublishTrustPolicyRequest(envelope=newer)
    await TrustServiceStub(served.channel("legal-1")).PublishTrustPolicy(request)
    assert await watching.read() is not grpc.aio.EOF
    watching.cancel()


async def shown_certificate(served: Serving) -> int:
    """Return the serial number of the certificate that a new connection is shown."""
    leaf = served.leaf("auditor-1")
    files = served.folder / "client"
    files.mkdir(exist_ok=True)
    (files / "crt").write_bytes(leaf.certificate)
    (files / "key").write_bytes(leaf.key)
    context = ssl.create_default_context(cadata=served.authority.certificate.decode())
    context.load_cert_chain(files / "crt", files / "key")
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(
        "127.0.0.1", served.port, ssl=context, server_hostname="guard"
    )
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(shown).serial_number


async def test_certificates_are_replaced_without_a_restart(served: Serving) -> None:
    """New connections see the new certificate, old ones go on."""
    stub = TrustServiceStub(served.channel("auditor-1"))
    await stub.GetTrustPolicy(trust_messages.GetTrustPolicyRequest())
    before = await shown_certificate(served)
    write_leaf(served.folder, served.authority.leaf(hosts=["guard"]))
    after = await shown_certificate(served)
    assert after != before
    assert await shown_certificate(served) == after
    await stub.GetTrustPolicy(trust_messages.GetTrustPolicyRequest())


@pytest.mark.parametrize("break_it", ["half", "empty", "loose", "gone"])
async def test_files_that_do_not_fit_leave_the_old_in_use(served: Serving, break_it: str) -> None:
    """No reload falls back to anything: certificate and key of two pairs, nothing, an open key."""
    before = await shown_certificate(served)
    match break_it:
        case "half":
            fresh = served.authority.leaf(hosts=["guard"])
            (served.folder / "tls.crt").write_bytes(fresh.certificate)
        case "empty":
            (served.folder / "ca.crt").write_bytes(b"")
        case "loose":
            (served.folder / "tls.key").chmod(0o644)
            (served.folder / "tls.crt").touch()
        case "gone":
            (served.folder / "tls.key").unlink()
    assert await shown_certificate(served) == before
    stranger = served.channel_for(None)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await TrustServiceStub(stranger).GetTrustPolicy(trust_messages.GetTrustPolicyRequest())
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    await stranger.close()


async def test_an_unforeseen_error_says_nothing(
    served: Serving, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A fault of the guard is INTERNAL with fixed words; its text is neither answered nor logged."""

    def fail(*_arguments: object, **_options: object) -> None:
        raise ValueError("+4989123456")

    monkeypatch.setattr(Captures, "page", fail)
    stub = CaptureServiceStub(served.channel("auditor-1"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.ListCaptures(capture_messages.ListCapturesRequest())
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert raised.value.details() == "an internal error"
    said = capfd.readouterr()
    assert "ValueError" in said.out + said.err
    assert "+4989" not in said.out + said.err


async def test_a_request_larger_than_a_mebibyte_is_not_read(served: Serving) -> None:
    """The limit is the transport's, before anything is parsed."""
    stub = CaptureServiceStub(served.channel("operator-1"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.RequestCapture(wish(str(uuid.uuid4()), node="x" * 1_100_000))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
