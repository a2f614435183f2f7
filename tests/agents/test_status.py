"""Asking the running agent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agents import status
from agents.status import NAME, StatusError, ask


async def test_it_answers_over_a_socket_of_its_own_user_alone(tmp_path: Path):
    """Mode 0600, any number of times, gone with the agent, however long the folder's name is."""
    folder = tmp_path / ("long-" * 30)
    folder.mkdir()
    async with status.serving(folder, lambda: {"armed": []}):
        assert (folder / NAME).stat().st_mode & 0o777 == 0o600
        for _ in range(2):
            assert await asyncio.to_thread(ask, folder) == {"armed": []}

    with pytest.raises(StatusError, match="no agent answers"):
        ask(folder)


async def test_a_socket_left_by_a_killed_agent_is_replaced(tmp_path: Path):
    """A name without a listener does not keep the next agent from starting."""
    (tmp_path / NAME).touch()
    async with status.serving(tmp_path, lambda: {"n": 1}):
        assert await asyncio.to_thread(ask, tmp_path) == {"n": 1}


def test_no_folder_is_no_agent(tmp_path: Path):
    """Nothing there is one kind of nobody there."""
    with pytest.raises(StatusError):
        ask(tmp_path / "missing")
