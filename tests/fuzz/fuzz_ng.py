"""Coverage-guided fuzzing of the NG codec, the frames of its TCP, and the policy.

    python -m tests.fuzz.fuzz_ng -max_total_time=60 [CORPUS_DIR …]

An input is a body, a datagram and a stream at once. The invariants: the only error is
``NgMalformed``; what was decoded encodes to one form that decodes to the same; whatever passes the
policy has nothing in it that the table does not pass, and passes again as it is; a stream gives the
same however it is cut.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["agents.core"]):
    from agents.core.ngcodec import Encoding, NgDict, NgMalformed, decode, encode, split
    from agents.core.ngframes import Frames
    from agents.core.ngpolicy import Passed, call_id, judge
    from agents.core.ngtable import Treatment, flag, key


def one_input(octets: bytes) -> None:
    """Run one input through everything; any error but the documented one escapes."""
    check_stream(octets)
    for encoding in Encoding:
        check_body(octets, encoding)
    try:
        _, body = split(octets)
    except NgMalformed:
        return
    for encoding in Encoding:
        check_body(body, encoding)


def check_body(body: bytes, encoding: Encoding) -> None:
    """Hold what was read against what it is written as, and what passes against the table."""
    try:
        message = decode(body, encoding)
    except NgMalformed:
        return
    written = encode(message, encoding)
    assert decode(written, encoding) == message
    assert encode(decode(written, encoding), encoding) == written
    call_id(message)
    judged = judge(message)
    if isinstance(judged, Passed):
        check_passed(judged)


def check_passed(judged: Passed) -> None:
    """Look for a name that does not pass."""
    message: NgDict = judged.message
    for name in message:
        entry = key(name)
        assert entry is not None
        assert entry.treatment is Treatment.PASS
    flags = message.get(b"flags", [])
    for word in flags if isinstance(flags, list) else flags.split(b","):
        known = flag(word)
        assert not word or (known is not None and known.treatment is Treatment.PASS)
    assert judge(message) == Passed(judged.verb, message, (), judged.treatment)


def check_stream(octets: bytes) -> None:
    """Read the stream whole and in pieces."""
    whole = read([octets])
    assert read([octets[at : at + 1] for at in range(len(octets))]) == whole
    assert read([octets[: len(octets) // 2], octets[len(octets) // 2 :]]) == whole
    assert b"".join(whole[0]) == octets[: sum(map(len, whole[0]))]


def read(chunks: list[bytes]) -> tuple[list[bytes], bool]:
    """Return the messages of a stream, and whether it was refused."""
    frames, found = Frames(), []
    try:
        for chunk in chunks:
            found.extend(frames.feed(chunk))
    except NgMalformed:
        return found, True
    return found, False


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
