"""Ctrl-C and SIGTERM end a run once, wherever it is; the clean-up that follows is not interrupted again."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


class Interruption:
    """Owns the handlers of SIGINT and SIGTERM. `number`: the signal that came first, or 0."""

    def __init__(self) -> None:
        self.number = 0
        self._deaf = False
        self._cancel: Callable[[], object] | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._deaf:
            return
        self.number, self._deaf = number, True
        if self._cancel is None:
            raise KeyboardInterrupt
        self._cancel()

    def ignore(self) -> None:
        """From here on only cleaning up is left."""
        self._deaf = True

    async def cancelling(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work so that a signal cancels it. Raises KeyboardInterrupt when one did."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            return await work
        except asyncio.CancelledError:
            if self.number:
                raise KeyboardInterrupt from None
            raise
        finally:
            self._cancel = None
