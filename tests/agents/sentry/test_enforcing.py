"""An enforcing sentry ends and mutes who it may, in the test's cgroup and namespace and nowhere else."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents.core.enforcing import Mode
from agents.core.sentry import What
from agents.sentry.doors import Doors
from agents.sentry.holders import identify
from tests.agents.sentry.place import Place, path_of, slice_made, unit_in
from tests.builders.units import service

pytestmark = pytest.mark.privileged

ALL = "socket.htons(3)"


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def ends(pid):
    until = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < until, "it lives on"
        time.sleep(0.005)


@pytest.fixture(params=[False, True], ids=["kernel", "listing"])
def enforcing(arena, request):
    with Place(cgroup=path_of(arena.inside), portable=request.param) as place:
        place.watch.set_mode(Mode.ENFORCE)
        yield place


def test_who_holds_what_hears_content_is_ended(arena, enforcing):
    with enforcing.holding(17, ALL, *arena.inside.command()) as pid:
        ends(pid)
    (told,) = enforcing.found(What.CAPTURE_SOCKET)
    assert (told["pid"], told["action"], told["mode"]) == (pid, "killed", "enforce")
    assert enforcing.watch.status()["mode"] == "enforce"


def test_who_is_outside_of_the_cgroup_is_told_of_and_lives(arena, enforcing):
    with enforcing.holding(17, ALL, *arena.outside.command()) as pid:
        (told,) = enforcing.found(What.CAPTURE_SOCKET)
        assert (told["pid"], told["action"]) == (pid, "reported")
        enforcing.swept(6)
        assert alive(pid)


def test_who_is_outside_of_the_namespaces_is_neither_told_of_nor_ended(arena, enforcing):
    with (
        Place(cgroup=path_of(arena.inside)) as other,
        other.holding(17, ALL, *arena.inside.command()) as pid,
    ):
        other.found(What.CAPTURE_SOCKET)
        enforcing.swept(6)
        assert alive(pid)
        assert [each.what for each in enforcing.told] == [What.SENTRY_SCOPED]


def test_neighbours_and_the_agent_itself_are_not_touched(arena, enforcing):
    """What holds nothing, in the same cgroup and namespace, goes on."""
    with (
        socket.socket(17, 3, socket.htons(3)),
        enforcing.holding(socket.AF_INET, 1, *arena.inside.command()) as pid,
    ):
        enforcing.swept(6)
        assert alive(pid)


def test_whoever_held_it_before_the_mode_turned_is_ended(arena):
    with (
        Place(cgroup=path_of(arena.inside)) as place,
        place.holding(17, ALL, *arena.inside.command()) as pid,
    ):
        (told,) = place.found(What.CAPTURE_SOCKET)
        assert (told["action"], told["would"]) == ("reported", "kill")
        place.swept(4)
        assert alive(pid)
        place.watch.set_mode(Mode.ENFORCE)
        ends(pid)
        assert place.found(What.CAPTURE_SOCKET, 2)[1]["action"] == "killed"


def test_turned_back_nobody_is_ended(arena):
    with Place(cgroup=path_of(arena.inside)) as place:
        place.watch.set_mode(Mode.ENFORCE)
        place.watch.set_mode(Mode.OBSERVE)
        with place.holding(17, ALL, *arena.inside.command()) as pid:
            place.found(What.CAPTURE_SOCKET)
            place.swept(4)
            assert alive(pid)


def test_a_unit_that_must_not_be_ended_is_muted():
    """Below a slice of the test's own, which is the reach."""
    unit = f"cg-{secrets.token_hex(4)}.service"
    with (
        service(unit) as inside,
        Place(cgroup=f"/system.slice/{unit}", mute=(unit,)) as place,
        place.holding(17, ALL, *inside) as pid,
    ):
        place.found(What.CAPTURE_SOCKET)
        place.watch.set_mode(Mode.ENFORCE)
        (before, told) = place.found(What.CAPTURE_SOCKET, 2)
        assert before["would"] == "mute"
        assert (told["pid"], told["action"]) == (pid, "muted")
        place.swept(6)
        assert alive(pid)
        assert len(place.found(What.CAPTURE_SOCKET)) == 2


def test_the_kernel_ends_who_tries_and_it_is_told(arena):
    def doors():
        return Doors(identify, within=arena.inside.number)

    with Place(name=arena.name, cgroup=path_of(arena.inside), doors=doors) as place:
        place.watch.set_mode(Mode.ENFORCE)
        place.proven()
        place.swept(2)
        assert arena.attack("call", "packet", 3, arena.inside) == (3, 0, 0, 0)
        told = place.found(What.CAPTURE_SOCKET, 3)
        assert [(each["way"], each["action"]) for each in told] == [("call", "killed")] * 3
        assert arena.attack("call", "packet", 3, arena.outside).survived == 3
        place.watch.set_mode(Mode.OBSERVE)
        place.swept(4)
        assert arena.attack("call", "packet", 1, arena.inside).survived == 1


@pytest.mark.parametrize("kind", ["units", "mute"])
def test_the_kernel_lets_a_unit_be_as_soon_as_it_is_there(kind):
    """In a slice of the test's own, one unit lives and the other does not."""
    with slice_made() as (path, number):

        def doors():
            return Doors(identify, within=number)

        with Place(cgroup=path, doors=doors, **{kind: ("cg-may.service",)}) as place:
            place.watch.set_mode(Mode.ENFORCE)
            place.proven()
            place.swept(2)
            with (
                unit_in(path, "cg-may.service") as may,
                unit_in(path, "cg-may.service/below") as below,
                place.holding(17, ALL, *may) as one,
                place.holding(17, ALL, *below) as two,
            ):
                place.swept(6)
                assert (alive(one), alive(two)) == (True, True)
            with unit_in(path, "cg-other.service") as other:
                ended = subprocess.run(
                    [
                        *other,
                        *place.command(
                            sys.executable, "-c", "import socket; socket.socket(17, 3, 768)"
                        ),
                    ],
                    check=False,
                )
            assert ended.returncode == -9
    actions = {each["action"] for each in place.found(What.CAPTURE_SOCKET)}
    assert actions == ({"killed"} if kind == "units" else {"muted", "killed"})


def test_nothing_is_undone_but_by_what_can(arena):
    asked = []

    def undo(findings, _):
        asked.extend(findings)
        subprocess.run(place.command("ip", "link", "del", "mac0"), check=True)
        return asked

    with Place(cgroup=path_of(arena.inside), undo=undo) as place:
        place.watch.set_mode(Mode.ENFORCE)
        place.run("ip", "link", "add", "v0", "up", "type", "veth", "peer", "name", "v1")
        place.run("ip", "link", "add", "mac0", "link", "v0", "up", "type", "macvlan")
        told = next(each for each in place.found(What.MIRROR_LINK))
        assert (told["name"], told["action"]) == ("mac0", "undone")
        place.swept(3)
    assert [each.what for each in asked] == [What.MIRROR_LINK]
