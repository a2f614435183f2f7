"""``callguard``: the command, its groups, and the one place where it ends.

Every failure leaves through `main`: one line on standard error and the status of `guard.cli.exits`.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import metadata

import click

# The C core of gRPC would write its own lines to standard error, beside the one that is promised.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from guard.cli.audit_commands import audit
from guard.cli.authority_commands import authority
from guard.cli.capture_commands import capture
from guard.cli.exits import DeniedError, DiscrepancyError, Failure, UsageTroubleError
from guard.cli.incident_commands import incidents
from guard.cli.invocation import Group, Invocation
from guard.cli.log_commands import log
from guard.cli.output import Output, plain
from guard.cli.registering_commands import ticket, warrant
from guard.cli.report_commands import report
from guard.cli.server_commands import serve, witness
from guard.cli.setup_commands import certificate, init
from guard.cli.status_commands import node, status
from guard.cli.trust_commands import trust
from guard.core.reasons import Refused

__all__ = ["callguard", "main"]


def _version() -> str:
    try:
        return metadata.version("callguard")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "0 (not installed)"


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="callguard")
def callguard() -> None:
    """Guard the content of calls: no capture without a signed, logged, unexpired authority.

    Exit status: 0 done, 2 wrong usage, 3 denied (with "denied: REASON: sentence") or, of what was
    verified, found wrong (with "discrepancy: KIND: sentence"), 4 the guard or the log cannot be
    reached, 5 it is too early to tell, 1 anything else.
    """


for _command in (
    init,
    serve,
    warrant,
    ticket,
    authority,
    capture,
    log,
    incidents,
    audit,
    report,
    witness,
    trust,
    certificate,
    node,
    status,
):
    callguard.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end the process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # no terminal's alphabet is a failure
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run the command and return its exit status."""
    invocation = Invocation()
    try:
        result = callguard.main(
            arguments, prog_name="callguard", standalone_mode=False, obj=invocation
        )
    except Exception as error:  # noqa: BLE001 - the last stop: one line and never a traceback
        return _end(invocation, error)
    return result if isinstance(result, int) else 0


def _end(invocation: Invocation, error: Exception) -> int:
    failure = _failure(error)
    if failure is not None:
        return _fail(invocation, failure)
    match error:
        case click.Abort() if isinstance(error.__context__, KeyboardInterrupt):
            _say("stopped; what the guard was asked before may be done all the same")
        case click.Abort():
            _say("stopped; nothing was done")
        case click.ClickException():
            if invocation.json_only:
                said, *_ = error.format_message().splitlines()
                Output.line({"error": said, "reason": None, "status": error.exit_code})
            error.show()
            return error.exit_code
        case BrokenPipeError():
            # Nobody reads standard output any more; Python must not try to flush it at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        case _:
            _say(f"error: a fault of callguard, please report it: {_place(error)}")
    return 1


def _failure(error: Exception) -> Failure | None:
    match error:
        case Failure():
            return error
        case Refused():
            return DeniedError(error.reason.value, error.detail)
        case click.UsageError() if error.message.startswith("Got unexpected extra argument"):
            # click would repeat the words, and they may be half of a number.
            return UsageTroubleError("words too many; put values with blanks in quotes")
    return None


def _place(error: Exception) -> str:
    """Name an unexpected error and its place, never its text: that may hold anything."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "nowhere"
    return f"{type(error).__name__} at {where}"


def _fail(invocation: Invocation, failure: Failure) -> int:
    if invocation.json_only:
        Output.line({"error": str(failure), **_named(failure), "status": failure.status})
    _say(failure.line)
    return failure.status


def _named(failure: Failure) -> dict[str, str | None]:
    """Return the name that a machine goes by: a discrepancy's kind or a denial's reason."""
    match failure:
        case DiscrepancyError():
            return {"discrepancy": failure.kind}
        case DeniedError():
            return {"reason": failure.reason}
    return {"reason": None}


def _say(line: str) -> None:
    sys.stderr.write(plain(line) + "\n")
