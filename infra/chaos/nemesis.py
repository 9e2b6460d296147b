"""The nemesis: carries out a schedule while the publisher runs."""

import heapq
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from infra.chaos.faults import FAULTS, Step
from infra.chaos.field import Field
from infra.cli.options import say

POLL_S = 0.05


@dataclass
class Nemesis:
    """`done`: what happened, by fault. Everything runs in this thread, one thing after the other."""

    stage: Field
    done: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)

    def run(self, steps: Sequence[Step], seconds: float, ended: Callable[[], bool]) -> None:
        """Until `ended`, and until all that was begun has been finished. After `seconds` the traffic stops (0: by itself)."""
        started, order, pause = time.monotonic(), itertools.count(), threading.Event()
        due: list[tuple[float, int, str, Callable[[], object]]] = []

        def plan(at: float, words: str, act: Callable[[], object]) -> None:
            heapq.heappush(due, (at, next(order), words, act))

        def begin(step: Step) -> None:
            words, follow = FAULTS[step.fault](self.stage, step)
            now = time.monotonic() - started
            self._tell(now, words or f"{step.fault}: nothing to do it to")
            if words:
                self.done[step.fault] += 1
            for later in follow:
                plan(now + later.after_s, later.words, later.act)

        for step in steps:
            plan(step.at_s, "", lambda step=step: begin(step))  # type: ignore[misc]
        if seconds:
            plan(seconds, "the traffic ends", lambda: self.stage.tell("enough"))
        while due or not ended():
            now = time.monotonic() - started
            if due and due[0][0] <= now:
                _, _, words, act = heapq.heappop(due)
                if words:
                    self._tell(now, words)
                act()
            else:
                self.stage.revive()
                pause.wait(POLL_S)

    def _tell(self, now: float, words: str) -> None:
        self.log.append(f"{now:7.1f} s  {words}")
        say(self.log[-1])
