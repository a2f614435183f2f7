"""``callguard-agent``: the one place of the agent that prints and exits.

Exit status: 0 done, or permitted; 2 wrong usage, a configuration that cannot be used included; 3
denied, by the agent or by the media relay; 4 no agent can be reached, or no relay behind it; 1
anything else, one line, no traceback. Whoever asks `check` may record on 0 and on nothing else.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from agents.config import Config, ConfigError, load_config

if TYPE_CHECKING:  # What one command needs, the others do not load.
    from agents.core.decision import Permit, Question
    from agents.decisions.naming import Named

__all__ = ["main"]

_CONFIG = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/etc/callguard/agent.toml"),
    show_default=True,
    metavar="FILE",
)
_LONGEST_CALL_ID = 2048
_SCOPES = ("signalling", "media-headers", "whole-call", "one-leg")


@click.group()
@click.version_option(package_name="callguard", prog_name="callguard-agent")
def main() -> None:
    """Run Callguard's node agent, or ask the one that runs."""


@main.command()
@_CONFIG
def run(path: Path) -> None:
    """Run the agent until it is stopped (config/agent.toml explains every option)."""
    # No library that wants to keep a cache finds a place for one.
    os.environ.setdefault("XDG_CACHE_HOME", "/proc/callguard-no-cache")
    from agents import agent  # noqa: PLC0415 - `status` needs none of it

    config = _load(path)
    try:
        agent.run(config)
    except agent.StartRefusedError as error:
        _exit(1, f"the agent does not start: {error}")
    except Exception as error:  # noqa: BLE001 - the last resort: one line instead of a traceback
        _exit(1, f"the agent ended: {_first(error)}")


@main.command()
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(path: Path, *, as_json: bool) -> None:
    """Say what the running agent does."""
    from agents.status import StatusError, ask  # noqa: PLC0415 - `run` needs none of it

    config = _load(path)
    try:
        told = ask(config.state_dir)
    except StatusError as error:
        _exit(4, str(error))
    click.echo(json.dumps(told) if as_json else _in_words(told))


