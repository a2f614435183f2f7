"""Put frames on a wire as they are: what no phone of the lab would send.

Run inside a namespace as ``python -m tests.lab.inject INTERFACE FILE``; the file holds one frame in
hexadecimal a line. Frames go out 2 ms apart.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

from tests.lab.network import Network

__all__ = ["inject"]

ROOT = Path(__file__).resolve().parents[2]
GAP = 0.002


def inject(network: Network, place: str, frames: list[bytes], folder: Path) -> None:
    """Send frames from ``place`` towards the node and return when the last is out."""
    file = folder / f"{place}-{time.monotonic_ns()}.hex"
    file.write_text("\n".join(frame.hex() for frame in frames))
    network.run(place, sys.executable, "-m", "tests.lab.inject", "eth0", str(file), cwd=ROOT)


def main() -> None:
    """Send the frames of the file given."""
    interface, file = sys.argv[1:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind((interface, 0))
        for line in Path(file).read_text().split():
            wire.send(bytes.fromhex(line))
            time.sleep(GAP)


if __name__ == "__main__":
    main()
