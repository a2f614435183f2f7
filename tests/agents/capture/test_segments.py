"""Sealed segments: whole, sealed to their recipients, cut in time, never silent about an end."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.utils import RawPcapNgReader

from agents.capture.outcomes import CaptureClosed, CaptureFailed, Failure, SegmentSealed, Totals
from agents.capture.sealing import SegmentLimits
from agents.capture.segments import SegmentWriter
from agents.capture.spool import PART, Spool
from tests.agents.capture.capture_support import GRANT, NOW, Outcomes, batch, files


def writer(spool, identity, outcomes, *, limits=None, recipients=None):
    """Return a writer to one recipient."""
    return SegmentWriter(
        grant_id=GRANT,
        reference="AG 12/26",
        recipients=[str(identity.to_public())] if recipients is None else recipients,
        interfaces=["eth0"],
        spool=spool,
        limits=limits or SegmentLimits(),
        deliver=outcomes,
    )


def opened(segment, identity) -> list[bytes]:
    """Return the frames of a sealed segment, read with its recipient's key."""
    plain = pyrage.decrypt(segment.path.read_bytes(), [identity])
    return [frame for frame, _ in RawPcapNgReader(io.BytesIO(plain))]


def numbers(frames) -> list[int]:
    """Return the numbers that `batch` wrote into the frames."""
    return [int.from_bytes(frame[:4], "big") for frame in frames]


def test_what_goes_in_comes_out_for_the_recipient(spool, identity, outcomes):
    """Every packet, in order, is in the sealed file; its sidecar and digest agree with it."""
    one = writer(spool, identity, outcomes)
    one.write(batch(500))
    one.write(batch(500, start=500))
    one.close()
    end = outcomes.closed()
    (segment,) = outcomes.segments
    assert numbers(opened(segment, identity)) == list(range(1000))
    assert segment.sha256 == hashlib.sha256(segment.path.read_bytes()).hexdigest()
    assert (segment.number, segment.packets, segment.bytes, segment.drops) == (1, 1000, 214_000, 0)
    assert (segment.first, segment.last) == ("2026-11-23T22:00:00Z", "2026-11-23T22:00:00.000999Z")
    assert segment.size == segment.path.stat().st_size
    assert end.last_segments == (segment,)
    assert end.totals == Totals(packets=1000, bytes=214_000, last_ns=NOW + 999_000)


def test_the_age_tool_and_tshark_open_it(spool, identity, outcomes, tmp_path):
    """`age -d -i key segment | tshark -r -` reads a segment, as the design promises."""
    one = writer(spool, identity, outcomes)
    one.write(batch(3))
    one.close()
    outcomes.closed()
    key = tmp_path / "key"
    key.write_text(str(identity) + "\n")
    (segment,) = outcomes.segments
    plain = subprocess.run(
        ["age", "-d", "-i", str(key), str(segment.path)], capture_output=True, check=True
    ).stdout
    text = subprocess.run(
        ["tshark", "-n", "-r", "-", "-T", "fields", "-e", "frame.len"],
        input=plain,
        capture_output=True,
        check=True,
    ).stdout
    assert text.split() == [b"214"] * 3


def test_each_recipient_opens_it_and_nobody_else_does(spool, identity, outcomes):
    """Both recipients open the segment with their own keys; a third key does not."""
    second, third = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    one = writer(
        spool,
        identity,
        outcomes,
        recipients=[str(identity.to_public()), str(second.to_public())],
    )
    one.write(batch(2))
    one.close()
    outcomes.closed()
    (segment,) = outcomes.segments
    assert numbers(opened(segment, identity)) == numbers(opened(segment, second)) == [0, 1]
    with pytest.raises(pyrage.DecryptError):
        opened(segment, third)


@pytest.mark.parametrize("recipients", [[], ["age1nobody"], ["ssh-ed25519 AAAA"]])
def test_without_a_proper_recipient_there_is_no_capture(spool, identity, outcomes, recipients):
    """No recipient, or one that is no age key, is refused before anything is opened."""
    with pytest.raises(ValueError, match="recipient"):
        writer(spool, identity, outcomes, recipients=recipients)


def test_a_segment_ends_before_it_grows_past_its_size(spool, identity, outcomes):
    """With a size of three batches and ten batches there are four segments and no packet lost."""
    data = len(batch(10).data)
    one = writer(spool, identity, outcomes, limits=SegmentLimits(octets=3 * data + 400))
    for n in range(10):
        one.write(batch(10, start=10 * n))
    one.close()
    outcomes.closed()
    assert [segment.packets for segment in outcomes.segments] == [30, 30, 30, 10]
    assert [segment.number for segment in outcomes.segments] == [1, 2, 3, 4]
    frames = [frame for segment in outcomes.segments for frame in opened(segment, identity)]
    assert numbers(frames) == list(range(100))


def test_a_segment_ends_by_itself_after_its_seconds(spool, identity, outcomes):
    """Without a further packet and without a close, the segment is sealed when its time is up."""
    one = writer(spool, identity, outcomes, limits=SegmentLimits(seconds=0.05))
    one.write(batch(1))
    (sealed,) = outcomes.wait(SegmentSealed)
    one.write(batch(1, start=1))
    one.close()
    assert outcomes.closed().last_segments == (outcomes.segments[1],)
    assert numbers(opened(sealed.segment, identity)) == [0]


def test_no_packet_no_segment(spool, identity, outcomes, tmp_path):
    """A capture that saw nothing leaves no file behind, not even a folder."""
    one = writer(spool, identity, outcomes)
    one.close()
    assert outcomes.closed().last_segments == ()
    assert list((tmp_path / "spool").iterdir()) == []


