"""The reader takes every valid torture message, and whatever else endpoints would act on."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.core.sip import NotSip, SipMessage, read_message
from tests.agents.core.wire import torture, torture_names

VALID = {
    "wsinv": (
        "sip:vivekg@chair-dnrc.example.com",
        "sip:jdrosen@example.com",
        "wsinv.ndaksdj@192.0.2.1",
        (9, "INVITE"),
    ),
    "intmeth": (
        "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com",
        "sip:mundane@example.com",
        "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
        (139122385, "!interesting-Method0123456789_*+`.%indeed'~"),
    ),
    "esc01": (
        "sip:%75se%72@example.com",
        "sip:I%20have%20spaces@example.net",
        "esc01.239409asdfakjkn23onasd0-3234",
        (234234, "INVITE"),
    ),
    "escnull": (
        "sip:null-%00-null@example.com",
        "sip:null-%00-null@example.com",
        "escnull.39203ndfvkjdasfkq3w4otrq0adsfdfnavd",
        (14398234, "REGISTER"),
    ),
    "esc02": (
        "sip:resource@example.com",
        "sip:resource@example.com",
        "esc02.asdfnqwo34rq23i34jrjasdcnl23nrlknsdf",
        (29344, "RE%47IST%45R"),
    ),
    "lwsdisp": (
        "sip:user@example.com",
        "sip:caller@example.com",
        "lwsdisp.1234abcd@funky.example.com",
        (60, "OPTIONS"),
    ),
    "dblreq": (
        "sip:j.user@example.com",
        "sip:j.user@example.com",
        "dblreq.0ha0isndaksdj99sdfafnl3lk233412",
        (8, "REGISTER"),
    ),
    "semiuri": (
        "sip:j_user@example.com",
        "sip:caller@example.org",
        "semiuri.0ha0isndaksdj",
        (8, "OPTIONS"),
    ),
    "transports": (
        "sip:user@example.com",
        "sip:caller@example.com",
        "transports.kijh4akdnaqjkwendsasfdj",
        (60, "OPTIONS"),
    ),
    "mpart01": (
        "sip:kumiko@example.org",
        "sip:fluffy@example.com",
        "3d9485ad0c49859b@Zmx1ZmZ5LW1hYy0xNi5sb2NhbA..",
        (1, "MESSAGE"),
    ),
    "unreason": (
        "sip:user@example.edu",
        "sip:user@example.com",
        "unreason.1234ksdfak3j2erwedfsASdf",
        (35, "INVITE"),
    ),
    "noreason": (
        "sip:user@example.edu",
        "sip:user@example.com",
        "noreason.asndj203insdf99223ndf",
        (35, "INVITE"),
    ),
    "badbranch": (
        "sip:user@example.com",
        "sip:caller@example.org",
        "badbranch.sadonfo23i420jv0as0derf3j3n",
        (8, "OPTIONS"),
    ),
    "unkscm": (
        "sip:user@example.com",
        "sip:caller@example.net",
        "unkscm.nasdfasser0q239nwsdfasdkl34",
        (3923423, "OPTIONS"),
    ),
    "novelsc": (
        "sip:user@example.com",
        "sip:caller@example.net",
        "novelsc.asdfasser0q239nwsdfasdkl34",
        (3923423, "OPTIONS"),
    ),
    "unksm2": (
        "isbn:2983792873",
        "http://www.example.com",
        "unksm2.daksdj@hyphenated-host.example.com",
        (234902, "REGISTER"),
    ),
    "bext01": (
        "sip:j_user@example.com",
        "sip:caller@example.net",
        "bext01.0ha0isndaksdj",
        (8, "OPTIONS"),
    ),
    "invut": (
        "sip:j.user@example.com",
        "sip:caller@example.net",
        "invut.0ha0isndaksdjadsfij34n23d",
        (235448, "INVITE"),
    ),
    "regaut01": (
        "sip:j.user@example.com",
        "sip:j.user@example.com",
        "regaut01.0ha0isndaksdj",
        (9338, "REGISTER"),
    ),
    "mcl01": (
        "sip:user@example.com",
        "sip:other@example.net",
        "mcl01.fhn2323orihawfdoa3o4r52o3irsdf",
        (15932, "OPTIONS"),
    ),
    "bcast": (
        "sip:user@example.edu",
        "sip:user@example.com",
        "bcast.0384840201234ksdfak3j2erwedfsASdf",
        (35, "INVITE"),
    ),
    "zeromf": (
        "sip:user@example.com",
        "sip:caller@example.net",
        "zeromf.jfasdlfnm2o2l43r5u0asdfas",
        (39234321, "OPTIONS"),
    ),
    "cparam01": (
        "sip:watson@example.com",
        "sip:watson@example.com",
        "cparam01.70710@saturn.example.com",
        (2, "REGISTER"),
    ),
    "cparam02": (
        "sip:watson@example.com",
        "sip:watson@example.com",
        "cparam02.70710@saturn.example.com",
        (3, "REGISTER"),
    ),
    "regescrt": (
        "sip:user@example.com",
        "sip:user@example.com",
        "regescrt.k345asrl3fdbv@192.0.2.1",
        (14398234, "REGISTER"),
    ),
    "sdp01": (
        "sip:j_user@example.com",
        "sip:caller@example.net",
        "sdp01.ndaksdj9342dasdd",
        (8, "INVITE"),
    ),
    "inv2543": (
        "sip:+16505552222@ss1.example.net",
        "sip:+13035551111@ift.client.example.net;user=phone",
        "inv2543.1717@ift.client.example.com",
        (56, "INVITE"),
    ),
}


def named(message: SipMessage, header: str) -> str:
    uris = SipMessage(
        method=None,
        status=200,
        request_uri=None,
        headers={header: message.headers[header]},
        body_offset=0,
        body=b"",
    ).identities()
    assert len(uris) == 1
    return uris[0]


@pytest.mark.parametrize("name", VALID)
def test_valid_torture_messages_are_read_right(name: str) -> None:
    """To, From, Call-ID and CSeq of each well-formed message of RFC 4475 are what they say."""
    message = read_message(torture(name))
    assert (named(message, "to"), named(message, "from"), message.call_id, message.cseq) == VALID[
        name
    ]


def test_the_long_torture_message_is_read_right() -> None:
    """The message of RFC 4475 §3.1.1.7 keeps its long names, whole."""
    message = read_message(torture("longreq"))
    assert named(message, "to").startswith("sip:user@example.com:6000;unknownparam1=very")
    assert named(message, "from").endswith("callername@example.net")
    assert message.call_id is not None
    assert message.call_id.startswith("longreq.onereallyreally")
    assert message.cseq == (3882340, "INVITE")


@pytest.mark.parametrize("name", torture_names())
def test_no_torture_message_gives_any_other_error(name: str) -> None:
    """Every torture message, cut at every tenth byte, reads or is NotSip."""
    octets = torture(name)
    for end in range(0, len(octets) + 1, 10):
        try:
            message = read_message(octets[:end])
        except NotSip:
            continue
        message.identities(), message.cseq, message.branch, message.from_tag, message.sdp()


def test_the_torture_invite_is_understood() -> None:
    """Folded lines, spaces before colons and compact names keep tags, branch and length."""
    message = read_message(torture("wsinv"))
    assert (message.from_tag, message.to_tag, message.branch) == (
        "98asjd8",
        "1918181833n",
        "390skdjuw",
    )
    assert (message.content_type, len(message.body)) == ("application/sdp", 150)
    assert len(message.headers["via"]) == 2


def test_the_first_of_two_requests_in_a_datagram_counts() -> None:
    """What follows the body that Content-Length gives is no part of the message."""
    assert read_message(torture("dblreq")).body == b""


@pytest.mark.parametrize("name", ["clerr", "ncl", "mcl01"])
def test_a_length_that_makes_no_sense_is_not_obeyed(name: str) -> None:
    """With a length that is too large, negative or twice different, the body is the rest."""
    octets = torture(name)
    message = read_message(octets)
    assert message.body == octets[message.body_offset :]
    assert message.body


INVITE = (
    b"INVITE sip:b@h SIP/2.0\nv:SIP/2.0/UDP h;branch=z9hG4bK1, SIP/2.0/UDP i;branch=z9hG4bK2\n"
    b'f : "A, <sip:fake@h>;tag=no" <sip:a@h>;x=";tag=no";TAG=t1\nt:sip:b@h\ni:c1\nCSeq:1 INVITE\n'
)


def test_quotes_hide_nothing_and_fake_nothing() -> None:
    """What stands in quotes is neither an address nor a tag, also with bare line feeds."""
    message = read_message(INVITE + b"\n")
    assert message.identities() == ("sip:b@h", "sip:a@h")
    assert (message.from_tag, message.to_tag, message.branch) == ("t1", "", "z9hG4bK1")


@pytest.mark.parametrize("before", [b"\r\n\r\n", b"\n", b"\0\0\0\0", b" "])
def test_what_keeps_a_path_open_may_stand_before_a_message(before: bytes) -> None:
    """Blank lines and zeros before a message are skipped, and places count from the datagram."""
    octets = before + INVITE + b"\nbody"
    message = read_message(octets)
    assert message.call_id == "c1"
    assert octets[message.body_offset :] == message.body == b"body"


def test_everybody_who_is_named_is_found() -> None:
    """Each identity header counts, with lists and repetitions; Contact and Via do not."""
    head = (
        b"P-Asserted-Identity: <sip:p1@h>, tel:+15550001\nP-Asserted-Identity: sip:p2@h\n"
        b'P-Preferred-Identity: <sip:pp@h>\nRemote-Party-ID: "R, S" <sip:r@h>;party=calling\n'
        b"P-Called-Party-ID: <sip:c@h>\nDiversion: <tel:+15550002>;reason=busy,<sip:d@h>\n"
        b"History-Info: <sip:h1@h?Reason=SIP%3Bcause%3D302>;index=1, <sip:h2@h>;index=1.1\nContact: <sip:no@h>\n\n"
    )
    assert read_message(INVITE + head).identities() == (
        "sip:b@h",
        "sip:a@h",
        "sip:p1@h",
        "tel:+15550001",
        "sip:p2@h",
        "sip:pp@h",
        "sip:r@h",
        "sip:c@h",
        "tel:+15550002",
        "sip:d@h",
        "sip:h1@h?Reason=SIP%3Bcause%3D302",
        "sip:h2@h",
    )


def test_octets_that_are_no_text_are_kept() -> None:
    """A Call-ID with octets that are not UTF-8 comes back as the same octets."""
    message = read_message(b"BYE sip:x SIP/2.0\r\nCall-ID: a\xff\xfeb\r\n\r\n")
    assert message.call_id is not None
    assert message.call_id.encode("utf-8", "surrogateescape") == b"a\xff\xfeb"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\r\n\r\n",
        b"\x80\x08" + bytes(170),
        b"GET / HTTP/1.1\r\n\r\n",
        b"INVITE sip:a@b\r\n\r\n",
        b"SIP/2.0 99 x\r\n\r\n",
    ],
)
def test_what_is_no_sip_is_refused_by_name(octets: bytes) -> None:
    """Octets without a start line raise NotSip, whose text holds none of them."""
    with pytest.raises(NotSip) as error:
        read_message(octets)
    assert str(error.value) == "no start line of a request or a response"


HOSTILE = [
    b"From: " + b'"\\' * 20000,
    b"From: " + b'"' * 40000,
    b"From: " + b"<" * 40000,
    b"From: " + b" " * 60000,
    b"History-Info: " + b"," * 60000,
    b"History-Info: " + b'"",' * 20000,
    b"a:\r\n" * 15000,
    b"From: x" + b"; tag" * 10000,
    b"\r\n " * 20000,
]


@pytest.mark.parametrize("head", HOSTILE)
@pytest.mark.timeout(5)
def test_hostile_repetition_costs_no_more_than_its_length(head: bytes) -> None:
    """Input made to be tried over and over ends long before the time limit of the test."""
    message = read_message(b"INVITE sip:x SIP/2.0\r\n" + head + b"\r\nCall-ID: 1\r\n\r\n")
    message.identities(), message.from_tag, message.branch, message.cseq
    assert message.method == "INVITE"


@given(
    st.lists(
        st.sampled_from(
            [
                b"INVITE sip:a@b SIP/2.0",
                b"SIP/2.0 200",
                b"\r\n",
                b"\n",
                b" ",
                b":",
                b"From",
                b"<",
                b">",
                b'"',
                b",",
                b";tag=",
                b"\xff",
                b"i: x",
                b"l: 3",
                b"CSeq: 1 INVITE",
            ]
        ),
        max_size=40,
    )
)
@settings(max_examples=300)
def test_only_the_documented_error(words: list[bytes]) -> None:
    """Any mixture of the pieces of messages reads or is NotSip, and the body lies inside."""
    octets = b"".join(words)
    try:
        message = read_message(octets)
    except NotSip:
        return
    message.identities(), message.cseq, message.from_tag, message.to_tag, message.sdp()
    assert octets[message.body_offset :].startswith(message.body)
