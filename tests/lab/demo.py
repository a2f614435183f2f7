"""``make demo``: Callguard's main job on a real call, told step by step.

Everything is made below the folder given (``.demo``), fresh each time, and torn down at the end:
processes, namespaces, everything but the files. Where the machine lacks a privilege or a kernel
feature, the part of the story that needs none is told, and what was skipped is said.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from tests.lab.calls import Call
from tests.lab.demo_log import tell_log
from tests.lab.demo_relay import tell_relay
from tests.lab.deployment import Answer, Deployment
from tests.lab.forgery import forge_approval, verify_as_node
from tests.lab.network import Network, missing_privilege
from tests.lab.relay import missing_relay

SUBJECT, OTHER, BYSTANDER = "+15550001", "+15550002", "+15557777"
console = Console(highlight=False, width=110)
facts: list[str] = []


class StoryBrokenError(Exception):
    """Something did not go as promised; the demo ends with exit status 1."""


def check(condition: object, fact: str) -> None:
    """Show a fact that was just seen to hold; raises when it did not."""
    if not condition:
        raise StoryBrokenError(f"not so: {fact}")
    facts.append(fact)
    console.print(f"   [green]✓[/] {fact}")


@contextmanager
def chapter(title: str) -> Iterator[None]:
    """Print a heading and how long the chapter took."""
    began = time.monotonic()
    console.print(f"\n[bold]{title}[/]")
    yield
    console.print(f"   [dim]{time.monotonic() - began:.1f} s[/]")


def shown(lab: Deployment, person: str, *words: str) -> Answer:
    """Run a command as ``person`` and show it with what it said."""
    console.print(f"   [cyan]{person} $[/] callguard {' '.join(words)}", soft_wrap=True)
    answer = lab.as_(person, *words)
    for line in (answer.out + answer.err).strip().splitlines()[-4:]:
        console.print(f"     [dim]{line}[/]", markup=True, soft_wrap=True)
    return answer


def denied(answer: Answer, reason: str, fact: str) -> None:
    """Check that a command was denied for ``reason``."""
    check(answer.code == 3 and answer.err.startswith(f"denied: {reason}:"), fact)


def without_authority(lab: Deployment) -> None:
    """Tell that nothing goes without an authority."""
    with chapter("1. No authority, no capture"):
        nobody = "00000000-0000-4000-8000-000000000000"
        answer = shown(lab, "operator-1", "capture", "start", nobody, "--node", "node-1")
        denied(
            answer, "authority_unknown", "a request without an authority is denied, with its reason"
        )


def open_ticket(lab: Deployment) -> str:
    """Tell how a ticket comes into force; returns its id."""
    with chapter("2. A ticket needs a second person"):
        opened = lab.json(
            "operator-1",
            "ticket",
            "open",
            "--reference",
            "INC-4711",
            "--reason",
            "one-way audio",
            "--node",
            "node-1",
            "--level",
            "media_headers",
            "--number",
            SUBJECT,
            "--for",
            "15m",
        )
        ticket = str(opened["id"])
        console.print(f"   operator-1 opened ticket INC-4711: {ticket}")
        denied(
            shown(lab, "operator-1", "capture", "start", ticket, "--node", "node-1"),
            "approvals_missing",
            "an unapproved ticket starts nothing",
        )
        answer = shown(lab, "operator-1", "authority", "approve", ticket, "--yes")
        check(answer.code == 3, "the operator cannot approve the operator's own ticket")
        check(
            shown(lab, "lead-1", "authority", "approve", ticket, "--yes").code == 0,
            "lead-1 approved it",
        )
    return ticket


def fields(path: Path, display: str, *names: str) -> list[str]:
    """Let tshark print fields of the packets that match a display filter."""
    wanted = [word for name in names for word in ("-e", name)]
    done = subprocess.run(
        ["tshark", "-r", str(path), "-Y", display, "-T", "fields", *wanted],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\n")[:-1]


def ticket_capture(lab: Deployment, ticket: str) -> None:
    """Tell what a ticket yields on a real call."""
    with chapter("3. The ticket's capture: headers of one call, no voice, nobody else"):
        capture = lab.capture("operator-1", ticket)
        console.print(
            f"   capture {capture} is armed; now two real calls at once, one of them a bystander's"
        )
        assert lab.network
        call = Call(lab.network, lab.folder / "calls/ticket", caller=SUBJECT, callee=OTHER).start()
        other = Call(
            lab.network, lab.folder / "calls/bystander", caller=BYSTANDER, callee="+15558888"
        ).start()
        call.wait()
        other.wait()
        shown(lab, "operator-1", "capture", "stop", capture)
        lab.await_state(capture, "ended")
        opened = lab.fetch("operator-1", capture, lab.folder / "captures/ticket")
        raw = opened.read_bytes()
        packets = fields(opened, "udp.dstport >= 20000", "frame.len", "frame.cap_len")
        sent = sum(call.expected.values())
        check(
            len(packets) == sent,
            f"tshark opens it: {len(packets)} media packets, all of the {sent} that were sent",
        )
        check(
            set(packets) == {"214\t54"},
            "each is cut to 54 of 214 bytes: Ethernet, IP, UDP and RTP headers",
        )
        voices = [raw.count(pattern) for pattern in call.expected]
        check(voices == [0, 0], "no byte of voice is in it")
        check(BYSTANDER.encode() not in raw, "the bystander's call is not in it")


def warrant_capture(lab: Deployment) -> None:
    """Tell what a warrant yields, and that revoking it silences it."""
    with chapter("4. A warrant: content both ways, until it is revoked in mid-call"):
        warrant = lab.warrant(number=SUBJECT, approve=False)
        denied(
            shown(lab, "legal-1", "authority", "approve", warrant, "--yes"),
            "signer_not_distinct",
            "who registered a warrant cannot approve it",
        )
        check(
            shown(lab, "legal-2", "authority", "approve", warrant, "--yes").code == 0,
            "legal-2 approved the warrant",
        )
        capture = lab.await_capture(warrant)
        console.print(
            f"   the warrant started by itself: capture {capture} is armed; now a real call of 8 seconds"
        )
        assert lab.network
        call = Call(
            lab.network, lab.folder / "calls/warrant", caller=SUBJECT, callee=OTHER, packets=400
        ).start()
        time.sleep(3.5)
        revoked = shown(lab, "legal-2", "authority", "revoke", warrant, "--why", "order withdrawn")
        told = time.time()
        check(revoked.code == 0, "legal-2 revoked it while the call goes on")
        lab.await_state(capture, "ended")
        call.wait()
        opened = lab.fetch("legal-1", capture, lab.folder / "captures/warrant")
        raw = opened.read_bytes()
        heard = {pattern: raw.count(pattern * 8) for pattern in call.expected}
        check(
            all(n > 20 for n in heard.values()),
            f"voice of both speakers is in it: {list(heard.values())} packets",
        )
        check(
            all(n < 400 for n in heard.values()),
            "and less than the call had: it was cut off in the middle",
        )
        last = max(map(float, fields(opened, "udp.dstport >= 20000", "frame.time_epoch")))
        check(
            last <= told + 0.1,
            f"silence after the word: the last packet came {told - last:.2f} s before the answer",
        )


def forged(lab: Deployment, *, agent: bool) -> None:
    """Tell that a stolen guard starts nothing."""
    with chapter("5. Somebody steals the guard, its database and its keys"):
        warrant = lab.warrant(number=SUBJECT, approve=False)
        lab.stop("guard")
        grant = forge_approval(lab.folder, warrant)
        console.print(f"   the database now says that warrant {warrant} is approved and granted,")
        console.print("   and the thief signed the grant and the log with the guard's own keys")
        lab.start_guard()
        if agent:
            state = lab.await_state(grant, "refused", seconds=40)
            check(
                state["why"] == "approvals_missing", "node-1 refused it by name: approvals_missing"
            )
            check(lab.count_armed() == 0, "nothing is armed")
        else:
            answer = lab.wait_for(
                lambda: verify_as_node(lab.folder, grant), "the forged record is cosigned"
            )
            check(
                answer == "approvals_missing",
                "the node's verifier refuses it by name: approvals_missing",
            )


def witness_lost(lab: Deployment) -> None:
    """Tell that a witness that is gone stops what is new."""
    with chapter("6. One of the two witnesses is gone"):
        ticket = lab.ticket(level="signalling")
        lab.stop("witness-2")
        time.sleep(1)
        answer = shown(lab, "operator-1", "capture", "start", ticket, "--node", "node-1")
        check(
            answer.code == 4 and "witnesses do not answer" in answer.err,
            "nothing new starts while one of the two witnesses is gone",
        )
        check(
            shown(lab, "lead-1", "authority", "revoke", ticket, "--why", "demo").code == 0,
            "revoking needs no witness",
        )
        lab.start_witness(2)


def tell(folder: Path) -> int:
    """Tell the story in ``folder`` and return the exit status."""
    shutil.rmtree(folder, ignore_errors=True)
    lack = missing_privilege() or missing_relay()
    if lack:
        console.print(f"[yellow]no real calls here: {lack}[/]")
        with Deployment(folder, witnesses=2) as lab:
            lab.start()
            without_authority(lab)
            open_ticket(lab)
            forged(lab, agent=False)
            witness_lost(lab)
            with chapter("8. The record, from outside"):
                tell_log(lab, check, shown, forged=True)
        console.print(
            "\n[yellow]skipped: the calls, the captures and the revocation in mid-call[/]"
        )
    else:
        with Network() as network, Deployment(folder, network, witnesses=2) as lab:
            lab.start()
            without_authority(lab)
            ticket_capture(lab, open_ticket(lab))
            warrant_capture(lab)
            forged(lab, agent=True)
            witness_lost(lab)
            with chapter("7. The media relay: its proxy asks for a recording, and root for more"):
                tell_relay(folder / "relay", check, lambda line: console.print(f"   {line}"), shown)
            with chapter("8. The record, from outside"):
                tell_log(lab, check, shown, forged=True)
    summary(folder, complete=not lack)
    return 0


def summary(folder: Path, *, complete: bool) -> None:
    """Say what happened and where the files are."""
    console.print(
        f"\n[bold]{len(facts)} facts were seen to hold[/]; everything is torn down. The files:"
    )
    console.print(
        f"   {folder}/people/     the accounts' profiles (callguard --profile {folder}/people/lead-1 …)"
    )
    if complete:
        console.print(f"   {folder}/captures/   sealed segments and what their recipients opened")
        console.print(f"   {folder}/calls/      what sipp sent and received")
        console.print(f"   {folder}/relay/      the same for the calls through the media relay")
    console.print(
        f"   {folder}/log/        the public log: checkpoint, tiles, policy (callguard log verify --log …)"
    )
    console.print(f"   {folder}/*.log       guard, agent and witnesses in their own words")


def main() -> int:
    """Run the demo; one line and exit status 1 when a promise did not hold."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".demo").resolve()
    began = time.monotonic()
    try:
        code = tell(folder)
    except (StoryBrokenError, RuntimeError, TimeoutError) as error:
        console.print(f"\n[red]the demo failed:[/] {error}", markup=True)
        return 1
    console.print(f"   {time.monotonic() - began:.0f} seconds in all")
    return code


if __name__ == "__main__":
    sys.exit(main())
