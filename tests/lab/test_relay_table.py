"""Everything that yields content is tried against the live relay, through the gate, without a grant.

Refused or taken out; nothing on disk, nothing forwarded, the call unharmed, and on record.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from agents.core.ngtable import FLAGS, KEYS, VERBS, Treatment
from tests.lab.deployment import Deployment
from tests.lab.gated import gated, incidents, marks, operator_says, relay
from tests.lab.relay import GATE, Relay

__all__ = ["gated", "relay"]

pytestmark = marks

SDP = (
    "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio {1} RTP/AVP 8\r\n"
    "a=rtpmap:8 PCMA/8000\r\n"
)
REFUSED = (Treatment.GATED, Treatment.OPERATOR_ONLY)
TAP = 41999


def spellings(name: str) -> list[str]:
    """Write a name as the relay may read it."""
    return sorted({name, name.replace("-", " "), name.replace("-", "_"), name.replace(" ", "-")})


def through_the_gate(relay: Relay, questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ask through the gate."""
    return relay.ask(*questions, port=GATE)


def offer(call: str, **more: object) -> dict[str, Any]:
    """Write an offer."""
    sdp = SDP.format("10.77.1.2", 40000)
    return {
        "command": "offer",
        "call-id": call,
        "from-tag": "a",
        "sdp": sdp,
        "ICE": "remove",
    } | more


def answer(call: str) -> dict[str, Any]:
    """Write the answer to it."""
    sdp = SDP.format("10.77.2.2", 42000)
    of = {"call-id": call, "from-tag": "a", "to-tag": "b"}
    return {"command": "answer", "sdp": sdp, "ICE": "remove"} | of


@pytest.fixture(scope="module")
def call(relay: Relay, gated: Deployment) -> str:
    """Yield a call that stands on the relay, set up through the gate."""
    del gated
    answers = through_the_gate(relay, [offer("standing"), answer("standing")])
    assert [each["result"] for each in answers] == ["ok", "ok"]
    return "standing"


def test_every_verb_that_yields_content_is_refused(
    relay: Relay, gated: Deployment, call: str
) -> None:
    """Each in every spelling that the relay could read, with all that it would want to do it."""
    verbs = [name for name, treatment in VERBS.items() if treatment in REFUSED]
    sdp = SDP.format("127.0.0.1", TAP)
    of = {"call-id": call, "from-tag": "a", "to-tag": "b", "sdp": sdp, "flags": ["all"]}
    of |= {"file": "/etc/passwd", "code": "1", "interface": "a"}
    tried = [each for verb in verbs for each in {*spellings(verb), verb.upper(), verb.title()}]
    answers = through_the_gate(relay, [{"command": each} | of for each in tried])

    assert {"start recording", "subscribe request", "connect", "mesh", "cli", "list"} <= set(verbs)
    assert [each.get("result") for each in answers] == ["error"] * len(tried)
    assert all("callguard" in each["error-reason"] for each in answers)
    assert relay.files() == []
    gated.wait_for(
        lambda: {each.get("verb") for each in incidents(gated, "recording_refused")} >= set(verbs),
        "every verb is on record",
        40,
    )


def test_every_key_and_flag_that_yields_content_is_taken_out(
    relay: Relay, gated: Deployment
) -> None:
    """Each as a key, in the list of flags and in the raw string: the call is set up all the same."""
    taken = (Treatment.STRIP, Treatment.GATED)
    keys = sorted({each.name for each in KEYS.values() if each.treatment in taken})
    flags = sorted({each.name for each in FLAGS.values() if each.treatment in taken})
    offers = []
    for number, (name, way) in enumerate(
        [(each, "key") for key in keys for each in spellings(key)]
        + [(each, "flag") for flag in flags for each in spellings(flag)]
    ):
        more = {name: "on"} if way == "key" else {"flags": [name]}
        offers.append(offer(f"taken-{number}", **more))
    answers = through_the_gate(relay, offers)
    results = [each.get("result") for each in answers]
    refused = [
        (question, told)
        for question, told in zip(offers, answers, strict=True)
        if told.get("result") != "ok"
    ]

    # A value of another kind than the key takes refuses the message; it never passes.
    assert all("callguard" in told["error-reason"] for _, told in refused)
    assert results.count("ok") > len(keys)
    assert relay.files() == []
    gated.wait_for(lambda: len(incidents(gated, "recording_trimmed")) > len(flags), "on record", 40)
    named = {each["name"] for each in incidents(gated, "recording_trimmed")}
    assert {"record-call", "recording-file", "recording-dir", "recording-pattern"} <= named


def test_nothing_was_forwarded_and_nothing_recorded(
    relay: Relay, gated: Deployment, call: str
) -> None:
    """After all of it the relay sends media to its two parties and to nobody else."""
    told = operator_says(gated, "query", call)

    assert {"a", "b"} <= set(told["tags"])
    copies = [
        each
        for tag in told["tags"].values()
        for each in tag["subscribers"]
        if each["type"] != "offer/answer"
    ]
    assert copies == []
    assert [path for path in Path(relay.recordings).rglob("*") if path.is_file()] == []


def test_look_alikes_and_tricks_reach_nothing(relay: Relay, gated: Deployment) -> None:
    """What the relay would read otherwise than the gate is refused before it gets there."""
    assert gated.network
    tricks = [
        b"1 d7:command15:start recording7:command4:ping7:call-id8:standinge",
        b"2 d7:command4:ping7:command15:start recording7:call-id8:standinge",
        b"3 d7:command4:pingeJUNK",
        b'4 {"command":"start recording","call-id":"standing"}',
        b"5 d7:command15:Start Recording7:call-id8:standinge",
        b"6 d7:call-id8:standing7:command16:start  recordinge",
        b"7 d7:command5:offer7:call-id4:trik8:from-tag1:a11:record-call2:on11:record call2:one",
    ]
    script = (
        "import json, socket, sys\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1)\n"
        "for each in json.load(sys.stdin):\n"
        f"    s.sendto(each.encode(), ('127.0.0.1', {GATE}))\n"
        "    print(s.recv(65535).decode())\n"
    )
    out = gated.network.run(
        "node",
        sys.executable,
        "-c",
        script,
        input=json.dumps([each.decode() for each in tricks]),
    )

    # The last one names what is taken out anyway, twice: it is taken out twice.
    assert out.count("callguard") == len(tricks) - 1
    assert "recordings" not in out
    assert relay.files() == []
