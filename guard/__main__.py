"""``python -m guard`` is ``callguard``."""

from __future__ import annotations

from guard.cli.main import main

if __name__ == "__main__":
    main()
