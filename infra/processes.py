"""A long-running process: its loop, its signals and its log."""

import asyncio
import ctypes
import gc
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import structlog
import uvloop

STOP_S = 10.0
"""Beside the drain: what closing every connection may take."""
# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE_BYTES = 128 * 1024
SPARE_BYTES = 4 * 1024 * 1024


class Sparing(logging.Filter):
    """Lets one and the same line pass every `seconds`: aiokafka says a hundred times a second that a broker does not answer."""

    def __init__(self, seconds: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds = seconds
        self._clock = clock
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now, line = self._clock(), (record.name, record.getMessage())
        if now - self._said.get(line, -math.inf) < self._seconds:
            return False
        # A new one each time: consumers log from threads of their own, and nobody changes what another one reads.
        self._said = {known: at for known, at in self._said.items() if now - at < self._seconds} | {line: now}
        return True


def log_to(level: int, *, json: bool) -> None:
    """Structured lines on stderr; libraries from WARNING on."""
    renderer = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(Sparing())
    # aiokafka asks for every record whether to log it: 1 % of a worker's time.
    logging.disable(logging.DEBUG)
    # They print addresses with paths at INFO, and a rebalance as a screenful of tables.
    for name in ("httpx", "aiokafka", "faust", "mode"):
        logging.getLogger(name).setLevel(logging.ERROR)


def yield_processor(nice: int) -> None:
    """Let others on the machine go first, `nice` steps of 19. For a process's start: threads made before keep their priority.

    Linux may weigh sessions before it weighs processes, so a process that leads a session lowers that as well.
    """
    os.nice(nice)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(os.nice(0)))


def return_large_blocks() -> None:
    """Give memory of large blocks back to the system as they are freed. For a process that runs for months; once, at its start.

    glibc begins like that, but raises the size that it calls large to that of any such block that is freed, up to 32 MiB.
    From then on buffers of a moment lie between what stays, and the heap grows for hours (`infra.bench.churn`).
    Other libraries than glibc have no such call and are left as they are.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, SPARE_BYTES)


class Ending(asyncio.Event):
    """The process is to end: from `set` on it has `grace_s` seconds, then it ends with status 1, whatever it waits for.

    Without a broker its clients would wait for ever to say goodbye. Nothing is lost by that, as nothing is by kill -9.
    """

    def __init__(self, grace_s: float) -> None:
        super().__init__()
        self._grace_s = grace_s

    def set(self) -> None:
        if not self.is_set():
            watchdog = threading.Timer(self._grace_s, os._exit, [1])
            watchdog.daemon = True
            watchdog.start()
        super().set()


def run_until_signal(main: Callable[[Ending], Awaitable[None]], *, grace_s: float) -> None:
    """Run `main` on uvloop; SIGTERM and SIGINT set the event it is given, and so must `main` when it fails.

    Its exception is the caller's. `grace_s`: see Ending.
    """

    async def run() -> None:
        # What is imported lives for ever; looking at it again and again cost a worker 2 % of its time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 50, 50)
        ending = Ending(grace_s)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        await main(ending)

    uvloop.run(run())
