"""Puts on record what the sentry finds: each finding becomes a report, and that an incident."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from agents.config import SentryConfig
from agents.core.events import RelayReport
from agents.core.sentry import Incident
from agents.sentry.doors import Doors
from agents.sentry.holders import identify
from agents.sentry.watch import Watch, WatchParts

__all__ = ["reporting"]


def reporting(
    config: SentryConfig,
    *,
    now: Callable[[], int],
    report: Callable[[RelayReport], None],
    fail: Callable[[BaseException], None],
) -> Watch:
    """Make a sentry that reports; ``report`` and ``fail`` are called in its thread.

    ``now`` reads the boot clock in nanoseconds.
    """

    def found(incident: Incident) -> None:
        report(RelayReport(what=incident.what.value, call_id=None, details=incident.details))

    return Watch(
        WatchParts(
            now=now,
            deliver=found,
            fail=fail,
            units=frozenset(config.allow),
            scope=config.test_namespaces,
            # Below a scope of namespaces there are no doors: they would count on the whole node.
            doors=partial(Doors, identify) if config.test_namespaces is None else None,
        )
    )
