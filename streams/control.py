"""The control log as this process has read it: what is in force now, and what was at any earlier offset."""

import asyncio
import bisect

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.codec import Codec, event_of
from schemas.errors import UnreadableRecord
from schemas.events import Event
from schemas.inforce import InForce, apply_control

log = structlog.get_logger()


class ControlLog:
    """Every state of llm.control by offset. It is kept for ever and changes rarely, so all of it fits in memory."""

    def __init__(self) -> None:
        self._offsets: list[int] = [-1]
        self._states: list[InForce] = [InForce()]
        self._advanced = asyncio.Condition()

    @property
    def current(self) -> InForce:
        return self._states[-1]

    def upto(self, offset: int) -> InForce:
        """What was in force once the record at `offset` was applied."""
        return self._states[bisect.bisect_right(self._offsets, offset) - 1]

    def put(self, offset: int, event: Event) -> None:
        """The next record of the log."""
        if offset > self._offsets[-1]:
            self._offsets.append(offset)
            self._states.append(apply_control(self._states[-1], offset, event))

    def take(self, offset: int, value: bytes | None, codec: Codec) -> Event | None:
        """The next record of the log by its bytes; returns the event. Raises UnknownEvent for one of a later version.

        What is no event at all is passed over: the log is kept for ever, and so would be what stops its readers.
        """
        try:
            event = event_of(value, codec)
        except UnreadableRecord as error:
            log.info("control record passed over", offset=offset, reason=str(error))
            return None
        self.put(offset, event)
        return event

    async def advanced(self) -> None:
        async with self._advanced:
            self._advanced.notify_all()

    async def reached(self, offset: int) -> InForce:
        """Wait until the record at `offset` is applied: a tick may name one that this process has not read yet."""
        async with self._advanced:
            await self._advanced.wait_for(lambda: self.current.offset >= offset)
        return self.upto(offset)


async def follow_control(
    control: ControlLog, consumer: AIOKafkaConsumer, topic: str, codec: Codec, ready: asyncio.Event
) -> None:
    """Read the control log for ever; `ready` is set once its end at the start was reached."""
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    await consumer.seek_to_beginning(partition)
    end = (await consumer.end_offsets([partition]))[partition]
    while True:
        if not ready.is_set() and await consumer.position(partition) >= end:
            ready.set()
        for records in (await consumer.getmany(timeout_ms=500)).values():
            for record in records:
                if (event := control.take(record.offset, record.value, codec)) is not None:
                    log.info("control applied", offset=record.offset, event_name=type(event).__name__)
            await control.advanced()
