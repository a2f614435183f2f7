"""The machines: one for each of Debian's stock kernels. They need qemu and what config/kernels.sh fetches.

Where these are missing the tests are skipped, and in CI they fail.
"""

from __future__ import annotations

import os
import shutil

import pytest

from tests.agents.sentry.arena import compiled
from tests.vm.image import Archive, put_guest
from tests.vm.kernels import SUITES, Kernel
from tests.vm.machine import Machine

_NEEDED = ("qemu-system-x86_64", "busybox", "tcpdump", "gcc")


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vm")
    with (folder / "base").open("wb") as out:
        put_guest(Archive(out), compiled(folder))
    yield folder / "base"
    (folder / "base").unlink()  # pytest keeps its folders, and this one is large.


def need(there: bool, what: str) -> None:
    if not there:
        said = f"VIRTUAL MACHINES ARE NOT TESTED: {what} is missing (make deps)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(said)


@pytest.fixture(params=SUITES)
def machine(request, tmp_path_factory):
    kernel = Kernel(request.param)
    for name in _NEEDED:
        need(shutil.which(name) is not None, name)
    need(kernel.image.exists(), f"the kernel of Debian {kernel.suite}")
    return Machine(kernel, request.getfixturevalue("base"), tmp_path_factory.mktemp(kernel.suite))
