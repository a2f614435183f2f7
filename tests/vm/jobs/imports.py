"""Says which kernel it is, and that the sentry can be imported there."""

from __future__ import annotations

import os
import time
from pathlib import Path


def run(tell):
    tell(
        kernel=os.uname().release,
        lsm=Path("/sys/kernel/security/lsm").read_text(),
        up=time.clock_gettime(time.CLOCK_BOOTTIME),
    )
    from agents.sentry import tiers, watch

    tell(imported=[tiers.__name__, watch.__name__], up=time.clock_gettime(time.CLOCK_BOOTTIME))
