"""A web address that is told: real servers that take notices, refuse, redirect, stall and lie."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from guard.app.notify import HookFailed
from guard.hooks.webhook import Webhook
from tests.builders.pki import TestAuthority

NOTICE = b'{"incident":17,"node":"node-1"}'
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(scope="module")
def authority() -> TestAuthority:
    return TestAuthority()


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve every path on loopback by a handler; yield the port."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def answering(status: int, **headers: str) -> Handler:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers)

    return answer


def server_tls(folder: Path, authority: TestAuthority, host: str) -> ssl.SSLContext:
    leaf = authority.leaf("spiffe://test/hook", hosts=[host])
    (folder / "s.crt").write_bytes(leaf.certificate)
    (folder / "s.key").write_bytes(leaf.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "s.crt", folder / "s.key")
    return context


def hook(port: int, *, scheme: str = "http", **options) -> Webhook:
    given = {"token": None, "ca": None} | options
    return Webhook(f"{scheme}://127.0.0.1:{port}/hook", **given)


async def test_the_notice_is_posted_with_its_token() -> None:
    """As JSON, to the byte, and the token is read anew for each."""
    taken = []
    tokens = iter([b"first-token\n", b"second"])

    async def take(request: web.Request) -> web.Response:
        said = request.headers
        taken.append(
            (
                request.method,
                request.path,
                said["Content-Type"],
                said["Authorization"],
                await request.read(),
            )
        )
        return web.Response(status=204, headers={"Set-Cookie": "a=b"})

    async with serving(take) as port:
        made = hook(port, token=lambda: next(tokens))
        await made.deliver(NOTICE)
        await made.deliver(NOTICE)
    head = ("POST", "/hook", "application/json")
    assert taken == [(*head, f"Bearer {word}", NOTICE) for word in ("first-token", "second")]


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 400, 401, 404, 500, 503])
async def test_only_2xx_is_taken(status: int) -> None:
    """Whatever else a server answers, the notice is tried again."""
    async with serving(answering(status)) as port:
        with pytest.raises(HookFailed, match=str(status)):
            await hook(port).deliver(NOTICE)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    """Not even to where it would be allowed: nothing arrives there."""
    elsewhere = []

    async def take(request: web.Request) -> web.Response:
        elsewhere.append(request.path)
        return web.Response()

    async with (
        serving(take) as other,
        serving(answering(status, Location=f"http://127.0.0.1:{other}/")) as port,
    ):
        with pytest.raises(HookFailed, match="redirects are not followed"):
            await hook(port).deliver(NOTICE)
    assert elsewhere == []


async def test_a_certificate_of_the_configured_authority_is_taken(
    tmp_path: Path, authority: TestAuthority
) -> None:
    """A private authority's file stands in place of the system's."""
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    tls = server_tls(tmp_path, authority, "127.0.0.1")
    async with serving(answering(200), tls) as port:
        await hook(port, scheme="https", ca=tmp_path / "ca.crt").deliver(NOTICE)


@pytest.mark.parametrize("wrong", ["authority", "name", "system"])
async def test_any_other_certificate_is_not(
    tmp_path: Path, authority: TestAuthority, wrong: str
) -> None:
    """Another authority's, another name's, or one that the system does not know."""
    seen = []

    async def take(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response()

    trusted = TestAuthority() if wrong == "authority" else authority
    (tmp_path / "ca.crt").write_bytes(trusted.certificate)
    tls = server_tls(tmp_path, authority, "127.0.0.2" if wrong == "name" else "127.0.0.1")
    ca = None if wrong == "system" else tmp_path / "ca.crt"
    async with serving(take, tls) as port:
        with pytest.raises(HookFailed, match="certificate is not trusted"):
            await hook(port, scheme="https", ca=ca).deliver(NOTICE)
    assert seen == []


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The notice goes where the configuration says."""
    async with serving(answering(502)) as proxy, serving(answering(200)) as port:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        await hook(port).deliver(NOTICE)


async def test_a_server_that_stalls_is_given_up() -> None:
    """One that never answers, and one that answers by the byte."""

    async def stall(_request: web.Request) -> web.Response:
        await asyncio.sleep(600)
        return web.Response()

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.05)

    dripping = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with serving(stall) as port, dripping:
        for each in (port, dripping.sockets[0].getsockname()[1]):
            begun = time.monotonic()
            with pytest.raises(HookFailed, match="no answer in time"):
                await hook(each, seconds=0.5).deliver(NOTICE)
            assert time.monotonic() - begun < 5


async def test_an_endless_answer_is_not_read() -> None:
    """The status is all that counts; nothing of a body is waited for."""

    async def pour(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 65536)

    async with serving(pour) as port:
        begun = time.monotonic()
        await hook(port, seconds=20).deliver(NOTICE)
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 2", b"\0" * 100_000])
async def test_what_is_no_answer_is_a_failure(answer: bytes) -> None:
    """No error but the promised one, and the address is not in it."""

    async def say(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(HookFailed) as failed:
            await hook(port).deliver(NOTICE)
    assert str(port) not in str(failed.value)
    with pytest.raises(HookFailed, match="cannot be reached") as failed:
        await hook(port).deliver(NOTICE)  # nobody listens any more
    assert str(port) not in str(failed.value)


@pytest.mark.parametrize("token", [b"", b"two words", b"a\r\nX-Evil: 1", b"\xff", b"x" * 5000])
async def test_what_is_no_token_is_not_sent(token: bytes) -> None:
    """Nothing reaches the server, and what the file holds is not repeated."""
    async with serving(answering(200)) as port:
        with pytest.raises(HookFailed, match="does not hold a bearer token"):
            await hook(port, token=lambda: token).deliver(NOTICE)


async def test_a_broken_authority_file_is_said_so(tmp_path: Path) -> None:
    """It never falls back to the system's authorities."""
    (tmp_path / "ca.crt").write_text("nothing")
    for name in ("ca.crt", "missing.crt"):
        with pytest.raises(HookFailed, match="holds no certificate that can be used"):
            await hook(9, scheme="https", ca=tmp_path / name).deliver(NOTICE)
