"""Virtual time: an event loop that never sleeps, and processes in it that can be frozen, slowed or killed.

The loop is as small as asyncio's tasks and futures allow: with the stock handles two thirds of a world went into them.
"""

import asyncio
import contextvars
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any


class Process:
    """What a SIGSTOP and a kill -9 do: callbacks of a frozen process wait, those of a dead one never run.

    `late_s`: its timers wake up later by up to so many seconds, as on a machine that is overloaded.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.frozen = False
        self.late_s = 0.0
        self.parked: list[Handle] = []


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Handle:
    """A callback with the process it runs in; None is the world itself, which nothing stops."""

    __slots__ = ("args", "callback", "context", "process")

    def __init__(
        self, callback: Any, args: tuple[Any, ...], context: contextvars.Context | None, process: Process | None
    ) -> None:
        self.callback, self.args, self.context, self.process = callback, args, context, process

    def cancel(self) -> None:
        self.callback = None

    def cancelled(self) -> bool:
        return self.callback is None


class VirtualLoop(asyncio.AbstractEventLoop):
    """`time()` is virtual seconds since the start of the world. An error in a bare callback ends the run."""

    def __init__(self, rng: random.Random) -> None:
        self.now = 0.0
        self.kept: list[asyncio.Task[Any]] = []
        self.handles = 0
        self._rng = rng
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle]] = []
        # Asked by every future: no frame of ours for a constant.
        self.get_debug = bool  # type: ignore[method-assign,assignment]

    def time(self) -> float:
        return self.now

    def is_running(self) -> bool:
        return True

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Of tasks and futures that nobody waits for any more: those of dead processes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, work: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        # Kept to the end: a dead process's tasks must not be collected, which would run their finally blocks.
        task: asyncio.Task[Any] = asyncio.Task(work, loop=self, context=context)
        self.kept.append(task)
        return task

    def call_soon(self, callback: Any, *args: Any, context: contextvars.Context | None = None) -> Any:
        if context is None:
            context = contextvars.copy_context()
        handle = Handle(callback, args, context, context.get(PROCESS))
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        if context is None:
            context = contextvars.copy_context()
        process = context.get(PROCESS)
        if process is not None and process.late_s:
            when += self._rng.uniform(0.0, process.late_s)
        handle = Handle(callback, args, context, process)
        self.handles += 1
        heapq.heappush(self._timers, (when, self.handles, handle))
        return handle

    def later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Handle:
        """The world's own timer: it runs whatever became of the process that set it."""
        handle = Handle(callback, args, None, None)
        self.handles += 1
        heapq.heappush(self._timers, (self.now + delay, self.handles, handle))
        return handle

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what is ready; when nothing is, move the clock to the next timer instead of waiting."""
        ready, timers, pop = self._ready, self._timers, heapq.heappop
        asyncio._set_running_loop(self)
        try:
            main = self.create_task(work)
            while not main.done():
                if not ready:
                    if not timers:
                        raise RuntimeError("nothing will ever happen again: the simulated world is stuck")
                    when, _, handle = pop(timers)
                    if handle.callback is None:
                        continue
                    self.now = max(self.now, when)
                else:
                    handle = ready.popleft()
                process = handle.process
                if process is None:
                    if handle.callback is not None:
                        handle.callback(*handle.args)
                elif process.dead or handle.callback is None:
                    pass
                elif process.frozen:
                    process.parked.append(handle)
                else:
                    assert handle.context is not None
                    handle.context.run(handle.callback, *handle.args)
            main.result()
        finally:
            asyncio._set_running_loop(None)
            for task in self.kept:
                task._log_destroy_pending = False  # type: ignore[attr-defined]

    def inside(self, process: Process, work: Coroutine[Any, Any, None]) -> asyncio.Task[Any]:
        """Start a task in a process."""
        context = contextvars.Context()
        context.run(PROCESS.set, process)
        return self.create_task(work, context=context)

    def freeze(self, process: Process) -> None:
        process.frozen = True

    def thaw(self, process: Process) -> None:
        """Go on where it stopped, in the same order; what came due meanwhile comes at once."""
        process.frozen = False
        parked, process.parked = process.parked, []
        self._ready.extend(parked)


def resolve(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def refuse(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
