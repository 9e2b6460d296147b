"""A coroutine begun at once behaves as if it had been awaited whole."""

import asyncio

import pytest

from streams.eager import Begun


async def test_what_never_waits_is_done_at_once() -> None:
    seen: list[int] = []

    async def work() -> None:
        seen.append(1)

    assert Begun(work()).done
    assert seen == [1]


async def test_the_rest_runs_where_it_is_awaited() -> None:
    seen: list[str] = []
    gate = asyncio.Event()

    async def work() -> None:
        seen.append("begun")
        await gate.wait()
        await asyncio.sleep(0)
        seen.append("ended")

    begun = Begun(work())
    assert not begun.done
    assert seen == ["begun"]
    gate.set()
    await begun.rest()
    assert seen == ["begun", "ended"]


async def test_errors_and_cancellation_reach_the_coroutine() -> None:
    ended: list[type[BaseException]] = []
    gate = asyncio.Event()

    async def work() -> None:
        try:
            await gate.wait()
            raise ValueError("after the wait")
        except BaseException as error:
            ended.append(type(error))
            raise

    failing = Begun(work())
    gate.set()
    with pytest.raises(ValueError, match="after the wait"):
        await failing.rest()
    gate.clear()
    waiting = asyncio.ensure_future(Begun(work()).rest())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == [ValueError, asyncio.CancelledError]
