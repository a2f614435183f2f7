"""The relay's process: found by its port, followed to its end, and read."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time

import pytest

from agents.core.relayconfig import judge
from agents.recorder import relayprocess
from agents.recorder.localsockets import bound_to
from agents.recorder.relayprocess import RelayError, RelayProcess

pytestmark = pytest.mark.privileged

PORT = 2223
PROGRAM = """
import socket, sys, time
ng = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ng.bind(("127.0.0.1", 2223))
print(flush=True)
time.sleep(60)
"""


@pytest.fixture
def stand_in(premises):
    """Start a program that holds the NG port and takes the relay's options."""
    started = []

    def start(*options):
        process = subprocess.Popen((sys.executable, "-c", PROGRAM, *options),
                                   stdout=subprocess.PIPE, cwd="/tmp")  # fmt: skip
        started.append(process)
        process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def test_a_real_relay(premises, tmp_path):
    """Debian's rtpengine is found, read, judged, and missed when it ends."""
    process = await asyncio.create_subprocess_exec(
        *("rtpengine", "--config-file=none", "--table=-1", "--interface=127.0.0.1",
         "--listen-ng=127.0.0.1:2223", "--listen-cli=127.0.0.1:2224", "--num-threads=1",
         f"--recording-dir={tmp_path}", "--foreground", "--log-stderr", "--log-level=5",
         f"--pidfile={tmp_path}/pid"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while not (found := await asyncio.to_thread(RelayProcess.find, PORT)):
                assert process.returncode is None
        with found as relay:
            assert relay.pid == process.pid
            told = relay.told()
            assert told.options["recording-dir"] == (str(tmp_path),)
            assert told.file is None
            names = [each.name for each in judge(told.options, udp={PORT}, tcp={2224})]
            assert names == ["recording-dir"]
            assert not relay.has_exited
            process.terminate()
            async with asyncio.timeout(20):
                await relay.exited()
            assert relay.has_exited
            with pytest.raises(RelayError):
                relay.told()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    assert RelayProcess.find(PORT) is None


def test_the_file_counts_below_the_command_line(stand_in, tmp_path):
    """Its own section is read, from where the relay stands."""
    file = tmp_path / "relay.conf"
    file.write_text("[two]\nlisten-ng = 9\nredis = 1\n[rtpengine]\nhomer = 1\n")
    stand_in("--config-file", os.path.relpath(file, "/tmp"), "--config-section=two",
             "--listen-ng=127.0.0.1:2223", "--")  # fmt: skip
    with RelayProcess.find(PORT) as relay:
        told = relay.told()
    assert told.options["redis"] == ("1",)
    assert told.options["listen-ng"] == ("127.0.0.1:2223",)
    assert "homer" not in told.options
    assert not told.changed


def test_a_file_that_was_changed_since(stand_in, tmp_path, monkeypatch):
    """What the relay read is not what is there now."""
    file = tmp_path / "relay.conf"
    file.write_text("[rtpengine]\n")
    stand_in(f"--config-file={file}")
    later = time.clock_gettime(time.CLOCK_REALTIME) - 3600
    monkeypatch.setattr(relayprocess, "_started", lambda _: later)
    with RelayProcess.find(PORT) as relay:
        assert relay.told().changed


def test_the_time_of_a_start(stand_in):
    process = stand_in()
    now = time.clock_gettime(time.CLOCK_REALTIME)
    assert abs(relayprocess._started(relayprocess._PROC / str(process.pid)) - now) < 5


@pytest.mark.parametrize("size", [None, (1 << 20) + 1])
def test_a_file_that_cannot_be_read(stand_in, tmp_path, size):
    """It is not there, or cannot be a configuration file."""
    file = tmp_path / "relay.conf"
    if size:
        file.write_bytes(b"#" * size)
    stand_in(f"--config-file={file}")
    with RelayProcess.find(PORT) as relay, pytest.raises(RelayError, match="configuration file"):
        relay.told()


def test_nobody_there(premises):
    assert bound_to("udp", PORT) == []
    assert RelayProcess.find(PORT) is None


def test_a_holder_that_cannot_be_seen(premises):
    """The agent's own socket is not the relay, and then nobody is left."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", PORT))
        with pytest.raises(RelayError, match="CAP_SYS_PTRACE"):
            RelayProcess.find(PORT)
