"""The first tier is refused as a whole where the kernel has no trampolines, and says so.

What it does where it is taken is tested in virtual machines (tests/vm).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agents.kernel import skeleton
from agents.kernel.errors import KernelError
from agents.sentry.cgroups import OwnCgroup
from agents.sentry.rogue import Scope
from agents.sentry.shield import Flavour, Shield

ROGUE = Path("agents/sentry/rogue.bpf").read_bytes()
pytestmark = pytest.mark.privileged


def descriptors():
    return {each.name for each in Path("/proc/self/fd").iterdir()}


@pytest.fixture
def scope():
    with OwnCgroup("callguard-canary") as canary, OwnCgroup("callguard-inside") as inside:
        yield Scope(canary=canary.number, within=inside.number)


def refusal(scope, flavour):
    try:
        made = Shield(scope, flavour=flavour)
    except KernelError as error:
        return str(error)
    made.close()
    return None


@pytest.mark.parametrize("flavour", list(Flavour))
def test_a_kernel_takes_it_or_says_why_not_and_nothing_is_left(scope, flavour):
    before = descriptors()
    said = refusal(scope, flavour)
    assert said is None or "trampolines" in said
    assert descriptors() == before


def test_what_cannot_be_attached_is_closed_and_said(scope, monkeypatch):
    def taken(packed, *, settings):
        maps, ours = load(packed, settings=settings), load(ROGUE, settings=settings)
        for each in (*maps.programs.values(), *ours.maps.values()):
            os.close(each)
        return skeleton.Skeleton(maps=maps.maps, programs=ours.programs)

    def unattached(program):
        raise KernelError("no")

    load = skeleton.load
    before = descriptors()
    monkeypatch.setattr("agents.sentry.shield.skeleton.load", taken)
    monkeypatch.setattr("agents.sentry.shield.skeleton.attach", unattached)
    with pytest.raises(KernelError, match="can be attached"):
        Shield(scope)
    assert descriptors() == before