@main.command()
@_CONFIG
@click.argument("verb", type=click.Choice(("list", "query", "statistics")))
@click.argument("call_id", required=False, metavar="[CALL-ID]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def relay(path: Path, verb: str, call_id: str | None, *, as_json: bool) -> None:
    """Ask the media relay: list its calls, query one, its statistics.

    Who asks is put on record. CALL-ID "-" is read from standard input.
    """
    from agents.recorder.operators import OperatorError, ask  # noqa: PLC0415 - as above

    if (verb == "query") is not bool(call_id):
        raise click.UsageError("query names a call, the others name none")
    config = _load(path)
    try:
        told = ask(config.state_dir, verb, _call_named(call_id or ""))
    except OperatorError as error:
        _exit(4, str(error))
    done = told.get("result") == "ok"
    if as_json:
        click.echo(json.dumps(told))
    elif done:
        click.echo("\n".join(_lines(told)))
    if not done:
        _exit(3, f"the relay: {_plain(told.get('error-reason', 'it says no reason'))}")


def _call_named(call_id: str) -> str:
    """Take a Call-ID from where no list of processes shows it, or as it is."""
    if call_id != "-":
        return call_id
    data = sys.stdin.buffer.read(_LONGEST_CALL_ID + 1).rstrip(b"\r\n")
    try:
        call_id = data.decode()
    except UnicodeDecodeError:
        _exit(2, "standard input is no text")
    if not call_id or len(data) > _LONGEST_CALL_ID or "\n" in call_id:
        _exit(2, "standard input is no one line that names a call")
    return call_id


def _lines(told: Any, indent: str = "") -> list[str]:  # noqa: ANN401 - what the relay tells
    """Write an answer of the relay for people, one fact a line."""
    if isinstance(told, list):
        members = [("-", each) for each in told]
    else:
        members = [(f"{_plain(name)}:", told[name]) for name in told if indent or name != "result"]
    lines: list[str] = []
    for name, value in members:
        if isinstance(value, dict | list):
            lines += [f"{indent}{name}", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name} {_plain(value)}")
    return lines


def _plain(value: object) -> str:
    """Write what callers may have chosen so that a terminal obeys none of it."""
    text = str(value)
    return text if text.isprintable() else ascii(text)[1:-1]


@main.command()
@_CONFIG
@click.option("--socket", type=click.Path(path_type=Path), help="Default: the configuration's.")
@click.option("--node", help="Name of this node. Default: the configuration's.")
@click.option("--who", required=True, metavar="NAME", help="The program that would record.")
@click.option("--what", required=True, type=click.Choice(_SCOPES), help="What it would record.")
@click.option("--call-id", help="The call's Call-ID.")
@click.option("--from", "caller", metavar="URI", help="SIP or tel URI of the caller.")
@click.option("--to", "callee", metavar="URI", help="SIP or tel URI of the callee.")
@click.option("--call-id-env", metavar="VARIABLE", help="Environment variable with the Call-ID.")
@click.option("--from-env", metavar="VARIABLE", help="Environment variable with the caller's URI.")
@click.option("--to-env", metavar="VARIABLE", help="Environment variable with the callee's URI.")
@click.option(
    "--stdin",
    "form",
    type=click.Choice(("json", "sip")),
    help="Read the call from standard input: an object of call_id, from and to, or a SIP message.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def check(path: Path, *, as_json: bool, **options: str | Path | None) -> None:
    """Ask whether a call may be recorded on this node now.

    What callers choose (Call-ID, URIs) must never pass through a shell: hand it over by standard
    input or the environment.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from agents.core.decision import Deny  # noqa: PLC0415 - as above
    from agents.decisions.client import NobodyAnswersError, ask  # noqa: PLC0415 - as above

    socket, question = _question(path, options)
    try:
        answer = ask(socket, question)
    except NobodyAnswersError as error:
        _exit(4, str(error))
    if isinstance(answer, Deny):
        if as_json:
            told = {"permitted": False, "reason": answer.reason, "sentence": answer.sentence}
            click.echo(json.dumps(told))
        click.echo(f"denied: {answer.reason}: {answer.sentence}", err=True)
        sys.exit(3)
    told = _permitted(answer)
    click.echo(json.dumps(told) if as_json else _permit_in_words(told))


def _question(path: Path, options: dict[str, Any]) -> tuple[Path, Question]:
    from agents.core.decision import Question, Scope  # noqa: PLC0415 - as above

    socket, node = options["socket"], options["node"]
    if socket is None or node is None:
        config = _load(path)
        socket, node = socket or config.decisions, node or config.node
    if socket is None:
        _exit(2, f"{path} has no table [decisions]: nobody can ask on this node")
    if not f"{options['who']}{node}".isprintable():
        _exit(2, "who and node are plain words")
    call = _call(options)
    question = Question(
        recorder=options["who"],
        scope=Scope(options["what"].replace("-", "_")),
        node=node,
        call_id=call.call_id,
        identities=call.identities,
    )
    return socket, question


def _call(options: dict[str, Any]) -> Named:
    """Take the call from wherever it is named, which must be one place only for each part."""
    from agents.decisions import naming  # noqa: PLC0415 - as above

    parts = [("call_id", "call_id_env"), ("caller", "from_env"), ("callee", "to_env")]
    given = [[name for name in part if options[name] is not None] for part in parts]
    if any(len(names) > 1 for names in given) or (options["form"] and any(given)):
        _exit(2, "a part of the call is named twice")
    values = [
        os.environ.get(options[variable]) if options[variable] is not None else options[plain]
        for plain, variable in parts
    ]
    try:
        if options["form"] is None:
            return naming.named(*values)
        data = sys.stdin.buffer.read(naming.LONGEST + 1)
        if len(data) > naming.LONGEST:
            _exit(2, "standard input is too long to name a call")
        return naming.named_in_sip(data) if options["form"] == "sip" else naming.named_in_json(data)
    except naming.NotNamedError as error:
        _exit(2, str(error))


def _permitted(permit: Permit) -> dict[str, Any]:
    """Say a permit; ``seconds``: for how long it certainly stands, rounded down."""
    from agents.clock import SystemClock  # noqa: PLC0415 - as above

    left = min(each.until for each in permit.obligations) - SystemClock().now().wall
    return {
        "permitted": True,
        "level": permit.level,
        "seconds": max(0, int(left.total_seconds())),
        "obligations": [
            {
                "grant": each.grant_id,
                "until": each.until.isoformat(),
                "recipients": list(each.recipients),
            }
            for each in permit.obligations
        ],
    }


def _permit_in_words(told: dict[str, Any]) -> str:
    lines = [f"permitted {told['level']}; ask again within {told['seconds']} seconds"]
    for each in told["obligations"]:
        lines.append(f"grant {each['grant']} until {each['until']}")
        lines += [f"  seal to {recipient}" for recipient in each["recipients"]]
    return "\n".join(lines)


def _load(path: Path) -> Config:
    try:
        return load_config(path)
    except ConfigError as error:
        _exit(2, str(error))


def _in_words(told: dict[str, Any]) -> str:
    session = "in session with" if told["session"] else "without a session with"
    waiting = f"{told['receipts_waiting']} receipts, {told['segments_waiting']} segments"
    lines = [
        f"{told['node']} {session} {told['guard']}",
        f"trust policy {told['trust_version']}, revision {told['revision']}",
        f"clock: {told['clock']}",
        f"waiting for the guard: {waiting}, {told['spool_bytes']} bytes",
    ]
    if "relay" in told:
        ready = "ready" if told["relay"]["ready"] else "not ready: it admits no new call"
        lines.append(f"media relay: {ready}, {told['relay']['recordings']} calls recorded")
    lines.append(_sentry_in_words(told["sentry"]))
    for each in told["armed"]:
        counters = f"{each['calls']} calls, {each['packets']} packets, {each['bytes']} bytes"
        lines.append(f"armed {each['grant']} {each['level']} until {each['lease_until']}")
        lines.append(f"  {counters}, {each['drops']} dropped")
    return "\n".join(lines if told["armed"] else [*lines, "nothing is armed"])


def _sentry_in_words(told: dict[str, Any]) -> str:
    swept = "no sweep yet"
    if told["last_sweep_ms"] is not None:
        swept = f"last sweep {told['last_sweep_ms']} ms ago in {told['namespaces']} namespaces"
    scope = "" if told["scope"] == "node" else f"; watches {told['scope']}, not the node"
    scope += "" if told["reach"] == "node" else f"; acts in {told['reach']}, not on the node"
    holds = f"mode {told['mode']}, tier {told['tier']}; {told['findings']} findings"
    return f"sentry: {holds}; {swept}{scope}"


def _first(error: BaseException) -> str:
    """Say in one line what ended the agent."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    words = str(error) if isinstance(error, OSError) else ""
    return " ".join(f"{type(error).__name__}: {words}".split()).removesuffix(":")


def _exit(code: int, line: str) -> NoReturn:
    click.echo(f"error: {line}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
