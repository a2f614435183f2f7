"""The one table: what each command, key and flag of the relay's control protocol may do.

It knows rtpengine 10.5 (Debian 12), 11, 12 and the development version as of August 2026, and what
Kamailio and OpenSIPS send besides.

1. What stands nowhere here is refused: a name that a later version adds yields nothing until
   somebody has read what it does.
2. A name is looked up in one form: lower case, with hyphens for spaces and underscores. The relay
   takes spaces for hyphens and, in places, either case; every spelling that it takes has the form
   of a name here, so a spelling that it takes is never unknown here and passed. The converse does
   no harm: what the relay does not take for the name, it does not act on.
3. Names that set the same thing are one name with several forms, of which the first is the name. A
   message that gives two forms of what passes is refused: which one the relay obeys has changed.
4. STRIP: recording and all that belongs to it. The agent records, when a warrant says so; the relay
   never. GATED: what else yields content or what is known of it, reads or writes files, or connects
   what was not connected. No authority covers that through the relay, since it leaves unsealed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum


class Treatment(StrEnum):
    """What becomes of a message, a key or a flag."""

    PASS = "pass"  # noqa: S105 - lets pass
    STRIP = "strip"
    GATED = "gated"
    STOPPING = "stopping"
    OPERATOR_ONLY = "operator_only"


class Kind(Enum):
    """What a key's value must be for the relay to take it in one way only."""

    TEXT = "octets"
    NUMBER = "an integer, or octets"
    TEXTS = "octets, or a list of octets"
    NUMBERS = "an integer, octets, or a list of both"
    CODECS = "a dictionary of lists of codecs"
    NESTED = "a dictionary of dictionaries or lists"
    FLAGS = "a list of flags, or flags with commas"
    RAW = "flags and keys with spaces"
    EXTENT = "all, none or offer-answer"


@dataclass(frozen=True, slots=True)
class Entry:
    """A key or a flag."""

    name: str
    treatment: Treatment
    kind: Kind = Kind.TEXT


# Commands, as the relay spells them; it takes no other spelling.
_HARMLESS_VERBS = (
    # Set-up and clearing of calls.
    "ping",
    "offer",
    "answer",
    "delete",
    # What keeps media or digits back yields nothing; undoing it yields what the call had before.
    "block DTMF",
    "unblock DTMF",
    "block media",
    "unblock media",
    "silence media",
    "unsilence media",
)
_GATED_VERBS = (
    "start recording",
    "start forwarding",  # decoded audio to a TCP or TLS sink
    # A live copy of the media to any address.
    "subscribe request",
    "subscribe answer",
    "publish",
    # Who hears whom, also across calls: what joins two calls widens "the entire call".
    "connect",
    "mesh",
    "create",
    "create answer",
    "transform",
    "inject start",
    # Puts media into a call, and reads any file that the relay can read.
    "play media",
    "play DTMF",
    # The command line, with debugging of calls and everything else.
    "cli",
    "CLI",
)
_STOPPING_VERBS = (
    "stop recording",
    "pause recording",
    "stop forwarding",
    "unsubscribe",
    "inject stop",
    "stop media",
)
_OPERATOR_VERBS = ("list", "query", "statistics")  # who calls whom, from where

# In set-up messages a stripped or gated key or flag is taken out; these are set-up messages.
SETUP = frozenset({"offer", "answer", "delete"})

