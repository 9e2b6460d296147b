"""Work beside everything else: it ends with its stack, and its failure is heard."""

import asyncio
import contextlib

import pytest

from schemas.errors import LeaseLost
from streams.background import Background


async def test_work_that_takes_a_cancellation_for_another_ends_all_the_same() -> None:
    taken = 0

    async def forgetful() -> None:
        nonlocal taken
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                taken += 1
                if taken > 1:
                    raise

    failures: list[BaseException] = []
    async with asyncio.timeout(30), contextlib.AsyncExitStack() as stack:
        Background(stack, failures.append).run(forgetful())
        await asyncio.sleep(0)
    assert (taken, failures) == (2, [])


async def test_a_lost_lease_is_no_failure_and_anything_else_is() -> None:
    failures: asyncio.Queue[BaseException] = asyncio.Queue()
    outcomes = [None, LeaseLost("gone"), None, ValueError("broken")]

    async def action() -> None:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    async with asyncio.timeout(30), contextlib.AsyncExitStack() as stack:
        Background(stack, failures.put_nowait).every(0.0, action)
        failure = await failures.get()
    assert (repr(failure), outcomes) == ("ValueError('broken')", [])


async def test_nobody_waits_for_work_that_does_not_last_nor_ends_it() -> None:
    told, done = asyncio.Event(), asyncio.Event()

    async def brief() -> None:
        await told.wait()
        done.set()

    async with contextlib.AsyncExitStack() as stack:
        Background(stack, pytest.fail).run(brief(), lasting=False)
        await asyncio.sleep(0)
    told.set()
    async with asyncio.timeout(30):
        await done.wait()
