"""What the privileged tests of the kernel's side stand on."""

from __future__ import annotations

import pytest

from agents.kernel.filters import KernelFilters, Rings
from agents.kernel.ring import RingSize
from tests.agents.kernel.wire import Wire

KEY = bytes(range(16))


@pytest.fixture(scope="module")
def wire():
    with Wire() as made:
        yield made


@pytest.fixture
def filters(wire):
    small = RingSize(block_bytes=1 << 17, blocks=8, retire_ms=10)
    with KernelFilters(
        interfaces=[wire.far],
        sip_ports=[5060],
        sip_tcp=False,
        key=KEY,
        rings=Rings(headers=small, content=small),
    ) as made:
        yield made
