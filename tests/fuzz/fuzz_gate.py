"""Coverage-guided fuzzing of the gate in front of the media relay.

    python -m tests.fuzz.fuzz_gate -max_total_time=60 [CORPUS_DIR]

An input is what clients and the relay send, in turns: pieces after a zero octet and one that says
from whom. The invariants: nothing raises; what goes to the relay for a client is canonical, yields
no content and names no tag of the agent's; memory stays in its bounds.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["agents.core"]):
    from agents.core.ngcodec import Encoding, decode, encode
    from agents.core.nggate import ToRelay
    from agents.core.ngpolicy import Passed, judge
    from agents.core.relay import Relay

from tests.sim.gate_simulator import JSON, PROXY, SDP

COOKIE = b"%024x"
SEEDS = (
    b"\0\1k d7:command4:pinge",
    b"\0\1k d7:call-id1:c7:command5:offer8:from-tag1:f3:sdp%d:%se" % (len(SDP), SDP),
    b"\0\1k d7:call-id1:c7:command15:start recordinge\0\3 d6:result2:oke",
    b"\0\1k d7:call-id1:c7:command6:delete8:from-tag1:fe\0\3 d6:result2:ok4:tagsdee",
    b'\0\2k {"command":"answer","call-id":"c","from-tag":"f","to-tag":"t","sdp":"v=0"}',
)


class Words:
    """What the gate draws, so that an input can name it."""

    drawn = 0

    def __call__(self) -> bytes:
        self.drawn += 1
        return COOKIE % self.drawn


def one_input(octets: bytes) -> None:
    """Run one input; any error escapes."""
    words = Words()
    relay = Relay(words)
    own = [
        each.data
        for each in relay.record(b"c", "grant", 0) + relay.relay_found(0)
        if isinstance(each, ToRelay)
    ]
    listed = own[-1].partition(b" ")[0]
    relay.answered(listed + b" " + encode({b"calls": [], b"result": b"ok"}, Encoding.BENCODE), 0)
    assert relay.ready
    now = 0
    for piece in octets.split(b"\0")[1:32]:
        sender, data = piece[:1], piece[1:]
        now += 10**8
        if sender == b"\3":
            # An answer to what was asked last, or to anything.
            cookie = b"" if data[:1] != b" " else COOKIE % words.drawn
            relay.answered(cookie + data, now)
        elif sender == b"\4":
            relay.wake_up(now, {})
        else:
            asker = JSON if sender == b"\2" else PROXY
            for each in relay.asked(asker, data, now):
                if isinstance(each, ToRelay):
                    check(each.data)


def check(data: bytes) -> None:
    """Hold what a client's message became against what may reach the relay."""
    body = data.partition(b" ")[2]
    message = decode(body, Encoding.BENCODE)
    assert encode(message, Encoding.BENCODE) == body
    judged = judge(message)
    assert isinstance(judged, Passed)
    assert not judged.removed
    assert COOKIE % 1 not in body, "the agent's mark"


def main() -> None:
    """Fuzz from the seeds."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, corpus], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
