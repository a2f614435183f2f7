"""How soon a mirror that somebody sets up by hand is undone by a sentry that enforces.

1. Time runs from the end of the command that sets it up to the incident that says it was undone.
2. Everything happens in namespaces made here.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

from agents.core.enforcing import Mode
from agents.core.sentry import What
from tests.agents.sentry.test_legacy import IPTABLES, TEE
from tests.agents.sentry.test_mirrors import COPIES, watching
from tests.agents.sentry.test_storm import MANY, STORMS, rage
from tests.agents.sentry.wires import Wires
from tests.bench.bench_sentry import row

TIMES = 5
SECOND, STORM = 1_000.0, 5_000.0


def rows() -> Iterator[dict[str, Any]]:
    """Yield the figures of undoing."""
    announced = [undone(make, what) for make, what, _ in COPIES.values() for _ in range(TIMES)]
    yield row(
        "sentry: a mirror set up until it is undone, p50",
        "ms",
        statistics.median(announced),
        SECOND,
    )
    yield row("sentry: the same, the slowest", "ms", max(announced), SECOND)
    legacy = [undone(tee, What.XT_COPY) for _ in range(TIMES)]
    yield row("sentry: the same of legacy iptables, the slowest", "ms", max(legacy), SECOND)
    for kind in STORMS:
        yield row(
            f"sentry: a storm of {MANY:,} {kind} until all are undone", "ms", storm(kind), STORM
        )


def tee(wires: Wires) -> None:
    wires.run(IPTABLES, "-A", "OUTPUT", *TEE)


def undone(make: Any, what: What) -> float:
    with Wires() as wires, watching(wires, Mode.ENFORCE) as place:
        make(wires)
        start = time.perf_counter()
        (told,) = place.found(what)
        assert told["action"] == "undone"
        return (time.perf_counter() - start) * 1e3


def storm(kind: str) -> float:
    with Wires() as wires, watching(wires, Mode.ENFORCE) as place:
        rage(wires, kind)
        start = time.perf_counter()
        place.found(STORMS[kind][2], MANY)
        return (time.perf_counter() - start) * 1e3
