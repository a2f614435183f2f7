"""The comparison of many calls, held against itself: equal when it should be, and else not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.gated import marks
from tests.lab.network import Network
from tests.lab.passthrough import passing_through
from tests.lab.proxy import Proxy
from tests.lab.relay import GATE, NG, Relay
from tests.lab.thousand import Summary, make_calls, talk

pytestmark = marks

CALLS = 40


@pytest.fixture(scope="module")
def running(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Yield a network with a relay on its node."""
    with Relay(network, tmp_path_factory.mktemp("relay")):
        yield network


@pytest.fixture(scope="module")
def straight(running: Network, tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """Return what calls are when the proxy asks the relay itself."""
    return calls(running, tmp_path_factory.mktemp("straight"), NG)


def calls(network: Network, folder: Path, port: int) -> Summary:
    """Make the calls, with the proxy asking at ``port``."""
    with Proxy(network, folder / "proxy", relay=f"udp:127.0.0.1:{port}"):
        return make_calls(network, folder / "calls", CALLS)


def test_the_same_calls_are_equal(running: Network, straight: Summary, tmp_path: Path) -> None:
    """Made again, and made through what passes everything on."""
    again = calls(running, tmp_path / "again", NG)
    with passing_through(running, GATE):
        passed = calls(running, tmp_path / "passed", GATE)

    assert again == straight
    assert passed == straight
    assert straight.media == talk(CALLS)
    assert sorted(straight.descriptions.values()) == [CALLS] * 4
    assert {n for n in straight.messages.values() if n} == {CALLS}


@pytest.mark.parametrize(
    ("was", "became", "parts"),
    [
        pytest.param("a=sendrecv", "a=recvonly", {"descriptions"}, id="a word of an SDP"),
        pytest.param("10.77.1.1\r", "10.77.1.9\r", {"descriptions", "media"}, id="an address"),
        pytest.param("2:ok", "5:error", {"descriptions", "media"}, id="every offer failed"),
    ],
)
def test_what_is_different_is_noticed(
    running: Network, straight: Summary, tmp_path: Path, was: str, became: str, parts: set[str]
) -> None:
    """The calls succeed in all these cases; that alone would say nothing."""
    with passing_through(running, GATE, spoiled=(was, became)):
        spoiled = calls(running, tmp_path, GATE)

    assert spoiled.messages == straight.messages
    assert {name for name, part in vars(spoiled).items() if part != vars(straight)[name]} == parts
