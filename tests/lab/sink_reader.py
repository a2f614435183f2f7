"""Binds two sinks, says so, and counts what arrives while it runs: all, and with voice in plain.

Arguments: the two ports, and for how many seconds. Unlike the agent's, these sinks are read.
"""

from __future__ import annotations

import json
import socket
import sys
import time

from tests.lab import media


def main() -> None:
    """Count and print."""
    ports, seconds = (int(sys.argv[1]), int(sys.argv[2])), float(sys.argv[3])
    sinks = []
    for port in ports:
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sink.bind(("127.0.0.1", port))
        sink.setblocking(False)
        sinks.append(sink)
    sys.stdout.write("bound\n")
    sys.stdout.flush()
    time.sleep(seconds)
    counted = []
    for sink in sinks:
        packets = []
        while True:
            try:
                packets.append(sink.recv(4096))
            except BlockingIOError:
                break
        counted.append([len(packets), sum(media.CALLER_VOICE * 8 in each for each in packets)])
    sys.stdout.write(json.dumps(counted))


if __name__ == "__main__":
    main()
