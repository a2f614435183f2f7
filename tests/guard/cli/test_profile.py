"""A person's folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from guard.cli.deployment import Deployment
from guard.cli.exits import TroubleError, UsageTroubleError
from guard.cli.profile import load_profile, write_whole
from tests.guard.cli.running import Answer


@pytest.fixture
def mine(demo: Deployment, tmp_path: Path) -> Path:
    """Copy lead-1's folder to another place."""
    return shutil.copytree(demo.folder / "people/lead-1", tmp_path / "mine")


def test_a_profile_can_be_carried_elsewhere(mine: Path) -> None:
    """Names are relative to the folder: a copy works with its own files."""
    profile = load_profile(mine)
    assert profile.signing_key == mine / "signing.key"
    assert profile.signer().public_key.keyid


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('name = "lead-1"\n', "", "name"),
        ('name = "lead-1"', 'name = ""', "not empty"),
        ('name = "lead-1"', "name = 3", "not empty"),
        ('name = "lead-1"', 'name = "lead-1"\ninsecure = "yes"', "insecure"),
        ('name = "lead-1"', "name = ", "TOML"),
    ],
)
def test_a_profile_that_is_not_exactly_right_is_refused(
    mine: Path, old: str, new: str, complaint: str
) -> None:
    """A missing, empty, mistyped or unknown key and broken TOML are wrong usage."""
    path = mine / "profile.toml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UsageTroubleError, match=complaint):
        load_profile(mine)


def test_keys_that_others_can_read_are_not_used(
    mine: Path, callguard: Callable[..., Answer]
) -> None:
    """The command that helps is in the error; the status is 1."""
    (mine / "signing.key").chmod(0o640)
    answer = callguard("--profile", mine, "status")
    assert answer.code == 1
    assert f"chmod 600 {mine / 'signing.key'}" in answer.err


def test_no_profile_is_wrong_usage(
    callguard: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --profile and CALLGUARD_PROFILE the command says how to name one."""
    monkeypatch.delenv("CALLGUARD_PROFILE", raising=False)
    answer = callguard("authority", "list")
    assert answer.code == 2
    assert "--profile" in answer.err
    assert "CALLGUARD_PROFILE" in answer.err


def test_the_environment_names_the_profile(
    mine: Path, callguard: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CALLGUARD_PROFILE stands in for --profile, which wins over it."""
    monkeypatch.setenv("CALLGUARD_PROFILE", str(mine / "nowhere"))
    assert str(mine / "nowhere") in callguard("authority", "list").err
    (mine / "signing.key").chmod(0o640)
    assert str(mine / "signing.key") in callguard("status", "--profile", mine).err


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """The new content is private and complete; nothing else is left in the folder."""
    write_whole(tmp_path / "state/file", b"old")
    write_whole(tmp_path / "state/file", b"new")
    assert (tmp_path / "state/file").read_bytes() == b"new"
    assert (tmp_path / "state/file").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["file"]


def test_a_file_that_cannot_be_written_is_trouble(tmp_path: Path) -> None:
    """A folder in the way is an error of one line, and no temporary file stays."""
    (tmp_path / "file").mkdir()
    with pytest.raises(TroubleError, match="cannot write"):
        write_whole(tmp_path / "file", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
