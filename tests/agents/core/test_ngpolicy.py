"""The policy: what passes has nothing in it that the table does not pass."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agents.core.ngpolicy import (
    LONGEST,
    Gated,
    OperatorOnly,
    Passed,
    RefusedMessage,
    Removed,
    call_id,
    judge,
    tags,
)
from agents.core.ngtable import FLAGS, KEYS, SETUP, VERBS, Kind, Treatment, flag, form, key
from tests.agents.core.ngmessages import SDP, kamailio, messages, values
from tests.agents.core.test_ngtable import spellings

PASS, STRIP, GATED, STOPPING = (
    Treatment.PASS,
    Treatment.STRIP,
    Treatment.GATED,
    Treatment.STOPPING,
)
FORBIDDEN_KEYS = sorted(name for name, entry in KEYS.items() if entry.treatment is not PASS)
FORBIDDEN_FLAGS = sorted(name for name, entry in FLAGS.items() if entry.treatment is not PASS)
OTHERS = sorted(
    name for name, treatment in VERBS.items() if treatment is PASS and name not in SETUP
)
STOPPERS = sorted(name for name, treatment in VERBS.items() if treatment is STOPPING)
GATED_VERBS = sorted(
    name for name, treatment in VERBS.items() if treatment is GATED and name != "start recording"
)


def clean(message: dict) -> bool:
    """Say by the table alone whether nothing in a message is stripped, gated or unknown."""
    for name, value in message.items():
        entry = key(name)
        if entry is None or entry.treatment is not PASS:
            return False
        if entry.kind is Kind.FLAGS:
            words = value if isinstance(value, list) else value.split(b",")
            if any(flag(word) is None or flag(word).treatment is not PASS for word in words):
                return False
        if entry.kind is Kind.RAW:
            for word in value.split():
                looked_up = form(word.partition(b"=")[0])
                for known in (KEYS.get(looked_up), FLAGS.get(looked_up)):
                    if known is not None and known.treatment is not PASS:
                        return False
    return True


# --- set-up


@pytest.mark.parametrize("command", sorted(SETUP))
def test_what_kamailio_sends_passes_untouched(command: str) -> None:
    """Not even a copy is made."""
    message = kamailio(command.encode())
    judged = judge(message)
    assert judged == Passed(command, message, (), PASS)
    assert judged.message is message


FORBIDDEN = st.one_of(
    st.tuples(st.just("key"), st.sampled_from(FORBIDDEN_KEYS).flatmap(spellings)),
    st.tuples(st.just("flag"), st.sampled_from(FORBIDDEN_FLAGS).flatmap(spellings)),
    st.tuples(st.just("flag"), st.just(b"from-tags-x")),
    st.tuples(st.just("raw flag"), st.sampled_from(FORBIDDEN_FLAGS)),
    st.tuples(st.just("raw key"), st.sampled_from(FORBIDDEN_KEYS)),
)


@given(
    st.sampled_from(sorted(SETUP) + STOPPERS),
    st.lists(FORBIDDEN, min_size=1, max_size=5),
    values(st.binary(max_size=8)),
    st.booleans(),
)
def test_no_spelling_of_what_is_stripped_or_gated_gets_through(
    command: str, forbidden: list[tuple[str, bytes]], value: object, commas: bool
) -> None:
    """Whatever there is of it, it is out, reported, and the rest of the message goes on."""
    message = kamailio(command.encode())
    plain, raw = [b"trust-address", b"loop-protect"], [b"trust-address", b"strict-source"]
    for where, name in forbidden:
        if where == "key":
            message[name] = value
        elif where == "flag":
            plain.insert(1, name)
        else:
            raw.insert(1, name if where == "raw flag" else name + b"=yes")
    message[b"flags"] = b",".join(plain) if commas else plain
    message[b"rtpp-flags"] = b" ".join(raw)
    judged = judge(message)
    assert isinstance(judged, Passed), judged
    assert clean(judged.message)
    wanted = {(key(name) if "key" in where else flag(name)).name for where, name in forbidden}
    assert {removed.name for removed in judged.removed} == wanted
    kept = kamailio(command.encode())
    kept[b"flags"] = (
        b"trust-address,loop-protect" if commas else [b"trust-address", b"loop-protect"]
    )
    assert judged.message == kept | {b"rtpp-flags": b"trust-address strict-source"}


@given(
    st.sampled_from(sorted(VERBS)),
    messages(
        st.sampled_from(sorted(KEYS) + sorted(FLAGS))
        | st.sampled_from(sorted(KEYS)).flatmap(spellings)
        | st.binary(max_size=6)
    ),
)
def test_whatever_passes_is_clean(command: str, message: dict) -> None:
    """From any message at all, only what the table passes comes out."""
    message = {b"command": command.encode()} | {
        name: value for name, value in message.items() if name != b"command"
    }
    judged = judge(message)
    if isinstance(judged, Passed):
        assert clean(judged.message)
        assert judged.message.items() <= message.items() or {b"flags", b"rtpp-flags"} & {
            form(name) for name in message
        }
        assert judge(judged.message) == Passed(judged.verb, judged.message, (), judged.treatment)


def test_what_is_removed_is_named_by_the_table_and_nothing_else_is_lost() -> None:
    """An offer that asks for a recording in five ways at once is an offer without it."""
    message = kamailio(
        b"offer",
        record_call=b"yes",
        output_destination=b"/tmp/x",
        metadata=b"subject",
        flags=[b"trust address", b"record call", b"SIPREC"],
        DTMF_log_dest=b"192.0.2.9:99",
    )
    message[b"record call"] = b"on"
    judged = judge(message)
    assert sorted(judged.removed, key=str) == [
        Removed("dtmf-log-dest", GATED),
        Removed("metadata", STRIP),
        Removed("record-call", STRIP),
        Removed("record-call", STRIP),
        Removed("record-call", STRIP),
        Removed("recording-file", STRIP),
        Removed("siprec", GATED),
    ]
    assert judged.message == kamailio(b"offer", flags=[b"trust address"])
    assert "subject" not in repr(judged)
    assert "/tmp/x" not in repr(judged)


def test_flags_of_which_nothing_is_left_are_left_out() -> None:
    """An empty list says nothing."""
    for flags in ([b"record-call"], b"record-call", b"record call,record-call"):
        assert b"flags" not in judge(kamailio(b"offer", flags=flags)).message
    assert b"rtpp-flags" not in judge(kamailio(b"offer", rtpp_flags=b" record-call ")).message


# --- other commands


@pytest.mark.parametrize("command", OTHERS)
@pytest.mark.parametrize("name", FORBIDDEN_KEYS)
def test_a_gated_key_refuses_any_other_message(command: str, name: bytes) -> None:
    """What is stripped is taken out everywhere."""
    message = {b"command": command.encode(), b"call-id": b"c", name: b"x"}
    judged = judge(message)
    if KEYS[name].treatment is GATED:
        assert judged == RefusedMessage("the message would yield content", command, KEYS[name].name)
    else:
        assert judged.message == {b"command": command.encode(), b"call-id": b"c"}


@pytest.mark.parametrize("command", STOPPERS)
def test_what_stops_is_never_refused_for_a_gated_word(command: str) -> None:
    """The recording ends, and what it recorded is kept."""
    message = {b"command": command.encode(), b"call-id": b"c", b"flags": [b"discard-recording"]}
    assert judge(message) == Passed(
        command,
        {b"command": command.encode(), b"call-id": b"c"},
        (Removed("discard-recording", GATED),),
        STOPPING,
    )


@pytest.mark.parametrize("command", GATED_VERBS)
def test_gated_commands_cannot_be_sealed(command: str) -> None:
    """Whatever else they say."""
    for more in ({}, {b"nobody knows": 1}, {b"sdp": SDP}):
        judged = judge({b"command": command.encode(), **more})
        assert isinstance(judged, Gated)
        assert (judged.verb, judged.sealable) == (command, False)
        assert judged.why


@pytest.mark.parametrize("command", ["list", "query", "statistics"])
def test_operators_ask_elsewhere(command: str) -> None:
    """Who calls whom is not the proxy's to ask."""
    assert judge({b"command": command.encode(), b"limit": 9}) == OperatorOnly(command)


