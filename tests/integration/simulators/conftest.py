"""Two providers that run in this process, and a client of theirs."""

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio
from simulator_world import FAST

from infra.simulators import RunningSimulators, start_simulators


@pytest_asyncio.fixture
async def simulators() -> AsyncIterator[RunningSimulators]:
    async with await start_simulators({"alpha": FAST, "beta": FAST}, seed=7) as running:
        yield running


@pytest_asyncio.fixture
async def client(simulators: RunningSimulators) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{simulators.port}",
        trust_env=False,
        timeout=5.0,
        headers={"accept-encoding": "identity"},
    ) as one:
        yield one
