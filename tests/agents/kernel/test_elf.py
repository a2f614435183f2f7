"""What the loader accepts as a program."""

from __future__ import annotations

from importlib.resources import files

import pytest

from agents.kernel.elf import load
from agents.kernel.errors import KernelError, refused

MEDIA = files("agents.kernel").joinpath("media.bpf.o").read_bytes()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x7fELF\x01\x01" + MEDIA[6:], id="32 bits"),
        pytest.param(b"\x7fELF\x02\x02" + MEDIA[6:], id="big-endian"),
        pytest.param(MEDIA[:18] + b"\x3e\x00" + MEDIA[20:], id="for another machine"),
    ],
)
def test_another_file_is_refused(data):
    """Only a little-endian BPF object is looked at."""
    with pytest.raises(KernelError, match="make bpf"):
        load(data, entries={})


@pytest.mark.privileged
def test_a_reference_that_is_not_known_is_refused():
    """A program that refers to anything but maps and functions does not load."""
    with pytest.raises(KernelError, match="rule 5"):
        load(MEDIA.replace(b"\0maps\0", b"\0data\0"), entries={})


@pytest.mark.privileged
def test_sizes_can_be_given():
    """The size of a map is the node's to choose."""
    loaded = load(MEDIA, entries={"headers_flows": 7})
    try:
        assert set(loaded.programs) == {"headers", "content"}
        assert set(loaded.maps) == {"interfaces", "headers_flows", "content_flows"}
        for number in range(7):
            loaded.maps["headers_flows"].put(number.to_bytes(24, "little"), bytes(24))
        with pytest.raises(KernelError, match="full"):
            loaded.maps["headers_flows"].put(b"x" * 24, bytes(24))
    finally:
        loaded.close()


@pytest.mark.parametrize(
    ("code", "advice"), [(1, "CAP_BPF and CAP_NET_RAW"), (38, "5.17 or later"), (12, "memory")]
)
def test_an_error_says_what_to_do(code, advice):
    """Each refusal of the kernel comes with its step, its reason and what would help."""
    error = refused("loading the program", OSError(code, "reason"))

    assert str(error).startswith("loading the program: reason")
    assert advice in str(error)
