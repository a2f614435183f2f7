"""Puts on record what the sentry finds: each finding becomes a report, and that an incident."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from agents.config import SentryConfig
from agents.core.events import HealthSeen, RelayReport
from agents.core.sentry import Incident
from agents.sentry.cgroups import number_of
from agents.sentry.doors import Doors
from agents.sentry.holders import identify
from agents.sentry.undo import undo_all
from agents.sentry.watch import Watch, WatchParts

__all__ = ["reporting"]


def reporting(
    config: SentryConfig,
    *,
    now: Callable[[], int],
    report: Callable[[RelayReport | HealthSeen], None],
    fail: Callable[[BaseException], None],
) -> Watch:
    """Make a sentry that reports; ``report`` and ``fail`` are called in its thread.

    ``now`` reads the boot clock in nanoseconds. Raises KernelError when there is no such cgroup as
    the configuration names.
    """

    def found(incident: Incident) -> None:
        report(RelayReport(what=incident.what.value, call_id=None, details=incident.details))

    return Watch(
        WatchParts(
            now=now,
            deliver=found,
            fail=fail,
            health=lambda health: report(HealthSeen(health=health)),
            units=frozenset(config.allow),
            mute=frozenset(config.mute),
            mirrors=frozenset(config.mirrors),
            scope=config.test_namespaces,
            cgroup=config.test_cgroup,
            doors=_doors(config),
            undo=undo_all,
        )
    )


def _doors(config: SentryConfig) -> Callable[[], Doors] | None:
    """Scope them; below a scope of namespaces alone there are none: they would count everywhere."""
    if config.test_cgroup is not None:
        return partial(Doors, identify, within=number_of(config.test_cgroup))
    return partial(Doors, identify) if config.test_namespaces is None else None
