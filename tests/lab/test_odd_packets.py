"""Calls whose packets are unusual on the wire, built by scapy: tags, extensions, disorder, disguise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from scapy.packet import Packet

from tests.lab import media
from tests.lab.deployment import Deployment
from tests.lab.inject import inject
from tests.lab.odd import ipv4, ipv6_with_extensions, plain, rtp, sip, tagged
from tests.lab.opened import Opened

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(120)]

CALLER, CALLEE = ("10.77.1.66", 20000), ("10.77.2.66", 30000)
CALLER6, CALLEE6 = ("fd77:1::66", 20000), ("fd77:2::66", 30000)
PACKETS = 20
HEADERS_OF_RTP = 12


def one_call(
    lab: Deployment,
    folder: Path,
    number: str,
    *,
    frame: Callable[[Packet], bytes],
    odd: bool = False,
    six: bool = False,
) -> None:
    """Send a whole call past the node: INVITE, answer, voice from both sides."""
    assert lab.network
    datagram = ipv6_with_extensions if six else ipv4
    caller, callee = (CALLER6, CALLEE6) if six else (CALLER, CALLEE)
    call = f"{number[1:]}-{six}"
    here, there = (caller[0], 5060), (callee[0], 5060)
    invite = sip("INVITE sip:+15551111@example.com SIP/2.0", number, call, *caller, odd=odd)
    answer = sip("SIP/2.0 200 OK", number, call, *callee, odd=odd)
    inject(lab.network, "caller", [frame(datagram(here, there, invite))], folder)
    inject(lab.network, "callee", [frame(datagram(there, here, answer))], folder)
    voice = [rtp(media.CALLER_VOICE, n, odd=odd) for n in range(PACKETS)]
    inject(lab.network, "caller", [frame(datagram(caller, callee, each)) for each in voice], folder)
    voice = [rtp(media.CALLEE_VOICE, n, odd=odd) for n in range(PACKETS)]
    inject(lab.network, "callee", [frame(datagram(callee, caller, each)) for each in voice], folder)


def captured(lab: Deployment, person: str, capture: str, folder: Path) -> Opened:
    """Stop a capture and open it."""
    lab.json(person, "capture", "stop", capture)
    lab.await_state(capture, "ended")
    return Opened(lab.fetch(person, capture, folder))


def both(opened: Opened) -> list[int]:
    """Count the packets with each speaker's voice."""
    return [opened.count(media.CALLER_VOICE), opened.count(media.CALLEE_VOICE)]


def test_calls_under_vlan_tags(lab: Deployment, tmp_path: Path) -> None:
    """A call under 802.1Q tags is captured whole, tags included."""
    capture = lab.warranted_capture(number="+15550201")
    one_call(lab, tmp_path, "+15550201", frame=tagged)
    opened = captured(lab, "legal-1", capture, tmp_path / "out")

    assert both(opened) == [PACKETS, PACKETS]
    assert {f.vlan for f in opened.frames} == {42}


def test_calls_with_ipv6_extension_headers(lab: Deployment, tmp_path: Path) -> None:
    """IPv6 extension headers hide neither signalling nor media."""
    capture = lab.warranted_capture(number="+15550202")
    one_call(lab, tmp_path, "+15550202", frame=plain, six=True)
    opened = captured(lab, "legal-1", capture, tmp_path / "out")

    assert both(opened) == [PACKETS, PACKETS]


def test_oddly_written_signalling(lab: Deployment, tmp_path: Path) -> None:
    """Stray spaces, folds, compact names and quoted commas defeat no intercept."""
    capture = lab.warranted_capture(number="+15550203")
    one_call(lab, tmp_path, "+15550203", frame=plain, odd=True)
    opened = captured(lab, "legal-1", capture, tmp_path / "out")

    assert both(opened) == [PACKETS, PACKETS]


def test_headers_end_before_what_an_extension_carries(lab: Deployment, tmp_path: Path) -> None:
    """Below content, CSRCs are kept and the extension's contents are cut like the voice."""
    capture = lab.capture("operator-1", lab.ticket(number="+15550204"))
    one_call(lab, tmp_path, "+15550204", frame=tagged, odd=True)
    opened = captured(lab, "operator-1", capture, tmp_path / "out")

    assert both(opened) == [0, 0]
    assert len(opened.media) == 2 * PACKETS
    assert {len(f.payload) for f in opened.media} == {HEADERS_OF_RTP + 8 + 4}


def test_garbage_at_the_sip_port_harms_nothing(lab: Deployment, tmp_path: Path) -> None:
    """Malformed signalling that names the subject is survived; the next call is captured."""
    assert lab.network
    capture = lab.warranted_capture(number="+15550205")
    here, there = (CALLER[0], 5060), (CALLEE[0], 5060)
    whole = sip("INVITE sip:+15550205@example.com SIP/2.0", "+15550205", "garbage", *CALLER)
    cuts = [whole[:n] for n in range(1, len(whole), 7)]
    mangled = [
        whole.replace(b"\r\n", b"\x00\xff"),
        whole.replace(b":", b"::"),
        whole + whole,
        whole[::-1],
        b"\xff" * 900,
    ]
    inject(
        lab.network,
        "caller",
        [plain(ipv4(here, there, each)) for each in (*cuts, *mangled)],
        tmp_path,
    )
    one_call(lab, tmp_path, "+15550205", frame=plain)
    opened = captured(lab, "legal-1", capture, tmp_path / "out")

    assert both(opened) == [PACKETS, PACKETS]
