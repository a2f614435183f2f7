"""Asks NG questions from the shell: JSON lists of questions in, JSON list of answers out.

An answer that does not come within a second is ``{}``; one that is refused by the kernel says so.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
from typing import Any

from agents.core.ngcodec import Encoding, decode, encode, split
from agents.core.ngframes import Frames

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

    def __init__(self, port: int, transport: str = "udp", source_port: int = 0) -> None:
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self._frames = Frames() if transport == "tcp" else None
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.settimeout(1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((HOST, source_port))
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
            while chunk := self._socket.recv(65535):
                for whole in self._frames.feed(chunk) if self._frames else (chunk,):
                    got, body = split(whole)
                    if got == cookie:
                        return dict(text(decode(body, Encoding.BENCODE)))
        except TimeoutError:
            return {}
        except OSError as error:
            return {"refused": error.strerror}
        return {}


def main() -> None:
    """Ask what stands on standard input."""
    transport, port, source_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    questions = json.load(sys.stdin)
    try:
        client = NgClient(port, transport, source_port)
    except OSError as error:
        answers = [{"refused": error.strerror} for _ in questions]
    else:
        answers = [client.ask(question) for question in questions]
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
