"""Child processes of one machine: started, watched, started again when they die, and ended together."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra import tether
from schemas.errors import OperationError

LAST_BYTES = 4096


@dataclass
class Child:
    """One process by its command. `restarts`: how often it died and was started again."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    restart: bool = True
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            # A session of its own: Ctrl-C reaches the supervisor alone, which ends its children in order.
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *self.command], stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, start_new_session=True, env=os.environ | dict(self.environment),
            )  # fmt: skip

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None, self.name
        return self.process.pid

    def signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, or None when it still runs after the time."""
        assert self.process is not None, self.name
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, timeout_s: float) -> int:
        """SIGTERM, then SIGKILL after the time; returns the exit code."""
        self.signal(signal.SIGTERM)
        code = self.wait(timeout_s)
        if code is None:
            self.signal(signal.SIGKILL)
            code = self.wait(5.0)
        return -signal.SIGKILL if code is None else code

    def last_line(self) -> str:
        """The end of its log, for an error message."""
        with contextlib.suppress(OSError, IndexError), self.log.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LAST_BYTES))
            return log.read().decode(errors="replace").strip().splitlines()[-1]
        return ""


def module(name: str, *arguments: str) -> list[str]:
    """A module of this installation, run by this interpreter.

    -P: a `streams.py` or a folder `agents` in the directory where we are started is somebody else's.
    """
    return [sys.executable, "-P", "-m", name, *arguments]


def turnout(*arguments: str) -> list[str]:
    """A command of this installation."""
    return module("infra.cli.main", *arguments)


def wait_until(ready: Callable[[], bool], child: Child, *, timeout_s: float, what: str) -> None:
    """Wait for a child to be ready. Raises OperationError with the end of its log when it dies or the time is up."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not ready():
        if not child.running:
            raise OperationError(f"{what} ended at its start ({child.last_line()}); see {child.log}.")
        if time.monotonic() > deadline:
            raise OperationError(f"{what} was not ready within {timeout_s:.0f} s; see {child.log}.")
        pause.wait(0.05)


class Supervisor:
    """Watches children until told to stop."""

    def __init__(self) -> None:
        self.children: list[Child] = []

    def add(self, child: Child) -> Child:
        child.start()
        self.children.append(child)
        return child

    def revive(self) -> dict[str, str]:
        """Start again what died; the names, with the last line of each one's log."""
        revived = {}
        for child in self.children:
            if child.restart and not child.running:
                revived[child.name] = child.last_line()
                child.restarts += 1
                child.start()
        return revived

    def stop(self, timeout_s: float = 8.0) -> None:
        """End the children, the last started first; those of one kind need not wait for each other."""
        for child in reversed(self.children):
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        for child in reversed(self.children):
            if child.wait(max(0.1, deadline - time.monotonic())) is None:
                child.signal(signal.SIGKILL)
                child.wait(5.0)
