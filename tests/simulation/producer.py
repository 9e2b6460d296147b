"""The leased producer in virtual time: one batch in flight a partition, retried until it is acknowledged."""

import asyncio
import contextlib
import functools
from typing import Any, NamedTuple

from simulation.broker import Broker, Unsent
from simulation.virtual import Process, VirtualLoop

from schemas.errors import LeaseLost
from streams.lease import Lease, OpenEnded

REQUEST_TIMEOUT_S = 1.5


class Placed(NamedTuple):
    offset: int
    timestamp: int


Batch = list[tuple[Unsent, asyncio.Future[Placed]]]


class Sending(NamedTuple):
    """One batch under way."""

    place: tuple[str, int]
    batch: Batch
    sequence: int
    incarnation: int


class SimProducer:
    """Behaves as streams.producer.Producer: the lease is asked before every socket write."""

    def __init__(
        self, loop: VirtualLoop, process: Process, broker: Broker, codec: Any, lease: Lease, leased: bool = True
    ) -> None:
        self.loop, self.process, self.broker, self.codec = loop, process, broker, codec
        self.lease, self.asked = lease, lease if leased else OpenEnded()
        self.lost = False
        self.incarnation = 0
        self._queues: dict[tuple[str, int], Batch] = {}
        self._emptied: asyncio.Future[None] | None = None
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
        unsent = Unsent(key, value, tuple(headers))
        waiting = self._queues.get(place)
        if waiting is None:
            # Whoever sends at the same moment is in the same batch.
            self._queues[place] = []
            self.loop.call_soon(self._begin, place, [(unsent, future)])
        else:
            waiting.append((unsent, future))
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
        if self._queues:
            self._emptied = self.loop.create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._emptied

    def _replace(self) -> None:
        if self._replacing is None or self._replacing.done():
            self._replacing = self.loop.create_task(self._replaced())

    async def _replaced(self) -> None:
        await asyncio.sleep(0.05)
        self.incarnation += 1
        self.lost = False

    def _begin(self, place: tuple[str, int], batch: Batch) -> None:
        """The next batch of a partition; `_queues` holds what comes while one is under way."""
        batch += self._queues[place]
        self._queues[place] = []
        self._sequence += 1
        self._send(Sending(place, batch, self._sequence, self.incarnation))

    def _send(self, sending: "Sending") -> None:
        """The lease is asked at every try, before the socket write."""
        if self._gone(sending):
            self._drop(sending)
        elif self.asked.valid():
            done: asyncio.Future[tuple[int, int]] = self.loop.create_future()
            done.add_done_callback(functools.partial(self._told, sending))
            self.broker.produce(
                done, f"{self.process.name}/{sending.incarnation}/{id(self)}", sending.sequence, *sending.place,
                [unsent for unsent, _ in sending.batch], self.process.name, self.lease._expires, REQUEST_TIMEOUT_S,
            )  # fmt: skip
        else:
            self.loop.create_task(self._hold(sending))

    async def _hold(self, sending: "Sending") -> None:
        self._held += 1
        if not await self.asked.settled():
            self.lost = True
        self._held -= 1
        self._send(sending)

    def _told(self, sending: "Sending", done: asyncio.Future[tuple[int, int]]) -> None:
        if done.exception() is not None:
            self.loop.call_later(0.1, self._send, sending)
            return
        first, stamp = done.result()
        for index, (_, future) in enumerate(sending.batch):
            if not future.done():
                future.set_result(Placed(first + index, stamp))
        self._next(sending.place)

    def _drop(self, sending: "Sending") -> None:
        for _, future in sending.batch:
            if not future.done():
                future.set_exception(LeaseLost("the partitions may belong to another worker now"))
                future.exception()
        self._next(sending.place)

    def _next(self, place: tuple[str, int]) -> None:
        if self._queues[place]:
            self._begin(place, [])
            return
        del self._queues[place]
        if not self._queues and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _gone(self, sending: "Sending") -> bool:
        return self.lost or sending.incarnation != self.incarnation
