"""A peer that asks on and on and takes none of the answers."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from guard.witness.server import Bounds
from tests.builders.witnesses import RunningWitness, SetClock
from tests.guard.witness.test_server import LOG, WITNESS_KEY

_ASKED = b"GET /nowhere HTTP/1.1\r\n\r\n"


def asks_for_ever(peer: socket.socket) -> None:
    while True:
        peer.sendall(_ASKED * 1000)


def test_its_place_is_free_again(tmp_path: Path) -> None:
    """The one place there is goes to the next, and the peer is cut off."""
    witness = RunningWitness(
        tmp_path,
        name="witness.example/w1",
        key=WITNESS_KEY,
        logs=(LOG,),
        clock=SetClock(),
        bounds=Bounds(places=1, taking=0.3),
    )
    try:
        with socket.create_connection(("127.0.0.1", witness.port)) as greedy:
            greedy.settimeout(30)
            with pytest.raises(ConnectionError):
                asks_for_ever(greedy)
            with pytest.raises(HTTPError, match="404"):
                urlopen(f"{witness.url}/nowhere", timeout=10)
    finally:
        witness.stop()
