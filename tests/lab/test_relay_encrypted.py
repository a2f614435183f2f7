"""Calls that are encrypted on the wire come to the agent as the relay decrypts them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agents.core.owntags import subscribe
from agents.core.subscription import answer_to, streams_of
from tests.lab.deployment import ROOT
from tests.lab.gated import marks
from tests.lab.network import Network
from tests.lab.ngclient import text
from tests.lab.relay import Relay
from tests.lab.srtp_caller import KEY

pytestmark = marks

SDP = (
    "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio {1} RTP/{2} 8\r\n"
    "a=rtpmap:8 PCMA/8000\r\n"
)
CRYPTO = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n"
PORTS = (45000, 45002)
PACKETS = 50


@pytest.mark.parametrize("profile", ["AVP", "SAVP"], ids=["to a plain phone", "on both sides"])
def test_srtp_arrives_in_plain(tmp_path: Path, profile: str) -> None:
    """What the rules ask of the relay makes it send the decrypted voice, packet for packet."""
    keyed = CRYPTO if profile == "SAVP" else ""
    of = {"call-id": "c", "from-tag": "a", "ICE": "remove", "flags": ["trust address"]}
    offer = {"command": "offer", "sdp": SDP.format("10.77.1.2", 40000, "SAVP") + CRYPTO, **of}
    offer |= {"direction": ["a", "b"], "transport-protocol": f"RTP/{profile}"}
    answer = {"command": "answer", "sdp": SDP.format("10.77.2.2", 50000, profile) + keyed, **of}
    with Network() as network, Relay(network, tmp_path, records=False) as relay:
        told = relay.ask(offer, answer | {"to-tag": "b"}, text(subscribe(b"c", b"tag")))
        described = told[2]["sdp"].encode()
        assert streams_of(described) == len(PORTS)
        taken = {"command": "subscribe answer", "call-id": "c", "to-tag": "tag"}
        (done,) = relay.ask(taken | {"sdp": answer_to(described, PORTS).decode()})
        assert done == {"result": "ok"}
        sinks = network.start(
            "node",
            *(sys.executable, "-m", "tests.lab.sink_reader", *map(str, PORTS), "3"),
            output=subprocess.PIPE,
            cwd=ROOT,
        )
        assert sinks.stdout
        assert sinks.stdout.readline() == b"bound\n"
        (port,) = re.findall(r"m=audio (\d+)", told[1]["sdp"])
        speaking = (sys.executable, "-m", "tests.lab.srtp_caller", port, str(PACKETS))
        network.run("caller", *speaking, cwd=ROOT)
        counted = json.loads(sinks.stdout.read())

    assert counted == [[PACKETS, PACKETS], [0, 0]]
