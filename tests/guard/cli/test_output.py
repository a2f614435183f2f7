"""What reaches the terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.cli.output import Output, plain


@given(st.text())
def test_plain_text_cannot_act(text: str) -> None:
    """Whatever somebody wrote, no control, format or separator character is printed."""
    for character in plain(text):
        assert unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@pytest.mark.parametrize("text", ["Amtsgericht Köln, 3 Gs 12/26", "東京", "[bold]x[/]", "a\\b"])
def test_plain_text_is_kept(text: str) -> None:
    """Printable text of any script is shown as it is, markup included."""
    assert plain(text) == text


def test_disguises_are_spelled_out() -> None:
    """A terminal escape and a direction override are shown as what they are."""
    assert plain("\x1b[2J\u202eno") == "\\u{1b}[2J\\u{202e}no"


def test_json_is_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json people's words are left out; the object is one line."""
    output = Output(json_only=True)
    output.say("for people")
    output.done({"a": "ü\n"}, "for people")
    assert capsys.readouterr().out == '{"a": "\\u00fc\\n"}\n'
