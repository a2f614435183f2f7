"""Real calls by sipp between the caller's and the callee's namespace.

One :class:`Call` is one sipp on each side with addresses of its own, so that a subject's call and
bystanders' calls run at once and every count is known beforehand.
"""

from __future__ import annotations

import itertools
import math
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import media
from tests.lab.network import Network, end

__all__ = ["Call", "message"]

SCENARIOS = Path(__file__).parent / "sipp"
_CRYPTO = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:U0VDUkVULU1BU1RFUi1LRVktU0VDUkVULVNBTFQt"
_hosts = itertools.cycle(range(10, 250))


def _piece(name: str) -> str:
    return (SCENARIOS / f"{name}.xml").read_text()


@dataclass
class Call:
    """One call, or ``calls`` of them at once, from ``caller`` to ``callee`` (user parts of URIs).

    ``packets`` voice packets of 20 ms go each way after the answer. Options: ``early`` sends the
    callee's voice once before the answer as well; ``moves`` re-INVITEs to other ports and talks
    again there; ``digits`` sends RFC 4733 events and a SIP INFO digit from the caller; ``padding``
    adds a header of that many bytes to the INVITE, so that it is fragmented; ``slow_ring`` makes
    the callee silent for that many milliseconds, so that the INVITE is retransmitted.
    """

    network: Network
    folder: Path
    caller: str = "+15550001"
    callee: str = "+15550002"
    packets: int = 50
    calls: int = 1
    ipv6: bool = False
    early: bool = False
    moves: bool = False
    digits: bool = False
    padding: int = 0
    slow_ring: int = 0
    linger: int = 0  # milliseconds the caller stays on the line after the talk
    proxy: str = ""  # where the caller's messages go instead of to the callee
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def talk(self) -> int:
        """Milliseconds that the voice of one talk takes, with a margin."""
        return math.ceil(self.packets * media.FRAME_SECONDS * 1000) + 300

    @property
    def expected(self) -> dict[bytes, int]:
        """How many voice packets of each pattern sipp sends in all."""
        talks = 2 if self.moves else 1
        return {
            media.CALLER_VOICE: self.calls * self.packets * talks,
            media.CALLEE_VOICE: self.calls * self.packets * (talks + (1 if self.early else 0)),
        }

    def run(self) -> Call:
        """Make the call and wait for its end; raises when sipp counts a failed call."""
        return self.start().wait()

    def start(self) -> Call:
        """Begin the call and return at once."""
        self._write()
        host = next(_hosts)
        caller = self._address("caller", 1, host)
        callee = self._address("callee", 2, host)
        common = (
            "-m",
            str(self.calls),
            "-nostdin",
            "-timeout",
            str(60 + self.talk // 250),
            "-trace_err",
        )
        self._running.append(
            self.network.start(
                "callee",
                "sipp",
                "-sf",
                "callee.xml",
                "-i",
                callee,
                "-p",
                "5060",
                "-mi",
                callee,
                "-mp",
                "30000",
                *common,
                cwd=self.folder / "callee",
            )
        )
        self._await_port("callee", callee)
        self._running.append(
            self.network.start(
                "caller",
                "sipp",
                "-sf",
                "caller.xml",
                "-i",
                caller,
                "-p",
                "5060",
                "-mi",
                caller,
                "-mp",
                "20000",
                "-s",
                self.callee,
                "-l",
                str(self.calls),
                "-r",
                str(self.calls),
                *(("-rsa", self.proxy) if self.proxy else ()),
                *common,
                f"[{callee}]:5060" if self.ipv6 else f"{callee}:5060",
                cwd=self.folder / "caller",
            )
        )
        return self

    def wait(self, timeout: float = 90) -> Call:
        """Wait until both sides are done; raises with sipp's own words when a call failed."""
        deadline = time.monotonic() + timeout
        for process in reversed(self._running):
            code = process.wait(max(1, deadline - time.monotonic()))
            if code not in {0, 99}:
                errors = [p.read_text()[-800:] for p in self.folder.rglob("*_errors.log")]
                raise RuntimeError(f"sipp ended with {code}: {errors}")
        return self

    def stop(self) -> None:
        """End both sides now."""
        for process in self._running:
            end(process)

    def _address(self, place: str, side: int, host: int) -> str:
        """Give the call an address of its own, so that every call's SIP runs on port 5060."""
        address = f"fd77:{side}::{host}" if self.ipv6 else f"10.77.{side}.{host}"
        self.network.add_address(place, f"{address}/{64 if self.ipv6 else 24}")
        return address

    def _await_port(self, place: str, address: str) -> None:
        for _ in range(200):
            listening = self.network.run(place, "ss", "-lnu")
            if f"{address}:5060 " in listening or f"[{address}]:5060 " in listening:
                return
            time.sleep(0.02)
        raise RuntimeError(f"sipp does not listen on {address}")

    def _write(self) -> None:
        for place in ("caller", "callee"):
            (self.folder / place).mkdir(parents=True)
        media.write_voice(
            self.folder / "caller/caller.pcap", media.CALLER_VOICE, self.packets, ssrc=0xA
        )
        media.write_voice(
            self.folder / "callee/callee.pcap", media.CALLEE_VOICE, self.packets, ssrc=0xB
        )
        media.write_dtmf(self.folder / "caller/dtmf.pcap", ssrc=0xA)
        dtmf = '<nop><action><exec play_pcap_audio="dtmf.pcap"/></action></nop><pause milliseconds="400"/>'
        caller_mid = callee_mid = ""
        if self.moves:
            caller_mid, callee_mid = _piece("caller_moves_media"), _piece("callee_moves_media")
        if self.digits:
            caller_mid += _piece("caller_sends_digits")
            callee_mid += _piece("callee_takes_digits")
        ring = _piece("ring_with_media" if self.early else "ring_quietly")
        if self.slow_ring:
            ring = f'<pause milliseconds="{self.slow_ring}"/>' + ring
        if self.linger:
            caller_mid += f'<pause milliseconds="{self.linger}"/>'
        # A key that no packet is encrypted with: a relay would believe it, so not through one.
        crypto = "a=ptime:20" if self.proxy else _CRYPTO
        padding = f"X-Padding: {'p' * self.padding}" if self.padding else "X-Padding: none"
        for place, values in (
            (
                "caller",
                {"MIDCALL": caller_mid, "DTMF": dtmf if self.digits else "", "PADDING": padding},
            ),
            ("callee", {"MIDCALL": callee_mid, "RING": ring}),
        ):
            text = _piece(place)
            common = (("TALK", str(self.talk)), ("FROM", self.caller), ("CRYPTO", crypto))
            for key, value in (*values.items(), *common):
                text = text.replace(f"@{key}@", value)
            (self.folder / place / f"{place}.xml").write_text(text)


def message(network: Network, folder: Path, *, caller: str, callee: str) -> None:
    """Send one SIP MESSAGE with a body that can be searched for, and take its answer."""
    folder.mkdir(parents=True)
    (folder / "m.xml").write_text(_piece("message").replace("@FROM@", caller))
    (folder / "n.xml").write_text(_piece("message_callee"))
    taker = network.start(
        "callee",
        "sipp",
        "-sf",
        "n.xml",
        "-i",
        "10.77.2.2",
        "-p",
        "5060",
        "-m",
        "1",
        "-nostdin",
        "-timeout",
        "20",
        cwd=folder,
    )
    time.sleep(0.5)
    network.run(
        "caller",
        "sipp",
        "-sf",
        "m.xml",
        "-i",
        "10.77.1.2",
        "-p",
        "5060",
        "-s",
        callee,
        "-m",
        "1",
        "-nostdin",
        "-timeout",
        "20",
        "10.77.2.2:5060",
        cwd=folder,
    )
    taker.wait(20)