def test_drops_are_in_the_segment_and_in_the_totals(spool, identity, outcomes):
    """Drops told before a segment ends are in its account and in the capture's totals."""
    one = writer(spool, identity, outcomes)
    one.add_drops(3)
    one.write(batch(2))
    one.close()
    end = outcomes.closed()
    assert [segment.drops for segment in outcomes.segments] == [3]
    assert (end.totals.packets, end.totals.drops) == (2, 3)


def test_a_backlog_that_is_full_drops_and_counts(spool, identity, outcomes):
    """A batch larger than the backlog is dropped whole and counted, and the capture goes on."""
    one = writer(spool, identity, outcomes, limits=SegmentLimits(backlog=1000))
    one.write(batch(10))
    one.write(batch(2))
    one.close()
    end = outcomes.closed()
    assert (end.totals.packets, end.totals.drops) == (2, 10)
    assert [(s.packets, s.drops) for s in outcomes.segments] == [(2, 10)]


def test_packets_after_the_close_are_not_written(spool, identity, outcomes):
    """What comes after the close counts as dropped and is in no segment."""
    one = writer(spool, identity, outcomes)
    one.write(batch(1))
    one.close()
    one.write(batch(5, start=1))
    outcomes.closed()
    assert sum(segment.packets for segment in outcomes.segments) == 1


def test_plaintext_is_never_on_disk(spool, identity, outcomes, tmp_path):
    """While packets of a known pattern are written and after, no file holds the pattern."""
    pattern = b"callguard-secret-voice"
    one = writer(spool, identity, outcomes, limits=SegmentLimits(octets=200_000, seconds=60))
    made = batch(1000)
    filled = made.data.replace(bytes(len(pattern)), pattern)
    assert filled.count(pattern) > 1000
    for _ in range(3):
        one.write(
            type(made)(
                **{name: getattr(made, name) for name in made.__slots__ if name != "data"},
                data=filled,
            )
        )
    outcomes.wait(SegmentSealed)
    for path in (tmp_path / "spool").rglob("*.*"):
        assert pattern not in path.read_bytes()
    one.close()
    outcomes.closed()
    for segment in outcomes.segments:
        assert pattern not in segment.path.read_bytes()


def test_a_death_of_the_sealing_thread_is_reported_then_the_end(
    spool, identity, outcomes, tmp_path
):
    """If the spool's folder is taken away, the failure is delivered, and the end after the close."""
    (tmp_path / "spool").rmdir()
    one = writer(spool, identity, outcomes)
    one.write(batch(4))
    (failed,) = outcomes.wait(CaptureFailed)
    assert failed.failure is Failure.SEALING_FAILED
    one.write(batch(4))
    assert outcomes.of(CaptureClosed) == []
    one.close()
    assert outcomes.closed().totals == Totals(packets=0, bytes=0, drops=8, last_ns=NOW + 3000)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    octets=st.integers(1, 20_000),
)
def test_however_it_is_cut_nothing_is_lost_or_doubled(tmp_path_factory, sizes, octets):
    """For any batches and any size limit the segments together hold each packet once, in order."""
    identity, outcomes = pyrage.x25519.Identity.generate(), Outcomes()
    spool = Spool(tmp_path_factory.mktemp("s") / "spool", quota=1 << 30)
    one = writer(spool, identity, outcomes, limits=SegmentLimits(octets=octets))
    start = 0
    for size in sizes:
        one.write(batch(size, start=start))
        start += size
    one.close()
    outcomes.closed()
    spool.close()
    frames = [frame for segment in outcomes.segments for frame in opened(segment, identity)]
    assert numbers(frames) == list(range(sum(sizes)))


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from tests.agents.capture.capture_support import GRANT, batch
from agents.capture.outcomes import SegmentSealed
from agents.capture.sealing import SegmentLimits
from agents.capture.segments import SegmentWriter
from agents.capture.spool import Spool

def say(outcome):
    if isinstance(outcome, SegmentSealed):
        print("sealed", flush=True)

one = SegmentWriter(grant_id=GRANT, reference="r", recipients=[{recipient!r}], interfaces=["eth0"],
    spool=Spool(Path({root!r}), quota=1 << 30), limits=SegmentLimits(octets=300_000, seconds=60),
    deliver=say)
for n in range(4):
    one.write(batch(1000, start=1000 * n))
sys.stdin.read()
"""


def test_kill_9_leaves_whole_segments_and_names_the_lost_one(tmp_path, identity):
    """After SIGKILL the sealed segments open, the unfinished one is reported, its number burnt."""
    root = tmp_path / "spool"
    code = KILLED.format(
        path=[str(Path.cwd())],
        recipient=str(identity.to_public()),
        root=str(root),
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    for _ in range(3):
        assert process.stdout.readline() == b"sealed\n"
    while f"{GRANT}/4{PART}" not in files(root):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    spool = Spool(root, quota=1 << 30)
    assert [(lost.number, lost.loss.value) for lost in spool.lost] == [(4, "unfinished")]
    waiting = spool.waiting()
    frames = [frame for segment in waiting for frame in opened(segment, identity)]
    assert numbers(frames) == list(range(3000))
    outcomes = Outcomes()
    one = writer(spool, identity, outcomes)
    one.write(batch(1))
    one.close()
    outcomes.closed()
    spool.close()
    assert [segment.number for segment in outcomes.segments] == [5]
