"""What C2SP's own texts print, read and written back; the keys of these examples are not published.

From signed-note, tlog-checkpoint, tlog-cosignature and tlog-witness at c2sp.org.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from guard.core.checkpoint import parse_checkpoint
from guard.core.cosigned import checkpoint_message, subtree_message
from guard.core.note import (
    KeyType,
    decode_base64,
    encode_vkey,
    parse_note,
    parse_signature_lines,
    parse_vkey,
)
from guard.core.reasons import Refused
from guard.core.witnessing import encode_add_checkpoint, parse_add_checkpoint

POEM = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
"""
BODY = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
"""
LOG_LINE = "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
OTHER_LINE = "— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n"
WITNESS_LINE = "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
PROOF = (
    "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=",
    "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=",
    "5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=",
    "/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=",
)
ANSWER = """— witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==
— witness.example/w1 I7rEps0pvK2UqkS2gSpVUDhrhVtQV9lgF6pRrWAvjJHjyWpW7VcE3SiOlVlbQNt64vWhO+DlkL0+UfzuOBMh9ChdMkP1vi/lCAsmlw==
— witness.example/w2 AWui8Sk55XjYLOijihBjhqEH6nS1ndDymE0a+6idX7pLcnoB+dhnz0854aLZgrrKbYKA7nC3HNJhm/kWl7oJlqU3rXXvpysAdyP3wQ==
"""
# filippo.io/torchwood's; where it stands is said beside it.
VKEY, SUBTREE_LINE, *_ = (
    (Path(__file__).parents[2] / "data/c2sp/mldsa44-subtree.txt").read_text().split("\n")
)
SUBTREE = {
    "cosigner": "witness.example/w1",
    "seconds": 0,
    "origin": "example.com/log",
    "start": 8,
    "end": 13,
    "root": decode_base64("E7ERCtFloiK1fdb+B6/dLG0pM1nmIR0ETKBSauCjtVw="),
}


@pytest.mark.parametrize("note", [POEM, f"{BODY}\n{LOG_LINE}", f"{BODY}\n{LOG_LINE}{WITNESS_LINE}"])
def test_the_examples_are_notes(note):
    """Each is read and written back to the byte."""
    assert parse_note(note.encode()).encode() == note.encode()


def test_a_note_keeps_its_empty_lines():
    """The text ends at the last empty line, not at the first."""
    note = parse_note(POEM.encode())
    assert note.text.endswith("di sole:\n\ned è subito sera.\n")
    assert [line.name for line in note.signatures] == ["quasimodo.example/salvatore"]


def test_the_checkpoint_is_a_tree_head():
    """Origin, size and root are those of the text."""
    head = parse_checkpoint(f"{BODY}\n{LOG_LINE}".encode())
    assert (head.origin, head.size) == ("example.com/behind-the-sofa", 20852163)
    assert head.text() == BODY


def test_the_cosignature_carries_the_time_of_the_message():
    """Eight bytes of time stand before the signature, and the time line repeats them."""
    (line,) = parse_signature_lines(WITNESS_LINE.encode())
    seconds = int.from_bytes(line.signature[:8])
    assert (seconds, len(line.signature)) == (1679315147, 72)
    expected = f"cosignature/v1\ntime 1679315147\n{BODY}".encode()
    assert checkpoint_message(seconds, BODY) == expected


def test_the_request_is_read_and_written():
    """Old size, four hashes and a checkpoint with two signatures."""
    body = "\n".join(("old 20852014", *PROOF, "", f"{BODY}\n{LOG_LINE}{OTHER_LINE}")).encode()
    request = parse_add_checkpoint(body)
    assert (request.old_size, len(request.note.signatures)) == (20852014, 2)
    assert encode_add_checkpoint(request.old_size, request.proof, request.note.encode()) == body


def test_the_answer_is_three_cosignatures():
    """Several lines, by several keys of a witness and by several witnesses."""
    lines = parse_signature_lines(ANSWER.encode())
    assert [line.name for line in lines] == [f"witness.example/w{n}" for n in (1, 1, 2)]
    assert len({(line.name, line.key_id) for line in lines}) == 3
    assert {len(line.signature) for line in lines} == {72}


def test_another_implementations_mldsa_signature_verifies():
    """Key id, structure and context are as another implementation makes them."""
    key = parse_vkey(VKEY)
    (line,) = parse_signature_lines(f"{SUBTREE_LINE}\n".encode())
    assert (key.type, encode_vkey(key)) == (KeyType.COSIGNATURE_MLDSA44, VKEY)
    assert (line.name, line.key_id) == (key.name, key.key_id)
    key.verify(line.signature[8:], subtree_message(**SUBTREE))


@pytest.mark.parametrize(
    "changed",
    [
        {"cosigner": "witness.example/w2"},
        {"seconds": 1},
        {"origin": "example.com/log2"},
        {"start": 0},
        {"end": 14},
        {"root": b"\x05" * 32},
    ],
)
def test_it_verifies_for_nothing_else(changed):
    """Every field is signed, the cosigner's name among them."""
    (line,) = parse_signature_lines(f"{SUBTREE_LINE}\n".encode())
    with pytest.raises(Refused):
        parse_vkey(VKEY).verify(line.signature[8:], subtree_message(**SUBTREE | changed))
