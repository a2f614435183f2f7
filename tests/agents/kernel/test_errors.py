"""What is said when the kernel refuses."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from agents.kernel.errors import refused


def test_an_error_says_step_reason_and_remedy():
    """One sentence, with the capability that is missing."""
    text = str(refused("loading", OSError(errno.EPERM, os.strerror(errno.EPERM))))

    assert text.startswith("loading: Operation not permitted; ")
    assert "CAP_BPF" in text


def test_an_error_without_a_number_says_its_own_words():
    """An interface that does not exist has no number in Python."""
    with pytest.raises(OSError, match="no interface") as missing:
        socket.if_nametoindex("nope0")

    assert "no interface" in str(refused("finding the interface nope0", missing.value))
