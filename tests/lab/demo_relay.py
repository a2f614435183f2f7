"""The demo's chapter about the media relay, on a network of its own.

It is told with the words of the demo: ``check`` and ``say``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.lab.calls import Call
from tests.lab.demo_sentry import tell_sentry
from tests.lab.deployment import Answer, Deployment
from tests.lab.gated import await_gate, incidents
from tests.lab.network import Network
from tests.lab.proxy import PROXY, Proxy
from tests.lab.relay import GATE, Relay
from tests.lab.slice import Slice

__all__ = ["tell_relay"]

SUBJECT, BYSTANDER = "+15550001", "+15557777"


def tell_relay(
    folder: Path,
    check: Callable[[object, str], None],
    say: Callable[[str], None],
    shown: Callable[..., Answer],
) -> None:
    """Tell how the proxy asks for a recording: refused, then the same under a warrant.

    Then root on this node captures past everything.
    """
    with (
        Slice() as inside,
        Network(slice=inside) as network,
        Relay(network, folder / "rtpengine") as relay,
        Deployment(folder / "deployment", network) as lab,
    ):
        lab.add_relay(f'recording_folders = ["{relay.recordings}"]')
        lab.start()
        await_gate(lab)
        say("Kamailio reaches rtpengine through the agent's gate, and asks to record every call")
        gate = f"udp:127.0.0.1:{GATE}"
        with Proxy(network, folder / "kamailio", relay=gate, record="verb") as proxy:
            refused(lab, relay, proxy, folder, check)
            recorded(lab, relay, proxy, folder, check)
            tell_sentry(lab, folder, check, say, shown)


def refused(
    lab: Deployment,
    relay: Relay,
    proxy: Proxy,
    folder: Path,
    check: Callable[[object, str], None],
) -> None:
    """Without an authority."""
    assert lab.network
    Call(lab.network, folder / "calls/refused", caller=BYSTANDER, proxy=PROXY).run()
    check(
        "recording refused" in proxy.log() and relay.files() == [],
        "without an authority the recording is refused, and the call talked to its end",
    )
    (tapped,) = relay.ask({"command": "ping"})
    check("refused" in tapped, "root on the node gets no answer at the relay's own port")
    lab.wait_for(lambda: incidents(lab, "recording_refused"), "the refusal is on record")
    (incident, *_) = incidents(lab, "recording_refused")
    check(
        incident["verb"] == "start recording",
        f"it is on record: {incident['verb']}, call {incident['call'][:12]}…, {incident['who']}",
    )


def recorded(
    lab: Deployment,
    relay: Relay,
    proxy: Proxy,
    folder: Path,
    check: Callable[[object, str], None],
) -> None:
    """Under a warrant, beside a bystander's call."""
    assert lab.network
    capture = lab.warranted_capture(number=SUBJECT)
    call = Call(lab.network, folder / "calls/warrant", caller=SUBJECT, proxy=PROXY).start()
    other = Call(
        lab.network, folder / "calls/bystander", caller=BYSTANDER, callee="+15558888", proxy=PROXY
    ).start()
    call.wait()
    other.wait()
    lab.json("legal-1", "capture", "stop", capture)
    lab.await_state(capture, "ended")
    raw = lab.fetch("legal-1", capture, folder / "captures/relay").read_bytes()
    heard = {pattern: raw.count(pattern * 8) for pattern in call.expected}
    check("recording started" in proxy.log(), "under a warrant the same request is answered: ok")
    check(
        heard == call.expected,
        f"every packet of both speakers is in the sealed capture: {list(heard.values())}",
    )
    check(BYSTANDER.encode() not in raw, "the bystander's call is not in it")
    check(relay.files() == [], "the relay itself has written no file at all")