# Keys: between commas one name, with its other forms after it.
_TEXT_KEYS = """
command, call-id, from-tag, to-tag, via-branch, sdp, address, address-family, alias-key,
audio-player player, dtls-fingerprint, dtmf-security, dtmf-security-trigger,
dtmf-security-trigger-end, drop-traffic, from-interface, to-interface, generate-rtcp, ice-lite,
inbound-peer, outbound-peer, interface, peer, label from-label, to-label, set-label, media-address,
passthrough passthru, sip-message-type, transport-protocol, trigger, trigger-end end-trigger
"""
_NUMBER_KEYS = """
delete-delay, delay-buffer, digit code, dtmf-delay, duration, limit, pause, ptime,
ptime-reverse reverse-ptime, repacketize, repeat-times, repeat-duration,
sip-code sip-response-code, start-pos, t38-version t.38-version, tos,
trigger-end-time end-trigger-time, trigger-end-digits end-trigger-digits, volume
"""
_TEXTS_KEYS = """
bundle, direction, dtls, dtls-reverse, endpoint-learning, ice, osrtp, received-from, replace,
rtcp-mux, sdes, sdp-media-remove, supports, t.38 t38
"""
# Recording: whether, where to, under which name, with which note, and what is said when it begins.
_STRIP_KEYS = """
record-call,
metadata,
recording-file output-destination output-dest output-file recording-destination recording-dest,
recording-dir recording-path recording-directory recording-folder
output-dir output-path output-directory output-folder,
recording-pattern output-pattern,
recording-media-slot-offer,
recording-media-slot-answer,
recording-media-slots,
recording-announcement,
skip-recording-db skip-recording-database,
exclude-recording
"""
# What else yields content, or what is known of it:
_GATED_KEYS = """
dtmf-log-dest dtmf-log-destination, media-echo, xmlrpc-callback, recording-vsc,
vsc-start-rec vsc-start-recording, vsc-stop-rec vsc-stop-recording,
vsc-pause-rec vsc-pause-recording, vsc-pause-resume-rec vsc-pause-resume-recording,
vsc-start-stop-rec vsc-start-stop-recording,
vsc-start-pause-resume-rec vsc-start-pause-resume-recording, discard-recording, template templates,
moh music-on-hold, file, blob, blob64, db-id, debug debugging, calls, from-tags, instance,
media medias, source-call-id, source-tag, tags, to-call-id,
body
"""
# - digits to an address; media back to where it came from; the caller's and the callee's tags to an
#   address when the call ends;
# - recordings that a key of the telephone begins or ends; evidence destroyed;
# - templates hold any of these in the relay's own configuration, out of sight;
# - music on hold plays a file that the relay can read, octets from the message or from a database;
# - debugging writes whole messages, with the keys of SRTP, to the log;
# - the rest select parties and calls for the gated commands, or are the line for the command line,
#   and have no meaning elsewhere.

_HARMLESS_FLAGS = """
all, allow-asymmetric-codecs allow-asymmetric-codec,
allow-no-codec-media allow-no-codec-medias allow-empty-codec-media allow-empty-codec-medias,
allow-transcoding, force-transcoding, always-transcode, asymmetric, asymmetric-codecs,
audio-player player, auto-bridge, block-dtmf, block-egress,
block-short block-shorts block-short-packets, detect-dtmf, directional, early-media, fast, fatal,
force, fragment, full-rtcp-attribute, generate-mid, generate-rtcp, ice-reject reject-ice, inactive,
inject-dtmf, loop-protect, media-handover, mirror-rtcp rtcp-mirror, nat-wait, new-branch,
no-codec-renegotiation reuse-codecs, no-jitter-buffer, no-passthrough, no-player no-audio-player,
no-port-latching, no-redis-update, no-rtcp-attribute, no-tls-id, original-sendrecv, pad-crypto,
passthrough, pause, pierce-nat, port-latching, provisional, recrypt, reorder-codecs, reset,
single-codec, sip-source-address, static-codec static-codecs, strict-source, strip-extmap,
symmetric, symmetric-codecs, to-tag, trickle-ice, trust-address, unidirectional, webrtc
"""
_STRIP_FLAGS = _STRIP_KEYS
_GATED_FLAGS = (
    _GATED_KEYS
    # These shape subscriptions, and have no meaning elsewhere.
    + ", bidirectional, egress, mix mixed, siprec, unsubscribe"
)

# Flags that carry a value in their name. No name above that is not passed begins with one of these.
_HARMLESS_PREFIXES = (
    b"bundle-",
    b"codec-",
    b"endpoint-learning-",
    b"osrtp-",
    b"replace-",
    b"rtcp-mux-",
    b"sdes-",
    b"sdp-attr-add-",
    b"sdp-attr-remove-",
    b"sdp-attr-substitute-",
    b"t.38-",
    b"t38-",
    b"transcode-",
)
_GATED_PREFIX = b"from-tags-"

# Words of the raw string that are neither keys nor flags: the transport and the two interfaces.
RAW_WORDS = frozenset(
    b"rtp avp avpf srtp dtls rtp/avp rtp/avpf rtp/savp rtp/savpf udp/tls/rtp/savp"
    b" udp/tls/rtp/savpf internal external".split()
)
# Keys that say what the message is and whom it is about: in the raw string they would say it again,
# differently.
NOT_RAW = frozenset({"command", "call-id", "from-tag", "to-tag", "sdp", "flags", "rtpp-flags"})

