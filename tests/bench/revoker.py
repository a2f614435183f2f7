"""Registers and approves many warrants, then revokes them one by one, noting when each is answered.

Run in the guard's namespace: ``revoker.py DEPLOYMENT COUNT prepare`` prints the authorities' ids once
every capture is armed; ``revoker.py DEPLOYMENT COUNT revoke ID…`` prints capture id → nanoseconds of
the wall clock at which the revocation was answered.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from pathlib import Path

from guard.api.v1.authority_service_pb2 import RevokeAuthorityRequest
from guard.api.v1.capture_service_pb2 import CAPTURE_STATE_ARMED
from guard.cli.connection import Connection
from guard.cli.main import main as callguard
from guard.cli.profile import load_profile

GAP = 0.05


def run(*words: str) -> dict[str, object]:
    """Run one command in this process and return what it printed."""
    said = io.StringIO()
    sys.argv = ["callguard", *words]
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        callguard()
    return dict(json.loads(said.getvalue()))


def prepare(folder: Path, count: int) -> list[str]:
    """Register and approve; returns when everything is armed."""
    draft = next((folder / "orders").glob("*.toml"))
    made = []
    for _ in range(count):
        one = run(
            "--profile", str(folder / "people/legal-1"), "--json", "warrant", "register", str(draft)
        )
        made.append(str(one["id"]))
        run(
            "--profile",
            str(folder / "people/legal-2"),
            "--json",
            "authority",
            "approve",
            made[-1],
            "--yes",
        )
    with Connection(load_profile(folder / "people/legal-1")) as guard:
        while sum(c.state == CAPTURE_STATE_ARMED for c in guard.list_captures(count * 2)) < count:
            time.sleep(0.2)
    return made


def revoke(folder: Path, authorities: list[str]) -> dict[str, int]:
    """Revoke one after the other."""
    told = {}
    with Connection(load_profile(folder / "people/legal-2")) as guard:
        captures = {c.authority_id: c.id for c in guard.list_captures(len(authorities) * 2)}
        for authority in authorities:
            guard.call(
                guard.authorities.RevokeAuthority,
                RevokeAuthorityRequest(authority_id=authority, why="bench"),
            )
            told[captures[authority]] = time.time_ns()
            time.sleep(GAP)
    return told


if __name__ == "__main__":
    where, number, step, *ids = sys.argv[1:]
    done = prepare(Path(where), int(number)) if step == "prepare" else revoke(Path(where), ids)
    print(json.dumps(done))  # noqa: T201  its one output