# --- start recording


def recording(**more: object) -> dict:
    message = {
        b"command": b"start recording",
        b"call-id": b"c",
        b"from-tag": b"f",
        b"to-tag": b"t",
        b"via-branch": b"v",
        b"received-from": [b"IP4", b"192.0.2.1"],
        b"sip-message-type": b"request",
        b"supports": [b"load limit"],
    }
    return message | {name.replace("_", "-").encode(): value for name, value in more.items()}


def test_start_recording_of_the_call_can_be_sealed() -> None:
    """With what a proxy adds to every message, and with where the relay was to write."""
    assert judge(recording()) == Gated("start recording", sealable=True)
    assert judge(recording(metadata=b"m", recording_file=b"/x", flags=[b"all"])) == Gated(
        "start recording",
        sealable=True,
        removed=(Removed("metadata", STRIP), Removed("recording-file", STRIP)),
    )


@pytest.mark.parametrize(
    "more",
    [
        {"address": b"192.0.2.1"},
        {"label": b"caller"},
        {"from_label": b"caller"},
        {"to_label": b"callee"},
        {"from_tags": [b"f"]},
        {"flags": [b"from-tags-f"]},
        {"flags": [b"exclude recording"]},
        {"rtpp_flags": b"label=caller"},
        {"all": b"offer-answer"},
    ],
)
def test_a_part_of_a_call_is_not_approximated(more: dict) -> None:
    """The relay always takes both sides, so what asks for one is not what it would get."""
    judged = judge(recording(**more))
    assert isinstance(judged, Gated)
    assert not judged.sealable
    assert "part" in judged.why


