"""Their library and their witness, as processes of their own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Self

from guard.core.note import VerifierKey, encode_vkey

_THEIRS = Path(__file__).with_name("theirs.py")
_LISTENING = "listening on "


class Raised(Exception):  # noqa: N818 - what their library did
    """Their library refused; `kind` is the class of its error, `status` an HTTP status or None."""

    def __init__(self, kind: str, status: int | None, why: str) -> None:
        super().__init__(f"{kind}: {why}")
        self.kind, self.status = kind, status


class Peer:
    """Their library, to be asked."""

    def __init__(self, python: Path) -> None:
        self._process = subprocess.Popen(
            [str(python), str(_THEIRS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.communicate(timeout=30)

    def ask(self, do: str, **given: Any) -> Any:
        """Return what they answer; raises Raised."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do} | given) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "is" not in answer:
            raise Raised(answer["raised"], answer["status"], answer["why"])
        return answer["is"]


class TheirWitness:
    """`aics-witness serve` on loopback, for one log, until `stop`."""

    def __init__(self, python: Path, folder: Path, *, name: str, log: VerifierKey) -> None:
        self._command = [str(python), "-m", "aics_witness"]
        self._config = ["--config", str(folder / "witness.json")]
        self.name = name
        self.vkey = self.run("init", "--name", name, "--listen", "127.0.0.1:0").strip()
        self.run("add-log", "--origin", log.name, "--vkey", encode_vkey(log))
        self.start()

    def start(self) -> None:
        """Serve; return when it listens."""
        self._process = subprocess.Popen(
            [*self._command, "serve", *self._config], stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        line = next(line for line in self._process.stderr if _LISTENING in line)
        self.url = line.partition(_LISTENING)[2].split()[0]

    def stop(self) -> None:
        """End it as an operator would."""
        self._process.terminate()
        self._process.communicate(timeout=30)

    def evidence(self) -> list[dict[str, Any]]:
        """Return what it keeps against the log."""
        found: list[dict[str, Any]] = json.loads(self.run("evidence"))
        return found

    def run(self, command: str, *words: str) -> str:
        """Run one of its commands and return what it prints."""
        ran = subprocess.run(
            [*self._command, command, *self._config, *words],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return ran.stdout
