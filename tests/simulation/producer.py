"""The leased producer in virtual time: one batch in flight a partition, retried until it is acknowledged."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from simulation.broker import AckLost, Broker, Unsent
from simulation.virtual import Process, VirtualLoop

from schemas.errors import LeaseLost
from streams.lease import Lease, OpenEnded

REQUEST_TIMEOUT_S = 1.5


@dataclass(frozen=True, slots=True)
class Placed:
    offset: int
    timestamp: int


class SimProducer:
    """Behaves as streams.producer.Producer: the lease is asked before every socket write."""

    def __init__(
        self, loop: VirtualLoop, process: Process, broker: Broker, codec: Any, lease: Lease, leased: bool = True
    ) -> None:
        self.loop, self.process, self.broker, self.codec = loop, process, broker, codec
        self.lease, self.asked = lease, lease if leased else OpenEnded()
        self.lost = False
        self.incarnation = 0
        self._queues: dict[tuple[str, int], list[tuple[Unsent, asyncio.Future[Placed]]]] = {}
        self._busy: set[tuple[str, int]] = set()
        self._draining: set[asyncio.Task[None]] = set()
        self._sequence = 0
        self._held = 0
        self._replacing: asyncio.Task[None] | None = None

    async def send(
        self, topic: str, value: bytes | None, *, key: bytes | None = None, partition: int | None = None,
        headers: Any = (),
    ) -> asyncio.Future[Placed]:  # fmt: skip
        if self.lost:
            self._replace()
            raise LeaseLost("the producer is being replaced after its lease was lost")
        place = topic, partition or 0
        future: asyncio.Future[Placed] = self.loop.create_future()
        self._queues.setdefault(place, []).append((Unsent(key, value, tuple(headers)), future))
        if place not in self._busy:
            self._busy.add(place)
            task = self.loop.create_task(self._drain(place))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)
        return future

    async def emit(self, topic: str, event: Any, *, key: str | None = None, partition: int | None = None) -> Any:
        return await self.send(
            topic, self.codec.encode(event), key=key.encode() if key is not None else None, partition=partition
        )

    async def ready(self) -> None:
        # What waits for the lease of an earlier assignment would lose this producer after the next one began.
        while self._held:
            await asyncio.sleep(0.05)
        if self.lost:
            self._replace()
        if self._replacing is not None:
            await self._replacing

    async def flush(self, timeout_s: float) -> None:
        """Wait for what was handed over, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._busy:
                    await asyncio.wait(list(self._draining))

    def _replace(self) -> None:
        if self._replacing is None or self._replacing.done():
            self._replacing = self.loop.create_task(self._replaced())

    async def _replaced(self) -> None:
        await asyncio.sleep(0.05)
        self.incarnation += 1
        self.lost = False

    async def _drain(self, place: tuple[str, int]) -> None:
        try:
            while batch := self._queues.pop(place, None):
                await self._deliver(place, batch)
        finally:
            self._busy.discard(place)

    async def _deliver(self, place: tuple[str, int], batch: list[tuple[Unsent, asyncio.Future[Placed]]]) -> None:
        self._sequence += 1
        sequence, incarnation = self._sequence, self.incarnation
        while True:
            while not self._gone(incarnation) and not self.asked.valid():
                self._held += 1
                if not await self.asked.settled():
                    self.lost = True
                self._held -= 1
            if self._gone(incarnation):
                for _, future in batch:
                    if not future.done():
                        future.set_exception(LeaseLost("the partitions may belong to another worker now"))
                        future.exception()
                return
            try:
                first, stamp = await self.broker.produce(
                    f"{self.process.name}/{incarnation}/{id(self)}", sequence, *place, [unsent for unsent, _ in batch],
                    self.process.name, self.lease._expires, REQUEST_TIMEOUT_S,
                )  # fmt: skip
            except AckLost:
                await asyncio.sleep(0.1)
                continue
            for index, (_, future) in enumerate(batch):
                if not future.done():
                    future.set_result(Placed(first + index, stamp))
            return

    def _gone(self, incarnation: int) -> bool:
        return self.lost or incarnation != self.incarnation