@pytest.mark.parametrize("more", [{"only_left": b"yes"}, {"flags": [b"left"]}, {"from_tag": 1}])
def test_start_recording_with_what_nobody_knows_is_refused(more: dict) -> None:
    """It could name a part in a way that is new."""
    assert isinstance(judge(recording(**more)), RefusedMessage)


# --- refusals


@pytest.mark.parametrize(
    "message",
    [
        {},
        {b"command": 1},
        {b"command": [b"offer"]},
        {b"Command": b"offer"},
        {b"command": b"Offer"},
        {b"command": b"offer "},
        {b"command": b"start_recording"},
        {b"command": b"start-recording"},
        {b"command": b"pause_recording"},
        {b"command": b""},
        {b"command": b"call 15551234567"},
        {b"command": b"offer", b"Command": b"delete"},
        {b"command": b"offer", b"call-id": b"a", b"call id": b"b"},
        {b"command": b"offer", b"call-id": b"a", b"call-ID": b"a"},
        {b"command": b"delete", b"to-tag": b"a", b"to_tag": b"b"},
        {b"command": b"offer", b"label": b"a", b"from label": b"b"},
        {b"command": b"offer", b"record\tcall": b"yes"},
        {b"command": b"offer", b"": b""},
        {b"command": b"offer", b"flags": [b"no such flag"]},
        {b"command": b"offer", b"flags": [1]},
        {b"command": b"offer", b"flags": [[b"record-call"]]},
        {b"command": b"offer", b"flags": {b"record-call": b"yes"}},
        {b"command": b"offer", b"flags": 1},
        {b"command": b"offer", b"flags": b"trust-address record-call"},
        {b"command": b"offer", b"sdp": 1},
        {b"command": b"offer", b"sdp": [SDP]},
        {b"command": b"offer", b"call-id": {}},
        {b"command": b"offer", b"ICE": 1},
        {b"command": b"offer", b"ICE": [1]},
        {b"command": b"offer", b"TOS": [1]},
        {b"command": b"offer", b"frequencies": [[1]]},
        {b"command": b"offer", b"codec": [b"strip"]},
        {b"command": b"offer", b"codec": {b"record": [b"x"]}},
        {b"command": b"offer", b"codec": {b"strip": 1}},
        {b"command": b"offer", b"sdp-attr": {b"audio": {b"add": [1]}}},
        {b"command": b"offer", b"sdp-attr": b"x"},
        {b"command": b"block media", b"all": b"flows"},
        {b"command": b"silence media", b"all": b"except-offer-answer"},
        {b"command": b"silence media", b"all": b"not-offer-answer"},
        {b"command": b"silence media", b"all": b"non-offer-answer"},
        {b"command": b"silence media", b"all": [b"all"]},
        {b"command": b"offer", b"rtpp-flags": [b"record-call"]},
        {b"command": b"offer", b"rtpp-flags": b"nobody-knows"},
        {b"command": b"offer", b"rtpp-flags": b"nobody-knows=x"},
        {b"command": b"offer", b"rtpp-flags": b"a\trecord-call"},
        {b"command": b"offer", b"rtpp-flags": b"replace=[origin] record-call"},
        {b"command": b"offer", b"rtpp-flags": b"flags=[record-call]"},
        {b"command": b"offer", b"rtpp-flags": b"flags=record-call"},
        {b"command": b"offer", b"rtpp-flags": b"rtpp-flags=record-call"},
        {b"command": b"offer", b"rtpp-flags": b"sdp=x"},
        {b"command": b"offer", b"rtpp-flags": b"command=list"},
        {b"command": b"offer", b"rtpp-flags": b"call-id=other"},
        {b"command": b"offer", b"rtpp-flags": b"call ID=other"},
        {b"command": b"offer", b"rtpp-flags": b"from-tag=other"},
        {b"command": b"offer", b"rtpp-flags": b"to_tag=other"},
        {b"command": b"offer", b"rtpp-flags": b"codec=strip"},
        {b"command": b"offer", b"rtpp-flags": b"codec-record=x"},
        {b"command": b"offer", b"rtpp-flags": b"label=a label=b"},
        {b"command": b"offer", b"rtpp-flags": b"label=a", b"label": b"b"},
        {b"command": b"offer", b"label": b"b", b"rtpp-flags": b"label=a"},
        {b"command": b"silence media", b"rtpp-flags": b"all=flows"},
        {b"command": b"block media", b"rtpp-flags": b"media-echo=both"},
        {b"command": b"offer", b"rtpp-flags": b"", b"rtpp_flags": b""},
    ],
)
def test_refused(message: dict) -> None:
    """Each is unknown, ambiguous or of another kind; nothing of it is in the refusal."""
    judged = judge(message)
    assert isinstance(judged, RefusedMessage), judged
    assert judged.why
    assert judged.verb is None or judged.verb.encode() == message[b"command"]
    assert judged.name is None or judged.name.encode() in {*KEYS, *FLAGS}
    assert "555" not in repr(judged)


