"""From a word to its effect on the wire, on a whole deployment in the lab: revoking and arming.

Both are read off the captures themselves, whose timestamps the kernel makes:

- Revoking: 100 authorities on one call, revoked one after the other; from the guard's answer to the
  last packet captured. A capture under way has a packet every 10 ms.
- Arming: 200 answers on the wire, each followed by RTP every 0.3 ms or so to the address it names;
  from the answer's timestamp to the first packet captured.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from guard.keys import load_identity
from tests.lab import media
from tests.lab.calls import Call
from tests.lab.deployment import ROOT, Deployment
from tests.lab.inject import inject
from tests.lab.network import Network, missing_privilege
from tests.lab.odd import ipv4, plain, rtp, sip
from tests.lab.opened import Opened

REVOCATIONS, ANSWERS, BURST = 100, 200, 60
SUBJECT = "+15550001"


def percentile(values: list[float], share: float) -> float:
    """Return the value below which ``share`` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def row(name: str, ours: float, budget: float | None) -> dict[str, Any]:
    """Make a row; a figure without a budget is met."""
    met = budget is None or ours < budget
    return {
        "name": name,
        "unit": "ms",
        "ours": ours,
        "peer": None,
        "ratio": None,
        "budget": budget,
        "met": met,
    }


def revoke(lab: Deployment, folder: Path) -> list[float]:
    """Return milliseconds from each revocation's answer to its last captured packet."""
    assert lab.network
    lab.warrant(number=SUBJECT, approve=False)  # leaves the draft that is registered below
    script = [
        sys.executable,
        str(ROOT / "tests/bench/revoker.py"),
        str(lab.folder),
        str(REVOCATIONS),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    made = json.loads(
        lab.network.run("guard", *script, "prepare", timeout=300, cwd=ROOT, env=environment)
    )
    call = Call(lab.network, folder / "call", caller=SUBJECT, packets=50 * 60).start()
    time.sleep(4)
    told = json.loads(
        lab.network.run("guard", *script, "revoke", *made, timeout=120, cwd=ROOT, env=environment)
    )
    call.stop()
    lab.wait_for(
        lambda: all(c["state"] == "ended" for c in lab.captures()), "every capture is ended"
    )
    return [(last_packet(lab, capture, folder) - at) / 1e6 for capture, at in told.items()]


def last_packet(lab: Deployment, capture: str, folder: Path) -> int:
    """Open what the guard keeps of a capture, as its recipient may, and find its last packet."""
    identity = load_identity(lab.folder / "people/legal-1/sealing.key")
    sealed = sorted(
        (lab.folder / "guard/data/segments" / capture).glob("*.age"),
        key=lambda p: int(p.name.split(".")[0]),
    )
    opened = folder / f"{capture}.pcapng"
    opened.write_bytes(b"".join(pyrage.decrypt(path.read_bytes(), [identity]) for path in sealed))
    return max(f.nanoseconds for f in Opened(opened).media)


def arm(lab: Deployment, folder: Path) -> list[float]:
    """Return milliseconds from each answer on the wire to the first captured packet behind it."""
    assert lab.network
    capture = lab.warranted_capture(number="+15550002")
    caller, callee = "10.77.1.66", "10.77.2.66"
    frames = []
    for n in range(ANSWERS):
        port = 30000 + 2 * n
        answer = sip("SIP/2.0 200 OK", "+15550002", f"arming-{n}", callee, port)
        frames.append(plain(ipv4((callee, 5060), (caller, 5060), answer)))
        voice = (rtp(media.CALLER_VOICE, i, odd=False) for i in range(BURST))
        frames += [plain(ipv4((caller, 20000), (callee, port), each)) for each in voice]
    inject(lab.network, "callee", frames, folder, gap=0.0002)
    lab.json("legal-1", "capture", "stop", capture)
    lab.await_state(capture, "ended")
    opened = Opened(lab.fetch("legal-1", capture, folder / "arming"))
    answered = [f.nanoseconds for f in opened.signalling]
    first: dict[int, int] = {}
    for seen in opened.media:
        first.setdefault(seen.ports[1], seen.nanoseconds)
    never = float(BURST)
    return [
        (first[30000 + 2 * n] - at) / 1e6 if 30000 + 2 * n in first else never
        for n, at in enumerate(answered)
    ]


def rows() -> Iterator[dict[str, Any]]:
    """Yield the figures; nothing where the lab cannot run."""
    if missing_privilege():
        return
    folder = Path(tempfile.mkdtemp(prefix="callguard-bench-"))
    with Network() as network, Deployment(folder / "d", network) as lab:
        lab.start()
        armed = arm(lab, folder)
        yield row(
            "arming: SDP answer on the wire to first packet captured, p50",
            percentile(armed, 0.5),
            None,
        )
        yield row(
            "arming: SDP answer on the wire to first packet captured, p99",
            percentile(armed, 0.99),
            5.0,
        )
        lags = revoke(lab, folder)
        yield row("revocation answered to last captured packet, p50", percentile(lags, 0.5), None)
        yield row("revocation answered to last captured packet, p99", percentile(lags, 0.99), 100.0)
