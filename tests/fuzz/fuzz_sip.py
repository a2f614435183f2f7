"""Coverage-guided fuzzing of the SIP reader, session descriptions, redaction and dialogs.

    python -m tests.fuzz.fuzz_sip -max_total_time=60 [CORPUS_DIR …] tests/data/rfc4475

An input is one or more messages, separated by a zero octet. The invariants: the only error is
``NotSip``; what is written is the frame with octets overwritten or cut; memory stays in its bounds;
every call ends by itself; a deadline that was served is followed by a later one.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["agents.core"]):
    from agents.core.dialogs import DialogLimits, DialogTracker
    from agents.core.instant import Instant
    from agents.core.packet import Datagram, read_frame
    from agents.core.redact import redact
    from agents.core.sip import NotSip, read_message

from guard.core.level import Level
from guard.core.subjects import SubjectKind, parse_subject
from tests.agents.core.wire import EPOCH, datagram

SUBJECTS = (
    parse_subject(SubjectKind.PEER_ADDRESS, "10.0.0.1"),
    parse_subject(SubjectKind.SIP_URI, "user@example.com"),
    parse_subject(SubjectKind.TELEPHONE, "+15551234567"),
)
LIMITS = DialogLimits(calls=4, flows=8)


def one_input(octets: bytes) -> None:
    """Run one input through everything; any error but the documented one escapes."""
    read_frame(octets)
    tracker = DialogTracker(SUBJECTS, level=Level.SIGNALLING, limits=LIMITS)
    for seconds, payload in enumerate(octets.split(b"\0")[:16]):
        packet = datagram(payload[:60000])
        check_message(packet)
        tracker.handle(packet, Instant(boot_ns=seconds * 10**9, wall=EPOCH))
        assert len(tracker) <= LIMITS.calls
        assert len(tracker.open_flows) <= LIMITS.calls * LIMITS.flows
    due = tracker.next_deadline()
    while due is not None:
        tracker.expire(Instant(boot_ns=due, wall=EPOCH))
        after = tracker.next_deadline()
        assert after is None or after > due
        due = after
    assert not tracker.open_flows


def check_message(packet: Datagram) -> None:
    """Hold what is written of a message against where it came from."""
    try:
        message = read_message(packet.payload)
    except NotSip:
        return
    frame = redact(packet, message, Level.MEDIA_HEADERS)
    assert len(frame) <= len(packet.frame)
    assert all(new in {old, ord("x")} for new, old in zip(frame, packet.frame, strict=False))
    assert redact(packet, message, Level.CONTENT) is packet.frame


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
