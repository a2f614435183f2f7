"""What names a call, as programs hand it over without a shell in between.

1. A SIP message names its call as the agent itself reads it: its Call-ID and its identities. A call
   may bring any number of identities; the first ones count, which are the request's own.
2. A JSON object names it by ``call_id``, ``from`` and ``to``, all of them texts, nothing else.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from agents.core.decision import MAX_IDENTITIES, MAX_IDENTITY
from agents.core.sip import NotSip, read_message

__all__ = ["LONGEST", "Named", "NotNamedError", "named", "named_in_json", "named_in_sip"]

LONGEST = 1 << 16
_KEYS = frozenset(("call_id", "from", "to"))


class NotNamedError(ValueError):
    """What was handed over does not have the form; the message never holds any of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A call: ``call_id`` may be empty, ``identities`` too."""

    call_id: bytes = field(repr=False)
    identities: tuple[str, ...] = field(repr=False)


def named(call_id: str | None, *identities: str | None) -> Named:
    """Name a call by what the command line and the environment say; raises NotNamedError."""
    try:
        octets = os.fsencode(call_id or "")
    except UnicodeEncodeError as error:
        raise NotNamedError("the Call-ID is no text") from error
    return Named(call_id=octets, identities=tuple(_text(each) for each in identities if each))


def named_in_json(data: bytes) -> Named:
    """Read a JSON object; raises NotNamedError."""
    try:
        value = json.loads(data, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise NotNamedError("that is no JSON object with every key once") from error
    if not isinstance(value, dict) or not value.keys() <= _KEYS:
        raise NotNamedError(f"only {', '.join(sorted(_KEYS))} name a call")
    if not all(isinstance(each, str) for each in value.values()):
        raise NotNamedError("call_id, from and to are texts")
    return named(value.get("call_id"), value.get("from"), value.get("to"))


def named_in_sip(data: bytes) -> Named:
    """Read a SIP message; raises NotNamedError."""
    try:
        message = read_message(data)
    except NotSip as error:
        raise NotNamedError("that is no SIP message") from error
    identities = (_text(each) for each in message.identities())
    short = [each for each in identities if len(each) <= MAX_IDENTITY]
    call_id = (message.call_id or "").encode("utf-8", "surrogateescape")
    return Named(call_id=call_id, identities=tuple(short[:MAX_IDENTITIES]))


def _text(identity: str) -> str:
    """Octets that are no text are of nobody whom a subject could name; the rest may be."""
    return identity.encode("utf-8", "replace").decode()


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is named twice")
    return dict(pairs)
