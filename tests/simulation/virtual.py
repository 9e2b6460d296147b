"""Virtual time: an asyncio event loop that never sleeps, and processes in it that can be frozen or killed."""

import asyncio
import contextvars
import selectors
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
        self.parked: list[tuple[Callable[..., Any], tuple[Any, ...], contextvars.Context, list[asyncio.Handle]]] = []


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class _NoWaiting(selectors.SelectSelector):
    """A select that moves the clock instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen again: the simulated world is stuck")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` is virtual seconds since the start of the world."""

    def __init__(self) -> None:
        self._virtual = _NoWaiting()
        self.kept: list[asyncio.Task[Any]] = []
        super().__init__(self._virtual)
        self.set_exception_handler(lambda loop, context: None)
        self.set_task_factory(self._task)

    def time(self) -> float:
        return self._virtual.now

    def _task(self, loop: Any, work: Any, context: Any = None) -> asyncio.Task[Any]:
        # Kept to the end: a dead process's tasks must not be collected, which would run their finally blocks.
        task: asyncio.Task[Any] = asyncio.Task(work, loop=self, context=context)
        self.kept.append(task)
        return task

    def call_soon(self, callback: Any, *args: Any, context: contextvars.Context | None = None) -> asyncio.Handle:
        context = context if context is not None else contextvars.copy_context()
        if self.is_closed():
            # The world is over; what is collected now may still clean up after itself.
            return asyncio.Handle(callback, args, self, context)
        process = context.get(PROCESS)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        cell: list[asyncio.Handle] = []
        handle = super().call_soon(self._guarded, process, callback, args, context, cell, context=context)
        cell.append(handle)
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        context = context if context is not None else contextvars.copy_context()
        process = context.get(PROCESS)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        cell: list[asyncio.Handle] = []
        handle = super().call_at(when, self._guarded, process, callback, args, context, cell, context=context)
        cell.append(handle)
        return handle

    def _guarded(self, process: Process, callback: Any, args: Any, context: Any, cell: list[asyncio.Handle]) -> None:
        if process.dead or cell[0].cancelled():
            return
        if process.frozen:
            process.parked.append((callback, args, context, cell))
            return
        callback(*args)

    def later(self, delay: float, callback: Any, *args: Any) -> None:
        """The world's own timer: it runs whatever became of the process that set it."""
        super().call_at(self.time() + delay, callback, *args, context=OUTSIDE)

    def inside(self, process: Process, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
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
        for callback, args, context, cell in parked:
            super().call_soon(self._guarded, process, callback, args, context, cell, context=context)
