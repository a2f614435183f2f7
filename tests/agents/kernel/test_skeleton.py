"""A packed skeleton is loaded whole or refused, and nothing is left behind."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from agents.kernel import skeleton
from agents.kernel.errors import KernelError

HOLDERS = Path("agents/sentry/holders.bpf").read_bytes()
ROGUE = Path("agents/sentry/rogue.bpf").read_bytes()
SHIELD = Path("agents/sentry/shield.bpf").read_bytes()
SETTINGS = struct.pack("<QQQ", 1, 1, 1)


def descriptors():
    return {each.name for each in Path("/proc/self/fd").iterdir()}


def changed(packed, **members):
    line, _, rest = packed.partition(b"\n")
    return json.dumps(json.loads(line) | members).encode() + b"\n" + rest


@pytest.mark.privileged
def test_maps_and_programs_are_known_by_their_names():
    before = descriptors()
    loaded = skeleton.load(ROGUE, settings=SETTINGS)
    assert set(loaded.programs) == {"entered", "submitted"}
    assert {"events", "allowed", "own", "heartbeat"} < set(loaded.maps)
    fds = [*loaded.maps.values(), *loaded.programs.values()]
    assert len(set(fds)) == len(fds)
    for each in fds:
        assert "bpf" in str(Path(f"/proc/self/fd/{each}").readlink())
        assert not os.get_inheritable(each)
    loaded.close()
    loaded.close()
    assert descriptors() == before


@pytest.mark.privileged
def test_a_program_that_the_kernel_refuses_leaves_nothing():
    before = descriptors()
    spoilt = ROGUE.replace(b"io_uring_submit_req", b"no_such_tracepoints")
    with pytest.raises(KernelError, match="loading the program entered, submitted"):
        skeleton.load(spoilt, settings=SETTINGS)
    assert descriptors() == before


@pytest.mark.privileged
def test_a_program_that_stands_apart_is_left_out_alone():
    before = descriptors()
    spoilt = SHIELD.replace(b"security_file_receive", b"security_never_called")
    whole = skeleton.load(SHIELD, settings=SETTINGS)
    loaded = skeleton.load(spoilt, settings=SETTINGS)
    assert set(loaded.refused) == set(whole.refused) | {"file_receive"}
    assert set(loaded.programs) == set(whole.programs) - {"file_receive"}
    assert {"events", "allowed", "own", "heartbeat"} < set(loaded.maps)
    loaded.close()
    whole.close()
    assert descriptors() == before


@pytest.mark.privileged
def test_attaching_what_is_no_program_is_refused():
    with (
        Path("/dev/null").open("rb") as nothing,
        pytest.raises(KernelError, match="attaching a program"),
    ):
        skeleton.attach(nothing.fileno())


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[]\n",
        b"7\n",
        HOLDERS[:-1],
        HOLDERS + b"\0",
        changed(HOLDERS, more=1),
        changed(HOLDERS, data="1"),
    ],
)
def test_what_is_not_a_packed_skeleton_is_refused(packed):
    with pytest.raises(KernelError, match="make bpf"):
        skeleton.load(packed)


@pytest.mark.parametrize("settings", [b"", SETTINGS[:-1], SETTINGS + b"\0"])
def test_settings_of_another_size_are_refused(settings):
    with pytest.raises(KernelError, match="settings"):
        skeleton.load(ROGUE, settings=settings)
