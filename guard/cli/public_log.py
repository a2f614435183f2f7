"""A public log, read from a folder or over HTTP: `checkpoint`, `tile/…` and `policy`.

1. Nothing that is read here is believed here; `guard.core.logaudit` holds it against public keys.
2. A file is a regular one and has a largest size, and reading one over HTTP a time within which it
   is read.
3. HTTP goes to the address named and to no proxy. A redirection is followed to http and https only,
   and from https never to http.
4. A file comes as it is: an answer in another encoding than identity is refused.
5. A file that is not there is FileNotFoundError; a server that is away is UnreachableError.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from guard.cli.exits import TroubleError, UnreachableError, UsageTroubleError
from guard.core.logpolicy import MAX_POLICY
from guard.core.merkle import HASH_BYTES
from guard.core.note import MAX_NOTE_BYTES
from guard.core.tiles import CHECKPOINT_PATH, MAX_ENTRY_BYTES, WIDTH

__all__ = ["PublicLogFiles", "open_public_log"]

POLICY_PATH: Final = "policy"
_TIMEOUT: Final = 20.0  # seconds, for each answer and for each wait within it
_WHOLE: Final = 120.0  # seconds, for a whole file
_CHUNK: Final = 64 * 1024
_GONE: Final = frozenset({404, 410})
_LARGEST: Final = {CHECKPOINT_PATH: MAX_NOTE_BYTES, POLICY_PATH: MAX_POLICY}
_LARGEST_TILE: Final = WIDTH * HASH_BYTES
_LARGEST_BUNDLE: Final = WIDTH * (2 + MAX_ENTRY_BYTES)


class PublicLogFiles(ABC):
    """The files of a log; `where` is its folder or address as the user named it."""

    def __init__(self, where: str) -> None:
        self.where = where

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Return a file's content; raises FileNotFoundError or a `Failure` (rules 2 and 5)."""

    def checkpoint(self) -> bytes:
        """Return the newest checkpoint; raises a `Failure`."""
        return self._required(CHECKPOINT_PATH)

    def policy(self) -> bytes:
        """Return the policy that lies beside the log; raises a `Failure`."""
        return self._required(POLICY_PATH)

    def _required(self, path: str) -> bytes:
        try:
            return self.read(path)
        except FileNotFoundError as error:
            raise TroubleError(
                f"there is no `{path}` in {self.where}: is it the folder or address of a log?"
            ) from error


class _Folder(PublicLogFiles):
    def read(self, path: str) -> bytes:
        try:
            with open(Path(self.where) / path, "rb", opener=_opened) as file:
                data = file.read(_largest(path) + 1)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(path) from error
        except OSError as error:
            raise TroubleError(f"cannot read {self.where}/{path}: {error.strerror}") from error
        return _bounded(path, data)


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows within rule 3."""

    max_redirections = 3

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        schemes = {"https"} if req.type == "https" else {"http", "https"}
        if urlsplit(newurl).scheme not in schemes:
            raise urllib.error.URLError("it redirects to where nothing is read from")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Web(PublicLogFiles):
    def __init__(self, where: str) -> None:
        super().__init__(where.rstrip("/"))
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Redirections(),
        ):
            self._opener.add_handler(handler)

    def read(self, path: str) -> bytes:
        headers = {"Accept-Encoding": "identity", "User-Agent": "callguard"}
        request = urllib.request.Request(f"{self.where}/{path}", headers=headers)  # noqa: S310 - the opener has no other schemes
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                if answer.headers.get("Content-Encoding", "identity") != "identity":
                    raise TroubleError(f"{self.where}/{path} comes in another encoding (rule 4)")
                return _bounded(path, _read(answer, _largest(path)))
        except urllib.error.HTTPError as error:
            with error:
                if error.code in _GONE:
                    raise FileNotFoundError(path) from error
                raise UnreachableError(
                    f"cannot read {self.where}/{path}: the server answers {error.code}"
                ) from error
        except (OSError, HTTPException) as error:  # URLError and time-outs are OSErrors
            raise UnreachableError(f"cannot reach {self.where}: {_why(error)}") from error


def open_public_log(where: str) -> PublicLogFiles:
    """Open a log by its folder or http(s) address; raises UsageTroubleError."""
    scheme = urlsplit(where).scheme if "://" in where else ""
    if scheme in {"http", "https"}:
        if not urlsplit(where).hostname or urlsplit(where).query or urlsplit(where).fragment:
            raise UsageTroubleError("a log's address is like https://log.example/path")
        return _Web(where)
    if scheme:
        raise UsageTroubleError("a log is a folder or an http or https address")
    if not Path(where).is_dir():
        raise UsageTroubleError(f"{where} is no folder; a log is one, or an http(s) address")
    return _Folder(where)


def _read(answer: IO[bytes], most: int) -> bytes:
    """Read at most one byte more than `most`, within the time for a whole file (rule 2)."""
    end = time.monotonic() + _WHOLE
    parts, size = [], 0
    while size <= most and (part := answer.read(min(_CHUNK, most + 1 - size))):
        parts.append(part)
        size += len(part)
        if time.monotonic() > end:
            raise TimeoutError("it takes too long")
    return b"".join(parts)


def _opened(path: str, flags: int) -> int:
    """Open a regular file and nothing else: reading from a pipe could wait for ever (rule 2)."""
    handle = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no regular file")
    return handle


def _largest(path: str) -> int:
    bundle = path.startswith("tile/entries/")
    return _LARGEST.get(path, _LARGEST_BUNDLE if bundle else _LARGEST_TILE)


def _bounded(path: str, data: bytes) -> bytes:
    if len(data) > _largest(path):
        raise TroubleError(f"{path} is larger than such a file may be")
    return data


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "it does not answer in time"
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
