"""Statuses become exits: a guard that answers anything at all, over real mutual TLS."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from guard.api.v1.reason_pb2 import Denial, Reason
from guard.cli.deployment import Deployment, Site, create
from guard.cli.roster import DEMO
from guard.clock import SystemClock
from tests.guard.cli.running import Answer, free_port


class Answering(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types for it
    """Answers every method with the status that the test sets."""

    def __init__(self) -> None:
        self.answer: Callable[[grpc.ServicerContext], None] = lambda _: None

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def handle(_: bytes, context: grpc.ServicerContext) -> bytes:
            self.answer(context)
            return b""

        return grpc.unary_unary_rpc_method_handler(handle)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Make a deployment that is valid now."""
    target = tmp_path_factory.mktemp("answering") / "d"
    site = Site(addresses=(f"127.0.0.1:{free_port()}",))
    return create(target, DEMO, site, now=SystemClock.now())


@pytest.fixture(scope="module")
def answering(site: Deployment) -> Iterator[Answering]:
    """Serve with the guard's certificate, to people of this deployment only."""
    handler = Answering()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handler])
    folder = site.folder / "guard"
    credentials = grpc.ssl_server_credentials(
        [((folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes())],
        (folder / "ca.crt").read_bytes(),
        require_client_auth=True,
    )
    server.add_secure_port(site.site().addresses[0], credentials)
    server.start()
    yield handler
    server.stop(None).wait()


@pytest.fixture
def ask(site: Deployment, callguard: Callable[..., Answer]) -> Callable[[], Answer]:
    """Ask something as lead-1."""
    return lambda: callguard("--profile", site.folder / "people/lead-1", "authority", "list")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.UNAVAILABLE, 4),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 4),
        (grpc.StatusCode.PERMISSION_DENIED, 3),
        (grpc.StatusCode.UNAUTHENTICATED, 3),
        (grpc.StatusCode.NOT_FOUND, 1),
        (grpc.StatusCode.INVALID_ARGUMENT, 1),
        (grpc.StatusCode.INTERNAL, 1),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 1),
        (grpc.StatusCode.UNKNOWN, 1),
    ],
)
def test_every_status_is_one_line(
    code: grpc.StatusCode, status: int, answering: Answering, ask: Callable[[], Answer]
) -> None:
    """Whatever the guard answers becomes its exit status and one line without control characters."""
    answering.answer = lambda context: context.abort(code, "words\n\x1b[2Jof the guard")
    answer = ask()
    assert answer.code == status
    assert answer.err.count("\n") == 1
    assert "\x1b" not in answer.err


def denial(reason: Reason.ValueType, sentence: str, code: int = 7) -> grpc.Status:
    """Make the status that a denial travels in."""
    detail = Any()
    detail.Pack(Denial(reason=reason, sentence=sentence))
    return rpc_status.to_status(Status(code=code, message="denied", details=[detail]))


def test_the_reason_of_a_denial_is_the_guards(
    answering: Answering, ask: Callable[[], Answer]
) -> None:
    """The Denial in the details gives reason and sentence."""
    status = denial(Reason.REASON_EMBARGOED, "a second person has not signed")
    answering.answer = lambda context: context.abort_with_status(status)
    assert ask().err == "denied: embargoed: a second person has not signed\n"


def test_a_denial_without_a_reason_is_a_denial_all_the_same(
    answering: Answering, ask: Callable[[], Answer]
) -> None:
    """Reason 0 and missing details are never taken for a permission."""
    status = denial(Reason.REASON_UNSPECIFIED, "no")
    answering.answer = lambda context: context.abort_with_status(status)
    assert ask().denied() == "unspecified"
    answering.answer = lambda context: context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
    assert ask().denied() == "unspecified"


def test_a_reason_of_a_newer_guard_is_a_denial_all_the_same(
    answering: Answering, ask: Callable[[], Answer]
) -> None:
    """A number that this command does not know yet is shown as a number."""
    status = denial(999, "for a new reason")  # type: ignore[arg-type] # the point of the test
    answering.answer = lambda context: context.abort_with_status(status)
    answer = ask()
    assert answer.code == 3
    assert answer.err == "denied: reason_999: for a new reason\n"


def elsewhere(site: Deployment, tmp_path: Path, address: str) -> Path:
    """Copy lead-1's profile and point it at another address."""
    mine = shutil.copytree(site.folder / "people/lead-1", tmp_path / "mine")
    path = mine / "profile.toml"
    path.write_text(path.read_text().replace(site.site().addresses[0], address))
    return mine


def test_a_listener_without_tls_is_not_spoken_to(
    site: Deployment, tmp_path: Path, callguard: Callable[..., Answer]
) -> None:
    """A port that answers in plain text gets a handshake and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        mine = elsewhere(site, tmp_path, f"127.0.0.1:{port}")
        with ThreadPoolExecutor(1) as pool:

            def greet() -> bytes:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    return connection.recv(4096)

            heard = pool.submit(greet)
            answer = callguard("--profile", mine, "authority", "list")
            assert heard.result()[:1] == b"\x16"  # a TLS record of type handshake
    assert answer.code == 4


def test_a_guard_of_another_ca_is_not_spoken_to(
    answering: Answering, site: Deployment, tmp_path: Path, callguard: Callable[..., Answer]
) -> None:
    """A certificate that this profile's CA did not issue ends with status 4 and says what to check."""
    other = create(tmp_path / "other", DEMO, Site(), now=SystemClock.now())
    mine = elsewhere(site, tmp_path, site.site().addresses[0])
    shutil.copy(other.folder / "ca/ca.crt", mine / "ca.crt")
    answer = callguard("--profile", mine, "authority", "list")
    assert answer.code == 4
    assert "ca_cert" in answer.err


def test_a_node_cannot_pose_as_the_guard(
    site: Deployment, tmp_path: Path, callguard: Callable[..., Answer]
) -> None:
    """A certificate of the same CA but without the name `guard` is not spoken to."""
    folder = site.folder / "nodes/node-1"
    server = grpc.server(ThreadPoolExecutor(1))
    credentials = grpc.ssl_server_credentials(
        [((folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes())]
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    mine = elsewhere(site, tmp_path, f"127.0.0.1:{port}")
    answer = callguard("--profile", mine, "authority", "list")
    server.stop(None).wait()
    assert answer.code == 4


def test_an_expired_certificate_is_named(
    answering: Answering, site: Deployment, tmp_path: Path, callguard: Callable[..., Answer]
) -> None:
    """Whoever comes with a certificate that is over is told to renew it."""
    mine = elsewhere(site, tmp_path, site.site().addresses[0])
    old = SystemClock.now() - timedelta(days=500)
    pair = site._authority().client("person", "lead-1", now=old)
    (mine / "tls.crt").write_bytes(pair.certificate)
    (mine / "tls.key").write_bytes(pair.key)
    answer = callguard("--profile", mine, "authority", "list")
    assert answer.code == 4
    assert "certificate renew" in answer.err


def test_missing_witnesses_are_told_from_a_missing_guard(
    answering: Answering, ask: Callable[[], Answer]
) -> None:
    """UNAVAILABLE with a Denial says that the witnesses do not answer, and what to do."""
    reason, sentence = Reason.REASON_WITNESS_QUORUM_MISSING, "the witnesses do not answer"
    status = denial(reason, sentence, code=14)
    answering.answer = lambda context: context.abort_with_status(status)
    answer = ask()
    assert answer.code == 4
    assert answer.err.startswith("error: the witnesses do not answer; the guard's log says which.")
