"""The real owners of partitions; only the way to a broker differs."""

from collections.abc import Callable, Mapping
from typing import Any

from aiokafka import TopicPartition
from faust.types import TP
from simulation.broker import Broker
from simulation.reader import Reader

from schemas.ids import Source
from streams.lease import Lease
from streams.ownership import RequestOwnership
from streams.projector import Projector
from streams.reader import read_to_end

LEASE_POLL_S = 0.25


class SimLease(Lease):
    async def settled(self, poll_s: float = LEASE_POLL_S) -> bool:
        return await super().settled(poll_s)


class SimOwnership(RequestOwnership):
    broker: Broker

    async def _recall(self, fresh: Mapping[TP, int]) -> None:
        if not fresh:
            return
        reader: Any = Reader(self.broker)
        starts = await self._starts(reader, fresh)
        async for record in read_to_end(reader, starts, starts):
            headers = dict(record.headers)
            source = Source.parse(headers["turnout-source"].decode())
            identity = (source.topic, headers["turnout-tenant"].decode(), headers["request-id"].decode())
            retryable = headers["turnout-retryable"] == b"true"
            self._claims.answered(identity, source, retryable=retryable, now=record.timestamp * 1000)


class SimProjector(Projector):
    broker: Broker
    generation: Callable[[], int]

    async def _state_caught_up(self) -> None:
        state = self._topics.name("state")
        partitions = [TopicPartition(state, number) for number in range(self._topics.partitions)]
        await self._state_reader.caught_up(await Reader(self.broker).end_offsets(partitions))
