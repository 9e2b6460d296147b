"""Deliberate defects, each one line of the design left out. They stand here, in the assembly, never in the product.

The first seed known to find each, and the promise that is its own:

no-lease                 11    lease
commit-before-answer     1     lost
answer-before-costs      0     order
generation-for-epoch     702   cost
no-recall                1     twice
commit-past-in-flight    3     lost
cursor-before-snapshots  4     state
dropped-fetch            3     lost
no-deduplication         0     twice
no-reservation-expiry    3     cost
run-from-memory          6     order
blind-heartbeat          15    twice
missed-generation        187   twice

Not found in the first 1,000: ack-of-older-generation, which needs a commit between an assignment and its first fetch,
and then a crash while an older record of the partition is being served. `run.py --find NAME` looks for it.
"""

import asyncio
from dataclasses import replace
from typing import Any

from faust.transport.drivers import aiokafka as driver
from simulation.group import SimConsumer
from simulation.owners import SimOwnership, SimProjector

from agents.dedup import Claims
from schemas.events import CostIncurred, RequestCompleted
from streams.continuity import Step
from streams.eventlog import KafkaEventLog, acknowledged
from streams.router_app import RequestTasks


class StockCommit(SimConsumer):
    """Stock Faust: commits past what is in flight."""

    def _new_offset(self, tp: Any) -> Any:
        return driver.Consumer._new_offset(self, tp)


class BelievesAnyHeartbeat(SimConsumer):
    """A heartbeat that was answered without error confirms the membership, whatever happened before it."""

    async def believed(self) -> bool:
        return True


class AckOfAnyGeneration(SimConsumer):
    """An acknowledgement counts although its record was read under an older generation."""

    def ack(self, message: Any) -> bool:
        message.generation_id = self.app.consumer_generation_id
        return bool(super().ack(message))


class AnyRecordFollows(SimConsumer):
    """A record is handed on whether or not it follows the last one."""

    async def _step(self, tp: Any, offset: int) -> Step:
        return Step.DELIVER

    async def _read_again(self, tp: Any, reason: str) -> None:
        return None


class ForgetsIds(Claims):
    """An id that is under way or answered is served like any other."""

    def claim(self, identity: Any, source: Any, now: int) -> Any:
        self._running.clear()
        self._final.keep(lambda _: False)
        return super().claim(identity, source, now)


class CommitBeforeAnswer(RequestTasks):
    """The record is acknowledged when its run begins."""

    async def start(self, event: Any) -> None:
        await super().start(event)
        event.ack()


class AnswerBeforeCosts(KafkaEventLog):
    """The end of a request is written beside its answer instead of before it."""

    async def append(self, events: Any) -> None:
        if any(isinstance(planned.event, RequestCompleted) for planned in events):
            task = asyncio.ensure_future(super().append(events))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            return
        await super().append(events)


class NoRecall(SimOwnership):
    """A new owner does not read what was answered before it."""

    async def _recall(self, fresh: Any) -> None:
        return None


class RunFromMemory(SimOwnership):
    """Runs are counted by each worker instead of taken from the log."""

    counted = 0

    async def _mark(self, tp: Any) -> int:
        await super()._mark(tp)
        self.counted += 1
        return self.counted


class GenerationForEpoch(SimProjector):
    """Snapshots are ordered by the group's generation instead of the marker's offset."""

    async def _put(self, owned: Any, snapshot: Any) -> Any:
        return await super()._put(owned, replace(snapshot, epoch=self.generation()))


class CursorFirst(SimProjector):
    """The cursor is written before the snapshots it covers."""

    async def _flush(self, owned: Any) -> None:
        if not owned.caught_up or (owned.projection.covered == owned.flushed and not owned.derived):
            return
        derived, owned.derived = owned.derived, []
        *changed, cursor = owned.projection.flush(owned.epoch)
        covered = owned.projection.covered
        await acknowledged([await self._publish(event) for event in derived])
        await acknowledged([await self._put(owned, cursor)])
        await acknowledged([await self._put(owned, snapshot) for snapshot in changed])
        owned.flushed = covered


class NoExpiry(SimProjector):
    """Nobody charges a reservation that nothing settled."""

    async def fold(self, event: Any) -> None:
        await super().fold(event)
        for owned in self.owned.values():
            owned.derived = [item for item in owned.derived if not isinstance(item, CostIncurred)]


class AlwaysContinues(SimOwnership):
    """A worker that missed a generation takes its partitions for its own all along."""

    async def assigned(self, positions: Any) -> Any:
        if self._held is not None:
            self._held, self._losses = self.lease.membership, self.lease.losses
        return await super().assigned(positions)


class AlwaysContinuesFolding(SimProjector):
    """The same of the projector."""

    async def assigned(self, positions: Any) -> Any:
        if self._held is not None:
            self._held = self.lease.membership
        return await super().assigned(positions)


DEFECTS: dict[str, dict[str, Any]] = {
    "no-lease": {"leased": False},
    "commit-before-answer": {"tasks": CommitBeforeAnswer},
    "answer-before-costs": {"log": AnswerBeforeCosts},
    "generation-for-epoch": {"projector": GenerationForEpoch},
    "no-recall": {"ownership": NoRecall},
    "commit-past-in-flight": {"consumer": StockCommit},
    "ack-of-older-generation": {"consumer": AckOfAnyGeneration},
    "cursor-before-snapshots": {"projector": CursorFirst},
    "dropped-fetch": {"consumer": AnyRecordFollows},
    "no-deduplication": {"claims": ForgetsIds},
    "no-reservation-expiry": {"projector": NoExpiry},
    "run-from-memory": {"ownership": RunFromMemory},
    "blind-heartbeat": {"consumer": BelievesAnyHeartbeat},
    "missed-generation": {"ownership": AlwaysContinues, "projector": AlwaysContinuesFolding},
}
"""Name -> parts of a worker's assembly that differ."""

FOUND_BY: dict[str, tuple[int, str]] = {
    "no-lease": (11, "lease"),
    "commit-before-answer": (1, "lost"),
    "answer-before-costs": (0, "order"),
    "generation-for-epoch": (702, "cost"),
    "no-recall": (1, "twice"),
    "commit-past-in-flight": (3, "lost"),
    "cursor-before-snapshots": (4, "state"),
    "dropped-fetch": (3, "lost"),
    "no-deduplication": (0, "twice"),
    "no-reservation-expiry": (3, "cost"),
    "run-from-memory": (6, "order"),
    "blind-heartbeat": (15, "twice"),
    "missed-generation": (187, "twice"),
}
"""Name -> the seed that finds it, and how the sentence of its promise begins."""
UNFOUND = {"ack-of-older-generation"}
