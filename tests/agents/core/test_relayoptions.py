"""The relay's options as GLib reads them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.core.relayoptions import from_arguments, from_file, merged

FILE = """
# recording-dir = /nowhere
stray = 1
[other]
listen-ng = 1
[rtpengine]
listen-ng = localhost:2223 ; 127.0.0.1:2225
  recording-dir=/var/spool/rtpengine
foreground = false
log-srtp-keys = true
homer-enable-ng = 1
log-level = 6
log-level = 7
nonsense
[later]
redis = 1
[rtpengine]
tos = 184
"""


def test_a_command_line():
    """Each form in which a value can follow its option, several values, flags and clusters."""
    words = (
        "--listen-ng=1 --listen-ng 2 -n3 -n 4 -fEL7 --log-srtp-keys --recording-dir /x file -- -c 9"
    )
    assert from_arguments(words.split()) == {
        "listen-ng": ("1", "2", "3", "4"),
        "foreground": ("true",),
        "log-stderr": ("true",),
        "log-level": ("7",),
        "log-srtp-keys": ("true",),
        "recording-dir": ("/x",),
    }


def test_a_value_may_begin_with_a_dash_or_be_missing():
    assert from_arguments(["--table", "-1", "--tos"]) == {"table": ("-1",), "tos": ("",)}


def test_a_file():
    """One section, wherever its parts are; the last of two wins; flags that are off are not there."""
    assert from_file(FILE) == {
        "listen-ng": ("localhost:2223", "127.0.0.1:2225"),
        "recording-dir": ("/var/spool/rtpengine",),
        "log-srtp-keys": ("true",),
        "homer-enable-ng": ("true",),
        "log-level": ("7",),
        "tos": ("184",),
    }
    assert from_file(FILE, "later") == {"redis": ("1",)}
    assert from_file(FILE, "absent") == {}


def test_the_command_line_has_the_last_word():
    assert merged({"a": ("1",)}, {"a": ("2", "3"), "b": ("4",)}) == {"a": ("1",), "b": ("4",)}


@given(st.lists(st.text()), st.text())
def test_nothing_makes_it_fail(words, text):
    from_arguments(words)
    from_file(text)