def test_the_asker_is_told_what_is_unknown() -> None:
    """In printable octets, shortly, and not in the repr."""
    judged = judge({b"command": b"offer", b"no-such-key": b"x"})
    assert judged.unknown == "no-such-key"
    assert "no-such-key" not in repr(judged)
    assert judge({b"command": b"offer", b"no\nsuch": b"x"}).unknown is None
    assert judge({b"command": b"offer", b"x" * 41: b"x"}).unknown is None
    assert judge({b"command": b"nonsense"}).unknown == "nonsense"


# --- the raw string


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"trust-address",
        b"RTP/SAVPF internal external SRTP AVPF",
        b"ICE=remove direction=a direction=b replace=origin replace=session-connection",
        b"transcode=PCMA codec-strip=all codec-mask-PCMU SDES-off rtcp-mux-demux",
        b"TOS=184 ptime=20 label=a via-branch=auto to-tag all=none",
    ],
)
def test_raw_strings_that_pass(raw: bytes) -> None:
    """They go on as they came."""
    message = {b"command": b"offer", b"rtpp-flags": raw}
    assert judge(message) == Passed("offer", message, (), PASS)


def test_a_name_with_an_empty_value_is_a_flag_to_the_relay() -> None:
    """So it is one here, and is taken out as one."""
    message = {b"command": b"offer", b"rtpp-flags": b"strict-source record-call= siprec="}
    judged = judge(message)
    assert judged.message[b"rtpp-flags"] == b"strict-source"
    assert [removed.name for removed in judged.removed] == ["record-call", "siprec"]


# --- whom a message is about


@given(st.sampled_from([b"call-id", b"call-ID", b"call id", b"call ID"]), st.binary())
@example(b"Call_Id", b"x")
def test_call_id(name: bytes, value: bytes) -> None:
    """In any spelling."""
    assert call_id({b"command": b"offer", name: value}) == value


def test_no_call_id() -> None:
    """None, or one that is no octets."""
    assert call_id({b"command": b"offer"}) is None
    assert call_id({b"call-id": 1}) is None
    assert call_id({b"call-id": [b"x"]}) is None


def test_tags() -> None:
    """Of both sides, in any spelling."""
    assert tags({b"from tag": b"a", b"to_tag": b"b", b"label": b"c"}) == {b"a", b"b"}
    assert tags({b"command": b"ping"}) == frozenset()


@pytest.mark.parametrize("key", [b"call-id", b"from-tag", b"to-tag", b"via-branch"])
def test_a_name_too_long_to_be_listed_is_refused(key: bytes) -> None:
    """A relay whose list of calls is longer than its answer may be could not be looked through."""
    message = {b"command": b"offer", b"call-id": b"c", b"from-tag": b"f", b"sdp": b"v=0" * 5000}
    assert isinstance(judge(message | {key: b"x" * LONGEST}), Passed)
    refused = judge(message | {key: b"x" * (LONGEST + 1)})
    assert isinstance(refused, RefusedMessage)
    assert refused.name == key.decode()


@pytest.mark.parametrize("delay", [61, b"61", b"86400", b"0x99"])
def test_a_call_is_not_deleted_and_kept(delay: int | bytes) -> None:
    """The answer to a delete tells of the call what only operators may ask."""
    message = {b"command": b"delete", b"call-id": b"c", b"from-tag": b"f"}
    for spelled in (b"delete-delay", b"delete delay"):
        assert isinstance(judge(message | {spelled: delay}), RefusedMessage)
    raw = b"delete-delay=%b" % (delay if isinstance(delay, bytes) else b"%d" % delay)
    assert isinstance(judge(message | {b"rtpp-flags": raw}), RefusedMessage)
    for short in (0, 60, b"30"):
        assert isinstance(judge(message | {b"delete-delay": short}), Passed)
