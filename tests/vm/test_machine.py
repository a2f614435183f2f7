"""Both kernels boot, and do what they are told."""

from __future__ import annotations

import pytest

VERSIONS = {"bookworm": "6.1.", "trixie": "6.12."}


def test_a_stock_kernel_boots_and_imports_the_sentry(machine):
    kernel, imported = machine.run("imports")
    assert kernel["kernel"].startswith(VERSIONS[machine.kernel.suite])
    assert imported["imported"] == ["agents.sentry.tiers", "agents.sentry.watch"]


def test_what_a_job_dies_of_is_shown(machine):
    with pytest.raises(AssertionError, match=r"No module named 'tests[.]vm[.]jobs[.]nothing'"):
        machine.run("nothing")
