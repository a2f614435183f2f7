"""Other people's implementation, in an environment of its own beside ours.

1. It needs a newer Python than ours may be, so any that can be found and that really runs is taken:
   ours, those on the PATH, uv's, pyenv's.
2. The versions are pinned. The environment is made once, in `.interop/` of this repository.
3. `Missing` says why there is none. With a Python at hand and CI=true that is a failure.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

PINNED = ("aics-tlog==0.2.1", "aics-witness==0.1.0", "cryptography==50.0.2")
LEAST = (3, 12)
_FOLDER = Path(__file__).resolve().parents[2] / ".interop"
_NAMES = tuple(f"python3.{minor}" for minor in (12, 13, 14))
_PROBE = (
    "import ensurepip, json, sys, venv; print(json.dumps([*sys.version_info[:2], sys.executable]))"
)
_PATIENCE = 300


class Missing(Exception):  # noqa: N818 - a state of this machine
    """There is no environment; `excusable` when there is no Python for it either."""

    def __init__(self, why: str, *, excusable: bool) -> None:
        super().__init__(why)
        self.excusable = excusable


def theirs() -> Path:
    """Return the Python of the environment, made when it is not there. Raises Missing."""
    base = _base()
    mark = sha256("\n".join((*PINNED, str(base))).encode()).hexdigest()[:12]
    folder = _FOLDER / mark
    _FOLDER.mkdir(exist_ok=True)
    with (_FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Two runs of the tests may start at once.
        if not (folder / "made").exists():
            _make(base, folder)
    return folder / "bin" / "python"


def _make(base: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _run([str(base), "-m", "venv", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    _run([*pip, "install", "--quiet", *PINNED])
    (folder / "made").write_text("\n".join(PINNED))


def _run(words: list[str]) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=_PATIENCE)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or error.stdout.strip()).splitlines()[-1:]
        raise Missing(f"cannot install {', '.join(PINNED)}: {last}", excusable=False) from error
    except subprocess.TimeoutExpired as error:
        raise Missing(f"installing {', '.join(PINNED)} took too long", excusable=False) from error


def _base() -> Path:
    for candidate in _candidates():
        if (found := _probed(candidate)) is not None:
            return found
    wanted = ".".join(map(str, LEAST))
    raise Missing(f"no Python {wanted} or later runs on this machine", excusable=True)


def _candidates() -> Iterator[str]:
    yield sys.executable
    for name in _NAMES:
        if path := shutil.which(name):
            yield path
    if uv := shutil.which("uv"):
        yield from _said([uv, "python", "find", f">={LEAST[0]}.{LEAST[1]}"])
    if pyenv := shutil.which("pyenv"):
        for root in _said([pyenv, "root"]):
            yield from map(str, sorted(Path(root).glob("versions/*/bin/python")))


def _said(words: list[str]) -> list[str]:
    try:
        run = subprocess.run(words, check=False, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return run.stdout.split("\n")[:1] if run.returncode == 0 else []


def _probed(candidate: str) -> Path | None:
    """Return the interpreter itself; a name on the PATH may be a shim that does not run."""
    try:
        run = subprocess.run(
            [candidate, "-c", _PROBE], check=True, capture_output=True, text=True, timeout=30
        )
        major, minor, executable = json.loads(run.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Path(os.path.realpath(executable)) if (major, minor) >= LEAST else None