# How far `all` may reach. Its other values single out the subscriptions, of which the agent's own
# are recordings: to block or silence those alone would blind a warrant and leave the call.
EXTENTS = frozenset({b"all", b"none", b"offer-answer"})

CODEC_OPERATIONS = frozenset(
    b"accept consume except ignore mask offer set strip transcode".split()
)  # of the key `codec`

# Keys and flags by which `start recording` names a part of a call. Those that a SIP proxy adds to
# every message (from-tag, to-tag, via-branch) are none: the relay records the entire call anyway.
PARTS = frozenset({"address", "all", "exclude-recording", "from-tags", "label", "to-label"})

_FORM = bytes.maketrans(b"_ ", b"--")


def form(name: bytes) -> bytes:
    """Return the form in which a name is looked up (rule 2)."""
    return name.lower().translate(_FORM)


def _read(names: str, treatment: Treatment, kind: Kind) -> Iterator[tuple[bytes, Entry]]:
    for name in names.split(","):
        forms = name.split()
        for each in forms:
            yield each.encode(), Entry(forms[0], treatment, kind)


def _entries(*groups: tuple[str, Treatment, Kind]) -> dict[bytes, Entry]:
    found: dict[bytes, Entry] = {}
    for group in groups:
        for each, entry in _read(*group):
            if each in found:
                raise ValueError(f"{each.decode()} stands in the table twice")
            found[each] = entry
    return found


VERBS: Mapping[str, Treatment] = {
    **dict.fromkeys(_HARMLESS_VERBS, Treatment.PASS),
    **dict.fromkeys(_GATED_VERBS, Treatment.GATED),
    **dict.fromkeys(_STOPPING_VERBS, Treatment.STOPPING),
    **dict.fromkeys(_OPERATOR_VERBS, Treatment.OPERATOR_ONLY),
}
KEYS: Mapping[bytes, Entry] = _entries(
    (_TEXT_KEYS, Treatment.PASS, Kind.TEXT),
    (_NUMBER_KEYS, Treatment.PASS, Kind.NUMBER),
    (_TEXTS_KEYS, Treatment.PASS, Kind.TEXTS),
    ("frequencies frequency", Treatment.PASS, Kind.NUMBERS),
    ("all", Treatment.PASS, Kind.EXTENT),
    ("codec codecs", Treatment.PASS, Kind.CODECS),
    ("sdp-attr", Treatment.PASS, Kind.NESTED),
    ("extmap", Treatment.PASS, Kind.NESTED),
    ("flags", Treatment.PASS, Kind.FLAGS),
    ("rtpp-flags", Treatment.PASS, Kind.RAW),
    (_STRIP_KEYS, Treatment.STRIP, Kind.TEXT),
    (_GATED_KEYS, Treatment.GATED, Kind.TEXT),
)
FLAGS: Mapping[bytes, Entry] = _entries(
    (_HARMLESS_FLAGS, Treatment.PASS, Kind.TEXT),
    (_STRIP_FLAGS, Treatment.STRIP, Kind.TEXT),
    (_GATED_FLAGS, Treatment.GATED, Kind.TEXT),
)
# The spellings that SIP proxies send, found without being brought into form.
_AS_SENT: Mapping[bytes, Entry] = {
    **KEYS,
    **{
        name: KEYS[form(name)]
        for name in (b"ICE", b"SDES", b"T.38", b"TOS", b"DTLS", b"delete delay", b"address family")
    },
}
_PREFIXED = Entry("(option)", Treatment.PASS)
_TAGGED = Entry("from-tags", Treatment.GATED)
_VERBS_BY_OCTETS = {name.encode(): (name, treatment) for name, treatment in VERBS.items()}


def verb(name: bytes) -> tuple[str, Treatment] | None:
    """Return a command's name and treatment; None when the table does not know it."""
    return _VERBS_BY_OCTETS.get(name)


def key(name: bytes) -> Entry | None:
    """Return the entry of a key in any of its spellings."""
    return _AS_SENT.get(name) or KEYS.get(form(name))


def flag(name: bytes) -> Entry | None:
    """Return the entry of a flag in any of its spellings."""
    known = FLAGS.get(name)
    if known is not None:
        return known
    looked_up = form(name)
    known = FLAGS.get(looked_up)
    if known is not None:
        return known
    if looked_up.startswith(_HARMLESS_PREFIXES):
        return _PREFIXED
    return _TAGGED if looked_up.startswith(_GATED_PREFIX) else None
