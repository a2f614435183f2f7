"""Put frames on a wire as they are: what no phone of the lab would send.

Run inside a namespace as ``python -m tests.lab.inject INTERFACE FILE GAP``; the file holds one frame
in hexadecimal a line, and ``GAP`` is the time between two in seconds.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

from tests.lab.network import Network

__all__ = ["inject"]

ROOT = Path(__file__).resolve().parents[2]


def inject(
    network: Network, place: str, frames: list[bytes], folder: Path, *, gap: float = 0.002
) -> None:
    """Send frames from ``place`` towards the node and return when the last is out."""
    file = folder / f"{place}-{time.monotonic_ns()}.hex"
    file.write_text("\n".join(frame.hex() for frame in frames))
    network.run(
        place, sys.executable, "-m", "tests.lab.inject", "eth0", str(file), str(gap), cwd=ROOT
    )


def main() -> None:
    """Send the frames of the file given."""
    interface, file, gap = sys.argv[1:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind((interface, 0))
        for line in Path(file).read_text().split():
            wire.send(bytes.fromhex(line))
            time.sleep(float(gap))


if __name__ == "__main__":
    main()
