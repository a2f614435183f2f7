"""Files of the relay's kernel module that others could read."""

from __future__ import annotations

import os
import stat

import pytest

from agents.core.relayconfig import Risk
from agents.recorder.relayfiles import tighten


@pytest.fixture
def tree(tmp_path):
    """Lay out what the module shows: a table with a call that is being recorded."""
    root = tmp_path / "rtpengine"
    call = root / "0" / "calls" / "a84b4c76e66710@pc33"
    call.mkdir(parents=True)
    for path in (root / "control", root / "list", root / "0" / "status", call / "tag-0-media-1"):
        path.write_text("x")
    for path in (root, *root.rglob("*")):
        path.chmod(0o750 if path.is_dir() else 0o640)
    return root


def modes(root):
    return {path: stat.S_IMODE(path.stat().st_mode) for path in (root, *root.rglob("*"))}


def test_what_is_closed_stays_as_it_is(tree):
    before = modes(tree)
    assert tighten(tree) == ()
    assert modes(tree) == before


def test_what_is_open_is_closed_and_counted(tree):
    """The owner and the group keep what they have; the finding does not name the call."""
    before = modes(tree)
    for path in (tree, *tree.rglob("*")):
        path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o005)
    (found,) = tighten(tree)
    assert modes(tree) == before
    assert (found.name, found.risk) == ("kernel-files-closed", Risk.CONTENT)
    assert "8 of" in found.why
    assert "a84b" not in repr(found)
    assert tighten(tree) == ()


def test_a_link_is_not_followed(tree, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    (tree / "link").symlink_to(outside)
    (tree / "folder").symlink_to("/")
    assert tighten(tree) == ()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644


def test_a_pipe_is_not_waited_for(tree):
    os.mkfifo(tree / "pipe", 0o666)
    (tree / "pipe").chmod(0o666)
    assert [each.name for each in tighten(tree)] == ["kernel-files-closed"]


def test_what_cannot_be_closed_is_told_apart(tree, monkeypatch):
    (tree / "list").chmod(0o644)

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr("pathlib.Path.chmod", refuse)
    (found,) = tighten(tree)
    assert found.name == "kernel-files-open"


def test_no_kernel_module_no_finding(tmp_path):
    assert tighten(tmp_path / "absent") == ()
