"""Asks NG questions from the shell: JSON lists of questions in, JSON list of answers out.

An answer that does not come within a second is ``{}``; one that is refused by the kernel says so.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
from typing import Any

from agents.core.ngcodec import Encoding, decode, encode

__all__ = ["NgClient"]

HOST = "127.0.0.1"


def octets(value: Any) -> Any:
    """Turn what JSON holds into what NG holds."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return [octets(each) for each in value]
    if isinstance(value, dict):
        return {key.encode(): octets(each) for key, each in value.items()}
    return value


def text(value: Any) -> Any:
    """Turn what NG holds into what JSON holds."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list):
        return [text(each) for each in value]
    if isinstance(value, dict):
        return {text(key): text(each) for key, each in value.items()}
    return value


class NgClient:
    """One client's socket, over UDP or TCP."""

    def __init__(self, port: int, transport: str = "udp") -> None:
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.settimeout(1)
        self._socket.connect((HOST, port))

    def send(self, question: dict[str, Any], cookie: bytes | None = None) -> bytes:
        """Ask, and return the cookie."""
        cookie = cookie or secrets.token_hex(8).encode()
        self._socket.send(cookie + b" " + encode(octets(question), Encoding.BENCODE))
        return cookie

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Ask and wait for the answer."""
        try:
            cookie = self.send(question)
            while True:
                got, _, body = self._socket.recv(65535).partition(b" ")
                if got == cookie:
                    return dict(text(decode(body, Encoding.BENCODE)))
                if not got:
                    return {}
        except TimeoutError:
            return {}
        except OSError as error:
            return {"refused": error.strerror}


def main() -> None:
    """Ask what stands on standard input."""
    transport, port = sys.argv[1], int(sys.argv[2])
    questions = json.load(sys.stdin)
    try:
        client = NgClient(port, transport)
    except OSError as error:
        answers = [{"refused": error.strerror} for _ in questions]
    else:
        answers = [client.ask(question) for question in questions]
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
