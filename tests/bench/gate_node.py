"""The gate alone, in front of a relay, for measuring: what it would tell a node goes nowhere."""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from agents.config import Endpoint, RelayConfig
from agents.process import hurry, settle_memory
from agents.recorder.gate import Gate


async def main() -> None:
    """Run until it is told to stop."""
    listen, control = int(sys.argv[1]), int(sys.argv[2])
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    gate = Gate(
        RelayConfig(
            listen=(Endpoint("udp", "127.0.0.1", listen),),
            control=Endpoint("udp", "127.0.0.1", control),
            closed_ports=(control + 1,),
            json=False,
            through=True,
            recording_folders=(),
        ),
        now=lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        deliver=lambda event: None,
        packets=lambda flow: 0,
        fail=lambda error: sys.exit(repr(error)),
    )
    hurry()  # As the agent does.
    async with gate.running():
        while not gate.status()["ready"]:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.05)
        settle_memory()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main())
