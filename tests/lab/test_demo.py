"""The story that the README promises, told once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.deployment import ROOT


@pytest.mark.privileged
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_demo_tells_its_whole_story(tmp_path: Path) -> None:
    """Every fact of the demo holds, nothing is skipped, and no namespace is left behind."""
    command = [sys.executable, "-m", "tests.lab.demo", str(tmp_path / "demo")]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert told.returncode == 0, told.stdout
    assert "skipped" not in told.stdout
    assert told.stdout.count("✓") == 34
    assert (tmp_path / "demo/people/lead-1/profile.toml").exists()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_without_a_privilege_it_tells_what_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Denying, approving, forging and refusing need no root; the rest is said to be skipped."""
    from tests.lab import demo

    monkeypatch.setattr(demo, "missing_privilege", lambda: "the lab needs root")
    monkeypatch.setattr(sys, "argv", ["demo", str(tmp_path / "demo")])
    code = demo.main()
    told = capsys.readouterr().out

    assert code == 0, told
    assert "no real calls here: the lab needs root" in told
    assert "skipped: the calls" in told
    assert told.count("✓") == 13
