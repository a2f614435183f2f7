"""One pcapng section, as other people's readers see it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.utils import RawPcapNgReader

from agents.capture import pcapng
from agents.capture.section import Batch, Section, blocks_within

GRANT = "0b7d1a52-5b0e-4a58-9d3c-0b1f6f0a2d11"
NOW = 1_795_471_200_123_456_789


def section(frames, *, names=("eth0",), drops=0, direction=0):
    """Return a whole section of `frames`, one microsecond apart."""
    made = Section(grant_id=GRANT, reference="AG 12/26", names=names)
    blocks = [
        pcapng.packet_block(
            frame,
            NOW + 1000 * n,
            original=len(frame) + 100,
            interface=n % len(names),
            direction=direction,
        )
        for n, frame in enumerate(frames)
    ]
    return (
        made.opening() + made.batch(Batch.of(blocks, interfaces=len(names))) + made.closing(drops)
    )


def capinfos(path: Path, *options: str) -> str:
    """Return what Wireshark's capinfos says of a file."""
    return subprocess.run(
        ["capinfos", *options, str(path)], capture_output=True, text=True, check=True
    ).stdout


def tshark(path: Path, *fields: str) -> list[list[str]]:
    """Return the named fields of every frame, as tshark reads them."""
    options = [part for field in fields for part in ("-e", field)]
    text = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-T", "fields", *options],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [line.split("\t") for line in text.splitlines()]


def test_wireshark_reads_comment_application_and_statistics(tmp_path):
    """Capinfos shows the grant, the reference, the application and the interface's drops."""
    path = tmp_path / "a.pcapng"
    path.write_bytes(section([bytes(60)] * 5, drops=7))
    text = capinfos(path)
    assert f"grant {GRANT} authority AG 12/26" in text
    assert "callguard" in text
    assert "Number of packets:   5" in text
    assert "Time resolution = 0x09" in text
    assert "Number of stat entries = 1" in text
    # No tool prints the counters: they are looked for as option code, length and 64-bit value.
    data = path.read_bytes()
    assert data.count(b"\x00\x04\x00\x08" + (12).to_bytes(8, "big")) == 1
    assert data.count(b"\x00\x05\x00\x08" + (7).to_bytes(8, "big")) == 1


def test_tshark_reads_time_lengths_interface_and_direction(tmp_path):
    """Tshark shows nanoseconds, both lengths, the interface's name and the direction flag."""
    path = tmp_path / "a.pcapng"
    path.write_bytes(section([bytes(61), bytes(62)], names=("eth0", "eth1"), direction=2))
    rows = tshark(
        path,
        "frame.time_epoch",
        "frame.cap_len",
        "frame.len",
        "frame.interface_name",
        "frame.packet_flags_direction",
    )
    assert rows == [
        ["1795471200.123456789", "61", "161", "eth0", "0x00000002"],
        ["1795471200.123457789", "62", "162", "eth1", "0x00000002"],
    ]


def test_sections_one_behind_the_other_are_one_file(tmp_path):
    """Two segments concatenated are a file that tshark and scapy read from end to end."""
    path = tmp_path / "a.pcapng"
    path.write_bytes(section([b"a" * 60]) + section([b"b" * 60], drops=3))
    assert tshark(path, "frame.number", "frame.interface_name") == [["1", "eth0"], ["2", "eth0"]]
    assert [frame[:1] for frame, _ in RawPcapNgReader(str(path))] == [b"a", b"b"]


def test_an_interface_that_appears_later_is_described_in_the_running_section(tmp_path):
    """A packet of an interface unknown at the section's start is read with its name."""
    names = ["eth0"]
    made = Section(grant_id=GRANT, reference="r", names=names)
    data = made.opening()
    names.append("eth1")
    block = pcapng.packet_block(bytes(60), NOW, original=60, interface=1)
    data += made.batch(Batch.of([block], interfaces=2)) + made.closing(0)
    path = tmp_path / "a.pcapng"
    path.write_bytes(data)
    assert tshark(path, "frame.interface_name") == [["eth1"]]


@settings(max_examples=60, deadline=None)
@given(
    frames=st.lists(
        st.tuples(st.binary(min_size=14, max_size=90), st.integers(0, 2**63 - 1)),
        min_size=1,
        max_size=12,
    ),
    direction=st.sampled_from([0, pcapng.INBOUND, pcapng.OUTBOUND]),
)
def test_scapy_gives_back_every_frame_and_time(tmp_path_factory, frames, direction):
    """Whatever the frames and times, an independent reader returns them unchanged and in order."""
    blocks = [
        pcapng.packet_block(frame, when, original=len(frame), direction=direction)
        for frame, when in frames
    ]
    made = Section(grant_id=GRANT, reference="r", names=["eth0"])
    data = made.opening() + made.batch(Batch.of(blocks, interfaces=1)) + made.closing(0)
    path = tmp_path_factory.mktemp("p") / "a.pcapng"
    path.write_bytes(data)
    seen = [(frame, (meta.tshigh << 32) + meta.tslow) for frame, meta in RawPcapNgReader(str(path))]
    assert seen == frames


def test_a_batch_counts_its_frames_not_its_blocks():
    """Octets, packets per interface and the first and last time come out of the blocks."""
    blocks = [
        pcapng.packet_block(bytes(61), NOW + 5, original=99),
        pcapng.packet_block(bytes(54), NOW, original=99, interface=3, direction=1),
    ]
    batch = Batch.of(blocks, interfaces=4)
    assert (batch.packets, batch.octets) == (2, 115)
    assert batch.received == {0: 1, 3: 1}
    assert (batch.first_ns, batch.last_ns) == (NOW, NOW + 5)


def test_a_limit_keeps_whole_blocks_only():
    """Cutting a batch to a number of octets keeps the packets that fit and not one more."""
    blocks = [pcapng.packet_block(bytes(60), NOW, original=60) for _ in range(4)]
    assert len(blocks_within(blocks, 179)) == 2
    assert len(blocks_within(blocks, 180)) == 3
