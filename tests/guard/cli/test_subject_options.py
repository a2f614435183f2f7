"""Subjects as options and as lines."""

from __future__ import annotations

import pytest

from guard.cli.exits import DeniedError, UsageTroubleError
from guard.cli.subject_options import subjects_from
from guard.core.subjects import Subject, SubjectKind


def test_options_and_lines_are_one_list() -> None:
    """Every kind arrives in its one spelling; who is named twice counts once."""
    lines = ["# the caller\n", "\n", "number +49 30 2312-5123\n", "uri sip:bob@Example.COM\n"]
    found = subjects_from({"number": ["0049 30 23125123"], "peer": ["192.0.2.7:5060"]}, lines)
    assert found == (
        Subject(SubjectKind.TELEPHONE, "+493023125123"),
        Subject(SubjectKind.PEER_ADDRESS, "192.0.2.7:5060"),
        Subject(SubjectKind.SIP_URI, "bob@example.com"),
    )


def test_nobody_is_wrong_usage() -> None:
    """No subject at all never means everybody."""
    for lines in (None, [], ["# nobody\n"]):
        with pytest.raises(UsageTroubleError, match="whose calls"):
            subjects_from({"number": []}, lines)


@pytest.mark.parametrize("line", ["+4930231251234", "phone +4930231251234", "number"])
def test_a_line_that_is_none_is_told_by_its_number(line: str) -> None:
    """The error counts lines and quotes none."""
    with pytest.raises(UsageTroubleError, match="line 2") as raised:
        subjects_from({}, ["uri a@b.example", line])
    assert "231251234" not in str(raised.value)


def test_a_wildcard_is_denied() -> None:
    """A number with a star in it is no subject."""
    with pytest.raises(DeniedError) as raised:
        subjects_from({"number": ["+4930*"]}, None)
    assert raised.value.reason == "subject_not_permitted"
