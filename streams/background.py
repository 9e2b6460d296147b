"""What a worker does beside everything else, until it stops."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from schemas.errors import LeaseLost

log = structlog.get_logger()


class Background:
    """Starts tasks, which end when `stack` is closed. The failure of one is handed to `failed` rather than going unseen."""

    def __init__(self, stack: contextlib.AsyncExitStack, failed: Callable[[BaseException], None]) -> None:
        self._stack = stack
        self._failed = failed

    def run(self, work: Coroutine[Any, Any, None], *, lasting: bool = True) -> None:
        """Start it. Of work that does not last, nobody waits for the end."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        if lasting:
            self._stack.push_async_callback(_cancelled, task)

    def every(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        """Do it again and again, so long after its end."""

        async def repeated() -> None:
            while True:
                await asyncio.sleep(seconds)
                await unless_lost(action())

        self.run(repeated())

    def _ended(self, done: asyncio.Task[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._failed(error)


async def unless_lost(work: Awaitable[Any]) -> None:
    """A lost lease is no failure of the worker: the next assignment begins anew."""
    try:
        await work
    except LeaseLost:
        log.warning("write dropped", reason="lease lost")


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel it until it has ended: aiokafka may take a cancellation for that of one of its own tasks."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
