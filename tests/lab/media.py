"""Voice that can be searched for: G.711 packets whose payload repeats a readable pattern.

The files are classic pcap (Ethernet), as sipp's ``play_pcap_audio`` reads them; sipp puts its own
addresses and ports on and leaves the RTP as it is.
"""

from __future__ import annotations

import struct
from pathlib import Path

__all__ = ["CALLEE_VOICE", "CALLER_VOICE", "DTMF_DIGITS", "write_dtmf", "write_voice"]

CALLER_VOICE = b"CALLER-VOICE-PATTERN"  # 20 bytes, eight times in a 160 byte packet
CALLEE_VOICE = b"CALLEE-VOICE-PATTERN"
DTMF_DIGITS = (7, 3)
FRAME_SECONDS = 0.02
PCMA, TELEPHONE_EVENT = 8, 101


def _frame(rtp: bytes) -> bytes:
    udp = struct.pack("!HHHH", 40000, 40002, 8 + len(rtp), 0) + rtp
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, bytes(4), bytes(4))
    return bytes(12) + b"\x08\x00" + ip + udp


def _write(path: Path, packets: list[bytes]) -> None:
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
    for number, rtp in enumerate(packets):
        frame, at = _frame(rtp), number * FRAME_SECONDS
        out.append(
            struct.pack("<IIII", int(at), round(at % 1 * 1e6), len(frame), len(frame)) + frame
        )
    path.write_bytes(b"".join(out))


def write_voice(path: Path, pattern: bytes, packets: int, *, ssrc: int) -> None:
    """Write ``packets`` G.711 A-law packets of 20 ms whose payload repeats ``pattern``."""
    payload = pattern * (160 // len(pattern))
    _write(
        path,
        [
            struct.pack("!BBHII", 0x80, PCMA | (0x80 if n == 0 else 0), n + 1, 160 * n, ssrc)
            + payload
            for n in range(packets)
        ],
    )


def write_dtmf(path: Path, *, ssrc: int, first_sequence: int = 5000) -> None:
    """Write RFC 4733 events for the digits of ``DTMF_DIGITS``, five packets each."""
    packets = []
    for place, digit in enumerate(DTMF_DIGITS):
        for n in range(5):
            end = 0x80 if n == 4 else 0
            sequence, time = first_sequence + 5 * place + n, 160 * 100 + 1600 * place
            header = struct.pack(
                "!BBHII", 0x80, TELEPHONE_EVENT | (0x80 if n == 0 else 0), sequence, time, ssrc
            )
            packets.append(header + struct.pack("!BBH", digit, end | 10, 160 * (n + 1)))
    _write(path, packets)
