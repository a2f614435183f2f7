"""Recordings that nobody ordered: emptied, removed, reported."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket

import pytest

from agents.recorder.recordingfolders import RecordingFolderError, RecordingFolders, call_id_of

CALL = "a84b4c76e66710%40pc33-0123456789abcdef.pcap"


@pytest.fixture
def spool(tmp_path):
    root = tmp_path / "spool"
    for each in ("pcaps", "tmp", "metadata"):
        (root / each).mkdir(parents=True)
    return root


@pytest.fixture
def folders(spool):
    made = RecordingFolders([spool, spool.parent / "absent"])
    yield made
    made.close()


def record(path):
    path.write_bytes(b"V")


def left(root):
    return [path for path in root.rglob("*") if path.is_symlink() or not path.is_dir()]


def test_empty_folders_give_no_cause(folders):
    assert folders.sweep() == []


@pytest.mark.parametrize("folder", ["pcaps", "tmp", "metadata"])
def test_any_file_goes(spool, folders, folder):
    """It is told by its digest, its size and the call, and no text holds its name."""
    (spool / folder / CALL).write_bytes(b"V" * 1000)
    (spool / folder / "whatever").write_bytes(b"V")
    named, other = sorted(folders.sweep(), key=lambda each: -each.size)
    assert left(spool) == []
    assert named.folder == spool / folder
    assert named.name == hashlib.sha256(CALL.encode()).hexdigest()
    assert (named.size, named.emptied, named.call_id) == (1000, True, b"a84b4c76e66710@pc33")
    assert (other.size, other.call_id) == (1, None)
    assert "a84b" not in repr(named)
    assert folders.sweep() == []


def test_above_the_folders_only_recordings_go(spool, folders):
    """The relay's other recording method writes there; so may others."""
    (spool / "notes.txt").write_text("x")
    (spool / "call-0123456789abcdef.meta").write_text("x")
    (found,) = folders.sweep()
    assert found.call_id == b"call"
    assert left(spool) == [spool / "notes.txt"]


def test_a_file_that_is_written_on_stays_empty(spool, folders):
    """The relay has it open, and writes where it left off."""
    with (spool / "pcaps" / CALL).open("wb", buffering=0) as relay:
        relay.write(b"V" * 1000)
        assert len(folders.sweep()) == 1
        for _ in range(3):
            relay.write(b"V" * 1000)
            assert os.fstat(relay.fileno()).st_size
            assert folders.sweep() == []
            assert os.fstat(relay.fileno()).st_size == 0
            assert os.fstat(relay.fileno()).st_blocks == 0
            assert folders.sweep() == []
        assert folders._open
    folders.sweep()
    assert not folders._open


def test_a_link_goes_and_what_it_leads_to_stays(spool, folders, tmp_path):
    """A file, a folder, a second name of the same file; and a folder that is a link itself."""
    outside, second = tmp_path / "outside", tmp_path / "second"
    outside.write_text("kept")
    second.write_text("kept")
    (spool / "pcaps" / "to-file").symlink_to(outside)
    (spool / "pcaps" / "to-folder").symlink_to(tmp_path)
    (spool / "pcaps" / "second-name").hardlink_to(second)
    (spool / "tmp").rmdir()
    (spool / "tmp").symlink_to(tmp_path)
    found = folders.sweep()
    assert [each.emptied for each in found] == [False] * 4
    assert left(spool) == []
    assert not (spool / "tmp").exists()
    assert outside.read_text() == second.read_text() == "kept"


def test_odd_entries(spool, folders):
    """A pipe is not waited for; a folder stays and is reported once."""
    os.mkfifo(spool / "pcaps" / "pipe")
    (spool / "pcaps" / "folder").mkdir()
    assert [each.emptied for each in folders.sweep()] == [False, False]
    assert folders.sweep() == []
    assert (spool / "pcaps" / "folder").is_dir()


