"""What the agent asks of its own process: to come first, to keep still, to speak plainly."""

from __future__ import annotations

import gc
import os
import sys

import structlog

__all__ = ["configure_logging", "hurry", "settle_memory"]

_SWITCH = 0.0005  # seconds after which a thread of Python gives way to the one that waits


def hurry() -> None:
    """Let this thread, not those that it starts, run before others where that is permitted."""
    sys.setswitchinterval(_SWITCH)
    try:
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(1))
    except OSError as error:
        structlog.get_logger("callguard.agent").info("no_realtime", why=error.strerror)


def settle_memory() -> None:
    """Let the collector never look again at what the start has made; a full look takes 30 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def configure_logging() -> None:
    """Log one JSON object a line to standard error, from level info on."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.WriteLoggerFactory(sys.__stderr__),
        cache_logger_on_first_use=True,
    )
