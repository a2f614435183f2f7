"""Real calls between namespaces: exactly what the authority names is captured, and nothing else."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from tests.lab import media
from tests.lab.calls import Call, message
from tests.lab.deployment import Deployment
from tests.lab.opened import Opened

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(180)]

RTP_HEADERS = 14 + 20 + 8 + 12  # Ethernet, IPv4, UDP, RTP
BYSTANDER = "+15557777"
_numbers = itertools.count(15550100)


@pytest.fixture
def subject() -> str:
    """Return a number that no other test intercepts."""
    return f"+{next(_numbers)}"


def finish(lab: Deployment, person: str, capture: str, folder: Path) -> Opened:
    """Stop a capture, fetch it and open it."""
    lab.json(person, "capture", "stop", capture)
    lab.await_state(capture, "ended")
    return Opened(lab.fetch(person, capture, folder))


def test_nothing_is_captured_without_an_authority(lab: Deployment, tmp_path: Path) -> None:
    """A call that nobody has authority over leaves nothing on the node and nothing on the guard."""
    before = sorted((lab.folder / "nodes/node-1/spool").rglob("*.age"))
    Call(lab.network, tmp_path / "call", caller=BYSTANDER).run()
    denied = lab.as_(
        "operator-1", "capture", "start", "00000000-0000-4000-8000-000000000000", "--node", "node-1"
    )

    assert denied.code == 3
    assert denied.err.startswith("denied: authority_unknown: ")
    assert sorted((lab.folder / "nodes/node-1/spool").rglob("*.age")) == before


def test_media_headers_of_the_subject_only(lab: Deployment, subject: str, tmp_path: Path) -> None:
    """A ticket yields every RTP header of the subject's call, no voice, no digit, no bystander."""
    capture = lab.capture("operator-1", lab.ticket(number=subject))
    call = Call(lab.network, tmp_path / "call", caller=subject, digits=True).start()
    others = Call(
        lab.network, tmp_path / "others", caller=BYSTANDER, callee="+15556666", calls=3
    ).start()
    call.wait()
    others.wait()
    opened = finish(lab, "operator-1", capture, tmp_path / "out")

    events = 5 * len(media.DTMF_DIGITS)
    assert len(opened.media) == sum(call.expected.values()) + events
    assert {len(f.frame) for f in opened.media} == {RTP_HEADERS}
    assert {f.original_length for f in opened.media} == {RTP_HEADERS + 160, RTP_HEADERS + 4}
    for secret in (
        media.CALLER_VOICE,
        media.CALLEE_VOICE,
        b"SECRET-DIGIT",
        b"U0VDUkVULU1BU1RFUi1LRVk",
        BYSTANDER.encode(),
    ):
        assert opened.count(secret) == 0
    assert len(opened.call_ids()) == 1


def test_content_in_both_directions(lab: Deployment, subject: str, tmp_path: Path) -> None:
    """A warrant yields every voice packet both ways, from the first after the answer, once each."""
    capture = lab.warranted_capture(number=subject)
    call = Call(lab.network, tmp_path / "call", caller="+15551111", callee=subject).start()
    others = Call(
        lab.network, tmp_path / "others", caller=BYSTANDER, callee="+15556666", calls=3
    ).start()
    call.wait()
    others.wait()
    opened = finish(lab, "legal-1", capture, tmp_path / "out")

    assert {p: opened.count(p) for p in call.expected} == call.expected
    assert len(opened.call_ids()) == 1
    assert len(opened.media) == sum(call.expected.values())


def test_signalling_alone(lab: Deployment, subject: str, tmp_path: Path) -> None:
    """A pen register yields the subject's signalling, no media, and no MESSAGE body."""
    capture = lab.warranted_capture(number=subject, instrument="pen_register", level="signalling")
    Call(lab.network, tmp_path / "call", caller=subject, digits=True).run()
    message(lab.network, tmp_path / "message", caller=subject, callee="+15551111")
    opened = finish(lab, "legal-1", capture, tmp_path / "out")

    methods = {f.payload.split(b" ", 1)[0] for f in opened.signalling}
    assert {b"INVITE", b"ACK", b"BYE", b"INFO", b"MESSAGE", b"SIP/2.0"} <= methods
    assert opened.media == []
    for secret in (b"SECRET-MESSAGE-BODY", b"SECRET-DIGIT", b"U0VDUkVULU1BU1RFUi1LRVk"):
        assert opened.count(secret) == 0


def test_two_authorities_on_one_call(lab: Deployment, subject: str, tmp_path: Path) -> None:
    """Ticket and warrant on one call: each has its own level, end and recipients."""
    ticket = lab.capture("operator-1", lab.ticket(number=subject))
    warrant = lab.warranted_capture(number=subject)
    call = Call(lab.network, tmp_path / "one", caller=subject).run()
    headers = finish(lab, "operator-1", ticket, tmp_path / "headers")
    second = Call(lab.network, tmp_path / "two", caller=subject).run()
    content = finish(lab, "legal-1", warrant, tmp_path / "content")

    assert len(headers.media) == sum(call.expected.values())
    assert headers.count(media.CALLER_VOICE) == 0
    assert {p: content.count(p) for p in call.expected} == {
        p: call.expected[p] + second.expected[p] for p in call.expected
    }
    assert len(headers.call_ids()) == 1
    assert len(content.call_ids()) == 2
    stolen = lab.as_(
        "legal-2", "capture", "fetch", warrant, "--out", str(tmp_path / "stolen"), "--open"
    )
    assert stolen.code != 0
    assert list((tmp_path / "stolen").glob("*.pcapng")) == []


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"moves": True}, id="a re-INVITE moves the media"),
        pytest.param({"early": True}, id="early media before the answer"),
        pytest.param({"ipv6": True}, id="over IPv6"),
        pytest.param({"slow_ring": 1200}, id="the INVITE is retransmitted"),
        pytest.param({"padding": 2500}, id="the INVITE is fragmented"),
        pytest.param({"padding": 2500, "ipv6": True}, id="the INVITE is fragmented over IPv6"),
        pytest.param({"calls": 5}, id="five calls at once"),
    ],
)
def test_every_packet_of_harder_calls(
    lab: Deployment, subject: str, tmp_path: Path, options: dict[str, object]
) -> None:
    """However the call is set up, every voice packet of it is captured once."""
    capture = lab.warranted_capture(number=subject)
    call = Call(lab.network, tmp_path / "call", caller=subject, **options).run()  # type: ignore[arg-type]
    opened = finish(lab, "legal-1", capture, tmp_path / "out")

    assert {p: opened.count(p) for p in call.expected} == call.expected


def test_call_already_running(lab: Deployment, subject: str, tmp_path: Path) -> None:
    """A call that began before the grant is picked up from its next SDP."""
    authority = lab.warrant(number=subject, approve=False)
    call = Call(lab.network, tmp_path / "call", caller=subject, moves=True, packets=400).start()
    time.sleep(3)  # the call is set up and talks
    lab.json("legal-2", "authority", "approve", authority, "--yes")
    capture = lab.await_capture(authority)
    call.wait()
    opened = finish(lab, "legal-1", capture, tmp_path / "out")

    assert {p: opened.count(p) for p in call.expected} == dict.fromkeys(call.expected, 400)
