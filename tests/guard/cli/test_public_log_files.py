"""What stands in the place of a log's file."""

import os
from pathlib import Path

import pytest

from guard.cli.exits import TroubleError
from guard.cli.public_log import open_public_log


def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "checkpoint")
    with pytest.raises(TroubleError, match="no regular file"):
        open_public_log(str(tmp_path)).checkpoint()
