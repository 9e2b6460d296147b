"""Virtual time: an asyncio event loop that never sleeps, and processes in it that can be frozen or killed."""

import asyncio
import contextvars
import heapq
from collections.abc import Callable, Coroutine
from typing import Any

OUTSIDE = contextvars.Context()
"""The context of the world itself: brokers, networks and faults go on while a process is frozen or dead."""


class Process:
    """What a SIGSTOP and a kill -9 do: callbacks of a frozen process wait, those of a dead one never run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.frozen = False
        self.parked: list[asyncio.Handle] = []


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


def _run(handle: Any) -> None:
    process = handle.process
    if process.dead:
        return
    if process.frozen:
        process.parked.append(handle)
        return
    handle._context.run(handle._callback, *handle._args)


class _Inside(asyncio.Handle):
    """A callback of a process. An error in it ends the run: a bare callback has nobody to tell."""

    __slots__ = ("process",)
    _run = _run


class _TimerInside(asyncio.TimerHandle):
    __slots__ = ("process",)
    _run = _run


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` is virtual seconds since the start of the world."""

    def __init__(self) -> None:
        self.now = 0.0
        self.kept: list[asyncio.Task[Any]] = []
        super().__init__()
        self.set_exception_handler(lambda loop, context: None)
        self.set_task_factory(self._task)

    def time(self) -> float:
        return self.now

    def _task(self, loop: Any, work: Any, context: Any = None) -> asyncio.Task[Any]:
        # Kept to the end: a dead process's tasks must not be collected, which would run their finally blocks.
        task: asyncio.Task[Any] = asyncio.Task(work, loop=self, context=context)
        self.kept.append(task)
        return task

    def call_soon(self, callback: Any, *args: Any, context: contextvars.Context | None = None) -> asyncio.Handle:
        context = context if context is not None else contextvars.copy_context()
        process = context.get(PROCESS)
        if process is None:
            handle = asyncio.Handle(callback, args, self, context)
        else:
            handle = _Inside(callback, args, self, context)
            handle.process = process
        # Once the world is over, what is collected may still clean up after itself: nothing of it runs.
        self._ready.append(handle)
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        context = context if context is not None else contextvars.copy_context()
        process = context.get(PROCESS)
        if process is None:
            timer = asyncio.TimerHandle(when, callback, args, self, context)
        else:
            timer = _TimerInside(when, callback, args, self, context)
            timer.process = process
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def _run_once(self) -> None:
        """Run what is ready; when nothing is, move the clock to the next timer instead of waiting."""
        ready, timers = self._ready, self._scheduled
        if not ready:
            while timers and timers[0]._cancelled:
                heapq.heappop(timers)
            if not timers:
                raise RuntimeError("nothing will ever happen again: the simulated world is stuck")
            self.now = max(self.now, timers[0]._when)
            while timers and timers[0]._when <= self.now:
                ready.append(heapq.heappop(timers))
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def later(self, delay: float, callback: Callable[..., Any], *args: Any) -> None:
        """The world's own timer: it runs whatever became of the process that set it."""
        self.call_at(self.now + delay, callback, *args, context=OUTSIDE)

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
