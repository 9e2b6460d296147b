"""The state reader: how far it has read of every partition, whatever arrives in the others."""

import asyncio
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from schemas.codec import Codec
from schemas.snapshots import Snapshot, encode_value
from schemas.state import CircuitState, SlaState
from streams.view import DECIDED_BY, StateReader, StateView

QUIET, BUSY = TopicPartition("state", 0), TopicPartition("state", 1)


class OneIsBusy:
    """A consumer whose every fetch brings a record of one partition and none of the other."""

    def __init__(self) -> None:
        self._client = self
        self._position = 0

    async def topics(self) -> set[str]:
        return {"state"}

    async def _wait_on_metadata(self, topic: str) -> None:
        return None

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {QUIET.partition, BUSY.partition}

    def assign(self, partitions: list[TopicPartition]) -> None:
        assert partitions == [QUIET, BUSY]

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        return None

    async def position(self, partition: TopicPartition) -> int:
        return self._position if partition == BUSY else 0

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0)
        kind, shape = ("circuit", CircuitState()) if self._position % 2 == 0 else ("sla", SlaState())
        snapshot = Snapshot(kind, 1, "d1", "attempts", 1, 0, self._position, 0, encode_value(shape))
        record = ConsumerRecord(
            "state", 1, self._position, 0, 1, snapshot.key.encode(), Codec().encode(snapshot), None, 0, 0, ()
        )
        self._position += 1
        return {BUSY: [record]}


async def test_an_empty_partition_is_caught_up_while_another_never_rests() -> None:
    consumer: Any = OneIsBusy()
    reader = StateReader(StateView(), consumer, "state", Codec())
    reading = asyncio.create_task(reader.run())
    async with asyncio.timeout(30):
        await reader.caught_up({QUIET: 0, BUSY: 3})
    reading.cancel()
    assert reader.view.circuits.keys() == reader.view.sla.keys() == {"d1"}


async def test_who_only_decides_keeps_what_decisions_read() -> None:
    consumer: Any = OneIsBusy()
    reader = StateReader(StateView(kinds=DECIDED_BY), consumer, "state", Codec())
    reading = asyncio.create_task(reader.run())
    async with asyncio.timeout(30):
        await reader.caught_up({QUIET: 0, BUSY: 3})
    reading.cancel()
    assert {snapshot.kind for snapshot in reader.view.snapshots.values()} == {"circuit"}
    assert reader.view.sla == {}
