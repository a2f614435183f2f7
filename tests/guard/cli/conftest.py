"""A deployment on disk, and the command run inside this process."""

from __future__ import annotations

import asyncio
import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from guard.cli.deployment import Deployment, Site, create
from guard.cli.main import run
from guard.cli.roster import DEMO
from guard.clock import SystemClock
from guard.core.record import Entry
from guard.core.trust import TrustPolicy, advance, parse_roots
from tests.builders import deployment as builders
from tests.builders.public_logs import PublicFolder, history, two_witnesses
from tests.guard.cli.auditing import Case, Quiet
from tests.guard.cli.running import NOW, Answer, Running


@pytest.fixture
def callguard(capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run ``callguard`` with these words and return what it said."""

    def call(*words: str | Path) -> Answer:
        capfd.readouterr()
        code = run([str(word) for word in words])
        captured = capfd.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Make one demonstration deployment, for tests that only read it."""
    return create(tmp_path_factory.mktemp("demo") / "d", DEMO, Site(), now=NOW)


@pytest.fixture(scope="session")
def policy(demo: Deployment) -> TrustPolicy:
    """Return the deployment's trust policy as its own people verify it."""
    roots = parse_roots((demo.folder / "people/lead-1/roots.json").read_bytes())
    envelope = (demo.folder / "trust/1.json").read_bytes()
    return advance(roots, [envelope], now=NOW).policy


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run one demonstration deployment for all tests that need a guard."""
    running = Running(tmp_path_factory.mktemp("live") / "d")
    try:
        running.start()
        yield running
    finally:
        running.stop_all()


@pytest.fixture(scope="session")
def honest(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[builders.Deployment, dict, list[Entry]]:
    """Run the guard's use cases once; no test changes what they left."""
    now = SystemClock.now().replace(microsecond=0) - timedelta(minutes=10)
    site = builders.Deployment(now)
    witnesses = two_witnesses(site)
    entries = asyncio.run(history(site, tmp_path_factory.mktemp("house"), fill=500))
    return site, witnesses, entries


@pytest.fixture
def case(honest: tuple, tmp_path: Path, callguard: Callable[..., Answer]) -> Case:
    """Publish the honest log in a folder of the test's own."""
    site, witnesses, entries = honest
    (tmp_path / "log").mkdir()
    case = Case(PublicFolder(tmp_path / "log", site, witnesses), list(entries), callguard)
    case.publish()
    return case


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serve a folder on loopback by plain http.server; return its address."""
    servers = []

    def start(folder: Path, handler: type = Quiet, port: int = 0) -> str:
        bound = functools.partial(handler, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), bound)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