def test_many_files(spool, folders):
    for number in range(600):
        (spool / "pcaps" / f"{number}-0123456789abcdef.pcap").write_bytes(b"V")
    assert len(folders.sweep()) == 600
    assert len(folders._open) <= 256


def test_a_folder_that_cannot_be_emptied(spool, folders, monkeypatch):
    """The error names the folder, not the file, and what was found before is not lost."""
    record(spool / "0-0123456789abcdef.meta")
    record(spool / "pcaps" / CALL)
    unlink = os.unlink

    def refuse(name, **options):
        if name == CALL:
            raise OSError(30, "Read-only file system", name)
        unlink(name, **options)

    monkeypatch.setattr("agents.recorder.recordingfolders.os.unlink", refuse)
    with pytest.raises(RecordingFolderError, match="Read-only file system") as caught:
        folders.sweep()
    assert str(spool) in str(caught.value)
    assert "a84b" not in str(caught.value)
    assert [each.call_id for each in caught.value.found] == [b"0"]


async def test_the_watch_reports(spool, folders):
    """Files that come while it runs are found without being told."""
    reports = asyncio.Queue()
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(folders.watch(reports.put_nowait, every=0.01))
        for name in ("one", "two"):
            record(spool / "pcaps" / name)
            async with asyncio.timeout(5):
                assert (await reports.get()).name == hashlib.sha256(name.encode()).hexdigest()
        watch.cancel()
    assert left(spool) == []


SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 49172 RTP/AVP 0\r\n"
)


def bencode(message):
    pairs = (f"{len(text)}:{text}" for pair in message.items() for text in pair)
    return f"d{''.join(pairs)}e".encode()


@pytest.mark.privileged
async def test_a_real_relay_that_records(premises, spool, folders):
    """Its files are found by the names it gives them, and stay empty while it has them open."""
    relay = await asyncio.create_subprocess_exec(
        *("rtpengine", "--config-file=none", "--table=-1", "--interface=127.0.0.1",
          "--listen-ng=127.0.0.1:2223", "--num-threads=1", f"--recording-dir={spool}",
          "--foreground", "--log-stderr", "--log-level=3", f"--pidfile={spool.parent}/pid"),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    call = "a84b/4c 76@pc33"
    offer = {"command": "offer", "call-id": call, "from-tag": "a", "sdp": SDP, "record-call": "on"}
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.1", 2223))
            answer = await _ask(relay, client, b"1 " + bencode(dict(sorted(offer.items()))))
            assert b"result2:ok" in answer
        found = folders.sweep()
        assert {each.folder for each in found} == {spool / "pcaps", spool / "tmp"}
        assert {each.call_id for each in found} == {call.encode()}
        assert left(spool) == []
        assert folders._open
    finally:
        relay.kill()
        await relay.wait()
    folders.sweep()
    folders.sweep()
    assert not folders._open


async def _ask(relay, client, message):
    """Ask until the relay is up; it answers the same to the same cookie."""
    loop = asyncio.get_running_loop()
    for _ in range(100):
        assert relay.returncode is None
        with contextlib.suppress(TimeoutError, ConnectionRefusedError):
            async with asyncio.timeout(0.2):
                await loop.sock_sendall(client, message)
                return await loop.sock_recv(client, 65536)
        await asyncio.sleep(0.05)
    pytest.fail("the relay does not answer")


@pytest.mark.parametrize(
    ("name", "call"),
    [
        (b"x-0123456789abcdef.pcap", b"x"),
        (b"a-b%2Fc-0123456789abcdef.txt", b"a-b/c"),
        (b"rtpengine-meta-x%40y-0123456789abcdef.tmp", b"x@y"),
        (b"x-0123456789abcdef.meta", b"x"),
        (b"x-0123456789ABCDEF.pcap", None),
        (b"x-0123.pcap", None),
        (b"-0123456789abcdef.pcap", None),
        (b"notes.txt", None),
        (b"\xff-0123456789abcdef.pcap", b"\xff"),
    ],
)
def test_the_call_of_a_name(name, call):
    assert call_id_of(name) == call
