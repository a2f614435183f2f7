"""The table: every spelling that the relay takes is found, and nothing in it contradicts itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core import ngtable
from agents.core.ngtable import (
    FLAGS,
    KEYS,
    NOT_RAW,
    PARTS,
    RAW_WORDS,
    SETUP,
    VERBS,
    Entry,
    Kind,
    Treatment,
    flag,
    form,
    key,
    verb,
)

NAMES = {**KEYS, **FLAGS}


def spellings(name: bytes) -> st.SearchStrategy[bytes]:
    """Write a name with any separators and in any case."""

    def spelt(separators: str, upper: list[bool]) -> bytes:
        of = iter(separators)
        text = "".join(next(of) if each == "-" else each for each in name.decode())
        return "".join(
            each.upper() if high else each for each, high in zip(text, upper, strict=True)
        ).encode()

    return st.builds(
        spelt,
        st.text("-_ ", min_size=name.count(b"-"), max_size=name.count(b"-")),
        st.lists(st.booleans(), min_size=len(name), max_size=len(name)),
    )


@given(
    st.sampled_from(sorted(KEYS)).flatmap(lambda name: st.tuples(st.just(name), spellings(name)))
)
def test_any_spelling_of_a_key_is_the_key(names: tuple[bytes, bytes]) -> None:
    """Separators and case make no other name."""
    name, spelling = names
    assert key(spelling) == KEYS[name]


@given(
    st.sampled_from(sorted(FLAGS)).flatmap(lambda name: st.tuples(st.just(name), spellings(name)))
)
def test_any_spelling_of_a_flag_is_the_flag(names: tuple[bytes, bytes]) -> None:
    """Separators and case make no other name."""
    name, spelling = names
    assert flag(spelling) == FLAGS[name]


@given(st.binary(max_size=30))
def test_other_names_are_unknown(name: bytes) -> None:
    """Only what is in the table is found."""
    found = key(name)
    assert (found is None) == (form(name) not in KEYS)
    if flag(name) is None:
        assert form(name) not in FLAGS


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"-",
        b" record-call",
        b"record--call",
        b"record-call\0",
        b"record\tcall",
        b"recordcall",
        b"\xc2\xa0record-call",
        b"record\xe2\x80\x90call",
        b"record-call=yes",
        b"record.call",
    ],
)
def test_what_only_looks_like_a_name_is_unknown(name: bytes) -> None:
    """Unknown is refused; so it need not be found."""
    assert key(name) is None
    assert flag(name) is None


def test_no_value_in_a_name_hides_a_name_that_does_not_pass() -> None:
    """A flag that begins like an option is no other flag, and the tags are no option."""
    for prefix in ngtable._HARMLESS_PREFIXES:
        assert not any(
            name.startswith(prefix) and entry.treatment is not Treatment.PASS
            for name, entry in NAMES.items()
        )
        assert flag(prefix + b"anything") == Entry("(option)", Treatment.PASS)
    assert flag(b"from-tags-abc") == Entry("from-tags", Treatment.GATED)
    assert flag(b"from tags-abc") == Entry("from-tags", Treatment.GATED)


def test_a_name_means_the_same_wherever_it_stands() -> None:
    """A word that is a key and a flag has one treatment, but for words of one meaning each."""
    for name in KEYS.keys() & FLAGS.keys():
        assert KEYS[name].treatment is FLAGS[name].treatment


def test_everything_about_recording_is_stripped_or_gated() -> None:
    """No name with record, output, vsc or metadata in it passes."""
    for name, entry in NAMES.items():
        if any(word in name for word in (b"record", b"output", b"vsc", b"metadata")):
            assert entry.treatment in {Treatment.STRIP, Treatment.GATED}


def test_the_lists_of_names_are_of_the_table() -> None:
    """A name that is used apart from the table is spelt as in it."""
    names = {entry.name for entry in NAMES.values()}
    assert names >= NOT_RAW | PARTS
    assert set(VERBS) >= SETUP
    assert not any(form(word) in KEYS.keys() - {b"dtls"} for word in RAW_WORDS)
    assert not any(entry.name.encode() not in NAMES for entry in NAMES.values())
    for name in NOT_RAW:
        assert KEYS[name.encode()].treatment is Treatment.PASS


def test_forms_of_one_name_are_of_one_kind() -> None:
    """Whichever form a name has, its value is held to the same."""
    kinds: dict[str, set[Kind]] = {}
    for entry in KEYS.values():
        kinds.setdefault(entry.name, set()).add(entry.kind)
    assert all(len(each) == 1 for each in kinds.values())


def test_a_name_in_the_table_twice_is_seen_at_once() -> None:
    """The second would have been silently the one that counts."""
    with pytest.raises(ValueError, match="twice"):
        ngtable._entries(
            ("a b, b c", Treatment.PASS, Kind.TEXT),
        )


def test_commands_have_one_spelling() -> None:
    """The relay takes no other, so no other is known."""
    for name, treatment in VERBS.items():
        assert verb(name.encode()) == (name, treatment)
        for other in (name.replace(" ", "-"), name.replace(" ", "_"), name.upper(), name + " "):
            assert other == name or verb(other.encode()) is None or other == "CLI"
