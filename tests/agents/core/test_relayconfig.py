"""Which options of a relay are findings."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.relayconfig import HARMLESS, Risk, control_ports, judge, judged, names_calls

QUIET = {
    "table": ("-1",), "interface": ("a/10.0.0.1",), "listen-ng": ("127.0.0.1:2223",),
    "listen-cli": ("[::1]:2224",), "listen-http": ("2225",), "log-level": ("6",),
    "log-level-internals": ("-1",),
}  # fmt: skip

CONTENT = """
recording-dir recording-method record-egress dtmf-log-dest dtmf-log-ng-tcp log-facility-dtmf
log-srtp-keys debug-srtp homer-enable-ng redis redis-write redis-subscribe subscribe-keyspace
templates vsc-start-rec vsc-stop-rec vsc-start-stop-rec vsc-pause-rec vsc-pause-resume-rec
vsc-start-pause-resume-rec janus-secret
"""


def findings(**changed):
    options = {**QUIET, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return judge(options, udp={2223}, tcp={2224, 2225})


def test_a_quiet_relay_behind_the_fence_gives_no_cause():
    assert findings() == ()


@pytest.mark.parametrize(
    "name",
    CONTENT.split(),
)
def test_an_option_that_lets_content_out(name):
    """The finding names it, says why and what to do, and keeps its value to itself."""
    (found,) = judge({name: ("TOP-SECRET",)}, udp=(), tcp=())
    assert (found.name, found.risk) == (name, Risk.CONTENT)
    assert found.why
    assert name in found.remedy
    assert "TOP-SECRET" not in repr(found)


@pytest.mark.parametrize(
    "name",
    ["homer", "mqtt-host", "b2b-url", "log-facility-cdr", "log-facility-rtcp", "iptables-chain"],
)
def test_an_option_that_lets_metadata_out(name):
    (found,) = judge({name: ("x",)}, udp=(), tcp=())
    assert (found.name, found.risk) == (name, Risk.METADATA)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen-ng", "2224"), ("listen-udp", "127.0.0.1:22222"), ("listen-tcp", "25060"),
        ("listen-tcp-ng", "[::]:2223"), ("listen-cli", "localhost:9900"),
        ("listen-http", "2226"), ("listen-https", "2227"), ("listen-cli", "somewhere"),
    ],
)  # fmt: skip
def test_a_control_port_that_the_fence_does_not_know(name, value):
    """UDP and TCP are told apart: TCP 2223 is not UDP 2223."""
    (found,) = judge({name: (value,)}, udp={2223}, tcp={2224, 2225})
    assert (found.name, found.risk) == (name, Risk.CONTROL)


def test_every_control_port_of_an_option_counts():
    (found,) = findings(listen_cli=("127.0.0.1:2224", "127.0.0.1:9999", "2225"))
    assert "9999" in found.why


@pytest.mark.parametrize("name", ["log-level", "log-level-control", "log-level-srtp"])
@pytest.mark.parametrize("level", ["7", "8", "debug", ""])
def test_a_relay_that_logs_what_it_hears(name, level):
    (found,) = judge({name: (level,)}, udp=(), tcp=())
    assert (found.name, found.risk) == (name, Risk.CONTENT)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, True),
        ({"log-level": ("6",)}, True),
        ({"log-level": ("5",)}, False),
        ({"log-level": ("5",), "log-level-control": ("7",)}, True),
        ({"log-level": ("7",), "log-level-control": ("-1",)}, False),
        ({"log-level-control": ("quiet",)}, True),
    ],
)
def test_a_relay_whose_log_names_the_calls(options, named):
    assert [each.risk for each in names_calls(options)] == [Risk.METADATA] * named


def test_an_option_that_nobody_here_has_heard_of():
    (found,) = judge({"mirror-media-to": ("x",)}, udp=(), tcp=())
    assert (found.name, found.risk) == ("mirror-media-to", Risk.UNKNOWN)
    (found,) = judge({"x\ny": ("x",)}, udp=(), tcp=())
    assert found.name == "an option"


def test_the_ports_that_a_relay_opens():
    assert control_ports(QUIET) == {("udp", 2223), ("tcp", 2224), ("tcp", 2225)}
    assert control_ports({"listen-cli": ("nowhere",)}) == set()


def test_no_option_is_in_two_tables():
    assert not [name for name in HARMLESS if judge({name: ("x",)}, udp=(), tcp=())]


@pytest.mark.skipif(not shutil.which("rtpengine"), reason="needs Debian's package rtpengine")
def test_every_option_of_the_installed_relay_is_judged():
    said = subprocess.run(("rtpengine", "--help"), check=True, capture_output=True, text=True)
    options = set(re.findall(r"--([a-z0-9-]+)", said.stdout)) - {"name"}
    assert len(options) > 100
    assert not [name for name in options if not judged(name)]


@given(st.dictionaries(st.text(), st.lists(st.text()).map(tuple)))
def test_nothing_makes_it_fail(options):
    judge(options, udp=(), tcp=())
    control_ports(options)
