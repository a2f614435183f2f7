"""Signed notes, against the vectors of golang.org/x/mod/sumdb/note (note_test.go) and C2SP."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from guard.core.note import (
    KeyType,
    NoteSignature,
    decode_base64,
    encode_vkey,
    parse_note,
    parse_signature_lines,
    parse_vkey,
    sign_note,
    verifier_key,
    verify_note,
    with_signatures,
)
from guard.core.reasons import Reason, Refused

# golang.org/x/mod/sumdb/note/note_test.go.
PETER_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
ENOCH_VKEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETER_LINE = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
ENOCH_LINE = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
# c2sp.org/signed-note, the example of "Verifier keys".
FOO_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
PETER_KEY = Ed25519PrivateKey.from_private_bytes(decode_base64(PETER_SEED)[1:])
NOTE = f"{TEXT}\n{PETER_LINE}{ENOCH_LINE}".encode()


def test_go_notes_are_made_byte_for_byte():
    """Signing with the Go project's example key gives the Go project's note."""
    assert sign_note(TEXT, "PeterNeumann", PETER_KEY).encode() == f"{TEXT}\n{PETER_LINE}".encode()


def test_go_and_c2sp_notes_verify():
    """The published notes verify with the published keys."""
    peter, enoch, foo = map(parse_vkey, (PETER_VKEY, ENOCH_VKEY, FOO_VKEY))
    assert verify_note(parse_note(NOTE), [peter, enoch]) == {peter, enoch}
    assert verify_note(parse_note(FOO_NOTE.encode()), [foo]) == {foo}


@pytest.mark.parametrize("vkey", [PETER_VKEY, ENOCH_VKEY, FOO_VKEY])
def test_keys_have_one_text(vkey):
    """A key's text is read and written back unchanged."""
    assert encode_vkey(parse_vkey(vkey)) == vkey


def test_a_key_is_named_with_its_type():
    """The same public key has another id as a cosigner than as a signer of notes."""
    note = verifier_key("PeterNeumann", KeyType.NOTE, PETER_KEY.public_key())
    cosigner = verifier_key("PeterNeumann", KeyType.COSIGNATURE, PETER_KEY.public_key())
    assert encode_vkey(note) == PETER_VKEY
    assert cosigner.key_id != note.key_id
    assert parse_vkey(encode_vkey(cosigner)) == cosigner


def test_a_name_is_of_characters():
    """What stands for a byte that is not UTF-8 is refused, not a crash."""
    with pytest.raises(Refused) as caught:
        parse_vkey(PETER_VKEY.replace("Neumann", "\udc98"))
    assert caught.value.reason is Reason.DOCUMENT_MALFORMED


@given(st.integers(0, len(PETER_VKEY) - 1), st.integers(1, 255))
def test_no_altered_key_is_read(place, change):
    """Any altered byte of a key's text refuses it, as in Go's test."""
    raw = bytearray(PETER_VKEY.encode())
    raw[place] ^= change
    with pytest.raises(Refused):
        parse_vkey(raw.decode("latin-1"))


@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_no_altered_note_has_both_signatures(place, change):
    """Any altered byte of a note makes it lose a signature or be refused."""
    raw = bytearray(NOTE)
    raw[place] ^= change
    keys = [parse_vkey(PETER_VKEY), parse_vkey(ENOCH_VKEY)]
    try:
        signers = verify_note(parse_note(bytes(raw)), keys)
    except Refused:
        return
    assert len(signers) < 2


def test_a_signature_of_an_unknown_key_is_ignored():
    """Another name's or id's signature neither helps nor harms."""
    peter = parse_vkey(PETER_VKEY)
    assert verify_note(parse_note(NOTE), [peter]) == {peter}
    stranger = NoteSignature(name="PeterNeumann", key_id=b"\0\0\0\0", signature=b"x" * 64)
    assert verify_note(with_signatures(parse_note(NOTE), [stranger]), [peter]) == {peter}


def test_a_bad_signature_of_a_known_key_refuses_the_note():
    """A second, false signature under a known key refuses what the first, true one signed."""
    peter = parse_vkey(PETER_VKEY)
    false = NoteSignature(name=peter.name, key_id=peter.key_id, signature=b"x" * 64)
    with pytest.raises(Refused) as caught:
        verify_note(with_signatures(parse_note(NOTE), [false]), [peter])
    assert caught.value.reason is Reason.SIGNATURE_INVALID


def test_a_note_without_a_known_signer_is_refused():
    """A note that strangers signed is as good as unsigned; so is every note when no key is known."""
    for keys in ([parse_vkey(FOO_VKEY)], []):
        with pytest.raises(Refused) as caught:
            verify_note(parse_note(NOTE), keys)
        assert caught.value.reason is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        b"text\n",
        b"text\n\n",
        TEXT.encode(),
        f"{TEXT}{PETER_LINE}".encode(),
        f"\n\n{PETER_LINE}".encode(),
        f"{TEXT}\n{PETER_LINE}"[:-1].encode(),
        f"{TEXT}\n{PETER_LINE}".replace("—", "-").encode(),
        f"{TEXT}\n{PETER_LINE}".replace("PeterNeumann ", "").encode(),
        f"{TEXT}\n{PETER_LINE}".replace("PeterNeumann", "Peter+Neumann").encode(),
        f"{TEXT}\n{PETER_LINE}".replace("PeterNeumann", "Peter\u2003Neumann").encode(),
        f"{TEXT}\n{PETER_LINE}".replace("AM=", "AN=").encode(),
        f"{TEXT}\n{PETER_LINE}".replace("AM=", "AM").encode(),
        f"{TEXT}\n— PeterNeumann x08gow==\n".encode(),
        f"{TEXT}\x00\n\n{PETER_LINE}".encode(),
        f"{TEXT}\r\n\n{PETER_LINE}".encode(),
        b"\xff\n\n" + PETER_LINE.encode(),
        f"{TEXT}\n{PETER_LINE * 65}".encode(),
        b"x" * 200_000 + f"\n\n{PETER_LINE}".encode(),
    ],
)
def test_malformed_notes_are_refused(data):
    """Nothing but text, empty line and signature lines is a note."""
    with pytest.raises(Refused) as caught:
        parse_note(data)
    assert caught.value.reason is Reason.DOCUMENT_MALFORMED


def test_the_text_ends_at_the_last_empty_line():
    """A text may hold empty lines, and even lines that look like signatures."""
    text = f"one\n\n{PETER_LINE}\ntwo\n"
    assert parse_note(sign_note(text, "PeterNeumann", PETER_KEY).encode()).text == text


@given(st.binary(max_size=300))
def test_reading_anything_gives_a_note_or_a_refusal(data):
    """Whatever is read as a note is written back unchanged; the rest is refused."""
    for prefix in (b"", b"text\n\n", "text\n\n— a ".encode()):
        try:
            note = parse_note(prefix + data)
        except Refused:
            continue
        assert note.encode() == prefix + data


def test_signature_lines_stand_alone():
    """A witness's answer is signature lines without a note."""
    lines = parse_signature_lines((PETER_LINE + ENOCH_LINE).encode())
    assert [line.name for line in lines] == ["PeterNeumann", "EnochRoot"]
    with pytest.raises(Refused):
        parse_signature_lines(b"no line\n")


def test_a_signature_is_not_shown():
    """No representation holds signature bytes."""
    assert "signature" not in repr(parse_note(NOTE)).replace("NoteSignature", "").replace(
        "signatures=", ""
    )
